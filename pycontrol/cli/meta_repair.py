"""``dmremapctl meta backup`` and ``repair``."""

from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import quiet_option, say, spare_argument, yes_option
from pycontrol.text import plain


@click.command()
@spare_argument
@click.argument("out", metavar="FILE")
@quiet_option
@click.pass_context
def backup(ctx: click.Context, spare: str, offset: int, uuid: UUID | None, out: str, quiet: bool) -> None:
    """Copy all metadata of a spare, good or bad, to the same places of a new sparse file.

    The file can be inspected, checked and repaired like the spare.  The data on the spare
    is not copied.  If the state cannot be had, all places are copied where metadata may
    be, and the exit code is 1.
    """
    from pycontrol.service import meta

    known = meta.backup(spare, out, uuid, offset=offset)
    say(quiet, f"copied the metadata of {plain(spare)} to {plain(out)}")
    if not known:
        say(quiet, "the state could not be had: 'meta check' says why")
        ctx.exit(ExitCode.DAMAGED)


@click.command()
@click.argument("spare", metavar="SPARE_OR_IMAGE")
@click.option("--uuid", type=click.UUID, help="Of two sets of metadata, mend this one.")
@click.option("-o", "--output", "out", metavar="FILE", help="Write the mended metadata to this new file.")
@click.option("--in-place", is_flag=True, help="Mend the spare itself, after a backup.")
@click.option("--backup", "backup_to", metavar="FILE", help="Where the backup goes; a new file.")
@yes_option
@quiet_option
def repair(
    spare: str,
    uuid: UUID | None,
    out: str | None,
    in_place: bool,
    backup_to: str | None,
    yes: bool,
    quiet: bool,
) -> None:
    """Make every copy of the metadata whole, and the same.

    With -o the result goes to a new sparse image without the data, and SPARE_OR_IMAGE is only read.
    With --in-place the metadata is copied to a backup first (by default
    UUID-SEQUENCE.backup in the current directory), and nobody else may use the spare.
    Mends no more than the target would when it is activated, and clears needs_check.
    """
    from pycontrol.errors import UsageError
    from pycontrol.service import meta

    if (out is None) == (not in_place):
        raise UsageError("say either -o FILE or --in-place")
    plan = meta.plan_repair(spare, uuid)
    loaded = plan.loaded
    if out is not None:
        meta.repair_to(plan, out)
        say(quiet, f"wrote the mended metadata of {plain(spare)} to {plain(out)}")
        return
    if not plan.needed:
        say(quiet, f"nothing on {plain(spare)} needs repair")
        return
    backup_to = backup_to or f"{loaded.uuid}-{loaded.sequence}.backup"
    if not yes:
        bad = loaded.copies - loaded.valid_copies
        click.confirm(
            f"{plain(spare)} has {bad} of {loaded.copies} copies to mend; a backup goes to"
            f" {plain(backup_to)}.  Mend it?",
            abort=True,
            err=True,
        )
    meta.repair_in_place(plan, backup_to, uuid)
    say(quiet, f"mended {plain(spare)}; its metadata as it was is in {plain(backup_to)}")
