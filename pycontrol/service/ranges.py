"""Ranges of numbers, half-open: sectors, blocks or bytes, whichever the caller counts in.

Sets of them are lists in ascending order whose members neither overlap nor touch, as
:func:`merged` makes them; all work here but :func:`near` is linear in their length.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

Range = tuple[int, int]
"""From the first number to the one behind the last."""


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers, in order, each once; empty ranges vanish."""
    found: list[Range] = []
    ordered = True
    for start, end in ranges:
        if start >= end:
            continue
        if found and found[-1][0] <= start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
            continue
        ordered = ordered and (not found or found[-1][1] < start)
        found.append((start, end))
    # Lists come in order as a rule; sorting them again would not hurt, but end the recursion.
    return found if ordered else merged(sorted(found))


def total(ranges: Iterable[Range]) -> int:
    """How many numbers are in them."""
    return sum(end - start for start, end in ranges)


def intersection(one: Iterable[Range], other: Iterable[Range]) -> list[Range]:
    """What is in both sets."""
    return list(_common(iter(one), iter(other)))


def _common(one: Iterator[Range], other: Iterator[Range]) -> Iterator[Range]:
    a, b = next(one, None), next(other, None)
    while a and b:
        start, end = max(a[0], b[0]), min(a[1], b[1])
        if start < end:
            yield start, end
        if a[1] <= b[1]:
            a = next(one, None)
        else:
            b = next(other, None)


def difference(one: Iterable[Range], other: Iterable[Range]) -> list[Range]:
    """What is in the first set and not in the second."""
    found: list[Range] = []
    rest = iter(other)
    hole = next(rest, None)
    for begin, end in one:
        start = begin
        while hole and hole[1] <= start:
            hole = next(rest, None)
        while hole and hole[0] < end:
            if start < hole[0]:
                found.append((start, hole[0]))
            start = hole[1]
            if start >= end:
                break
            hole = next(rest, None)
        if start < end:
            found.append((start, end))
    return found


def near(ranges: list[Range], start: int, end: int) -> list[Range]:
    """Those of a set that overlap ``start`` to ``end``, and perhaps the one before; found by bisection."""
    first = max(0, bisect_left(ranges, (start, 0)) - 1)
    return ranges[first : bisect_left(ranges, (end, 0))]


def outward(ranges: Iterable[Range], step: int) -> list[Range]:
    """Every multiple of ``step`` that is touched, whole."""
    return merged((start // step * step, -(-end // step) * step) for start, end in ranges)


def inward(ranges: Iterable[Range], step: int) -> list[Range]:
    """Every multiple of ``step`` that is in them whole."""
    return merged((-(-start // step) * step, end // step * step) for start, end in ranges)


def scaled(ranges: Iterable[Range], factor: int) -> list[Range]:
    """The same in a unit ``factor`` times smaller."""
    return [(start * factor, end * factor) for start, end in ranges]


def pieces(ranges: Iterable[Range], most: int) -> Iterator[Range]:
    """The same numbers in ranges of at most ``most``."""
    for start, end in ranges:
        for at in range(start, end, most):
            yield at, min(at + most, end)
