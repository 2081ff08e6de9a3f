"""What records add up to, and what is wrong with them.

Whether a table is sound is asked of its columns; only of one that is not, each record is
looked at, to say which it is.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import reduce
from heapq import heappop, heappush
from itertools import chain, compress, islice, pairwise
from operator import add, eq, le, or_, sub
from typing import Final

from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import RECORD_SIZE, SECTOR
from pycontrol.metadata.records import RECORD, Columns, Extents, Kind, Limits, Record

# Plain numbers for the loops: a member of an enum is looked up much more slowly.
_REMAP: Final = int(Kind.REMAP)
_PENDING: Final = int(Kind.PENDING)
_FREE: Final = int(Kind.FREE)
_BAD_SPARE: Final = int(Kind.BAD_SPARE)
_KINDS: Final = frozenset(map(int, Kind))

Fault = tuple[int, str]
"""The number of a record, and what is wrong with it."""


def replay(packed: bytes | bytearray, limits: Limits) -> tuple[Extents, list[tuple[int, int]]]:
    """The extents that records add up to, and start and sectors of the bad places on the spare.

    Corrupt for the first record that cannot be.
    """
    columns = Columns.of(packed)
    if not _sound(columns, limits):
        for number, fault in record_faults(packed, limits):
            raise Corrupt(f"record {number} {fault}")
    extents = _as_they_are(columns)
    if extents is not None:
        return extents, []
    alone, shared, bad = _sort_out(columns)
    swept, origin, live = _sweep(columns, sorted(shared, key=columns.mains.__getitem__))
    both = columns.take(alone)
    both.extend(swept)
    extents = Extents(both, array("Q", alone) + origin, len(alone) + live + len(bad), shared)
    return extents, _merged([(columns.spares[at], columns.spares[at] + columns.sectors[at]) for at in bad])


def _sound(columns: Columns, limits: Limits) -> bool:
    """False if a record may be at fault, of which :func:`record_faults` has the last word."""
    if not columns.mains:
        return True
    kinds = set(columns.kinds)
    unit = limits.block_size // SECTOR
    if (
        not kinds <= _KINDS
        or not min(columns.sectors)
        or (unit > 1 and reduce(or_, chain(columns.mains, columns.spares, columns.sectors)) % unit)
        or max(map(add, columns.mains, columns.sectors)) > limits.main_sectors
    ):
        return False
    start, end = limits.data_start, limits.spare_sectors
    remaps = zip(columns.spares, columns.sectors, columns.kinds, strict=True)
    if not all(
        start <= spare and spare + sectors <= end for spare, sectors, kind in remaps if kind == _REMAP
    ):
        return False
    others = () if kinds == {_REMAP} else (at for at, kind in enumerate(columns.kinds) if kind != _REMAP)
    return not any(_fault(columns.record(at), limits) for at in others)


def record_faults(packed: bytes | bytearray, limits: Limits) -> Iterator[Fault]:
    """Every record that cannot be, and the first reason why."""
    for number, fields in enumerate(RECORD.iter_unpack(packed)):
        fault = _fault(Record._make(fields), limits)
        if fault:
            yield number, fault


def _fault(record: Record, limits: Limits) -> str:
    kind, unit = record.kind, limits.block_size // SECTOR
    if kind not in _KINDS:
        return f"has the unknown kind {kind}"
    if not record.sectors:
        return "has no sectors"
    if (record.sectors | record.main | record.spare) % unit:
        return "is not made of whole logical blocks"
    if kind != _BAD_SPARE and record.main + record.sectors > limits.main_sectors:
        return "names sectors that are not on the main device"
    if kind in (_PENDING, _FREE):
        return f"has spare sector {record.spare}, which it must not have" if record.spare else ""
    if kind == _BAD_SPARE and record.main:
        return f"names a bad place on the spare, but also main sector {record.main}"
    if record.spare < limits.data_start:
        return f"points at spare sector {record.spare}, into the metadata"
    if record.spare + record.sectors > limits.spare_sectors:
        return "names sectors that are not on the spare"
    return ""


def _apart(starts: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether ranges, given by their starts and their ends, each sorted, have nothing in common.

    At any place as many are open as have begun and not ended: one at most, if each
    start has the end of the range before it behind it.
    """
    return all(map(le, ends, islice(starts, 1, None)))


def _as_they_are(columns: Columns) -> Extents | None:
    """The records as extents, if no two name the same sector and none goes on in another."""
    if _BAD_SPARE in columns.kinds or _FREE in columns.kinds:
        return None
    starts = array("Q", sorted(columns.mains))
    ends = array("Q", sorted(map(add, columns.mains, columns.sectors)))
    if not _apart(starts, ends):
        return None
    extents = Extents(columns)
    if any(map(eq, ends, islice(starts, 1, None))):
        if _PENDING in columns.kinds:
            return None
        moved = array("q", map(sub, starts, map(columns.spares.__getitem__, extents.order)))
        neighbours = zip(ends, islice(starts, 1, None), moved, islice(moved, 1, None), strict=False)
        if any(end == start and one == other for end, start, one, other in neighbours):
            return None
    return extents


