"""``dmremapctl fill``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import SIZE
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.known.fill import Outcome, Plan
    from pycontrol.service.known.lostfiles import Report

_SHOWN = 20
"""Lines of each kind for people."""


@click.command()
@click.argument("name", type=NAME)
@click.option(
    "--from", "source", metavar="IMAGE_OR_DEVICE", required=True, help="A rescue image, mirror or backup."
)
@click.option("--map", "map_file", metavar="MAPFILE", help="ddrescue's map of it: take only what it rescued.")
@click.option("--offset", type=SIZE, default="0", help="The byte of it where the main device begins.")
@click.option("--partial", is_flag=True, help="It need not have all of the main device.")
@click.option("--holes", is_flag=True, help="Holes of a sparse image are zeros, not what is missing.")
@click.option("--freeze", is_flag=True, help="Fill a mounted device, holding its writes back for moments.")
@click.option("--dry-run", is_flag=True, help="Read only, and say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def fill(
    ctx: click.Context,
    name: str,
    source: str,
    map_file: str | None,
    offset: int,
    partial: bool,
    holes: bool,
    freeze: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write the sectors that were lost back from a copy of the disk.

    Only what is pending is written, each block is read back and compared.  What is filled is as
    old as the copy.  Says what is still lost, and in which files if ext4 or XFS is mounted
    from the device; the exit code is 1 then.

    \b
    Example:
      dmremapctl fill data --from sdb.img --map sdb.map

    JSON keys: name, source, dry_run, pending, filled, healed (sectors; healed were written by
    their owner meanwhile), lost (list of {sector, sectors, reason}), files (list of {path, sectors,
    ranges}, the ranges as [first, end] in bytes of the file; null if no file system is mounted),
    unseen (paths that could not be looked into), elsewhere (lost sectors in no file).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.known import fill as service
    from pycontrol.service.ranges import total

    choices = service.Choices(source, map_file, offset, partial, holes, freeze)
    with Control() as control:
        plan = service.plan(control, name, choices)
        if plan.crowded:
            warn("the spare has not room for all that can be filled; it will be filled until the room ends")
        if plan.usable and not dry_run and not yes:
            click.confirm(
                f"Write {total(plan.usable)} lost sectors of {plain(name)} from {plain(source)}?"
                "  They will be as old as it is.",
                abort=True,
                err=True,
            )
        outcome = _run(control, plan, dry_run=dry_run, quiet=as_json)
    lost = service.lost_ranges(outcome)
    report = _files(plan, outcome)
    if as_json:
        emit_json(_json(plan, outcome, report, dry_run=dry_run))
    else:
        _show(plan, outcome, report, dry_run=dry_run)
    ctx.exit(ExitCode.DAMAGED if lost else ExitCode.OK)


def _run(control: "Control", plan: "Plan", *, dry_run: bool, quiet: bool) -> "Outcome":
    from pycontrol.cli.progress import progress
    from pycontrol.service.known import fill as service
    from pycontrol.service.ranges import total

    with progress("sectors", total(plan.usable), quiet=quiet) as advance:
        if dry_run or not plan.usable:
            return service.rehearse(plan, advance)
        try:
            return service.carry_out(control, plan, advance)
        except KeyboardInterrupt:
            warn("what was filled stays; the same command goes on with the rest")
            raise


def _files(plan: "Plan", outcome: "Outcome") -> "Report | None":
    """The files that are still damaged; None where no file system tells."""
    from pycontrol.service.known import lostfiles, mounted
    from pycontrol.service.known.fill import lost_ranges
    from pycontrol.service.ranges import scaled
    from pycontrol.service.soleuse import FREEZABLE
    from pycontrol.sizes import SECTOR

    mount = mounted.whole(plan.device.info.dev)
    if mount is None or mount.fstype not in FREEZABLE:
        return None
    start = plan.target.start
    return lostfiles.find(
        mount.point, scaled([(s + start, e + start) for s, e in lost_ranges(outcome)], SECTOR)
    )


def _elsewhere(outcome: "Outcome", report: "Report") -> int:
    from pycontrol.service.known.fill import lost_ranges
    from pycontrol.service.ranges import total
    from pycontrol.sizes import SECTOR

    return total(lost_ranges(outcome)) - total(report.accounted) // SECTOR


def _json(plan: "Plan", outcome: "Outcome", report: "Report | None", *, dry_run: bool) -> dict[str, object]:
    from pycontrol.service.ranges import total

    return {
        "name": plan.device.info.name,
        "source": plan.choices.source,
        "dry_run": dry_run,
        "pending": total(plan.pending),
        "filled": total(outcome.filled),
        "healed": total(outcome.healed),
        "lost": [{"sector": s, "sectors": e - s, "reason": why} for (s, e), why in outcome.lost],
        "files": report
        and [{"path": file.path, "sectors": file.sectors, "ranges": file.ranges} for file in report.files],
        "unseen": report.unseen if report else [],
        "elsewhere": _elsewhere(outcome, report) if report else None,
    }


def _show(plan: "Plan", outcome: "Outcome", report: "Report | None", *, dry_run: bool) -> None:
    from pycontrol.service.known.fill import lost_ranges
    from pycontrol.service.ranges import total

    name = plain(plan.device.info.name)
    if not plan.pending:
        click.echo(f"nothing of {name} is pending")
        return
    verb = "could be filled" if dry_run else "were filled, read back and compared"
    click.echo(f"{total(outcome.filled)} of {total(plan.pending)} lost sectors of {name} {verb}")
    if outcome.healed:
        click.echo(f"{total(outcome.healed)} had been written by their owner meanwhile, and were left alone")
    if not outcome.lost:
        return
    click.echo(f"{total(lost_ranges(outcome))} sectors {'would still be' if dry_run else 'are still'} lost:")
    _some([f"  {s} {e - s}  {why}" for (s, e), why in outcome.lost])
    if report is None:
        click.echo("mount the device read-only, and a --dry-run names the files they belong to")
        return
    if report.files:
        click.echo("files with lost sectors:")
        _some([f"  {plain(file.path)}  {file.sectors} sectors" for file in report.files])
    if elsewhere := _elsewhere(outcome, report):
        click.echo(f"{elsewhere} are in no file: free, or the file system's own (fsck tells)")
    if report.unseen:
        click.echo("these could not be looked into:")
        _some([f"  {plain(path)}" for path in report.unseen])


def _some(lines: list[str]) -> None:
    for line in lines[:_SHOWN]:
        click.echo(line)
    if len(lines) > _SHOWN:
        click.echo(f"  and {len(lines) - _SHOWN} more; --json has all")
