"""What records add up to, and what is wrong with them.

Whether a table is sound is asked of its columns; only of one that is not, each record is
looked at, to say which it is.
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import reduce
from heapq import heappop, heappush
from itertools import chain, compress, count, pairwise
from operator import or_
from struct import Struct
from typing import Final

from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import RECORD_SIZE, SECTOR
from pycontrol.metadata.ranges import (
    apart,
    bounds,
    crowded,
    either,
    encounters,
    going_on,
    in_a_row,
    kept,
    merged,
    picked,
    spread,
    touched,
    within,
)
from pycontrol.metadata.records import RECORD, Columns, Extents, Kind, Limits, Record

# Plain numbers for the loops: a member of an enum is looked up much more slowly.
_REMAP: Final = int(Kind.REMAP)
_PENDING: Final = int(Kind.PENDING)
_FREE: Final = int(Kind.FREE)
_BAD_SPARE: Final = int(Kind.BAD_SPARE)
_KINDS: Final = frozenset(map(int, Kind))
_STATES: Final = (_REMAP, _PENDING)
_SAID: Final = Struct("<QQIH")
"""The fields of a record that say something of sectors."""

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
    bad = columns.numbers(_BAD_SPARE)
    shared = _shared(columns, bad)
    alone = bytearray(columns.are(*_STATES))
    if not shared and 0 not in alone:
        return Extents(columns), []
    for number in shared:
        alone[number] = False
    origin = array("Q", compress(count(), alone))
    swept, swept_origin, live = _sweep(columns, shared)
    both = columns.where(alone)
    both.extend(swept)
    extents = Extents(both, origin + swept_origin, len(origin) + live + len(bad), shared)
    return extents, merged([(columns.spares[at], columns.spares[at] + columns.sectors[at]) for at in bad])


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
        or not within(columns.mains, columns.sectors, limits.main_sectors)
    ):
        return False
    places, sectors = columns.remaps()
    if min(places, default=limits.data_start) < limits.data_start:
        return False
    if not within(places, sectors, limits.spare_sectors):
        return False
    others = (at for kind in kinds - {_REMAP} for at in columns.numbers(kind))
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


def _shared(columns: Columns, bad: list[int]) -> "array[int]":
    """Numbers of the records that do not mean what they say, or not alone, by main sector.

    These share a sector with another, go on in their neighbour, or touch one that shares a
    sector, which may go on in them.  ``bad`` are those that name no main sector.
    """
    chosen, touch = _meeting(columns, bad)
    if touch:
        for number in _going_on(columns):
            chosen[number] = True
    for number in bad:
        chosen[number] = False
    return array("Q", sorted(compress(count(), chosen), key=columns.mains.__getitem__))


def _meeting(columns: Columns, bad: list[int]) -> tuple[bytearray, bool]:
    """Of each record 1 if it shares a sector with another or touches one that does; whether any touch."""
    mains, sectors = columns.of_main(bad)
    close = crowded(mains, sectors)
    starts, ends = bounds(kept(mains, close), kept(sectors, close))
    meet, touch = encounters(starts, ends)
    if 1 not in meet:
        return bytearray(len(columns.mains)), 1 in touch
    named = set(compress(starts, either(spread(meet, touch))))
    return bytearray(map(named.__contains__, columns.mains)), 1 in touch


def _going_on(columns: Columns) -> Iterator[int]:
    """Numbers of the records that are one extent with another, if no others share their sectors."""
    for kind in _STATES:
        chosen = columns.are(kind)
        if 1 not in chosen:
            continue
        # What is pending has no place: it goes on in what it touches.
        places = columns.spares if kind == _REMAP else columns.mains
        its = [kept(column, chosen) for column in (columns.mains, places, columns.sectors)]
        order: Sequence[int] = range(len(its[0]))
        # In the order in which the target gives out places, what goes on is next to each other, too.
        if not in_a_row(*its[1:]):
            order = array("Q", sorted(order, key=its[0].__getitem__))
            its = picked(order, *its)
        pairs = going_on(*its)
        if 1 in pairs:
            numbers = columns.numbers(kind)
            yield from map(numbers.__getitem__, compress(order, either(pairs)))


def _sweep(columns: Columns, order: Sequence[int]) -> tuple[Columns, "array[int]", int]:
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
    # Those at the same main sector are in their own order.
    said = (_SAID.unpack_from(packed, number * RECORD_SIZE) for number in extents.shared)
    for (earlier, later), (before, after) in zip(pairwise(extents.shared), pairwise(said), strict=True):
        if before == after:
            yield later, earlier


def check_places(extents: Extents, data_start: int, taken: list[tuple[int, int]]) -> None:
    """Refuse remaps that share a spare sector, or touch the metadata or a ``taken`` (start, sectors)."""
    for _, fault in place_faults(extents, data_start, taken):
        raise Corrupt(f"a remap {fault}")


def place_faults(extents: Extents, data_start: int, taken: list[tuple[int, int]]) -> Iterator[Fault]:
    """Every remap whose place on the spare is not its own, by the number of its record."""
    its = extents.columns
    starts, ends = bounds(*its.remaps())
    union = merged([(start, start + sectors) for start, sectors in taken])
    alone = not starts or (starts[0] >= data_start and apart(starts, ends))
    if alone and not any(touched(starts, ends, *each) for each in union):
        return
    # Of two that begin at the same sector the later record is at fault.
    remaps = sorted(its.numbers(_REMAP), key=lambda at: (its.spares[at], extents.origin(at)))
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
