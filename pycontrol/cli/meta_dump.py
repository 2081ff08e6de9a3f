"""``dmremapctl meta dump`` and ``restore``."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO
from uuid import UUID

import click

from pycontrol.cli.arguments import DEVICE_OR_IMAGE
from pycontrol.cli.meta_output import (
    confirm,
    dry_run_option,
    overwriting,
    quiet_option,
    say,
    spare_argument,
    yes_option,
)
from pycontrol.cli.output import emit_json, json_option
from pycontrol.cli.progress import phases
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.progress import Advance, Progress


@click.command()
@spare_argument
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.option("-o", "--output", "out", metavar="FILE", help="A new file, instead of standard output.")
@quiet_option
def dump(spare: str, offset: int, uuid: UUID | None, as_json: bool, out: str | None, quiet: bool) -> None:
    """Write the newest state of a spare as text, or as JSON.

    It holds all that 'restore' needs to make the same bytes again.  The text has one
    record a line and does not change its form: two dumps can be compared with diff, and
    one can be edited.  Both forms are described in docs/meta.md.

    \b
    Example:
      dmremapctl meta dump -o sdc1.dump /dev/sdc1
    """
    from pycontrol.service.offline import meta
    from pycontrol.service.offline.imagefile import write_text

    with phases(quiet=quiet) as progress:
        loaded = meta.load(spare, uuid, offset=offset, progress=progress)
        pieces = meta.dump(loaded, as_json=as_json)
        if out is not None:
            # A piece is a record, or a log block of them in JSON.
            total = len(loaded.log.sequences) if as_json else len(loaded.records)
            write_text(out, _counted(pieces, progress("writing", total), 1))
    if out is None:
        sys.stdout.writelines(pieces)


def _counted(pieces: Iterable[str], advance: "Advance", each: int | None = None) -> Iterator[str]:
    """Pieces of text, told as so much ``each``, or by their length."""
    for piece in pieces:
        yield piece
        advance(each or len(piece))


@click.command()
@click.argument("dump", metavar="DUMP", type=click.File(encoding="utf-8", errors="strict"))
@click.argument("out", type=DEVICE_OR_IMAGE, metavar="SPARE_OR_IMAGE")
@click.option("--force", is_flag=True, help="Overwrite whatever is there.")
@dry_run_option
@yes_option
@quiet_option
@json_option
def restore(
    dump: TextIO, out: str, force: bool, dry_run: bool, yes: bool, quiet: bool, as_json: bool
) -> None:
    """Make the metadata that a dump describes; '-' reads it from standard input.

    A new file becomes a sparse image of the size of the spare.  A device or file must have
    that size; it is asked about first, and what it carries is only overwritten with --force.
    The data on the spare is not part of a dump.

    \b
    Example:
      dmremapctl meta restore sdc1.dump sdc1.image

    JSON keys: path, uuid, sequence, records (of the dump), loses (list of what was, or would be,
    overwritten), written (false in a dry run).
    """
    from pycontrol.metadata import Records
    from pycontrol.metadata.dump import DumpError
    from pycontrol.service.offline import meta

    try:
        with phases(quiet=quiet) as progress:
            plan = meta.plan_restore(_lines(dump, progress), out)
    except UnicodeDecodeError as error:
        raise DumpError("this is no dump: it is not text") from error
    destination, header = plan.destination, plan.snapshot.header
    what = f"sequence {header.sequence} of {header.uuid} to {plain(out)}"
    if not dry_run:
        if not destination.new:
            confirm(destination.loses, out, yes=yes, force=force)
        with phases(quiet=quiet) as progress:
            meta.restore(plan, progress)
    if as_json:
        emit_json(
            {
                "path": out,
                "uuid": str(header.uuid),
                "sequence": header.sequence,
                "records": len(Records(plan.snapshot.packed)),
                "loses": list(destination.loses),
                "written": not dry_run,
            }
        )
    elif dry_run:
        say(quiet, f"would restore {what}{overwriting(destination.loses)}")
    else:
        say(quiet, f"restored {what}")


def _lines(dump: TextIO, progress: "Progress") -> Iterator[str]:
    """The lines of a dump, told by their length."""
    try:
        status = os.fstat(dump.fileno())
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
    except OSError:
        size = None
    yield from _counted(dump, progress("reading", size))
