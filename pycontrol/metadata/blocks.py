"""The three kinds of metadata block, packed and unpacked.

``decode_*`` check what a block says about itself (magic, version, CRC, and that it fits
its place); whether its numbers make sense together is the loader's business.
"""

import struct
from dataclasses import dataclass
from functools import cache
from typing import Final
from uuid import UUID
from zlib import crc32

from pycontrol.metadata.layout import (
    BLOCK,
    COPY_AT,
    CRC_AT,
    CRC_BYTES,
    HEADER_MAGIC,
    INFO_MAGIC,
    LOG_MAGIC,
    MAX_SEQUENCE,
    NEEDS_CHECK,
    PER_BLOCK,
    RECORD_SIZE,
    RECORDS_AT,
    RECORDS_END,
    SEGMENTS,
    STRUCTURE_AT,
    V42_STRUCTURE_SIZE,
    VERSION,
    Geometry,
)

_COMMON: Final = struct.Struct("<IIQQI")  # magic, version, sequence, time, crc
_HEADER: Final = struct.Struct("<IIQQI BBHII 16s QQ IIII QQ IIII 12Q")
_LOG: Final = struct.Struct("<IIQQI B11x 16s QI")
_INFO: Final = struct.Struct("<IIQQI B11x 16s 128s 128s 5Q")
_TEXT: Final = 128
_ZEROS: Final = bytes(BLOCK)


