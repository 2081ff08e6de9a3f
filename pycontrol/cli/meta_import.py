"""``dmremapctl meta import-legacy``."""

from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pycontrol.cli.arguments import DEVICE_OR_IMAGE
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import (
    SIZE,
    confirm,
    dry_run_option,
    overwriting,
    quiet_option,
    say,
    yes_option,
)
from pycontrol.cli.output import emit_json, facts, json_option, table
from pycontrol.cli.progress import phases
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.metadata.legacy import Old
    from pycontrol.service.offline.legacy import Choices, Import


@click.command("import-legacy")
@click.argument("old", type=DEVICE_OR_IMAGE, metavar="OLD_SPARE_OR_IMAGE")
@click.argument("out", type=DEVICE_OR_IMAGE, metavar="[NEW_SPARE_OR_IMAGE]", required=False)
@click.option("--uuid", type=click.UUID, help="Of the new metadata; by default a random one.")
@click.option("--copies", type=int, default=5, show_default=True, help="Copies of the metadata, 1 to 8.")
@click.option("--spacing", type=SIZE, default="128K", show_default=True, help="From one copy to the next.")
@click.option("--block-size", type=SIZE, default="512", show_default=True, help="Logical block in bytes.")
@click.option("--size", type=SIZE, help="Of a new image; by default that of the old spare.")
@click.option("--force", is_flag=True, help="Overwrite whatever is there.")
@dry_run_option
@yes_option
@quiet_option
@json_option
@click.pass_context
def import_legacy(
    ctx: click.Context,
    old: str,
    out: str | None,
    uuid: UUID | None,
    copies: int,
    spacing: int,
    block_size: int,
    size: int | None,
    force: bool,
    dry_run: bool,
    yes: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Bring a spare of dm-remap v4.2 or v3.0 to the present format.

    The old one is only read, whole, and may be a device or an image.  The data of every remap is
    copied to a new place on the new spare, another device or a new file.  Without it, what
    the old one holds is shown.

    A sector whose data cannot be right becomes pending: it lay under the old metadata, was
    given to two, or cannot be read.  The exit code is 1 then.

    \b
    Examples:
      dmremapctl meta import-legacy old.image
      dmremapctl meta import-legacy /dev/sdc1 /dev/sdd1

    \b
    Keys of --json:
      version, main_sectors, spare_sectors, metadata_sectors, sequence, time, notes
                 of the old metadata, which ends at that sector of the old spare
      copies     list of {offset, valid, reason, sequence, time, crc_stored, crc_computed}
      chosen     the copy that counts
      entries    list of {main, spare, errors, time, active}
      uuid       of the new metadata; null without a new spare, as are the next three
      remapped   sectors whose data was copied, or would be
      lost       list of {main, reason}: pending now
      left       main sectors the old format named but never moved
    """
    from pycontrol.service.offline import legacy

    if out is None:
        found = legacy.look(old)
        if as_json:
            emit_json(_json(found, None))
        elif not quiet:
            _show(found)
        return
    choices = _choices(out, uuid, copies, spacing, block_size, size)
    with phases(quiet=quiet) as progress:
        plan = legacy.plan_import(old, out, choices, progress)
    if not dry_run:
        if not plan.destination.new:
            confirm(plan.destination.loses, out, yes=yes, force=force)
        with phases(quiet=quiet) as progress:
            legacy.carry_out(plan, progress)
    lost, left = plan.converted.lost, plan.converted.left
    if as_json:
        emit_json(_json(plan.old, plan))
    for main, reason in lost.items():
        say(quiet, f"main sector {main} {'would be' if dry_run else 'is'} pending: {reason}")
    for main in left:
        say(quiet, f"main sector {main} was never moved: the main device still has it")
    what = f"{len(plan.converted.moves)} sectors of v{plan.old.version} to {plain(out)}"
    if dry_run:
        say(quiet, f"would import {what}{overwriting(plan.destination.loses)}")
    else:
        say(quiet, f"imported {what}")
    ctx.exit(ExitCode.DAMAGED if lost else ExitCode.OK)


def _choices(
    out: str, uuid: UUID | None, copies: int, spacing: int, block_size: int, size: int | None
) -> "Choices":
    import time
    from pathlib import Path
    from uuid import uuid4

    from pycontrol.service.offline import legacy, meta
    from pycontrol.sizes import SECTOR

    if size is None and Path(out).exists():
        size = meta.size_of(out)
    sectors = None if size is None else size // SECTOR
    return legacy.Choices(uuid or uuid4(), int(time.time()), copies, spacing // SECTOR, block_size, sectors)


def _json(old: "Old", plan: "Import | None") -> dict[str, object]:
    converted = plan.converted if plan else None
    lost = converted and [{"main": main, "reason": reason} for main, reason in converted.lost.items()]
    return {
        **asdict(old),
        "uuid": str(converted.snapshot.header.uuid) if converted else None,
        "remapped": len(converted.moves) if converted else None,
        "lost": lost,
        "left": converted.left if converted else None,
    }


def _show(old: "Old") -> None:
    facts(
        {
            "Format": f"v{old.version}",
            "Main size": f"{old.main_sectors} sectors",
            "Spare size": f"{old.spare_sectors} sectors",
            "Sequence": old.sequence,
        }
    )
    if old.copies:
        rows = [
            (
                f"{number} *" if number == old.chosen else number,
                f"{copy.offset:#x}",
                "-" if copy.sequence is None else copy.sequence,
                "valid" if copy.valid else copy.reason,
            )
            for number, copy in enumerate(old.copies)
        ]
        table(("Copy", "At byte", "Sequence", "Verdict"), rows)
    entries = [
        (entry.main, entry.spare, entry.errors, "active" if entry.active else "never active")
        for entry in old.entries
    ]
    table(("Main sector", "Spare sector", "Errors", "State"), entries)
    for note in old.notes:
        click.echo(f"Note: {note}")
