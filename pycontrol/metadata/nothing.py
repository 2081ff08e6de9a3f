"""No valid header anywhere: what is it then, and in which words is it refused?"""

from typing import NoReturn

from pycontrol.metadata.blocks import crc, stored_crc
from pycontrol.metadata.errors import Corrupt, Legacy, NotOurs, OutOfService, Unsupported
from pycontrol.metadata.layout import (
    BLOCK,
    DEFAULT_COPIES,
    DEFAULT_SPACING,
    HEADER_MAGIC,
    INFO_BLOCK,
    INFO_MAGIC,
    MAX_COPIES,
    MAX_SHIFT,
    MIN_SHIFT,
    SECTOR,
    SHADOW_BLOCK,
    STRUCTURE_AT,
    V3_MAGIC,
    V42_COPIES,
    V42_SPACING,
    V42_STRUCTURE_SIZE,
    VERSION,
)
from pycontrol.metadata.reader import Reader


def refuse(reader: Reader, copies: int | None, spacing: int | None) -> NoReturn:
    """Raise what fits a device on which no valid header was found."""
    _legacy(reader)
    _marked(reader)
    for offset in traces(copies, spacing):
        _trace(reader, offset)
    region = (copies or DEFAULT_COPIES) * (spacing or DEFAULT_SPACING) * SECTOR
    if reader.size >= BLOCK and reader.all_zero(region):
        raise NotOurs("there is no metadata: the metadata region is all zero", all_zero=True)
    if reader.failures:
        raise next(iter(reader.failures.values()))
    raise NotOurs("there is no metadata of dm-remap: the device holds something else")


def _word(block: bytes, offset: int) -> int:
    return int.from_bytes(block[offset : offset + 4], "little")


def _legacy(reader: Reader) -> None:
    first = reader.block(0)
    if first is not None and first.startswith(V3_MAGIC):
        raise Legacy(
            "this is metadata of dm-remap v3.0; 'dmremapctl meta import-legacy' reads it", version="3.0"
        )
    for copy in range(V42_COPIES):
        block = reader.block(copy * V42_SPACING)
        if block and _word(block, 0) == HEADER_MAGIC and _word(block, STRUCTURE_AT) == V42_STRUCTURE_SIZE:
            raise Legacy(
                "this is metadata of dm-remap v4.2; 'dmremapctl meta import-legacy' reads it", version="4.2"
            )


def _marked(reader: Reader) -> None:
    from pycontrol.metadata.mark import Condition, find_mark

    mark = find_mark(reader)
    if mark is None:
        return
    # Whatever was written there by whomever is shown escaped by those who print it.
    if mark.condition is Condition.RETIRED:
        words = f"this spare is retired: what it held has moved to {mark.other}"
    else:
        words = f"this spare was to take over from {mark.other}, which was not finished"
    raise OutOfService(words, mark.uuid, mark)


def traces(copies: int | None = None, spacing: int | None = None) -> list[int]:
    """Bytes at which a header, a shadow or an info block may have been."""
    shifts = range(MIN_SHIFT, MAX_SHIFT + 1)
    spacings = [1 << shift for shift in shifts] if spacing is None else [spacing * SECTOR]
    slots = {number * each for number in range(copies or MAX_COPIES) for each in spacings}
    return sorted({slot + at * BLOCK for slot in slots for at in (0, INFO_BLOCK)} | {SHADOW_BLOCK * BLOCK})


def _trace(reader: Reader, offset: int) -> None:
    """Raise if the block at ``offset`` was once a block of ours."""
    block = reader.block(offset)
    if block is None:
        return
    magic, version = _word(block, 0), _word(block, 4)
    if magic not in (HEADER_MAGIC, INFO_MAGIC):
        return
    if version != VERSION and stored_crc(block) == crc(block):
        raise Unsupported(f"the metadata has version {version}: this program knows {VERSION} only")
    raise Corrupt("every copy of the header is damaged: no state can be had from this spare")
