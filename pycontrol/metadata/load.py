"""How a reader finds the state; the steps are those of ``docs/on-disk-format.md``.

Block by block the newest valid copy is taken, and the condition of every other copy is
noted on the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from pycontrol.metadata.blocks import BlockError, Header, Info, decode_header, same_in_all_copies
from pycontrol.metadata.condition import fits, read_info, slot_of
from pycontrol.metadata.errors import Corrupt, MetadataError, NotOurs, OutOfService, Unsupported
from pycontrol.metadata.layout import (
    ARRIVED,
    BLOCK,
    DEFAULT_COPIES,
    DEFAULT_SPACING,
    INFO_BLOCK,
    MAX_COPIES,
    MAX_SHIFT,
    MIN_SHIFT,
    SECTOR,
    SHADOW_BLOCK,
    Geometry,
)
from pycontrol.metadata.log import read_log
from pycontrol.metadata.nothing import refuse
from pycontrol.metadata.reader import Read, Reader
from pycontrol.metadata.records import Extents, Limits, Records
from pycontrol.metadata.sanity import header_faults, segments_of
from pycontrol.metadata.state import Loaded, Log, Slot, State, Survey
from pycontrol.metadata.table import check_places, replay


def load(
    read: Read,
    size: int,
    copies: int | None = None,
    spacing: int | None = None,
    uuid: UUID | None = None,
) -> Loaded:
    """The state of a spare of ``size`` bytes, by ``read(offset, length)``.

    Geometry is searched for where it is not given.  A place whose read fails counts as
    damaged; the ``OSError`` passes through only if no header could be read at all.
    ValueError for a geometry that cannot be.
    """
    Geometry(DEFAULT_COPIES if copies is None else copies, DEFAULT_SPACING if spacing is None else spacing)
    reader = Reader(read, size)
    header, info, slots = _without_log(reader, copies, spacing, uuid)
    geometry = Geometry(header.copies, header.spacing)
    try:
        log = read_log(reader, geometry, header, slots)
        for fault in log.failures(header):
            raise Corrupt(fault)
        packed = log.packed + header.records
        extents, bad = replay(packed, limits_of(header))
        check_places(extents, geometry.data_start, [*bad, *segments_of(geometry, header)])
    except Corrupt as error:
        error.slots = slots
        raise
    return loaded_from(header, info, slots, log, Table(packed, extents, bad), size)


def survey(read: Read, size: int, uuid: UUID | None = None) -> Survey:
    """What headers and info blocks alone tell; the log is not read, nor any record checked."""
    reader = Reader(read, size)
    header, info, slots = _without_log(reader, None, None, uuid)
    blocks = {slot.copy: (reader.block(slot.header.offset), reader.block(slot.info.offset)) for slot in slots}
    return Survey(header, info, slots, blocks, size // SECTOR)


def _without_log(
    reader: Reader, copies: int | None, spacing: int | None, uuid: UUID | None
) -> tuple[Header, Info, list[Slot]]:
    found = find_headers(reader, copies, spacing)
    if not found:
        refuse(reader, copies, spacing)
    header = choose(found, uuid)
    geometry = check_header(header)
    slots = [slot_of(reader, geometry, header, copy) for copy in range(header.copies)]
    return header, read_info(reader, header, slots), slots


@dataclass(frozen=True, slots=True)
class Table:
    """All records, packed, and what they add up to."""

    packed: bytes | bytearray
    extents: Extents
    bad_spare: list[tuple[int, int]]


def loaded_from(header: Header, info: Info, slots: list[Slot], log: Log, table: Table, size: int) -> Loaded:
    """The parts of a load put together."""
    chosen = next(
        (slot.copy for slot in slots if any(each.state is State.VALID for each in slot.headers)), None
    )
    if chosen is None:
        # Nobody holds the device for us: another process has formatted it since.
        raise Corrupt("the header was overwritten while the metadata was being read")
    return Loaded(
        header=header, info=info, records=Records(table.packed), extents=table.extents,
        bad_spare=table.bad_spare, slots=slots, log=log, chosen=chosen, device_sectors=size // SECTOR,
    )  # fmt: skip


def limits_of(header: Header) -> Limits:
    """What the records of this header are checked against."""
    start = Geometry(header.copies, header.spacing).data_start
    return Limits(header.main_sectors, header.spare_sectors, header.block_size, start)


# Step 1: the headers


@dataclass(frozen=True, slots=True)
class Found:
    """A header at its byte ``offset``, and all of its bytes that are the same in every copy."""

    offset: int
    header: Header
    content: bytes


def _places(copies: int | None, spacing: int | None) -> Iterator[int]:
    """Bytes at which a header may lie."""
    shifts = range(MIN_SHIFT, MAX_SHIFT + 1)
    spacings = [1 << shift for shift in shifts] if spacing is None else [spacing * SECTOR]
    yield from sorted({number * each for number in range(copies or MAX_COPIES) for each in spacings})


def find_headers(reader: Reader, copies: int | None = None, spacing: int | None = None) -> list[Found]:
    """Every header that is valid at its place.

    Where block 0 names a spacing, no other is looked at: behind the region may lie what
    an earlier, larger geometry or somebody's image left there.
    """
    if spacing is None:
        first = _header(reader, 0)
        spacing = first.header.spacing if first else None
    headers = []
    for place in _places(copies, spacing):
        for offset in (place, SHADOW_BLOCK * BLOCK) if place == 0 else (place,):
            found = _header(reader, offset)
            if (
                found
                and (copies is None or found.header.copies == copies)
                and (spacing is None or found.header.spacing == spacing)
            ):
                headers.append(found)
    return headers


def _header(reader: Reader, offset: int) -> Found | None:
    """The header at ``offset``, if one is valid there."""
    block = reader.block(offset)
    if block is None:
        return None
    try:
        header = decode_header(block)
    except BlockError:
        return None
    return Found(offset, header, same_in_all_copies(block)) if fits(header, offset) else None


def fingerprint(read: Read, size: int) -> list[tuple[int, bytes, bytes | None]]:
    """What changes with every commit and every save of the soft state: header and info blocks."""
    reader = Reader(read, size)
    return [
        (found.offset, found.content, reader.block(found.offset + INFO_BLOCK * BLOCK))
        for found in find_headers(reader)
    ]


def log_bytes(read: Read, size: int, uuid: UUID | None = None) -> int:
    """Bytes of log in all copies, which a load will read; 0 where there is nothing to load."""
    try:
        header = choose(find_headers(Reader(read, size)), uuid)
    except (MetadataError, ValueError):
        return 0
    return header.log_blocks * header.copies * BLOCK


# Step 2: the newest one


def choose(found: list[Found], wanted: UUID | None) -> Header:
    """The state among all headers; equal sequence numbers must mean equal headers."""
    groups: dict[UUID, list[Found]] = {}
    for each in found:
        groups.setdefault(each.header.uuid, []).append(each)
    if wanted is not None:
        if wanted not in groups:
            others = " and ".join(map(str, groups))
            raise NotOurs(f"the metadata is that of {others}, not of {wanted}")
        group = groups[wanted]
    else:
        group = max(groups.values(), key=len)
        rivals = [uuid for uuid, headers in groups.items() if len(headers) == len(group)]
        if len(rivals) > 1:
            names = " and ".join(map(str, rivals))
            raise Corrupt(f"as many copies belong to each of {names}: name the uuid that is meant")
    newest = max((each.header for each in group), key=lambda header: header.sequence)
    if len({each.content for each in group if each.header.sequence == newest.sequence}) > 1:
        raise Corrupt(f"copies with the same sequence number {newest.sequence} differ")
    return newest


# Step 4, for the header: every number is checked before use


def check_header(header: Header) -> Geometry:
    """The geometry of a header whose numbers make sense."""
    check_features(header)
    for _, fault in header_faults(header):
        raise Corrupt(fault)
    return Geometry(header.copies, header.spacing)


def check_features(header: Header) -> None:
    """Refuse a header that only a newer version can read."""
    if header.incompat == ARRIVED:
        words = "this spare is to replace another one, which was not finished: 'dmremapctl activate' does it"
        raise OutOfService(words, header.uuid, None)
    if header.incompat:
        raise Unsupported(
            f"the metadata uses incompatible features {header.incompat:#x}: a newer version is needed"
        )
