"""The log: of each block the newest valid version, whichever copy holds it."""

from dataclasses import dataclass
from zlib import crc32

from pycontrol.metadata.blocks import BlockError, Header, LogBlock, decode_log, is_zero
from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import BLOCK, Geometry
from pycontrol.metadata.reader import Reader
from pycontrol.metadata.state import LogState, Slot

_RUN = 64
"""Blocks read at once."""


@dataclass(slots=True)
class _Candidate:
    """A valid version of a log block, and how many copies hold it."""

    sequence: int
    records: bytes
    votes: int = 1


def read_log(reader: Reader, geometry: Geometry, header: Header, slots: list[Slot]) -> bytearray:
    """The records of all log blocks; notes the condition of each copy's log."""
    packed = bytearray()
    check = number = index = 0
    while number < header.log_blocks:
        count = min(geometry.segment_blocks(index), header.log_blocks - number)
        for begin in range(0, count, _RUN):
            run = min(_RUN, count - begin)
            places = [
                geometry.segment_place(header.segments, index, slot.copy) + begin * BLOCK for slot in slots
            ]
            columns = [reader.run(place, run) for place in places]
            for at in range(run):
                blocks = [column[at] for column in columns]
                offsets = [place + at * BLOCK for place in places]
                records = _newest(reader, header, number, slots, blocks, offsets)
                check = crc32(records, check)
                packed += records
                number += 1
        index += 1
    if check != header.log_crc:
        raise Corrupt("the CRC over the log does not match: a newer version of one of its blocks is lost")
    return packed


def _newest(
    reader: Reader,
    header: Header,
    number: int,
    slots: list[Slot],
    blocks: list[memoryview | None],
    offsets: list[int],
) -> bytes:
    """The records of log block ``number``.

    The newest version counts; of equally new ones, which only an interrupted commit can
    have left, the one that most copies hold.  The CRC over the log has the last word.
    """
    versions: list[_Candidate] = []
    held: list[tuple[LogState, _Candidate]] = []
    for slot, block, offset in zip(slots, blocks, offsets, strict=True):
        log = slot.log
        if block is None:
            log.damaged += 1
            log.reason = log.reason or f"block {number}: {reader.why(offset)}"
            continue
        try:
            decoded = _judge_log(block, header, number, slot.copy)
        except BlockError as error:
            if is_zero(block):
                log.missing += 1
                log.reason = log.reason or f"block {number}: all zero"
            else:
                log.damaged += 1
                log.reason = log.reason or f"block {number}: {error}"
            continue
        for version in versions:
            if version.sequence == decoded.sequence and version.records == decoded.records:
                version.votes += 1
                break
        else:
            version = _Candidate(decoded.sequence, decoded.records)
            versions.append(version)
        held.append((log, version))
    if not versions:
        raise Corrupt(f"log block {number} is lost: no copy of it is valid")
    best = max(versions, key=lambda version: (version.sequence, version.votes))
    for log, version in held:
        if version is best:
            log.valid += 1
        elif version.sequence < best.sequence:
            log.stale += 1
            log.reason = log.reason or f"block {number}: sequence {version.sequence} is old"
        else:
            log.damaged += 1
            log.reason = log.reason or f"block {number}: differs from the other copies"
    return best.records


def _judge_log(block: memoryview, header: Header, number: int, copy: int) -> LogBlock:
    log = decode_log(block)
    if log.uuid != header.uuid:
        raise BlockError(f"belongs to {log.uuid}")
    if log.generation != header.generation:
        raise BlockError(f"of generation {log.generation}")
    if log.number != number or log.copy != copy:
        raise BlockError(f"is block {log.number} of copy {log.copy}, at the wrong place")
    if log.sequence == 0:
        raise BlockError("sequence number 0")
    return log
