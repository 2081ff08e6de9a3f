"""``dmremapctl watch``."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pycontrol.cli.output import console, emit_json_line, json_option
from pycontrol.text import plain

if TYPE_CHECKING:
    from rich.text import Text

    from pycontrol.service.watch import Event

_STYLES = {
    "REMAP": "yellow",
    "PENDING": "bold red",
    "UNMAP": "green",
    "COPY_LOST": "bold red",
    "COPY_MENDED": "green",
    "SPARE_NEARLY_FULL": "yellow",
    "SPARE_FULL": "bold red",
    "MODE": "bold magenta",
    "BREAKER": "bold red",
}


@click.command()
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N events.")
@json_option
def watch(name: str | None, count: int | None, as_json: bool) -> None:
    """Print events as they happen, until interrupted.

    Devices may come and go meanwhile; NAME need not exist yet.

    JSON: one object a line, with the keys time (seconds since 1970), name, uuid, action,
    device, seqnum, sector, sectors, extents.
    """
    from pycontrol.service import watch as service
    from pycontrol.service.devices import named

    wanted = named(name) if name else None
    origin, source = service.open_source()
    screen = None if as_json else console()
    # On standard error, so that a script can wait for it before it causes an event.
    click.echo(f"dmremapctl: watching events from {origin}", err=True)
    try:
        for event in service.events(source, wanted, count=count):
            if screen is None:
                emit_json_line(asdict(event))
            else:
                screen.print(_line(event), soft_wrap=True)
            sys.stdout.flush()
    except KeyboardInterrupt:
        # The ordinary way to end a watch.
        return


def _line(event: "Event") -> "Text":
    from datetime import datetime

    from rich.text import Text

    line = Text(datetime.fromtimestamp(event.time).strftime("%H:%M:%S "))
    line.append(plain(event.name or event.device), style="bold")
    line.append(" ")
    line.append(plain(event.action), style=_STYLES.get(event.action, ""))
    if event.sector is not None and event.sectors != 0:
        line.append(f" sector {event.sector}")
    if event.sectors:
        scattered = f" in {event.extents} extents" if event.extents and event.extents > 1 else ""
        line.append(f" ({event.sectors} sectors{scattered})")
    return line
