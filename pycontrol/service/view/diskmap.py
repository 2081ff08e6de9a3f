"""Where the damage lies: a disk cut into regions, and what is in each.

Extents are added one by one and forgotten, so a million of them take no more memory
than the regions do.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from pycontrol.errors import UsageError
from pycontrol.service.extents import Extent

REGIONS: Final = 1024
"""A disk, or the part that is looked at, is cut into so many at most."""

GRAIN: Final = 8
"""Sectors of the smallest region: a block of 4 KiB."""


@dataclass(frozen=True, slots=True)
class Span:
    """Sectors from ``begin`` to before ``end``, cut into regions of ``size`` (the last may be smaller)."""

    begin: int
    end: int
    size: int

    @classmethod
    def cut(cls, begin: int, end: int, regions: int = REGIONS) -> Self:
        """Into that many regions at most, each of whole grains; UsageError for an empty span."""
        if not 0 <= begin < end:
            raise UsageError(f"there are no sectors from {begin} to {end}; name a range on the device")
        size = -(-(end - begin) // regions)
        return cls(begin, end, -(-size // GRAIN) * GRAIN)

    def __len__(self) -> int:
        return -(-(self.end - self.begin) // self.size)

    def region(self, number: int) -> tuple[int, int]:
        """First sector of a region, and the one behind its last."""
        begin = self.begin + number * self.size
        return begin, min(begin + self.size, self.end)

    def spread(self, start: int, sectors: int) -> Iterator[tuple[int, int]]:
        """The regions that a range touches, and how many of its sectors are in each."""
        at, end = max(start, self.begin), min(start + sectors, self.end)
        while at < end:
            number = (at - self.begin) // self.size
            until = min(end, self.begin + (number + 1) * self.size)
            yield number, until - at
            at = until


def zoomed(main_sectors: int, path: str) -> Span:
    """The span of a region of a whole disk, ``517``, or of a region of that one, ``517.3``.

    UsageError if there is no such region.
    """
    span = Span.cut(0, main_sectors)
    for word in path.split("."):
        if not (word.isascii() and word.isdigit() and len(word) <= 4 and int(word) < len(span)):
            raise UsageError(
                f"there is no region '{word}' in '{path}'; it is a number below {len(span)}, or several"
                " joined by points"
            )
        span = Span.cut(*span.region(int(word)))
    return span


def _zeros(count: int) -> "array[int]":
    return array("Q", bytes(8 * count))


@dataclass(slots=True)
class SpareUse:
    """What the sectors of the spare are used for, by region."""

    span: Span
    data: "array[int]" = field(init=False)
    log: "array[int]" = field(init=False)
    """Metadata and segments of its log."""
    bad: "array[int]" = field(init=False)

    def __post_init__(self) -> None:
        self.data, self.log, self.bad = (_zeros(len(self.span)) for _ in range(3))

    def add(self, use: "array[int]", start: int, sectors: int) -> None:
        """Count a range as ``data``, ``log`` or ``bad``."""
        for number, inside in self.span.spread(start, sectors):
            use[number] += inside


@dataclass(slots=True)
class DiskMap:
    """What is where on main.  ``keep`` extents at most are remembered one by one."""

    span: Span
    keep: int = 0
    remapped: "array[int]" = field(init=False)
    """Sectors, by region."""
    pending: "array[int]" = field(init=False)
    extents: "array[int]" = field(init=False)
    """How many of them touch the region."""
    listed: list[Extent] = field(default_factory=list)
    remapped_extents: int = 0
    pending_extents: int = 0

    def __post_init__(self) -> None:
        self.remapped, self.pending, self.extents = (_zeros(len(self.span)) for _ in range(3))

    def add(self, extent: Extent) -> None:
        """Count an extent, as far as it is in the span."""
        sectors = self.pending if extent.spare is None else self.remapped
        touched = False
        for number, inside in self.span.spread(extent.sector, extent.sectors):
            sectors[number] += inside
            self.extents[number] += 1
            touched = True
        if not touched:
            return
        if extent.spare is None:
            self.pending_extents += 1
        else:
            self.remapped_extents += 1
        if len(self.listed) < self.keep:
            self.listed.append(extent)

    @property
    def all_listed(self) -> bool:
        """Whether every extent was remembered."""
        return len(self.listed) == self.remapped_extents + self.pending_extents


def thresholds(counts: Sequence[int], shades: int) -> list[int]:
    """The least count for each shade, from the lightest; as steps of a constant ratio.

    Damage is clustered: by equal steps all but the worst region would look the same.
    """
    most = max(counts, default=0)
    steps = [max(1, round(most ** (shade / shades))) for shade in range(shades)]
    # No two shades may begin at the same count: the lighter ones are left out then.
    return sorted(set(steps)) if most else []


def shade_of(count: int, steps: Sequence[int]) -> int:
    """0 for none, else the number of the step that ``count`` has reached, from 1."""
    return sum(count >= step for step in steps)
