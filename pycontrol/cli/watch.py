"""``dmremapctl watch``."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import console, emit_json_line, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from rich.text import Text

    from pycontrol.service.tell.watch import Event

STYLES = {
    "REMAP": "yellow",
    "PENDING": "bold red",
    "UNMAP": "green",
    "COPY_LOST": "bold red",
    "COPY_MENDED": "green",
    "SPARE_NEARLY_FULL": "yellow",
    "SPARE_FULL": "bold red",
    "MODE": "bold magenta",
    "BREAKER": "bold red",
    "EVENTS_LOST": "yellow",
}


@click.command()
@click.argument("name", type=NAME, required=False)
@click.option("--lines", is_flag=True, help="On a terminal: a line for each event, not a table.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Print N lines, then end.")
@json_option
def watch(name: str | None, lines: bool, count: int | None, as_json: bool) -> None:
    """Show what happens to the devices, until interrupted.

    On a terminal a table of the devices, with their state and last event; it needs root.  In a
    pipe, or with --lines, --count or --json, a line for each event.
    Devices may come and go meanwhile; NAME need not exist yet.

    JSON: one object a line, with the keys time (seconds since 1970), name, uuid, action,
    device, seqnum, sector, sectors, extents.

    \b
    Example:
      dmremapctl watch --json data | jq 'select(.action == "PENDING")'
    """
    from pycontrol.service.devices import named

    wanted = named(name) if name is not None else None
    if not (lines or count or as_json) and sys.stdout.isatty():
        screen = console()
        if not screen.is_dumb_terminal:
            from pycontrol.cli.watch_table import show

            show(screen, wanted)
            return
    _lines(wanted, count, as_json)


def _lines(wanted: str | None, count: int | None, as_json: bool) -> None:
    from pycontrol.service.tell import watch as service

    origin, source = service.open_source()
    screen = None if as_json else console()
    # On standard error, so that a script can wait for it before it causes an event.
    click.echo(f"dmremapctl: watching events from {origin}", err=True)
    try:
        for event in service.events(source, wanted, count=count, lost=_lost):
            if screen is None:
                emit_json_line(asdict(event))
            else:
                screen.print(_line(event), soft_wrap=True)
            sys.stdout.flush()
    except KeyboardInterrupt:
        # The ordinary way to end a watch.
        return


def _lost() -> None:
    warn("events were lost, more came than could be held; 'dmremapctl status' has the state")


def _line(event: "Event") -> "Text":
    from rich.text import Text

    from pycontrol.service.tell.notice import details

    line = Text(f"{clock_time(event.time)} ")
    line.append(plain(event.name or event.device), style="bold")
    line.append(" ")
    line.append(plain(event.action), style=STYLES.get(event.action, ""))
    line.append(details(event))
    return line


def clock_time(seconds: float) -> str:
    """``13:05:59``, local time."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
