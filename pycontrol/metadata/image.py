"""Metadata made from scratch: a fresh spare, or one with any table of records."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID
from zlib import crc32

from pycontrol.metadata.blocks import Header, Info, LogBlock, encode_header, encode_info, encode_log
from pycontrol.metadata.layout import (
    BLOCK,
    BLOCK_SECTORS,
    DEFAULT_COPIES,
    DEFAULT_SPACING,
    INFO_BLOCK,
    MAX_BLOCK_SIZE,
    MAX_SECTORS,
    NEEDS_CHECK,
    PER_BLOCK,
    RECORD_SIZE,
    SECTOR,
    SEGMENTS,
    SHADOW_BLOCK,
    Geometry,
)
from pycontrol.metadata.records import Record, pack


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
    _check_sizes(geometry, main_sectors, spare_sectors, block_size)
    packed = records if isinstance(records, bytes) else pack(records)
    total = len(packed) // RECORD_SIZE
    counted = max(0, total - 1) // PER_BLOCK
    size = PER_BLOCK * RECORD_SIZE
    areas = [packed[number * size : (number + 1) * size] for number in range(total // PER_BLOCK)]
    if segments is None:
        segments, end = _place_segments(geometry, len(areas), second_half)
        if end > spare_sectors:
            raise ValueError(f"a spare of {spare_sectors} sectors has no room for {total} records")
        cursor = end if cursor is None else cursor
    tail = packed[counted * size :]
    header = Header(
        uuid=uuid, sequence=sequence, time=time, copy=0, copies=copies, spacing=spacing,
        main_sectors=main_sectors, spare_sectors=spare_sectors, generation=generation,
        cursor=geometry.data_start if cursor is None else cursor, segments=tuple(segments),
        records=tail, record_count=len(tail) // RECORD_SIZE, log_blocks=counted,
        log_crc=_log_crc(areas[:counted]), block_size=block_size, flags=NEEDS_CHECK * needs_check,
    )  # fmt: skip
    if info is None:
        info = Info(uuid=uuid, sequence=1, time=time, copy=0, main_id=main_id, name=name)
    blocks = []
    for copy in range(copies):
        blocks.extend(_copy(geometry, copy, header, info))
        for number, area in enumerate(areas):
            log = LogBlock(
                uuid=uuid, sequence=max(1, sequence - 1), time=time, copy=copy,
                generation=generation, number=number, records=area,
            )  # fmt: skip
            blocks.append((geometry.log_place(segments, copy, number), encode_log(log)))
    return blocks


def _check_sizes(geometry: Geometry, main_sectors: int, spare_sectors: int, block_size: int) -> None:
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


def _place_segments(geometry: Geometry, blocks: int, second_half: bool) -> tuple[list[int], int]:
    """Segments from data start on for so many log blocks, and the sector behind them."""
    segments = [0] * SEGMENTS
    segments[0] = geometry.first_halves()[second_half]
    end = geometry.data_start
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


def _log_crc(areas: Iterable[bytes]) -> int:
    value = 0
    for area in areas:
        value = crc32(area, value)
    return value


def _copy(geometry: Geometry, copy: int, header: Header, info: Info) -> list[tuple[int, bytes]]:
    """The header, info and, for a single copy, shadow block of one copy."""
    slot = geometry.slot(copy)
    block = encode_header(replace(header, copy=copy))
    blocks = [(slot, block), (slot + INFO_BLOCK * BLOCK, encode_info(replace(info, copy=copy)))]
    if geometry.copies == 1:
        blocks.append((slot + SHADOW_BLOCK * BLOCK, block))
    return blocks
