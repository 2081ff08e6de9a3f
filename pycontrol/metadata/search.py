"""Blocks of ours at unknown places: of a spare whose partition is gone, or inside an image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pycontrol.metadata.blocks import (
    BlockError,
    Header,
    Info,
    LogBlock,
    claims,
    decode_header,
    decode_info,
    decode_log,
)
from pycontrol.metadata.layout import (
    BLOCK,
    HEADER_MAGIC,
    INFO_MAGIC,
    LOG_MAGIC,
    SECTOR,
    SHADOW_BLOCK,
    STRUCTURE_AT,
    V3_MAGIC,
    V42_STRUCTURE_SIZE,
)
from pycontrol.metadata.reader import Read

_CHUNK: Final = 4 << 20
_MAGICS: Final = {
    magic.to_bytes(4, "little"): kind
    for magic, kind in ((HEADER_MAGIC, "header"), (INFO_MAGIC, "info"), (LOG_MAGIC, "log"))
}
_FIRST: Final = {*_MAGICS, V3_MAGIC[:4]}


@dataclass(frozen=True, slots=True)
class Hit:
    """A block at byte ``offset``; what it says of itself is None where it is not whole.

    ``kind`` is header, info, log, v4.2 or v3.0.  ``begins`` is the byte at which the spare
    begins that a header belongs to.
    """

    offset: int
    kind: str
    valid: bool
    uuid: UUID | None = None
    sequence: int | None = None
    time: int | None = None
    copy: int | None = None
    begins: int | None = None


def search(read: Read, size: int, advance: Callable[[int], None] = lambda done: None) -> Iterator[Hit]:
    """Every block of ours, and of the earlier formats, that begins at a sector of 512 bytes.

    What cannot be read is passed over.  ``advance`` is told the bytes done.
    """
    for begin in range(0, size, _CHUNK):
        length = min(_CHUNK, size - begin)
        for place, data in _readable(read, begin, length):
            for at in range(0, len(data), SECTOR):
                if data[at : at + 4] in _FIRST:
                    yield from _hit(read, place + at, data[at : at + len(V3_MAGIC)])
        advance(length)


def _readable(read: Read, begin: int, length: int) -> Iterator[tuple[int, bytes]]:
    """The chunk, or those halves of it that can be read."""
    try:
        yield begin, read(begin, length)
    except OSError:
        if length > BLOCK:
            half = length // 2 // BLOCK * BLOCK or BLOCK
            yield from _readable(read, begin, half)
            yield from _readable(read, begin + half, length - half)


def _hit(read: Read, offset: int, magic: bytes) -> Iterator[Hit]:
    if magic == V3_MAGIC:
        yield Hit(offset, "v3.0", True, begins=offset)
    kind = _MAGICS.get(magic[:4])
    if kind is None:
        return
    try:
        block = read(offset, BLOCK)
    except OSError:
        return
    if len(block) < BLOCK:
        return
    structure = int.from_bytes(block[STRUCTURE_AT : STRUCTURE_AT + 4], "little")
    if kind == "header" and structure == V42_STRUCTURE_SIZE:
        yield Hit(offset, "v4.2", True, sequence=claims(block)[0])
        return
    decoders: dict[str, Callable[[bytes], Header | Info | LogBlock]] = {
        "header": decode_header, "info": decode_info, "log": decode_log,
    }  # fmt: skip
    try:
        found = decoders[kind](block)
    except BlockError:
        yield Hit(offset, kind, False)
        return
    yield Hit(
        offset, kind, True, found.uuid, found.sequence, found.time, found.copy,
        _begins(read, block, offset) if kind == "header" else None,
    )  # fmt: skip


def _begins(read: Read, block: bytes, offset: int) -> int:
    """The byte at which the spare begins; of one copy, this may be the shadow of the header before it."""
    header = decode_header(block)
    shadow_of = offset - SHADOW_BLOCK * BLOCK
    if header.copies == 1 and shadow_of >= 0:
        try:
            if decode_header(read(shadow_of, BLOCK)).uuid == header.uuid:
                return shadow_of
        except (BlockError, OSError):
            pass
    return offset - header.copy * header.spacing * SECTOR
