"""Where the sectors of a device are, for who reads them from there while nothing moves."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from pycontrol.metadata import SECTOR, Kind, Loaded
from pycontrol.service.directio import Copy
from pycontrol.service.ranges import Range, difference, intersection, merged, scaled


def places(ranges: list[Range], loaded: Loaded) -> tuple[list[Copy], list[Copy], list[Range]]:
    """Where sectors of the device are: on main, on the spare, and nowhere."""
    mapped: list[Range] = []
    spare: list[Copy] = []
    pending: list[Range] = []
    for extent in loaded.extents:
        here = (extent.main, extent.main + extent.sectors)
        mapped.append(here)
        parts = list(_parts(ranges, here))
        if extent.kind is Kind.PENDING:
            pending += parts
        else:
            shift = extent.spare - extent.main
            spare += [
                Copy((start + shift) * SECTOR, start * SECTOR, (end - start) * SECTOR) for start, end in parts
            ]
    linear = difference(ranges, merged(mapped))
    main = [Copy(at, at, end - at) for at, end in scaled(linear, SECTOR)]
    return main, spare, merged(pending)


def within(copies: Iterable[Copy], part: Range) -> Iterator[Copy]:
    """What of them goes to this part of the target, in sectors."""
    [(first, behind)] = scaled([part], SECTOR)
    for each in copies:
        start, end = max(each.target, first), min(each.target + each.length, behind)
        if start < end:
            yield Copy(each.source + start - each.target, start, end - start)


def blocks(copies: Iterable[Copy], unit: int) -> Iterator[Copy]:
    """The same in blocks that fail by themselves, of ``unit`` bytes."""
    for each in copies:
        for at in range(0, each.length, unit):
            yield Copy(each.source + at, each.target + at, min(unit, each.length - at))


def _parts(ranges: list[Range], here: Range) -> Iterator[Range]:
    at = max(0, bisect_left(ranges, (here[0], 0)) - 1)
    while at < len(ranges) and ranges[at][0] < here[1]:
        yield from intersection([ranges[at]], [here])
        at += 1
