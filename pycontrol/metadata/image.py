"""Metadata made from scratch: a fresh spare, or one with any table of records."""

from array import array
from collections.abc import Iterable, Sequence
from uuid import UUID

from pycontrol.metadata.blocks import Header, Info
from pycontrol.metadata.layout import (
    BLOCK_SECTORS,
    DEFAULT_COPIES,
    DEFAULT_SPACING,
    MAX_BLOCK_SIZE,
    MAX_SECTORS,
    NEEDS_CHECK,
    PER_BLOCK,
    RECORD_SIZE,
    SECTOR,
    SEGMENTS,
    Geometry,
)
from pycontrol.metadata.records import Record, pack
from pycontrol.metadata.snapshot import AREA, Snapshot


def fresh(
    *,
    uuid: UUID,
    main_sectors: int,
    spare_sectors: int,
    copies: int = DEFAULT_COPIES,
    spacing: int = DEFAULT_SPACING,
    block_size: int = 512,
    main_id: str = "",
    name: str = "",
    time: int,
) -> list[tuple[int, bytes]]:
    """Byte offset and content of each block of a fresh spare that is not zero.

    The caller makes the rest of the region zero first.  ``spacing`` and sizes are in
    sectors, ``block_size`` is the logical block in bytes.  ValueError says in one
    sentence what cannot be.
    """
    return encode_image(
        (), uuid=uuid, main_sectors=main_sectors, spare_sectors=spare_sectors, copies=copies,
        spacing=spacing, block_size=block_size, main_id=main_id, name=name, time=time,
    )  # fmt: skip


def encode_image(
    records: Iterable[Record] | bytes,
    *,
    uuid: UUID,
    main_sectors: int,
    spare_sectors: int,
    copies: int = DEFAULT_COPIES,
    spacing: int = DEFAULT_SPACING,
    block_size: int = 512,
    main_id: str = "",
    name: str = "",
    time: int,
    sequence: int = 1,
    generation: int = 1,
    cursor: int | None = None,
    segments: Sequence[int] | None = None,
    second_half: bool = False,
    needs_check: bool = False,
    info: Info | None = None,
) -> list[tuple[int, bytes]]:
    """Blocks as from :func:`fresh`, for any table, given as records or packed.

    The records are not checked against each other: tests make bad images with this.
    Log segments lie from data start on unless ``segments`` places them, and the cursor
    behind them.  A header that is full has its log block written ahead, as a commit does.
    ``info`` replaces identity, name, counters and sequence of the info block.
    """
    geometry = Geometry(copies, spacing)
    check_sizes(geometry, main_sectors, spare_sectors, block_size)
    packed = records if isinstance(records, bytes) else pack(records)
    total = len(packed) // RECORD_SIZE
    counted = max(0, total - 1) // PER_BLOCK
    if segments is None:
        segments, end = place_segments(geometry, total // PER_BLOCK, second_half)
        if end > spare_sectors:
            raise ValueError(f"a spare of {spare_sectors} sectors has no room for {total} records")
        cursor = end if cursor is None else cursor
    header = Header(
        uuid=uuid, sequence=sequence, time=time, copy=0, copies=copies, spacing=spacing,
        main_sectors=main_sectors, spare_sectors=spare_sectors, generation=generation,
        cursor=geometry.data_start if cursor is None else cursor, segments=tuple(segments),
        records=packed[counted * AREA :], block_size=block_size, flags=NEEDS_CHECK * needs_check,
    )  # fmt: skip
    if info is None:
        info = Info(uuid=uuid, sequence=1, time=time, copy=0, main_id=main_id, name=name)
    sequences, times = array("Q", [max(1, sequence - 1)]) * counted, array("Q", [time]) * counted
    snapshot = Snapshot(header, info, packed[: counted * AREA], sequences, times).sealed()
    return [*snapshot.blocks(), *snapshot.headers()]


def check_sizes(geometry: Geometry, main_sectors: int, spare_sectors: int, block_size: int) -> None:
    """ValueError if there can be no spare of these sizes: devices in sectors, ``block_size`` in bytes."""
    if block_size & (block_size - 1) or not SECTOR <= block_size <= MAX_BLOCK_SIZE:
        raise ValueError(f"a logical block of {block_size} bytes: it must be 512, 1024, 2048 or 4096")
    if not 0 < main_sectors < MAX_SECTORS:
        raise ValueError(f"a main device of {main_sectors} sectors cannot be")
    if spare_sectors >= MAX_SECTORS:
        raise ValueError(f"a spare device of {spare_sectors} sectors cannot be")
    if spare_sectors < geometry.data_start + block_size // SECTOR:
        raise ValueError(
            f"a spare of {spare_sectors} sectors is too small: the metadata alone takes {geometry.data_start}"
        )


def place_segments(
    geometry: Geometry, blocks: int, second_half: bool = False, *, start: int | None = None
) -> tuple[list[int], int]:
    """Segments for so many log blocks, from data start or sector ``start`` on, and the sector behind."""
    segments = [0] * SEGMENTS
    segments[0] = geometry.first_halves()[second_half]
    end = geometry.data_start if start is None else start
    blocks -= geometry.half
    for index in range(1, SEGMENTS):
        if blocks <= 0:
            break
        segments[index] = end
        end += geometry.segment_blocks(index) * BLOCK_SECTORS * geometry.copies
        blocks -= geometry.segment_blocks(index)
    if blocks > 0:
        raise ValueError("more records than all log segments hold")
    return segments, end
