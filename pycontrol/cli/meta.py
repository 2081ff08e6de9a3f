"""``dmremapctl meta``: the metadata of a spare that need not be in use; needs no module and no root."""

from typing import Final

import click

from pycontrol.cli.main import LazyGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "inspect": ("pycontrol.cli.inspect:inspect", "Show every copy, side by side, and the remaps."),
    "check": ("pycontrol.cli.meta_look:check", "Find everything that is wrong."),
    "diff": ("pycontrol.cli.meta_look:diff", "Compare two spares or images."),
    "search": ("pycontrol.cli.meta_search:search", "Find metadata at unknown places."),
    "dump": ("pycontrol.cli.meta_dump:dump", "Write the state as text or JSON."),
    "restore": ("pycontrol.cli.meta_dump:restore", "Make an image or a spare from a dump."),
    "backup": ("pycontrol.cli.meta_repair:backup", "Copy the metadata to a sparse file."),
    "repair": ("pycontrol.cli.meta_repair:repair", "Mend damaged and stale copies."),
    "import-legacy": ("pycontrol.cli.meta_import:import_legacy", "Convert a spare of v4.2 or v3.0."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
def meta() -> None:
    """Read, check, mend and convert the metadata of a spare, or of an image of one.

    Reading never writes.  A spare in use is read as it stood at one moment.
    """
