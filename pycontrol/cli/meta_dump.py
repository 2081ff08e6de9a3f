"""``dmremapctl meta dump`` and ``restore``."""

import sys
from typing import TextIO
from uuid import UUID

import click

from pycontrol.cli.meta_output import confirm, quiet_option, say, spare_argument, yes_option
from pycontrol.text import plain


@click.command()
@spare_argument
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
@click.option("-o", "--output", "out", metavar="FILE", help="A new file, instead of standard output.")
def dump(spare: str, offset: int, uuid: UUID | None, as_json: bool, out: str | None) -> None:
    """Write the newest state of a spare as text, or as JSON.

    It holds all that 'restore' needs to make the same bytes again.  The text has one
    record a line and does not change its form: two dumps can be compared with diff, and
    one can be edited.  Both forms are described in docs/meta.md.
    """
    from pycontrol.metadata import Snapshot
    from pycontrol.metadata.dump import to_json, to_text
    from pycontrol.service import meta
    from pycontrol.service.imagefile import write_text

    snapshot = Snapshot.of(meta.load(spare, uuid, offset=offset))
    pieces = to_json(snapshot) if as_json else to_text(snapshot)
    if out is None:
        sys.stdout.writelines(pieces)
    else:
        write_text(out, pieces)


@click.command()
@click.argument("dump", metavar="DUMP", type=click.File(encoding="utf-8", errors="strict"))
@click.argument("out", metavar="SPARE_OR_IMAGE")
@click.option("--force", is_flag=True, help="Overwrite whatever is there.")
@yes_option
@quiet_option
def restore(dump: TextIO, out: str, force: bool, yes: bool, quiet: bool) -> None:
    """Make the metadata that a dump describes; '-' reads it from standard input.

    A new file becomes a sparse image of the size of the spare.  A device or file must have
    that size; it is asked about first, and what it carries is only overwritten with --force.
    The data on the spare is not part of a dump.
    """
    from pycontrol.metadata.dump import DumpError
    from pycontrol.service import meta

    try:
        destination, snapshot = meta.plan_restore(iter(dump), out)
    except UnicodeDecodeError as error:
        raise DumpError("this is no dump: it is not text") from error
    if not destination.new:
        confirm(destination.loses, out, yes=yes, force=force)
    meta.restore(destination, snapshot)
    say(quiet, f"restored sequence {snapshot.header.sequence} of {snapshot.header.uuid} to {plain(out)}")
