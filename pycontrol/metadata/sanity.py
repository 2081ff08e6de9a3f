"""Whether the numbers of a header, which is whole, can be so."""

from collections.abc import Iterator

from pycontrol.metadata.blocks import Header
from pycontrol.metadata.layout import (
    BLOCK_SECTORS,
    MAX_BLOCK_SIZE,
    MAX_SECTORS,
    PER_BLOCK,
    SECTOR,
    Field,
    Geometry,
)

Fault = tuple[int, str]
"""Offset of a field in the header, and what is wrong with it."""


def header_faults(header: Header) -> Iterator[Fault]:
    """Every number that cannot be; the later checks rely on the earlier ones."""
    geometry = Geometry(header.copies, header.spacing)
    block_size = header.block_size
    if not SECTOR <= block_size <= MAX_BLOCK_SIZE or block_size & (block_size - 1):
        yield Field.BLOCK_SIZE, f"the header has a logical block of {block_size} bytes"
    if not 0 < header.main_sectors < MAX_SECTORS:
        yield Field.MAIN_SECTORS, f"the header has a main device of {header.main_sectors} sectors"
    if not geometry.data_start < header.spare_sectors < MAX_SECTORS:
        yield Field.SPARE_SECTORS, f"the header has a spare device of {header.spare_sectors} sectors"
    if header.record_count > PER_BLOCK:
        yield Field.RECORD_COUNT, f"the header counts {header.record_count} records, {PER_BLOCK} is the limit"
    if header.segments[0] not in geometry.first_halves():
        yield Field.SEGMENTS, f"log segment 0 begins at sector {header.segments[0]} of its slot"
    before = geometry.data_start
    for start, sectors in sorted(segments_of(geometry, header)):
        if start < before or start % BLOCK_SECTORS or start + sectors > header.spare_sectors:
            at = Field.SEGMENTS + 8 * header.segments.index(start, 1)
            yield at, f"a log segment begins at sector {start}, where it cannot lie"
        before = start + sectors
    capacity = geometry.capacity(header.segments)
    if header.log_blocks > capacity:
        words = f"the header counts {header.log_blocks} log blocks, the segments hold {capacity}"
        yield Field.LOG_BLOCKS, words
    if not header.log_blocks and header.log_crc:
        yield Field.LOG_CRC, "the header has a CRC for a log without blocks"


def segments_of(geometry: Geometry, header: Header) -> list[tuple[int, int]]:
    """Start and sectors of the log segments in the spare's data area."""
    return [
        (start, geometry.segment_sectors(index))
        for index, start in enumerate(header.segments)
        if index and start
    ]