class BlockError(ValueError):
    """A block is not what should be at its place; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Block 0.  Device sizes, spacing, cursor and segments in sectors, block size in bytes."""

    uuid: UUID
    sequence: int
    time: int
    copy: int
    copies: int
    spacing: int
    main_sectors: int
    spare_sectors: int
    generation: int
    cursor: int
    segments: tuple[int, ...]
    records: bytes = b""
    record_count: int = 0
    log_blocks: int = 0
    log_crc: int = 0
    block_size: int = 512
    flags: int = 0
    compat: int = 0
    ro_compat: int = 0
    incompat: int = 0

    @property
    def needs_check(self) -> bool:
        """A change could not be recorded."""
        return bool(self.flags & NEEDS_CHECK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Block 1: identity of the main device, and the soft state."""

    uuid: UUID
    sequence: int
    time: int
    copy: int
    main_id: str = ""
    name: str = ""
    read_errors: int = 0
    write_errors: int = 0
    salvaged: int = 0
    lost: int = 0
    scrub: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBlock:
    """118 records that will not change while their generation lasts."""

    uuid: UUID
    sequence: int
    time: int
    copy: int
    generation: int
    number: int
    records: bytes


def crc(block: bytes | bytearray | memoryview) -> int:
    """CRC-32 of a block with its CRC field taken as zero."""
    return crc32(block[CRC_AT + 4 :], crc32(b"\0\0\0\0", crc32(block[:CRC_AT])))


def same_in_all_copies(block: bytes) -> bytes:
    """A block without its CRC and the number of its copy."""
    return block[:CRC_AT] + block[COPY_AT + 1 :]


def in_copy(blocks: bytes, copy: int) -> bytearray:
    """Whole blocks of copy 0 as another copy has them: with its number, and the CRC that goes with it.

    A CRC of as many bytes changes with a byte in the same way whatever the others are.
    """
    changed = bytearray(blocks)
    changed[COPY_AT::BLOCK] = bytes([copy]) * (len(blocks) // BLOCK)
    for at, changes in zip(CRC_BYTES, _crc_changes(copy), strict=True):
        changed[at::BLOCK] = changed[at::BLOCK].translate(changes)
    return changed


@cache
def _crc_changes(copy: int) -> list[bytes]:
    """For each byte of a CRC in copy 0, what it is in this copy."""
    numbered = bytearray(BLOCK)
    numbered[COPY_AT] = copy
    change = crc(numbered) ^ crc(_ZEROS)
    return [bytes(old ^ new for old in range(256)) for new in change.to_bytes(len(CRC_BYTES), "little")]


def stored_crc(block: bytes | memoryview) -> int:
    """The CRC a block carries."""
    return int.from_bytes(block[CRC_AT : CRC_AT + 4], "little")


def claims(block: bytes | memoryview) -> tuple[int | None, int | None]:
    """Sequence number and time a block carries, good or not; None for a block of no kind of ours."""
    magic, _, sequence, time, _ = _COMMON.unpack_from(block)
    return (sequence, time) if magic in (HEADER_MAGIC, INFO_MAGIC, LOG_MAGIC) else (None, None)


def is_zero(block: bytes | memoryview) -> bool:
    """Whether a piece of up to a block is nothing but zeros."""
    return block == _ZEROS[: len(block)]


def _seal(fields: bytes, records: bytes = b"") -> bytes:
    block = bytearray(BLOCK)
    block[: len(fields)] = fields
    block[RECORDS_AT : RECORDS_AT + len(records)] = records
    block[CRC_AT : CRC_AT + 4] = crc(block).to_bytes(4, "little")
    return bytes(block)


def encode_header(header: Header) -> bytes:
    """The header as a block, with its CRC."""
    if len(header.records) != header.record_count * RECORD_SIZE or header.record_count > PER_BLOCK:
        raise ValueError(f"a header holds 0 to {PER_BLOCK} whole records")
    if len(header.segments) != SEGMENTS:
        raise ValueError(f"a header lists {SEGMENTS} segments")
    fields = _HEADER.pack(
        HEADER_MAGIC, VERSION, header.sequence, header.time, 0,
        header.copy, header.copies, 0, BLOCK, header.spacing,
        header.uuid.bytes, header.main_sectors, header.spare_sectors,
        header.compat, header.ro_compat, header.incompat, header.flags,
        header.generation, header.cursor,
        header.record_count, header.log_blocks, header.block_size, header.log_crc,
        *header.segments,
    )  # fmt: skip
    return _seal(fields, header.records)


def encode_log(log: LogBlock) -> bytes:
    """A log block, with its CRC."""
    if len(log.records) != PER_BLOCK * RECORD_SIZE:
        raise ValueError(f"a log block holds exactly {PER_BLOCK} records")
    fields = _LOG.pack(
        LOG_MAGIC, VERSION, log.sequence, log.time, 0, log.copy, log.uuid.bytes, log.generation, log.number
    )
    return _seal(fields, log.records)


def encode_info(info: Info) -> bytes:
    """The info block, with its CRC."""
    fields = _INFO.pack(
        INFO_MAGIC, VERSION, info.sequence, info.time, 0, info.copy, info.uuid.bytes,
        _text(info.main_id, "identity of the main device"), _text(info.name, "name"),
        info.read_errors, info.write_errors, info.salvaged, info.lost, info.scrub,
    )  # fmt: skip
    return _seal(fields)


def _text(value: str, what: str) -> bytes:
    encoded = value.encode("utf-8", "surrogateescape")
    if len(encoded) > _TEXT or b"\0" in encoded:
        raise ValueError(f"the {what} must be at most {_TEXT} bytes without a zero byte")
    return encoded


def _check(block: bytes | memoryview, magic: int, what: str) -> None:
    if len(block) != BLOCK:
        raise BlockError("cannot be read whole")
    found, version, *_ = _COMMON.unpack_from(block)
    if found != magic:
        raise BlockError(f"no {what}")
    if version != VERSION:
        raise BlockError(f"version {version}, not {VERSION}")


def _check_crc(block: bytes | memoryview) -> None:
    if stored_crc(block) != crc(block):
        raise BlockError("CRC does not match")


def check_sequence(number: int) -> None:
    """BlockError if no block can have that sequence number."""
    if not 0 < number <= MAX_SEQUENCE:
        raise BlockError(f"sequence number {number}")


def decode_header(block: bytes | memoryview) -> Header:
    """A header that is valid in itself; BlockError says why it is not."""
    _check(block, HEADER_MAGIC, "header")
    structure = int.from_bytes(block[STRUCTURE_AT : STRUCTURE_AT + 4], "little")
    if structure == V42_STRUCTURE_SIZE:
        raise BlockError("a structure of v4.2")
    if structure != BLOCK:
        raise BlockError(f"block size {structure}, not {BLOCK}")
    _check_crc(block)
    header = header_as_it_is(block)
    try:
        Geometry(header.copies, header.spacing)
    except ValueError as error:
        raise BlockError(str(error)) from None
    if header.copy >= header.copies:
        raise BlockError(f"number {header.copy} of only {header.copies} copies")
    check_sequence(header.sequence)
    return header


def header_as_it_is(block: bytes | memoryview) -> Header:
    """The fields of what may be a header, unchecked: to be shown, never to be used."""
    (
        _, _, sequence, time, _, copy, copies, _, _, spacing, uuid, main_sectors, spare_sectors,
        compat, ro_compat, incompat, flags, generation, cursor, count, log_blocks, block_size, log_crc,
        *segments,
    ) = _HEADER.unpack_from(block)  # fmt: skip
    return Header(
        uuid=UUID(bytes=uuid), sequence=sequence, time=time, copy=copy, copies=copies, spacing=spacing,
        main_sectors=main_sectors, spare_sectors=spare_sectors, generation=generation, cursor=cursor,
        segments=tuple(segments), record_count=count, log_blocks=log_blocks, log_crc=log_crc,
        records=bytes(block[RECORDS_AT : RECORDS_AT + min(count, PER_BLOCK) * RECORD_SIZE]),
        block_size=block_size, flags=flags, compat=compat, ro_compat=ro_compat, incompat=incompat,
    )  # fmt: skip


def decode_log(block: bytes | memoryview) -> LogBlock:
    """A log block that is valid in itself; BlockError says why it is not."""
    _check(block, LOG_MAGIC, "log block")
    _check_crc(block)
    _, _, sequence, time, _, copy, uuid, generation, number = _LOG.unpack_from(block)
    return LogBlock(
        uuid=UUID(bytes=uuid), sequence=sequence, time=time, copy=copy, generation=generation,
        number=number, records=bytes(block[RECORDS_AT:RECORDS_END]),
    )  # fmt: skip


def decode_info(block: bytes | memoryview) -> Info:
    """An info block that is valid in itself; BlockError says why it is not."""
    _check(block, INFO_MAGIC, "info block")
    _check_crc(block)
    return info_as_it_is(block)


def info_as_it_is(block: bytes | memoryview) -> Info:
    """The fields of what may be an info block, unchecked: to be shown, never to be used."""
    _, _, sequence, time, _, copy, uuid, main_id, name, *counters = _INFO.unpack_from(block)
    read_errors, write_errors, salvaged, lost, scrub = counters
    return Info(
        uuid=UUID(bytes=uuid), sequence=sequence, time=time, copy=copy,
        main_id=_untext(main_id), name=_untext(name),
        read_errors=read_errors, write_errors=write_errors, salvaged=salvaged, lost=lost, scrub=scrub,
    )  # fmt: skip


def _untext(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
