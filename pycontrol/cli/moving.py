"""What the commands have in common that move a device elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pycontrol.cli.output import emit_json, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.ioctl import Control


def moving_options(new: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """--overwrite, --pause, --yes and --dry-run; ``new`` is the argument that names the device to go to."""
    options = (
        click.option("--overwrite", is_flag=True, help=f"Overwrite what {new} holds."),
        click.option(
            "--pause",
            type=click.FloatRange(min=0.1),
            default=5.0,
            metavar="SECONDS",
            help="How long I/O may stand still at the switch (5).",
        ),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only say what would be done."),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def settled_already(control: "Control", name: str, new: str, what: str, *, as_json: bool) -> bool:
    """Finish, or take back, what a killed command has left; True if there is nothing more to do."""
    from pycontrol.service.move.settle import settle

    settled = settle(control, name, new)
    if settled is None or settled.on != new:
        return False
    if as_json:
        emit_json({"name": name, "new": new, "dry_run": False, "finished": True})
    else:
        click.echo(f"{plain(name)}: the {what} was {settled.words}")
    return True


@contextmanager
def interruptible(done: Callable[[], bool]) -> Iterator[None]:
    """A ^C counts until it is done; after that it is no failure."""
    try:
        yield
    except KeyboardInterrupt:
        if not done():
            raise
        warn("interrupted when all was done")
