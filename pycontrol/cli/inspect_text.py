"""What ``dmremapctl inspect`` prints for people."""

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from pycontrol.cli import output

if TYPE_CHECKING:
    from pycontrol.metadata import BlockState, Extents, Header, Info, Loaded, LogState, Slot, Survey
    from pycontrol.service.offline.inspection import Inspection

_CELLS = 64


def print_all(found: "Inspection", limit: int) -> None:
    """State, copies and extents."""
    loaded = found.loaded
    _print_facts(found.path, loaded.header, loaded.info)
    click.echo(f"{'Valid copies':<12}  {loaded.valid_copies}/{loaded.copies}\n")
    print_copies(loaded.slots, loaded.chosen)
    click.echo("* the copy that counts")
    _print_choice(loaded)
    click.echo()
    _print_extents(loaded, limit)
    _print_map(loaded.extents, loaded.main_sectors)
    click.echo(
        f"Errors seen: {loaded.read_errors} read, {loaded.write_errors} write;"
        f" sectors salvaged {loaded.salvaged}, lost {loaded.lost}"
    )
    for note in found.notes:
        click.echo(f"Note: {note}")


def print_headers(path: str, found: "Survey", in_use: str) -> None:
    """What the headers and info blocks alone tell."""
    _print_facts(path, found.header, found.info)
    click.echo()
    print_copies(found.slots, None)
    if in_use:
        click.echo(f"Note: {in_use}: this is how it stood for a moment")


def print_copy(found: "Survey", copy: int) -> None:
    """Every field of one copy beside the one that counts, also if it is damaged."""
    from pycontrol.metadata import header_as_it_is, info_as_it_is

    slot, (header, info) = found.slots[copy], found.blocks[copy]
    columns = ("Field", f"Copy {copy}", "Counts", "")
    click.echo(f"header of copy {copy} at byte {slot.header.offset:#x}: {_verdict(slot.header)}")
    if header:
        output.table(columns, _compared(header_as_it_is(header), found.header, copy))
    click.echo(f"info of copy {copy} at byte {slot.info.offset:#x}: {_verdict(slot.info)}")
    if info:
        output.table(columns, _compared(info_as_it_is(info), found.info, copy))


def _compared(this: "Header | Info", newest: "Header | Info", copy: int) -> Iterator[tuple[object, ...]]:
    for field in fields(this):
        one, other = getattr(this, field.name), getattr(newest, field.name)
        if field.name == "copy":
            other = copy
        if isinstance(one, bytes):
            one, other = f"{len(one)} bytes", "the same" if one == other else f"{len(other)} other bytes"
            yield field.name, one, other, "" if other == "the same" else "differs"
            continue
        yield field.name, _shown(one), _shown(other), "" if one == other else "differs"


def _shown(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _print_facts(path: str, header: "Header", info: "Info") -> None:
    from pycontrol.metadata import SECTOR, data_start
    from pycontrol.sizes import human

    output.facts(
        {
            "Spare": path,
            "UUID": header.uuid,
            "Name": info.name or "-",
            "Main device": info.main_id or "not known",
            "Main size": f"{header.main_sectors} sectors ({human(header.main_sectors * SECTOR)})",
            "Spare size": f"{header.spare_sectors} sectors ({human(header.spare_sectors * SECTOR)})",
            "Geometry": f"{header.copies} copies {human(header.spacing * SECTOR)} apart,"
            f" data from sector {data_start(header.copies, header.spacing)},"
            f" logical block {header.block_size} bytes",
            "Sequence": f"{header.sequence} of {_when(header.time)}, generation {header.generation}",
            "Log": f"{header.log_blocks} blocks",
        }
    )


def _print_choice(loaded: "Loaded") -> None:
    """Which copy each block is taken from, and why."""
    from pycontrol.metadata import State

    headers = [str(slot.copy) for slot in loaded.slots if slot.header.state is State.VALID]
    infos = [str(slot.copy) for slot in loaded.slots if slot.info.state is State.VALID]
    where = f"in copies {' '.join(headers)}" if headers else "in the shadow"
    click.echo(f"Header: sequence {loaded.sequence} is the newest whole one, {where}")
    if infos:
        where = f"in copies {' '.join(infos)}"
        click.echo(f"Info: sequence {loaded.info.sequence} is the newest whole one, {where}")
    else:
        click.echo("Info: no copy of it is whole; what it said is taken as empty")
    holders = loaded.log.holders
    if holders:
        taken = [f"{holders.count(copy)} of copy {copy}" for copy in sorted(set(holders))]
        click.echo(f"Log: of each block the newest whole one, {', '.join(taken)}; the CRC over all is right")


def _print_map(extents: "Extents", main_sectors: int) -> None:
    """Where on the main device the remaps lie."""
    from pycontrol.metadata import SECTOR, Kind
    from pycontrol.sizes import human

    if not extents:
        return
    cells = max(1, min(_CELLS, output.console().width - 2))
    cell = -(-main_sectors // cells)
    sectors, pending = [0] * cells, [False] * cells
    for extent in extents:
        at, end = extent.main, extent.main + extent.sectors
        while at < end:
            number = at // cell
            until = min(end, (number + 1) * cell)
            sectors[number] += until - at
            pending[number] |= extent.kind is Kind.PENDING
            at = until
    picture = "".join(
        "!" if bad else "." if not used else "#" if 2 * used > cell else "+"
        for used, bad in zip(sectors, pending, strict=True)
    )
    click.echo(f"[{picture}]\n{human(cell * SECTOR)} each: . none, + some, # most, ! pending")


def print_copies(slots: "list[Slot]", chosen: int | None) -> None:
    """The blocks of all copies, one below the other."""
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
        _verdict(block),
    )


def _verdict(block: "BlockState") -> str:
    return f"{block.state}: {block.reason}" if block.reason else str(block.state)


def _log_verdict(log: "LogState") -> str:
    counts = {"valid": log.valid, "stale": log.stale, "missing": log.missing, "damaged": log.damaged}
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{text} ({log.reason})" if log.reason else text


def _print_extents(loaded: "Loaded", limit: int) -> None:
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
