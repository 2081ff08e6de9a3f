"""``dmremapctl meta backup`` and ``repair``."""

from typing import TYPE_CHECKING
from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import dry_run_option, quiet_option, say, spare_argument, yes_option
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.cli.progress import phases
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.offline.meta import Repair


@click.command()
@spare_argument
@click.argument("out", metavar="FILE")
@quiet_option
@json_option
@click.pass_context
def backup(
    ctx: click.Context,
    spare: str,
    offset: int,
    uuid: UUID | None,
    out: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Copy all metadata of a spare, good or bad, to the same places of a new sparse file.

    The file can be inspected, checked and repaired like the spare.  The data on the spare
    is not copied.  If the state cannot be had, the exit code is 1; without a whole header all
    places are copied where metadata may be.  What cannot be read is zero in the file; the exit
    code is 6 then.

    \b
    Example:
      dmremapctl meta backup /dev/sdc1 sdc1.backup

    JSON keys: path (of the file), complete (whether the state can be had from it).
    """
    from pycontrol.service.offline import meta

    with phases(quiet=quiet) as progress:
        known = meta.backup(spare, out, uuid, offset=offset, progress=progress)
    if as_json:
        emit_json({"path": out, "complete": known})
    else:
        say(quiet, f"copied the metadata of {plain(spare)} to {plain(out)}")
    if not known:
        say(quiet, "the state could not be had: 'meta check' says why")
        ctx.exit(ExitCode.DAMAGED)


@click.command()
@spare_argument
@click.option("-o", "--output", "out", metavar="FILE", help="Write the mended metadata to this new file.")
@click.option("--in-place", is_flag=True, help="Mend the spare itself, after a backup.")
@click.option("--backup", "backup_to", metavar="FILE", help="Where the backup goes; a new file.")
@click.option("--anyway", is_flag=True, help="With --in-place: also if what can be read may be old.")
@dry_run_option
@yes_option
@quiet_option
@json_option
def repair(
    spare: str,
    offset: int,
    uuid: UUID | None,
    out: str | None,
    in_place: bool,
    backup_to: str | None,
    anyway: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make every copy of the metadata whole, and the same.

    With -o the result goes to a new sparse image without the data, and SPARE_OR_IMAGE is only read.
    With --in-place the metadata is copied to a backup first (by default
    UUID-SEQUENCE.backup in the current directory, with -2 and so on before the dot where that
    exists), and nobody else may use the spare.
    Mends no more than the target would when it is activated, and clears needs_check.  Where
    most headers cannot be read a newer one may be among them: that is refused without --anyway, and
    with -o there is a warning.

    \b
    Examples:
      dmremapctl meta repair -o sdc1.mended sdc1.backup
      dmremapctl meta repair --in-place /dev/sdc1

    JSON keys: path, uuid, sequence (as it was), copies, valid_copies, needed (whether there is
    anything to mend), written (the path that was, or would be, written; null if none), backup (path
    or null), unread (bytes at which blocks could not be read for it), dry_run.
    """
    from pycontrol.errors import UsageError
    from pycontrol.metadata.state import MAY_BE_OLD
    from pycontrol.service.offline import meta

    if (out is None) == (not in_place):
        raise UsageError("say either -o FILE or --in-place")
    with phases(quiet=quiet) as progress:
        plan = meta.plan_repair(spare, uuid, offset=offset, progress=progress)
    written: str | None = out
    unread: list[int] = []
    if in_place and not anyway:
        meta.check_newest(spare, plan.loaded)
    if out is not None and plan.loaded.may_be_old and not quiet:
        warn(f"{MAY_BE_OLD}: what goes to {plain(out)} may be old; see that they can be read, then mend anew")
    if in_place:
        backup_to = backup_to or _free_name(plan)
        written = spare if plan.needed else None
    if written is not None and not dry_run:
        if in_place and not yes:
            question = f"{_what(plan)}; a backup goes to {plain(backup_to)}.  Mend it?"
            click.confirm(question, abort=True, err=True)
        with phases(quiet=quiet) as progress:
            if out is not None:
                meta.repair_to(plan, out, progress)
            else:
                unread = meta.repair_in_place(plan, str(backup_to), uuid, progress, anyway=anyway)
    if as_json:
        kept = backup_to if in_place and written else None
        emit_json({**_json(plan), "written": written, "backup": kept, "unread": unread, "dry_run": dry_run})
    elif written is None:
        say(quiet, f"nothing on {plain(spare)} needs repair")
    elif dry_run:
        say(quiet, f"{_what(plan)}; would write to {plain(written)}")
    elif in_place:
        say(quiet, f"mended {plain(spare)}; its metadata as it was is in {plain(backup_to)}{_but(unread)}")
    else:
        say(quiet, f"wrote the mended metadata of {plain(spare)} to {plain(written)}")


def _what(plan: "Repair") -> str:
    loaded = plan.loaded
    bad = loaded.copies - loaded.valid_copies
    return f"{plain(plan.path)} has {bad} of {loaded.copies} copies to mend"


def _free_name(plan: "Repair") -> str:
    """Where the backup goes if nobody says; with a number behind it where an earlier repair has left one."""
    from itertools import count
    from os.path import lexists

    first = f"{plan.loaded.uuid}-{plan.loaded.sequence}"
    names = (f"{first}-{number}.backup" if number > 1 else f"{first}.backup" for number in count(1))
    return next(name for name in names if not lexists(name))


def _but(unread: list[int]) -> str:
    """The end of a sentence about a backup."""
    if not unread:
        return ""
    return f", but for {len(unread)} blocks that could not be read, the first at byte {unread[0]}"


def _json(plan: "Repair") -> dict[str, object]:
    return {
        "path": plan.path,
        "uuid": str(plan.loaded.uuid),
        "sequence": plan.loaded.sequence,
        "copies": plan.loaded.copies,
        "valid_copies": plan.loaded.valid_copies,
        "needed": plan.needed,
    }
