"""``dmremapctl fleet``."""

from pathlib import Path
from typing import Final

import click

from pycontrol.cli.main import LazyGroup

_AT: Final = "pycontrol.cli.fleet_commands"

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "build": (f"{_AT}:build", "Build the module once for each kernel that the hosts run."),
    "install": (f"{_AT}:install", "Copy the module to the hosts that run its kernel."),
    "load": (f"{_AT}:load", "The same, and load it."),
    "status": (f"{_AT}:status", "Show the state of the devices of every host."),
    "create": (f"{_AT}:create", "Make the devices that the file of hosts lists."),
    "health": (f"{_AT}:health", "Say how the devices are, why, and what to do."),
    "scrub": (f"{_AT}:scrub", "Read a device of every host to find bad sectors early."),
    "watch": (f"{_AT}:watch", "Show what happens to the devices of every host."),
    "inspect": (f"{_AT}:inspect", "Read spares; changes nothing."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
@click.option(
    "-H",
    "--hosts",
    "path",
    metavar="FILE",
    envvar="DMREMAP_HOSTS",
    show_envvar=True,
    type=click.Path(path_type=Path),
    help="The file of hosts, in TOML.",
)
@click.pass_context
def fleet(ctx: click.Context, path: Path | None) -> None:
    """Do something on many hosts at once, over SSH.

    A host needs Python 3.11 and nothing else: dmremapctl copies itself.  Host keys are always
    checked.  See docs/fleet.md for the file of hosts.
    """
    ctx.obj = path
