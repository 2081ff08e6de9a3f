"""``dmremapctl inspect``: show the metadata on a spare, or on an image of one."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode

if TYPE_CHECKING:
    from pycontrol.metadata import BlockState, Loaded, LogState, Slot
    from pycontrol.service.inspection import Inspection


@click.command("inspect")
@click.argument("spare", metavar="SPARE_OR_IMAGE")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--uuid", type=click.UUID, help="Of two sets of metadata, read this one.")
@click.option(
    "--max",
    "limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Extents to print, 0 for all; --json prints all.",
)
@click.pass_context
def inspect(ctx: click.Context, spare: str, as_json: bool, uuid: UUID | None, limit: int) -> None:
    """Show the metadata on a spare device or on an image of one.

    Opens it read-only and writes nothing.  Looks at every copy, says which is good and
    which one counts, and lists the extents that all records add up to.

    \b
    Exit code 0: all copies are valid      3: beyond recovery
              1: readable, but some copies  4: no such device, or not ours
                 are damaged or stale       6: not permitted, or an I/O error

    \b
    Keys of --json (sectors of 512 bytes, times in seconds since 1970):
      path, device_sectors          what was looked at
      uuid, name, main_id           identity
      main_sectors, spare_sectors   sizes the metadata was made for
      copies, spacing, data_start   geometry
      block_size                    smallest unit of a remap, in bytes
      sequence, time, generation    of the newest commit
      cursor, log_blocks, segments  where allocation goes on; the log
      compat, ro_compat, incompat   feature words
      needs_check, notes            flag; list of sentences
      valid_copies, intact, chosen  copies, whether nothing needs repair, the copy that counts
      slots                         list, one a copy: copy, offset (byte), valid,
          header, info, shadow (null unless there is one copy only): offset, state
              (valid, stale, missing, damaged), reason, sequence, time,
              crc_stored, crc_computed (null where not readable)
          log: state, valid, stale, missing, damaged (blocks), reason
      read_errors, write_errors, salvaged, lost, scrub    soft state
      records, remaps, pendings     how many records, remapped and pending extents
      used_sectors, pending_sectors
      bad_spare                     list of {spare, sectors} never to be used
      extents                       list of {main, spare, sectors, kind (remap,
          pending), errors, time}, sorted; spare is null for pending
    """
    from pycontrol.metadata import Corrupt
    from pycontrol.service.inspection import inspect as look

    try:
        found = look(spare, uuid)
    except Corrupt as error:
        if error.slots and not as_json:
            _print_copies(error.slots, None)
        raise
    if as_json:
        for piece in _json(found):
            sys.stdout.write(piece)
    else:
        _print(found, limit)
    if not found.loaded.intact:
        ctx.exit(ExitCode.DAMAGED)


# For scripts


def _json(found: "Inspection") -> Iterator[str]:
    """One object in pieces: a table of a million extents is never in memory as text."""
    head = json.dumps(_head(found), indent=2)
    yield head.removesuffix("\n}")
    yield ',\n  "extents": ['
    separator = "\n    "
    for extent in found.loaded.extents:
        row = extent._asdict()
        row["kind"] = extent.kind.name.lower()
        if row["kind"] == "pending":
            row["spare"] = None
        yield separator + json.dumps(row)
        separator = ",\n    "
    yield "]\n}\n"


def _head(found: "Inspection") -> dict[str, Any]:
    from pycontrol.metadata import Kind, data_start

    loaded = found.loaded
    header, info = loaded.header, loaded.info
    return {
        "path": found.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "device_sectors": loaded.device_sectors,
        "uuid": str(header.uuid),
        "name": info.name,
        "main_id": info.main_id,
        "main_sectors": header.main_sectors,
        "spare_sectors": header.spare_sectors,
        "copies": header.copies,
        "spacing": header.spacing,
        "data_start": data_start(header.copies, header.spacing),
        "block_size": header.block_size,
        "sequence": header.sequence,
        "time": header.time,
        "generation": header.generation,
        "cursor": header.cursor,
        "log_blocks": header.log_blocks,
        "segments": list(header.segments),
        "compat": header.compat,
        "ro_compat": header.ro_compat,
        "incompat": header.incompat,
        "needs_check": loaded.needs_check,
        "notes": found.notes,
        "valid_copies": loaded.valid_copies,
        "intact": loaded.intact,
        "chosen": loaded.chosen,
        "slots": [_slot(slot) for slot in loaded.slots],
        "read_errors": info.read_errors,
        "write_errors": info.write_errors,
        "salvaged": info.salvaged,
        "lost": info.lost,
        "scrub": info.scrub,
        "records": len(loaded.records),
        "remaps": loaded.extents.count(Kind.REMAP),
        "pendings": loaded.extents.count(Kind.PENDING),
        "used_sectors": loaded.used_sectors,
        "pending_sectors": loaded.pending_sectors,
        "bad_spare": [{"spare": start, "sectors": sectors} for start, sectors in loaded.bad_spare],
    }


def _slot(slot: "Slot") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "copy": slot.copy,
        "offset": slot.offset,
        "valid": slot.valid,
        "header": asdict(slot.header),
        "info": asdict(slot.info),
        "shadow": asdict(slot.shadow) if slot.shadow else None,
        "log": {"state": slot.log.state, **asdict(slot.log)},
    }


# For people


def _print(found: "Inspection", limit: int) -> None:
    from pycontrol.cli import output
    from pycontrol.metadata import data_start
    from pycontrol.sizes import SECTOR, human

    loaded = found.loaded
    output.facts(
        {
            "Spare": found.path,
            "UUID": loaded.uuid,
            "Name": loaded.name or "-",
            "Main device": loaded.main_id or "not known",
            "Main size": f"{loaded.main_sectors} sectors ({human(loaded.main_sectors * SECTOR)})",
            "Spare size": f"{loaded.spare_sectors} sectors ({human(loaded.spare_sectors * SECTOR)})",
            "Geometry": f"{loaded.copies} copies {human(loaded.spacing * SECTOR)} apart,"
            f" data from sector {data_start(loaded.copies, loaded.spacing)},"
            f" logical block {loaded.block_size} bytes",
            "Sequence": f"{loaded.sequence} of {_when(loaded.time)}, generation {loaded.generation}",
            "Log": f"{loaded.header.log_blocks} blocks",
            "Valid copies": f"{loaded.valid_copies}/{loaded.copies}",
        }
    )
    click.echo()
    _print_copies(loaded.slots, loaded.chosen)
    click.echo("* the copy that counts\n")
    _print_extents(loaded, limit)
    click.echo(
        f"Errors seen: {loaded.read_errors} read, {loaded.write_errors} write;"
        f" sectors salvaged {loaded.salvaged}, lost {loaded.lost}"
    )
    for note in found.notes:
        click.echo(f"Note: {note}")


def _print_copies(slots: "list[Slot]", chosen: int | None) -> None:
    from pycontrol.cli import output

    rows = []
    for slot in slots:
        rows.append((f"{slot.copy} *" if slot.copy == chosen else slot.copy, "header", *_block(slot.header)))
        if slot.shadow:
            rows.append(("", "shadow", *_block(slot.shadow)))
        rows.append(("", "info", *_block(slot.info)))
        if slot.log.valid or slot.log.reason:
            rows.append(("", "log", *[""] * 5, _log_verdict(slot.log)))
    columns = ("Copy", "Block", "At byte", "Sequence", "Time", "CRC stored", "CRC computed", "Verdict")
    output.table(columns, rows)


def _block(block: "BlockState") -> tuple[str, ...]:
    return (
        f"{block.offset:#x}",
        "-" if block.sequence is None else str(block.sequence),
        "-" if block.time is None else _when(block.time),
        "-" if block.crc_stored is None else f"{block.crc_stored:08x}",
        "-" if block.crc_computed is None else f"{block.crc_computed:08x}",
        f"{block.state}: {block.reason}" if block.reason else str(block.state),
    )


def _log_verdict(log: "LogState") -> str:
    counts = {"valid": log.valid, "stale": log.stale, "missing": log.missing, "damaged": log.damaged}
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{text} ({log.reason})" if log.reason else text


def _print_extents(loaded: "Loaded", limit: int) -> None:
    from pycontrol.cli import output
    from pycontrol.metadata import Kind

    extents = loaded.extents
    if extents:
        numbers = ("Bad sector", "Spare sector", "Sectors", "Errors")
        rows = (
            (
                extent.main,
                extent.spare if extent.kind is Kind.REMAP else "-",
                extent.sectors,
                extent.errors,
                extent.kind.name.lower(),
                _when(extent.time),
            )
            for extent in islice(extents, limit or None)
        )
        output.table((*numbers, "Kind", "Since"), rows, numbers)
        if limit and len(extents) > limit:
            click.echo(f"... and {len(extents) - limit} more (--max 0 prints all)")
    for start, sectors in islice(loaded.bad_spare, limit or None):
        click.echo(f"Bad place on the spare: sector {start}, {sectors} sectors")
    click.echo(
        f"{len(loaded.records)} records: {extents.count(Kind.REMAP)} remapped extents with"
        f" {loaded.used_sectors} sectors, {extents.count(Kind.PENDING)} pending with"
        f" {loaded.pending_sectors}, {len(loaded.bad_spare)} bad places on the spare"
    )


def _when(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