def _sort_out(columns: Columns) -> tuple[list[int], list[int], list[int]]:
    """Numbers of the records that mean what they say, of those to be swept, and of bad places.

    Swept are those that share a sector with another, or touch it.  A sector is shared if
    more ranges began before it than ended: the n-th range to begin does so before the one
    before it, in the order of the ends, has ended.  Free records that stand alone mean nothing.
    """
    of_main = [kind != _BAD_SPARE for kind in columns.kinds]
    starts = array("Q", sorted(compress(columns.mains, of_main)))
    ends = array("Q", sorted(compress(map(add, columns.mains, columns.sectors), of_main)))
    begins, stops = array("q"), array("q")
    for end, start in zip(ends, islice(starts, 1, None), strict=False):
        if end >= start:
            if stops and start - 1 <= stops[-1]:
                stops[-1] = end + 1
            else:
                begins.append(start - 1)
                stops.append(end + 1)
    alone, shared, bad = [], [], []
    for number, (main, sectors, kind) in enumerate(
        zip(columns.mains, columns.sectors, columns.kinds, strict=True)
    ):
        if kind == _BAD_SPARE:
            bad.append(number)
            continue
        at = bisect_left(begins, main + sectors) - 1
        if at >= 0 and stops[at] > main:
            shared.append(number)
        elif kind != _FREE:
            alone.append(number)
    return alone, shared, bad


def _sweep(columns: Columns, order: list[int]) -> tuple[Columns, "array[int]", int]:
    """Go over the main device once; of the records that name a place, the last one counts.

    Gives the extents, the record that each comes from, and how many records still count.

    ``alive`` is a heap of the records begun so far, latest record first.  Each step
    goes to where its top ends or the next record begins, so there are at most twice as
    many steps as records, whatever their overlaps.
    """
    swept, origin, live = Columns(), array("Q"), bytearray(len(columns.mains))
    starts, sectors, kinds = columns.mains, columns.sectors, columns.kinds
    alive: list[int] = []
    at, position, total = 0, 0, len(order)
    while alive or at < total:
        if not alive:
            position = starts[order[at]]
        while at < total and starts[order[at]] <= position:
            heappush(alive, -order[at])
            at += 1
        top = -alive[0]
        stop = starts[top] + sectors[top]
        if stop <= position:
            heappop(alive)
            continue
        if at < total:
            stop = min(stop, starts[order[at]])
        kind = kinds[top]
        if kind != _FREE:
            live[top] = True
            spare = columns.spares[top] + position - starts[top] if kind == _REMAP else 0
            extent = (position, spare, stop - position, kind, columns.errors[top], columns.times[top])
            if _append(swept, *extent):
                origin.append(top)
        position = stop
    return swept, origin, sum(live)


def _append(its: Columns, main: int, spare: int, sectors: int, kind: int, errors: int, time: int) -> bool:
    """Append what lies behind everything so far; False if the last extent goes on in it and grew."""
    touches = its.mains and its.kinds[-1] == kind and its.mains[-1] + its.sectors[-1] == main
    if touches and (kind == _PENDING or its.spares[-1] + its.sectors[-1] == spare):
        its.sectors[-1] += sectors
        its.errors[-1] = max(its.errors[-1], errors)
        its.times[-1] = max(its.times[-1], time)
        return False
    its.mains.append(main)
    its.spares.append(spare)
    its.sectors.append(sectors)
    its.kinds.append(kind)
    its.errors.append(errors)
    its.times.append(time)
    return True


def repeated(packed: bytes | bytearray, extents: Extents) -> Iterator[tuple[int, int]]:
    """Every record that says what the one before it at the same main sector said, and that one."""
    rows = [RECORD.unpack_from(packed, number * RECORD_SIZE) for number in extents.shared]
    # Sorted by main sector, and where that is the same in their own order.
    order = sorted(range(len(rows)), key=lambda at: rows[at][0])
    for earlier, later in pairwise(order):
        if rows[earlier][:4] == rows[later][:4]:
            yield extents.shared[later], extents.shared[earlier]


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and length of the union of ranges given by start and end."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((start, end))
    return [(start, end - start) for start, end in union]


def check_places(extents: Extents, data_start: int, taken: list[tuple[int, int]]) -> None:
    """Refuse remaps that share a spare sector, or touch the metadata or a ``taken`` (start, sectors)."""
    for _, fault in place_faults(extents, data_start, taken):
        raise Corrupt(f"a remap {fault}")


def place_faults(extents: Extents, data_start: int, taken: list[tuple[int, int]]) -> Iterator[Fault]:
    """Every remap whose place on the spare is not its own, by the number of its record."""
    its = extents.columns
    remaps = [at for at, kind in enumerate(its.kinds) if kind == _REMAP]
    spares = array("Q", map(its.spares.__getitem__, remaps))
    starts = array("Q", sorted(spares))
    ends = array("Q", sorted(map(add, spares, map(its.sectors.__getitem__, remaps))))
    union = _merged([(start, start + sectors) for start, sectors in taken])
    alone = not starts or (starts[0] >= data_start and _apart(starts, ends))
    if alone and not any(_touched(starts, ends, *each) for each in union):
        return
    remaps.sort(key=its.spares.__getitem__)
    before, holder, following = data_start, -1, 0
    for at in remaps:
        start, number = its.spares[at], extents.origin(at)
        end = start + its.sectors[at]
        while following < len(union) and sum(union[following]) <= start:
            following += 1
        if start < data_start:
            yield number, f"points at spare sector {start}, into the metadata"
        elif start < before:
            yield number, f"points at spare sector {start}, as record {holder} does"
        elif following < len(union) and union[following][0] < end:
            place = max(start, union[following][0])
            yield number, f"points at spare sector {place}, which is bad or holds a log segment"
        if end > before:
            before, holder = end, number


def _touched(starts: Sequence[int], ends: Sequence[int], start: int, sectors: int) -> bool:
    """Whether one of the ranges, which are apart, has a sector in this one."""
    return bisect_left(starts, start + sectors) > bisect_right(ends, start)
