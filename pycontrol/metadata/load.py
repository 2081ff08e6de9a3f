"""How a reader finds the state; the steps are those of ``docs/on-disk-format.md``.

Block by block the newest valid copy is taken, and the condition of every other copy is
noted on the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from pycontrol.metadata.blocks import BlockError, Header, decode_header, same_in_all_copies
from pycontrol.metadata.condition import fits, read_info, slot_of
from pycontrol.metadata.errors import Corrupt, NotOurs, Unsupported
from pycontrol.metadata.layout import (
    BLOCK,
    BLOCK_SECTORS,
    DEFAULT_COPIES,
    DEFAULT_SPACING,
    MAX_BLOCK_SIZE,
    MAX_COPIES,
    MAX_SECTORS,
    MAX_SHIFT,
    MIN_SHIFT,
    PER_BLOCK,
    SECTOR,
    SHADOW_BLOCK,
    Geometry,
)
from pycontrol.metadata.log import read_log
from pycontrol.metadata.nothing import refuse
from pycontrol.metadata.reader import Read, Reader
from pycontrol.metadata.records import Limits, Records, check_places, replay
from pycontrol.metadata.state import Loaded, State


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
    found = list(_headers(reader, copies, spacing))
    if not found:
        refuse(reader, copies, spacing)
    header = _choose(found, uuid)
    geometry = _check(header)
    slots = [slot_of(reader, geometry, header, copy) for copy in range(header.copies)]
    info = read_info(reader, header, slots)
    try:
        packed = read_log(reader, geometry, header, slots)
        packed += header.records
        limits = Limits(
            header.main_sectors, header.spare_sectors, header.block_size, geometry.data_start
        )  # fmt: skip
        extents, bad = replay(packed, limits)
        check_places(extents, geometry.data_start, [*bad, *_segments(geometry, header)])
    except Corrupt as error:
        error.slots = slots
        raise
    chosen = next(slot.copy for slot in slots if any(each.state is State.VALID for each in slot.headers))
    return Loaded(
        header=header, info=info, records=Records(packed), extents=extents, bad_spare=bad,
        slots=slots, chosen=chosen, device_sectors=size // SECTOR,
    )  # fmt: skip


# Step 1: the headers


@dataclass(frozen=True, slots=True)
class _Found:
    """A header, and all of its bytes that are the same in every copy."""

    header: Header
    content: bytes


def _places(copies: int | None, spacing: int | None) -> Iterator[int]:
    """Bytes at which a header may lie."""
    shifts = range(MIN_SHIFT, MAX_SHIFT + 1)
    spacings = [1 << shift for shift in shifts] if spacing is None else [spacing * SECTOR]
    yield from sorted({number * each for number in range(copies or MAX_COPIES) for each in spacings})


def _headers(reader: Reader, copies: int | None, spacing: int | None) -> Iterator[_Found]:
    """Every header that is valid at its place.

    Where block 0 names a spacing, no other is looked at: behind the region may lie what
    an earlier, larger geometry or somebody's image left there.
    """
    if spacing is None:
        first = _header(reader, 0)
        spacing = first.header.spacing if first else None
    for place in _places(copies, spacing):
        for offset in (place, SHADOW_BLOCK * BLOCK) if place == 0 else (place,):
            found = _header(reader, offset)
            if (
                found
                and (copies is None or found.header.copies == copies)
                and (spacing is None or found.header.spacing == spacing)
            ):
                yield found


def _header(reader: Reader, offset: int) -> _Found | None:
    """The header at ``offset``, if one is valid there."""
    block = reader.block(offset)
    if block is None:
        return None
    try:
        header = decode_header(block)
    except BlockError:
        return None
    return _Found(header, same_in_all_copies(block)) if fits(header, offset) else None


# Step 2: the newest one


def _choose(found: list[_Found], wanted: UUID | None) -> Header:
    """The state among all headers; equal sequence numbers must mean equal headers."""
    groups: dict[UUID, list[_Found]] = {}
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


def _check(header: Header) -> Geometry:
    """The geometry of a header whose numbers make sense."""
    if header.incompat:
        raise Unsupported(
            f"the metadata uses incompatible features {header.incompat:#x}: a newer version is needed"
        )
    geometry = Geometry(header.copies, header.spacing)
    block_size = header.block_size
    if not SECTOR <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
        raise Corrupt(f"the header has a logical block of {block_size} bytes")
    if not 0 < header.main_sectors < MAX_SECTORS:
        raise Corrupt(f"the header has a main device of {header.main_sectors} sectors")
    if not geometry.data_start < header.spare_sectors < MAX_SECTORS:
        raise Corrupt(f"the header has a spare device of {header.spare_sectors} sectors")
    if header.record_count > PER_BLOCK:
        raise Corrupt(f"the header counts {header.record_count} records, {PER_BLOCK} is the limit")
    if header.segments[0] not in geometry.first_halves():
        raise Corrupt(f"log segment 0 begins at sector {header.segments[0]} of its slot")
    before = geometry.data_start
    for start, sectors in sorted(_segments(geometry, header)):
        if start < before or start % BLOCK_SECTORS or start + sectors > header.spare_sectors:
            raise Corrupt(f"a log segment begins at sector {start}, where it cannot lie")
        before = start + sectors
    capacity = geometry.capacity(header.segments)
    if header.log_blocks > capacity:
        raise Corrupt(f"the header counts {header.log_blocks} log blocks, the segments hold {capacity}")
    if not header.log_blocks and header.log_crc:
        raise Corrupt("the header has a CRC for a log without blocks")
    return geometry


def _segments(geometry: Geometry, header: Header) -> list[tuple[int, int]]:
    """Start and sectors of the log segments in the spare's data area."""
    return [
        (start, geometry.segment_sectors(index))
        for index, start in enumerate(header.segments)
        if index and start
    ]
