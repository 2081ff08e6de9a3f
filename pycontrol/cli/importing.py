"""``dmremapctl import``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.known.knownbad import Listed, Outcome, Plan

_SHOWN = 20
"""Ranges that a dry run prints."""


@click.command("import")
@click.argument("name", type=NAME)
@click.option("--badblocks", "badblocks_file", metavar="FILE", help="A list of badblocks(8).")
@click.option("--ddrescue", "map_file", metavar="MAPFILE", help="A map file of GNU ddrescue.")
@click.option("--list", "list_file", metavar="FILE", help="A list of sectors, or one of 'export'.")
@click.option("--smart", is_flag=True, help="What the main disk itself says it could not read.")
@click.option("--block-size", type=int, metavar="BYTES", help="Of the badblocks list (1024).")
@click.option("--status", metavar="CHARS", help="What is bad in the map file: any of ? * / - + (-/*).")
@click.option("--no-read", is_flag=True, help="Give them up at once, without asking the main device again.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def import_(
    name: str,
    badblocks_file: str | None,
    map_file: str | None,
    list_file: str | None,
    smart: bool,
    block_size: int | None,
    status: str | None,
    no_read: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move blocks that are known to be bad to the spare, all in one go.

    What the main device can still give of them is copied; what it cannot give becomes pending.
    The whole list is checked before anything is changed.  FILE may be - for standard input.

    \b
    Examples:
      badblocks -o bad.txt /dev/sdb; dmremapctl import data --badblocks bad.txt
      dmremapctl import data --ddrescue rescue.map
      dmremapctl import data --ddrescue rescue.map --status - --no-read

    JSON keys: name, read, dry_run, listed, remapped_before, pending_before, new (sectors), ranges
    (list of {sector, sectors}: what is new), remapped, pending, left (how the listed sectors stand
    afterwards; null in a dry run).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.errors import UsageError
    from pycontrol.service.known import knownbad
    from pycontrol.service.ranges import total

    _check(badblocks_file, map_file, list_file, smart, block_size, status)
    if no_read and not yes and not dry_run and "-" in (badblocks_file, map_file, list_file):
        raise UsageError("standard input cannot hold the list and the answer to a question; use --yes")
    with Control() as control:
        listed = _listed(control, name, badblocks_file, map_file, list_file, block_size, status)
        plan = knownbad.plan(control, name, listed, read=not no_read)
        if plan.crowded:
            warn(
                f"the spare has room for {plan.room} sectors, and {total(plan.new)} may need it;"
                " what is moved until it is full stays moved"
            )
        if no_read and plan.new and not dry_run and not yes:
            click.confirm(
                f"{total(plan.new)} sectors of {plain(plan.name)} will not be readable again until they are"
                " written, and there is no other way back.  Give them up?",
                abort=True,
                err=True,
            )
        outcome = None if dry_run else _carry_out(control, plan, quiet=as_json)
    if as_json:
        emit_json(_json(plan, outcome))
    else:
        _show(plan, outcome)


def _check(
    badblocks_file: str | None,
    map_file: str | None,
    list_file: str | None,
    smart: bool,
    block_size: int | None,
    status: str | None,
) -> None:
    from pycontrol.errors import UsageError
    from pycontrol.service.known.ddrescue import STATUSES

    given = sum(file is not None for file in (badblocks_file, map_file, list_file)) + smart
    if given != 1:
        raise UsageError("say one of --badblocks, --ddrescue, --list and --smart")
    if block_size is not None and badblocks_file is None:
        raise UsageError("--block-size belongs to --badblocks")
    if status is not None and map_file is None:
        raise UsageError("--status belongs to --ddrescue")
    if status is not None and (not status or any(char not in STATUSES for char in status)):
        raise UsageError(f"--status is made of the characters {STATUSES}")


def _listed(
    control: "Control",
    name: str,
    badblocks_file: str | None,
    map_file: str | None,
    list_file: str | None,
    block_size: int | None,
    status: str | None,
) -> "Listed":
    from pycontrol.service.known import badblocks, ddrescue, knownbad

    if badblocks_file is not None:
        size = badblocks.BLOCK if block_size is None else block_size
        return knownbad.from_badblocks(badblocks_file, size)
    if map_file is not None:
        return knownbad.from_ddrescue(map_file, status or ddrescue.BAD)
    if list_file is not None:
        return knownbad.from_list(list_file)
    return knownbad.from_smart(control, name)


def _carry_out(control: "Control", plan: "Plan", *, quiet: bool) -> "Outcome":
    from pycontrol.cli.progress import progress
    from pycontrol.service.known import knownbad
    from pycontrol.service.ranges import total

    with progress("sectors", total(plan.new), quiet=quiet) as advance:
        try:
            return knownbad.carry_out(control, plan, advance)
        except KeyboardInterrupt:
            warn("what was done stays; the same command goes on with the rest")
            raise


def _json(plan: "Plan", outcome: "Outcome | None") -> dict[str, object]:
    from pycontrol.service.ranges import total

    return {
        "name": plan.name,
        "read": plan.read,
        "dry_run": outcome is None,
        "listed": total(plan.bad),
        "remapped_before": plan.remapped,
        "pending_before": plan.pending,
        "new": total(plan.new),
        "ranges": [{"sector": start, "sectors": end - start} for start, end in plan.new],
        "remapped": outcome and outcome.remapped,
        "pending": outcome and outcome.pending,
        "left": outcome and outcome.left,
    }


def _show(plan: "Plan", outcome: "Outcome | None") -> None:
    from pycontrol.service.ranges import total

    listed = f"{total(plan.bad)} sectors of {plain(plan.name)} are listed"
    if plan.remapped or plan.pending:
        listed += f"; {plan.remapped} were remapped before, {plan.pending} pending"
    click.echo(listed)
    if outcome is None:
        what = "moved to the spare, or pending if unreadable" if plan.read else "pending"
        click.echo(f"{total(plan.new)} in {len(plan.new)} ranges would become {what}")
        for start, end in plan.new[:_SHOWN]:
            click.echo(f"  {start} {end - start}")
        if len(plan.new) > _SHOWN:
            click.echo(f"  and {len(plan.new) - _SHOWN} more; --json has all")
        return
    click.echo(f"now {outcome.remapped} of them are remapped, {outcome.pending} pending")
    if outcome.left:
        warn(f"{outcome.left} are neither: somebody moved them back meanwhile")
