"""``dmremapctl module``."""

from pathlib import Path
from typing import Final

import click

from pycontrol.cli.main import LazyGroup
from pycontrol.cli.output import emit_json, facts, json_option
from pycontrol.text import plain

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "build": ("pycontrol.cli.module:build", "Build the module, in a copy of its source."),
    "load": ("pycontrol.cli.module:load", "Load the module and what it needs."),
    "unload": ("pycontrol.cli.module:unload", "Unload the module."),
    "status": ("pycontrol.cli.module:status", "Show whether it is loaded, and what there is to build it."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
def module() -> None:
    """Build, load and unload the kernel module."""


@click.command()
@click.option("--kernel", metavar="RELEASE", help="Build for this kernel instead of the running one.")
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the module's source is, if not beside this program.",
)
@json_option
def build(kernel: str | None, source: Path | None, as_json: bool) -> None:
    """Build the module, in a copy of its source.

    \b
    Examples:
      dmremapctl module build
      dmremapctl module build --kernel 6.1.0-25-amd64

    JSON keys: kernel, module (path).
    """
    from pycontrol.service import module as service

    release = kernel or service.running()
    try:
        if as_json:
            path = service.build(release, source)
        else:
            from rich.console import Console

            with Console(stderr=True).status("building the module"):
                path = service.build(release, source)
    except service.BuildError as error:
        click.echo("\n".join(map(plain, error.output.splitlines())), err=True)
        raise
    if as_json:
        emit_json({"kernel": release, "module": path})
    else:
        click.echo(f"built {plain(path)} for {plain(release)}")


@click.command()
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Load this file instead of the one that was built.",
)
@click.argument("parameters", nargs=-1, metavar="[PARAMETER=VALUE]...")
@json_option
def load(path: Path | None, parameters: tuple[str, ...], as_json: bool) -> None:
    """Load the module and what it needs.

    \b
    Examples:
      dmremapctl module load
      dmremapctl module load dm_remap_autosave_interval=300

    JSON keys: loaded (true), changed (false if it was loaded already).
    """
    from pycontrol.service import module as service

    changed = service.load(path, parameters)
    if as_json:
        emit_json({"loaded": True, "changed": changed})
    else:
        click.echo("module loaded" if changed else "the module was loaded already")


@click.command()
@json_option
def unload(as_json: bool) -> None:
    """Unload the module; refused while a device uses it.

    \b
    Example:
      dmremapctl module unload

    JSON keys: loaded (false), changed (false if it was not loaded).
    """
    from pycontrol.service import module as service

    changed = service.unload()
    if as_json:
        emit_json({"loaded": False, "changed": changed})
    else:
        click.echo("module unloaded" if changed else "the module was not loaded")


@click.command()
@click.option("--kernel", metavar="RELEASE", help="Look at this kernel instead of the running one.")
@json_option
def status(kernel: str | None, as_json: bool) -> None:
    """Show whether the module is loaded, and what there is to build it.

    \b
    Example:
      dmremapctl module status

    JSON keys: loaded, version, users, parameters, kernel, built (path or null), headers, compiler.
    """
    from pycontrol.service import module as service

    state = service.status(kernel)
    if as_json:
        emit_json(state)
        return
    shown: dict[str, object] = {
        "kernel": state.kernel,
        "loaded": "yes" if state.loaded else "no",
    }
    if state.loaded:
        shown |= {"version": state.version or "unknown", "users": state.users} | state.parameters
    shown |= {
        "built": state.built or "no; run 'dmremapctl module build'",
        "headers": "yes" if state.headers else f"no; install linux-headers-{state.kernel}",
        "compiler": state.compiler or "no; install gcc",
    }
    facts(shown)
