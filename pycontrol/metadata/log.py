"""The log: of each block the newest valid version, whichever copy holds it."""

from dataclasses import dataclass, field
from zlib import crc32

from pycontrol.metadata.blocks import (
    BlockError,
    Header,
    LogBlock,
    check_sequence,
    decode_log,
    in_copy,
    is_zero,
)
from pycontrol.metadata.layout import BLOCK, Geometry
from pycontrol.metadata.reader import Reader
from pycontrol.metadata.state import Log, LogFault, Slot, State

_RUN = 64
"""Blocks read at once."""


def read_log(
    reader: Reader, geometry: Geometry, header: Header, slots: list[Slot], *, patient: bool = False
) -> Log:
    """The records of all log blocks; notes the condition of each copy's log.

    Ends at the first block that no copy has, unless ``patient``.
    """
    log = Log()
    number = index = 0
    while number < header.log_blocks:
        count = min(geometry.segment_blocks(index), header.log_blocks - number)
        for begin in range(0, count, _RUN):
            run = min(_RUN, count - begin)
            places = [
                geometry.segment_place(header.segments, index, slot.copy) + begin * BLOCK for slot in slots
            ]
            runs = [reader.run(place, run) for place in places]
            alike = _alike(header, number, runs)
            if alike is not None:
                _add(log, alike)
            else:
                _add_each(reader, header, number, log, list(zip(places, runs, strict=True)), run)
            number += run
            if log.lost and not patient:
                break
        if log.lost and not patient:
            break
        index += 1
    for slot in slots:
        _count(slot, number, [fault for fault in log.faults if fault.copy == slot.copy])
    return log


def _add(log: Log, blocks: list[LogBlock]) -> None:
    for block in blocks:
        log.packed += block.records
        log.crc = crc32(block.records, log.crc)
        log.sequences.append(block.sequence)
        log.times.append(block.time)
        log.holders.append(block.copy)


def _add_each(
    reader: Reader, header: Header, first: int, log: Log, runs: list[tuple[int, bytes | None]], count: int
) -> None:
    """Add one block after the other; ``runs`` are where each copy's begin, and what was read there."""
    columns = [_blocks(reader, place, run, count) for place, run in runs]
    for at in range(count):
        blocks = [column[at] for column in columns]
        offsets = [place + at * BLOCK for place, _ in runs]
        alike = _alike(header, first + at, blocks)
        found = alike[0] if alike else _newest(reader, header, first + at, log, blocks, offsets)
        if found is None:
            log.lost.append(first + at)
        else:
            _add(log, [found])


def _blocks(reader: Reader, place: int, run: bytes | None, count: int) -> list[bytes | None]:
    offsets = range(0, count * BLOCK, BLOCK)
    if run is None:
        return [reader.block(place + offset) for offset in offsets]
    return [run[offset : offset + BLOCK] for offset in offsets]


def _count(slot: Slot, blocks: int, faults: list[LogFault]) -> None:
    states = [fault.state for fault in faults]
    log = slot.log
    log.stale, log.missing = states.count(State.STALE), states.count(State.MISSING)
    log.damaged = states.count(State.DAMAGED)
    log.valid = blocks - len(faults)
    if faults:
        log.reason = f"block {faults[0].number}: {faults[0].reason}"


def _alike(header: Header, first: int, runs: list[bytes | None]) -> list[LogBlock] | None:
    """The blocks from number ``first`` on, if they are whole and the same in every copy.

    That is the usual case, made quick: one CRC says what those of all copies are.
    """
    blocks, *others = runs
    if blocks is None or any(
        other is None or other != in_copy(blocks, copy) for copy, other in enumerate(others, 1)
    ):
        return None
    offsets = range(0, len(blocks), BLOCK)
    try:
        return [
            _judge_log(blocks[offset : offset + BLOCK], header, first + number, 0)
            for number, offset in enumerate(offsets)
        ]
    except BlockError:
        return None


@dataclass(slots=True)
class _Version:
    """A valid version of a log block, and the copies that hold it, by number and offset."""

    block: LogBlock
    held: list[tuple[int, int]] = field(default_factory=list)


def _newest(
    reader: Reader,
    header: Header,
    number: int,
    log: Log,
    blocks: list[bytes | None],
    offsets: list[int],
) -> LogBlock | None:
    """The block with this number; what is wrong with other copies of it goes into ``log``.

    The newest version counts; of equally new ones, which only an interrupted commit can
    have left, the one that most copies hold.  The CRC over the log has the last word.
    """
    versions: list[_Version] = []

    def note(copy: int, offset: int, state: State, reason: str) -> None:
        log.faults.append(LogFault(copy, number, offset, state, reason))

    for copy, (block, offset) in enumerate(zip(blocks, offsets, strict=True)):
        if block is None:
            note(copy, offset, State.DAMAGED, reader.why(offset))
            continue
        try:
            decoded = _judge_log(block, header, number, copy)
        except BlockError as error:
            if is_zero(block):
                note(copy, offset, State.MISSING, "all zero")
            else:
                note(copy, offset, State.DAMAGED, str(error))
            continue
        for version in versions:
            if (version.block.sequence, version.block.records) == (decoded.sequence, decoded.records):
                break
        else:
            version = _Version(decoded)
            versions.append(version)
        version.held.append((copy, offset))
    if not versions:
        return None
    best = max(versions, key=lambda version: (version.block.sequence, len(version.held)))
    for version in versions:
        for copy, offset in version.held:
            if version.block.sequence < best.block.sequence:
                note(copy, offset, State.STALE, f"sequence {version.block.sequence} is old")
            elif version is not best:
                note(copy, offset, State.DAMAGED, "differs from the other copies")
    return best.block


def _judge_log(block: bytes, header: Header, number: int, copy: int) -> LogBlock:
    log = decode_log(block)
    if log.uuid != header.uuid:
        raise BlockError(f"belongs to {log.uuid}")
    if log.generation != header.generation:
        raise BlockError(f"of generation {log.generation}")
    if log.number != number or log.copy != copy:
        raise BlockError(f"is block {log.number} of copy {log.copy}, at the wrong place")
    check_sequence(log.sequence)
    return log
