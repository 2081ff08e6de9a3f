"""Mending: which blocks to write, and in which order, so that a cut at any moment harms nothing."""

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace

from pycontrol.metadata.errors import Corrupt, Unsupported
from pycontrol.metadata.layout import AHEAD, MAX_SEQUENCE, NEEDS_CHECK, PER_BLOCK
from pycontrol.metadata.snapshot import Placed, Snapshot
from pycontrol.metadata.state import Loaded, State


@dataclass(frozen=True, slots=True)
class Step:
    """Blocks of one copy; ``renews`` if they have another number than the state that was found."""

    copy: int
    blocks: list[Placed]
    renews: bool = False


def repair(loaded: Loaded) -> Iterator[Step]:
    """What to write; each step is to be durable before the next one is begun.

    First what copies lack, only the blocks that need it, and then the newest header as it is: until
    then they are, with their log, what they were. Copies whose header is whole are the last. As long
    as only some have it no number is used up, or repairs that break off would be ahead of what is
    committed later in the other copies. Then every header, one after the other. The flag is another
    number, as a load that breaks off there makes the first one too.
    """
    final = mended(loaded)
    found = replace(Snapshot.of(loaded), info=final.info)
    renewed = replace(found, header=replace(found.header, sequence=found.header.sequence + AHEAD))
    old, blocks = dict(found.headers()), dict(renewed.blocks())
    slots = sorted(loaded.slots, key=lambda slot: any(each.whole for each in slot.headers))
    for slot in slots:
        wrong = [fault.offset for fault in loaded.log.faults if fault.copy == slot.copy]
        if slot.info.state is not State.VALID:
            wrong.append(slot.info.offset)
        if wrong:
            yield Step(slot.copy, [(offset, blocks[offset]) for offset in wrong])
        for each in slot.headers:
            if each.state is not State.VALID:
                yield Step(slot.copy, [(each.offset, old[each.offset])])
    headers = dict(renewed.headers())
    for slot in slots:
        step = []
        if renewed.header.record_count == PER_BLOCK:
            ahead = renewed.geometry.log_place(renewed.header.segments, slot.copy, renewed.header.log_blocks)
            step = [(ahead, blocks[ahead])] if ahead in blocks else []
        for each in slot.headers:
            yield Step(slot.copy, [*step, (each.offset, headers[each.offset])], renews=True)
            step = []
    if final.header != renewed.header:
        headers = dict(final.headers())
        for slot in slots:
            for each in slot.headers:
                yield Step(slot.copy, [(each.offset, headers[each.offset])], renews=True)


def mend(steps: Iterable[Step], copies: int, write: Callable[[Step], None]) -> dict[int, OSError]:
    """Take these steps with ``write``, which makes durable what it writes; the copies that failed, and why.

    A copy that fails is left out from then on. No number is used up, and no whole header of the state
    is put at risk, unless a majority of the copies can be written.
    """
    failed: dict[int, OSError] = {}
    for step in steps:
        if step.renews and not majority(copies, failed):
            break
        if step.copy not in failed:
            try:
                write(step)
            except OSError as error:
                failed[step.copy] = error
    return failed


def majority(copies: int, failed: Sized) -> bool:
    """Whether more than half of the copies are left."""
    return copies - len(failed) > copies // 2


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
    flags = header.flags & ~NEEDS_CHECK
    sequence = header.sequence + AHEAD + (flags != header.flags)
    if sequence > MAX_SEQUENCE:
        raise Corrupt(f"the sequence number {header.sequence} is the last there can be")
    if not info.sequence:
        info = replace(info, sequence=1, time=header.time)
    return replace(snapshot, header=replace(header, sequence=sequence, flags=flags), info=info)
