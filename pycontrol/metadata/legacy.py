"""The two formats before this one: read only, to be imported.  See ``docs/meta.md``."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from pycontrol.metadata.errors import Corrupt, NotOurs
from pycontrol.metadata.layout import (
    HEADER_MAGIC,
    SECTOR,
    V3_MAGIC,
    V42_COPIES,
    V42_SPACING,
    V42_STRUCTURE_SIZE,
)
from pycontrol.metadata.reader import Read

_V42: Final = struct.Struct("<IIQQIII")  # magic, version, sequence, time, crc, copy, size
_V42_SIZES: Final = struct.Struct("<QQ")
_V42_SIZES_AT: Final = 0x78
_V42_COUNT_AT: Final = 0x128
_V42_MAX: Final = 2048
_V42_ENTRY: Final = struct.Struct("<QQQIIHH4x")  # main, spare, ns, accesses, errors, reason, flags
_V42_ENTRIES_AT: Final = 0x138
_V42_ACTIVE: Final = 2
_V42_CRC_AT: Final = 0x18
_NS: Final = 10**9

_V3: Final = struct.Struct("<8sIIQQIIQQII")
_V3_ENTRY: Final = struct.Struct("<QQ")
_V3_ENTRIES_AT: Final = 4096
_V3_MAX: Final = 252


@dataclass(frozen=True, slots=True)
class Entry:
    """One sector that the old format knew; an entry that is not active never was in effect."""

    main: int
    spare: int
    errors: int
    time: int
    active: bool


@dataclass(frozen=True, slots=True)
class OldCopy:
    """A copy of v4.2 metadata at byte ``offset``."""

    offset: int
    valid: bool
    reason: str
    sequence: int | None = None
    time: int | None = None
    crc_stored: int | None = None
    crc_computed: int | None = None


@dataclass(frozen=True, slots=True)
class Old:
    """What an image of ``version`` holds.  ``metadata_sectors`` is where its metadata ended."""

    version: str
    main_sectors: int
    spare_sectors: int
    sequence: int
    time: int
    entries: tuple[Entry, ...]
    copies: tuple[OldCopy, ...]
    chosen: int
    metadata_sectors: int
    notes: tuple[str, ...] = ()


@cache
def _crc() -> Callable[[bytes], int]:
    """CRC of v4.2: the polynomial of ours, but with seed 0 and without the final xor."""
    import crcmod

    made: Callable[[bytes], int] = crcmod.mkCrcFun(0x104C11DB7, initCrc=0, rev=True, xorOut=0)
    return made


def crc_v42(structure: bytes) -> int:
    """The CRC over a v4.2 structure, which leaves its own field out."""
    return _crc()(structure[:_V42_CRC_AT] + structure[_V42_CRC_AT + 4 : V42_STRUCTURE_SIZE])


def read_old(read: Read, size: int) -> Old:
    """The newest valid state of a v4.2 or v3.0 image of ``size`` bytes.

    NotOurs if it is neither; Corrupt if no copy can be trusted; OSError if none can be read.
    """
    unread: list[OSError] = []
    try:
        first = _get(read, 0, _V3.size)
    except OSError as error:
        # Of v3.0 nothing is left then, but of v4.2 there are other copies.
        first = b""
        unread.append(error)
    if first.startswith(V3_MAGIC):
        return _read_v3(read, first)
    found = [_read_copy(read, copy * V42_SPACING, unread) for copy in range(V42_COPIES)]
    if not any(copy.crc_stored is not None for copy, _ in found):
        if unread:
            raise unread[0]
        raise NotOurs("this is metadata of neither v4.2 nor v3.0")
    valid = [index for index, (copy, _) in enumerate(found) if copy.valid]
    if not valid:
        raise Corrupt("no copy of the v4.2 metadata is valid")
    chosen = max(valid, key=lambda index: (found[index][0].sequence or 0, -index))
    return _v42(found[chosen][1], tuple(copy for copy, _ in found), chosen)


def _get(read: Read, offset: int, length: int) -> bytes:
    return read(offset, length).ljust(length, b"\0")


def _read_copy(read: Read, offset: int, unread: list[OSError]) -> tuple[OldCopy, bytes]:
    try:
        structure = _get(read, offset, V42_STRUCTURE_SIZE)
    except OSError as error:
        unread.append(error)
        return OldCopy(offset, False, f"cannot be read: {error.strerror}"), b""
    magic, version, sequence, time, stored, _, size = _V42.unpack_from(structure)
    if magic != HEADER_MAGIC or size != V42_STRUCTURE_SIZE:
        return OldCopy(offset, False, "no structure of v4.2"), b""
    computed = crc_v42(structure)
    reason = "" if computed == stored else "CRC does not match"
    if not reason and version != 4:
        reason = f"version {version}"
    return OldCopy(offset, not reason, reason, sequence, time, stored, computed), structure


def _v42(structure: bytes, copies: tuple[OldCopy, ...], chosen: int) -> Old:
    _, _, sequence, time, *_ = _V42.unpack_from(structure)
    main_sectors, spare_sectors = _V42_SIZES.unpack_from(structure, _V42_SIZES_AT)
    count = int.from_bytes(structure[_V42_COUNT_AT : _V42_COUNT_AT + 4], "little")
    if count > _V42_MAX:
        raise Corrupt(f"the v4.2 metadata counts {count} entries, {_V42_MAX} is the limit")
    entries = []
    for number in range(count):
        fields = _V42_ENTRY.unpack_from(structure, _V42_ENTRIES_AT + number * _V42_ENTRY.size)
        main, spare, nanoseconds, _, errors, _, flags = fields
        entries.append(Entry(main, spare, errors, nanoseconds // _NS, bool(flags & _V42_ACTIVE)))
    end = (V42_COPIES - 1) * V42_SPACING + V42_STRUCTURE_SIZE
    return Old(
        "4.2", main_sectors, spare_sectors, sequence, time, tuple(entries), copies, chosen,
        -(-end // SECTOR),
    )  # fmt: skip


def _read_v3(read: Read, first: bytes) -> Old:
    _, version, _, _, updated, count, _, main_sectors, spare_sectors, state, generation = _V3.unpack(first)
    if version != 1:
        raise Corrupt(f"the v3.0 metadata has version {version}, which never was")
    if count > _V3_MAX:
        raise Corrupt(f"the v3.0 metadata counts {count} entries, {_V3_MAX} is the limit")
    packed = _get(read, _V3_ENTRIES_AT, count * _V3_ENTRY.size)
    entries = tuple(Entry(main, spare, 0, updated, True) for main, spare in _V3_ENTRY.iter_unpack(packed))
    notes = ["the checksum of v3.0 was never right: nothing tells whether this is as it was written"]
    if state:
        notes.append(f"its state is {('clean', 'dirty', 'writing', 'error')[state] if state < 4 else state}")
    end = -(-(_V3_ENTRIES_AT + _V3_MAX * _V3_ENTRY.size) // SECTOR)
    return Old("3.0", main_sectors, spare_sectors, generation, updated, entries, (), 0, end, tuple(notes))
