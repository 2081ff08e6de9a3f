"""Ranges of sectors, a million at a time: their bounds are sorted and compared as columns, in C."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import chain, compress, repeat
from operator import add, eq, itemgetter, ne

from pycontrol.metadata.lanes import Lanes


def picked(order: Sequence[int], *columns: "array[int]") -> "list[array[int]]":
    """Of each column the numbers at these places, in this order."""
    if len(order) < 2:
        return [array(column.typecode, [column[at] for at in order]) for column in columns]
    # Much faster than asking for one after the other.
    pick = itemgetter(*order)
    return [array(column.typecode, pick(column)) for column in columns]


def kept(column: "array[int]", chosen: bytes | bytearray) -> "array[int]":
    """The numbers whose byte of ``chosen`` is not zero."""
    if 0 not in chosen:
        return column
    if 8 * chosen.count(0) > len(chosen):
        return array(column.typecode, compress(column, chosen))
    # Much faster than to ask of each: in pieces, from one that is left out to the next.
    pieces, begin = array(column.typecode), 0
    while (end := chosen.find(0, begin)) >= 0:
        pieces += column[begin:end]
        begin = end + 1
    return pieces + column[begin:]


def usual(sectors: "array[int]") -> tuple[int, int]:
    """The most frequent of some numbers, and how many there are of it."""
    first = sectors[:1]
    if first * len(sectors) == sectors:
        return first[0], len(sectors)
    ((most, times),) = Counter(sectors).most_common(1)
    return most, times


def within(starts: "array[int]", sectors: "array[int]", end: int) -> bool:
    """Whether every range ends there or before; of any numbers."""
    return not starts or max(starts) + max(sectors) <= end or max(map(add, starts, sectors)) <= end


def bounds(starts: "array[int]", sectors: "array[int]") -> "tuple[array[int], array[int]]":
    """Starts and ends of ranges, each sorted by itself.

    Ranges of one length end in the order in which they start: where that is the length of
    most, sorting their starts will do.
    """
    if not starts:
        return array("Q"), array("Q")
    length, times = usual(sectors)
    if 2 * times < len(starts):
        return _sorted_together(starts, sectors)
    same = bytes(map(eq, sectors, repeat(length))) if times < len(starts) else b"\1"
    first = array("Q", sorted(kept(starts, same)))
    ends = (Lanes.of(first) + length).column()
    if times == len(starts):
        return first, ends
    other = bytes(map(ne, sectors, repeat(length)))
    rest, rest_ends = _sorted_together(kept(starts, other), kept(sectors, other))
    return array("Q", sorted(chain(first, rest))), array("Q", sorted(chain(ends, rest_ends)))


def _sorted_together(starts: "array[int]", sectors: "array[int]") -> "tuple[array[int], array[int]]":
    begins = Lanes.of(starts)
    if begins.above(begins.following()):
        order = array("Q", sorted(range(len(starts)), key=starts.__getitem__))
        starts, sectors = picked(order, starts, sectors)
    ends = Lanes.of(starts) + Lanes.of(sectors)
    # Where ranges have nothing in common their ends are sorted already.
    if ends.above(ends.following()):
        return starts, array("Q", sorted(ends.column()))
    return starts, ends.column()


def crowded(starts: "array[int]", sectors: "array[int]") -> bytes:
    """Of each range 1 if it may share a sector with another or touch it, else 0.

    Where ranges have different lengths, and room, this is much faster than to sort starts
    and lengths together, and leaves few ranges for that.
    """
    everybody = b"\1" * len(starts)
    if not starts or 2 * usual(sectors)[1] > len(starts):
        return everybody
    longest = max(sectors)
    if max(starts) - min(starts) < 2 * longest * len(starts):
        return everybody
    begins = array("Q", sorted(starts))
    lanes = Lanes.of(begins)
    near = (lanes + longest + 1).above(lanes.following())
    if not near:
        return bytes(len(starts))
    named = set(compress(begins, either(near.flags()[:-1])))
    return bytes(map(named.__contains__, starts))


def apart(starts: "array[int]", ends: "array[int]") -> bool:
    """Whether each range ends before the next one begins, or there.

    If so, and starts and ends are each sorted by itself, ranges have nothing in common: at
    any place as many are open as have begun and not ended, which is one at most.
    """
    return not Lanes.of(ends).above(Lanes.of(starts).following())


def encounters(starts: "array[int]", ends: "array[int]") -> tuple[bytes, bytes]:
    """Of each place and the next where a range begins, 1 if ranges share sectors; and 1 if they touch.

    More ranges have begun than ended where they share sectors.  Starts and ends are each sorted by itself.
    """
    following, lanes = Lanes.of(starts).following(), Lanes.of(ends)
    return lanes.above(following).flags()[:-1], lanes.equal(following).flags()[:-1]


def in_a_row(starts: "array[int]", sectors: "array[int]") -> bool:
    """Whether each range ends before the next one begins, or there, as they stand."""
    lanes = Lanes.of(starts)
    return not (lanes + Lanes.of(sectors)).above(lanes.following())


def going_on(mains: "array[int]", places: "array[int]", sectors: "array[int]") -> bytes:
    """Of each range and the next, 1 if the next begins where it ends, on main and in its place."""
    main, place, length = Lanes.of(mains), Lanes.of(places), Lanes.of(sectors)
    on_main = (main + length).equal(main.following())
    return (on_main & (place + length).equal(place.following())).flags()[:-1]


def touched(starts: Sequence[int], ends: Sequence[int], start: int, sectors: int) -> bool:
    """Whether one of the ranges, which are apart, has a sector in this one."""
    return bisect_left(starts, start + sectors) > bisect_right(ends, start)


def either(pairs: bytes) -> bytes:
    """Of each in a row, 1 if it is one of a pair; ``pairs`` says of each but the last if it is with the
    next one."""
    number = int.from_bytes(pairs, "little")
    return (number | number << 8).to_bytes(len(pairs) + 1, "little")


def spread(pairs: bytes, touching: bytes) -> bytes:
    """``pairs``, and those of ``touching`` that have one in common with them; alike, 0 or 1 of each."""
    number = int.from_bytes(pairs, "little")
    beside = int.from_bytes(touching, "little") & (number << 8 | number >> 8)
    return (number | beside).to_bytes(len(pairs), "little")


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and length of the union of ranges given by start and end."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((start, end))
    return [(start, end - start) for start, end in union]
