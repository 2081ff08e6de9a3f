"""Mending: which blocks to write, and in which order, so that a cut at any moment harms nothing."""

from collections.abc import Iterator
from dataclasses import replace

from pycontrol.metadata.errors import Corrupt, Unsupported
from pycontrol.metadata.layout import MAX_SEQUENCE, NEEDS_CHECK, PER_BLOCK
from pycontrol.metadata.snapshot import Placed, Snapshot
from pycontrol.metadata.state import Loaded, Slot, State

_WHOLE = (State.VALID, State.STALE)
_AHEAD = 17
"""More sequence numbers than can be used up between two durable headers."""


def repair(loaded: Loaded) -> Iterator[list[Placed]]:
    """What to write, in steps; each is to be durable before the next one is begun.

    One copy after the other, those without a whole header first: of log and info only the
    blocks that need it, and every header.
    """
    snapshot = mended(loaded)
    blocks, headers = dict(snapshot.blocks()), dict(snapshot.headers())
    for slot in sorted(loaded.slots, key=_has_header):
        wrong = [fault.offset for fault in loaded.log.faults if fault.copy == slot.copy]
        if slot.info.state is not State.VALID:
            wrong.append(slot.info.offset)
        if snapshot.header.record_count == PER_BLOCK:
            ahead = snapshot.geometry.log_place(
                snapshot.header.segments, slot.copy, snapshot.header.log_blocks
            )
            wrong.extend([ahead] if ahead in blocks else [])
        step = [(offset, blocks[offset]) for offset in wrong]
        for each in sorted(slot.headers, key=lambda block: block.state in _WHOLE):
            yield [*step, (each.offset, headers[each.offset])]
            step = []


def mended(loaded: Loaded) -> Snapshot:
    """The state that every copy has after a repair, which also clears needs_check.

    As after every load that writes, its number is beyond any that was never acknowledged
    and may come to light again; see the rules of a reader in ``docs/on-disk-format.md``.
    """
    if loaded.read_only:
        raise Unsupported(
            f"the metadata uses features {loaded.header.ro_compat:#x}, which this version can only read"
        )
    snapshot = Snapshot.of(loaded)
    header, info = snapshot.header, snapshot.info
    if header.sequence + _AHEAD > MAX_SEQUENCE:
        raise Corrupt(f"the sequence number {header.sequence} is the last there can be")
    if not info.sequence:
        info = replace(info, sequence=1, time=header.time)
    flags = header.flags & ~NEEDS_CHECK
    return replace(
        snapshot, header=replace(header, sequence=header.sequence + _AHEAD, flags=flags), info=info
    )


def _has_header(slot: Slot) -> bool:
    """Every place of this copy for a header has one, be it old."""
    return all(each.state in _WHOLE for each in slot.headers)
