"""The condition of the header and info block of each copy."""

from collections.abc import Callable

from pycontrol.metadata.blocks import (
    BlockError,
    Header,
    Info,
    check_sequence,
    claims,
    crc,
    decode_header,
    decode_info,
    is_zero,
    stored_crc,
)
from pycontrol.metadata.layout import BLOCK, INFO_BLOCK, SECTOR, SHADOW_BLOCK, Geometry
from pycontrol.metadata.reader import Reader
from pycontrol.metadata.state import BlockState, Slot, State


def fits(header: Header, offset: int) -> bool:
    """Whether a header lies where it says it should."""
    if offset == SHADOW_BLOCK * BLOCK:
        return header.copies == 1
    return header.copy * header.spacing * SECTOR == offset


def slot_of(reader: Reader, geometry: Geometry, state: Header, copy: int) -> Slot:
    """One copy, its header judged; the rest is noted as it is read."""
    offset = geometry.slot(copy)
    shadow = SHADOW_BLOCK * BLOCK
    return Slot(
        copy=copy,
        offset=offset,
        header=_judge(reader, offset, lambda block: _judge_header(block, offset, state)),
        shadow=_judge(reader, shadow, lambda block: _judge_header(block, shadow, state))
        if state.copies == 1
        else None,
        info=BlockState(offset + INFO_BLOCK * BLOCK, State.MISSING),
    )


def _judge(reader: Reader, offset: int, decode: Callable[[bytes], Header | Info]) -> BlockState:
    """The condition of a block, as far as the block alone tells."""
    result = BlockState(offset, State.DAMAGED)
    block = reader.block(offset)
    if block is None:
        result.reason = reader.why(offset)
        return result
    if is_zero(block):
        result.state = State.MISSING
        result.reason = "all zero"
        return result
    result.crc_stored, result.crc_computed = stored_crc(block), crc(block)
    # What a damaged block claims is shown, but never used.
    result.sequence, result.time = claims(block)
    try:
        decode(block)
    except BlockError as error:
        result.reason = str(error)
        return result
    result.state = State.VALID
    return result


def _judge_header(block: bytes, offset: int, state: Header) -> Header:
    """A header that belongs here; an older one is stale, which the caller sees from its number."""
    header = decode_header(block)
    if header.uuid != state.uuid:
        raise BlockError(f"belongs to {header.uuid}")
    if (header.copies, header.spacing) != (state.copies, state.spacing):
        raise BlockError(f"made for {header.copies} copies {header.spacing} sectors apart")
    if not fits(header, offset):
        raise BlockError(f"is copy {header.copy}, at the wrong place")
    return header


def _judge_info(block: bytes, copy: int, state: Header) -> Info:
    info = decode_info(block)
    if info.uuid != state.uuid:
        raise BlockError(f"belongs to {info.uuid}")
    if info.copy != copy:
        raise BlockError(f"is copy {info.copy}, at the wrong place")
    check_sequence(info.sequence)
    return info


def _age(block: BlockState, newest: int) -> None:
    """A valid block that is not the newest is stale."""
    if block.state is State.VALID and block.sequence != newest:
        block.state = State.STALE
        block.reason = f"sequence {block.sequence}, newest is {newest}"


def read_info(reader: Reader, header: Header, slots: list[Slot]) -> Info:
    """The newest info block, or an empty one; notes the age of headers and infos."""
    newest: Info | None = None
    for slot in slots:
        for each in slot.headers:
            _age(each, header.sequence)

        def decode(block: bytes, copy: int = slot.copy) -> Info:
            nonlocal newest
            info = _judge_info(block, copy, header)
            if newest is None or info.sequence > newest.sequence:
                newest = info
            return info

        slot.info = _judge(reader, slot.info.offset, decode)
    if newest is None:
        return Info(uuid=header.uuid, sequence=0, time=0, copy=0)
    for slot in slots:
        _age(slot.info, newest.sequence)
    return newest
