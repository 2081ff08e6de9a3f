"""``dmremapctl events``."""

import sys
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import json_option

if TYPE_CHECKING:
    from pycontrol.service.view.past import Happening

_WIDE = 60
"""Columns from which on time and event fit into one line."""


@click.command()
@click.argument("name", type=NAME)
@click.option(
    "--since", metavar="TIME", help="Only what is newer: 2h, 3d, yesterday, 2026-01-31, 2026-01-31T13:00."
)
@click.option(
    "--sector",
    metavar="SECTOR",
    type=click.IntRange(min=0),
    default=0,
    help="Look at the target at this sector of the device, if it has several.",
)
@json_option
def events(name: str, since: str | None, sector: int, as_json: bool) -> None:
    """List what has happened to a device, as the records on its spare tell it, newest last.

    The spare keeps what is in force, not a diary: when its log is compacted, records that later
    ones replaced are dropped and neighbours are joined under the latest time.  What is never
    recorded: reads that succeeded on a retry, errors that were passed on, copies of the metadata
    lost and mended, changes of mode, the breaker.  'watch' and 'monitor' tell the last three as
    they happen.

    --since takes s, m, h, d and w for so long ago, 'today', 'yesterday', ISO dates (local unless they
    name a zone) and seconds since 1970.  A time marked with '?' is that of an earlier record,
    because the clock was not set when this one was made.

    \b
    Example:
      dmremapctl events data --since yesterday
      dmremapctl events data --since 2h --json

    \b
    Keys of --json, one object a line (sectors of 512 bytes, times in seconds since 1970):
      time          as recorded
      not_before    the same, or what the records before it tell; null if nothing does
      kind          remap, pending, unmap, bad_spare
      sector        on the main device; null for bad_spare
      sectors
      spare         sector on the spare; null for pending and unmap
    """
    import time
    from shutil import get_terminal_size

    from pycontrol.dm.ioctl import Control
    from pycontrol.service.view import past
    from pycontrol.service.view.when import parse_time

    now = time.time()
    begin = None if since is None else parse_time(since, now)
    with Control() as control:
        found = past.events(control, name, at=sector, now=now)
    undated = 0
    write = _json if as_json else _line if get_terminal_size().columns >= _WIDE else _lines
    for happening in found:
        if begin is not None and happening.not_before is None:
            undated += 1
        elif begin is None or (happening.not_before or 0) >= begin:
            sys.stdout.write(write(happening) + "\n")
    if undated:
        click.echo(f"dmremapctl: {undated} records without a date are left out", err=True)


def _json(happening: "Happening") -> str:
    import json

    return json.dumps(happening._asdict())


def _line(happening: "Happening") -> str:
    return f"{_when(happening)} {_what(happening)}"


def _lines(happening: "Happening") -> str:
    return f"{_when(happening)}\n  {_what(happening)}"


def _when(happening: "Happening") -> str:
    from pycontrol.service.view.when import local

    when = happening.not_before
    shown = "time unknown" if when is None else local(when)
    return f"{shown:<19}{' ' if when == happening.time else '?'}"


def _what(happening: "Happening") -> str:
    place = "" if happening.sector is None else f" {happening.sector}"
    spare = "" if happening.spare is None else f", spare {happening.spare}"
    word = happening.kind.replace("_", " ")
    if happening.sector is None:
        spare = f" {happening.spare}"
    return f"{word}{place}{spare}, {happening.sectors} sectors"
