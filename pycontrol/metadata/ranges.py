"""Ranges of sectors, a million at a time: their bounds are sorted and compared as columns, in C."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, compress, islice, repeat
from operator import add, eq, itemgetter, le, ne, or_


def picked(order: Sequence[int], *columns: "array[int]") -> "list[array[int]]":
    """Of each column the numbers at these places, in this order."""
    if len(order) < 2:
        return [array(column.typecode, [column[at] for at in order]) for column in columns]
    # Much faster than asking for one after the other.
    pick = itemgetter(*order)
    return [array(column.typecode, pick(column)) for column in columns]


def bounds(starts: "array[int]", sectors: "array[int]") -> "tuple[array[int], array[int]]":
    """Starts and ends of ranges, each sorted by itself.

    Ranges of one length end in the order in which they start: where that is the length of
    most, sorting their starts will do.
    """
    if not starts:
        return array("Q"), array("Q")
    ((usual, times),) = Counter(sectors).most_common(1)
    if 2 * times < len(starts):
        return _sorted_together(starts, sectors)
    first = array("Q", sorted(compress(starts, map(eq, sectors, repeat(usual)))))
    ends = array("Q", map(add, first, repeat(usual)))
    if times == len(starts):
        return first, ends
    other = bytes(map(ne, sectors, repeat(usual)))
    rest, rest_ends = _sorted_together(
        array("Q", compress(starts, other)), array("Q", compress(sectors, other))
    )
    return array("Q", sorted(chain(first, rest))), array("Q", sorted(chain(ends, rest_ends)))


def _sorted_together(starts: "array[int]", sectors: "array[int]") -> "tuple[array[int], array[int]]":
    order = array("Q", sorted(range(len(starts)), key=starts.__getitem__))
    starts, sectors = picked(order, starts, sectors)
    # Where ranges have nothing in common their ends are sorted already, which is soon seen.
    return starts, array("Q", sorted(map(add, starts, sectors)))


def apart(starts: Sequence[int], ends: Sequence[int]) -> bool:
    """Whether each range ends before the next one begins, or there.

    If so, and starts and ends are each sorted by itself, ranges have nothing in common: at
    any place as many are open as have begun and not ended, which is one at most.
    """
    return all(map(le, ends, islice(starts, 1, None)))


def touched(starts: Sequence[int], ends: Sequence[int], start: int, sectors: int) -> bool:
    """Whether one of the ranges, which are apart, has a sector in this one."""
    return bisect_left(starts, start + sectors) > bisect_right(ends, start)


def either(pairs: bytes) -> Iterator[int]:
    """Whether each in a row is one of a pair; ``pairs`` says of each but the last if it is with the next."""
    return map(or_, chain(b"\0", pairs), chain(pairs, b"\0"))


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and length of the union of ranges given by start and end."""
    union: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((start, end))
    return [(start, end - start) for start, end in union]
