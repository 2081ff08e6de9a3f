"""What ``dmremapctl inspect --json`` prints; ``--help`` of the command documents the keys."""

import json
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycontrol.metadata import BlockState, Header, Info, Slot, Survey
    from pycontrol.service.offline.inspection import Inspection


def whole(found: "Inspection") -> Iterator[str]:
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


def headers(path: str, found: "Survey", in_use: str) -> dict[str, Any]:
    """What headers and info blocks alone tell."""
    return {
        **_of_header(path, found.device_sectors, found.header, found.info),
        "in_use": in_use,
        "intact": found.intact,
        "slots": [_slot(slot) for slot in found.slots],
        **_soft(found.info),
    }


def one_copy(path: str, found: "Survey", in_use: str, copy: int) -> dict[str, Any]:
    """Every field of one copy, also if it is damaged."""
    from pycontrol.metadata import header_as_it_is, info_as_it_is

    slot, (header, info) = found.slots[copy], found.blocks[copy]
    return {
        "path": _text(path),
        "in_use": in_use,
        "intact": found.intact,
        "copy": copy,
        "header": _block(slot.header, header_as_it_is(header) if header else None, found.header, copy),
        "info": _block(slot.info, info_as_it_is(info) if info else None, found.info, copy),
    }


def _block(
    state: "BlockState", this: "Header | Info | None", newest: "Header | Info", copy: int
) -> dict[str, Any]:
    """The condition of a block, its fields, and those that are not as in ``newest``."""
    names = [field.name for field in fields(this)] if this else []
    # What counts has been taken from another copy.
    wanted = {name: copy if name == "copy" else getattr(newest, name) for name in names}
    return {
        **asdict(state),
        "fields": {name: _value(getattr(this, name)) for name in names} if this else None,
        "differs": [name for name in names if getattr(this, name) != wanted[name]],
    }


def _value(value: object) -> object:
    from pycontrol.metadata import Records

    if isinstance(value, bytes):
        return [record._asdict() for record in Records(value)]
    return value if isinstance(value, (int, str, tuple)) else str(value)


def _head(found: "Inspection") -> dict[str, Any]:
    from pycontrol.metadata import Kind

    loaded = found.loaded
    return {
        **_of_header(found.path, loaded.device_sectors, loaded.header, loaded.info),
        "notes": found.notes,
        "in_use": found.in_use,
        "valid_copies": loaded.valid_copies,
        "intact": loaded.intact,
        "chosen": loaded.chosen,
        "slots": [
            {**_slot(slot), "log": {"state": slot.log.state, **asdict(slot.log)}} for slot in loaded.slots
        ],
        **_soft(loaded.info),
        "records": len(loaded.records),
        "remaps": loaded.extents.count(Kind.REMAP),
        "pendings": loaded.extents.count(Kind.PENDING),
        "used_sectors": loaded.used_sectors,
        "pending_sectors": loaded.pending_sectors,
        "bad_spare": [{"spare": start, "sectors": sectors} for start, sectors in loaded.bad_spare],
    }


def _of_header(path: str, device_sectors: int, header: "Header", info: "Info") -> dict[str, Any]:
    from pycontrol.metadata import data_start

    return {
        "path": _text(path),
        "device_sectors": device_sectors,
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
        "needs_check": header.needs_check,
    }


def _soft(info: "Info") -> dict[str, int]:
    names = ("read_errors", "write_errors", "salvaged", "lost", "scrub")
    return {name: getattr(info, name) for name in names}


def _slot(slot: "Slot") -> dict[str, Any]:
    return {
        "copy": slot.copy,
        "offset": slot.offset,
        "valid": slot.valid,
        "header": asdict(slot.header),
        "info": asdict(slot.info),
        "shadow": asdict(slot.shadow) if slot.shadow else None,
    }


def _text(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
