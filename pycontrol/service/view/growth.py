"""How the damage of a disk grew, by the records on its spare."""

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Self

from pycontrol.metadata import Kind, Loaded, Records
from pycontrol.metadata.records import Columns

DAY: Final = 86400
WEEK: Final = 7
MONTH: Final = 30
EARLIEST: Final = 1_000_000_000
"""2001-09-09: a clock that tells less was never set."""

SLACK: Final = 300
"""Seconds that a record may be ahead of the clock, which is set now and then."""

_FREE: Final = int(Kind.FREE)
_REMAP: Final = int(Kind.REMAP)
_PENDING: Final = int(Kind.PENDING)
_BAD_SPARE: Final = int(Kind.BAD_SPARE)


def new_damage(records: Records, shared: Sequence[int]) -> "array[int]":
    """For each record the sectors of main that it was the first to call damaged.

    A pending block that is written becomes a remap, a place of the spare that fails gives
    way to another: neither is new damage.  A block that was unmapped and fails again is.
    ``shared`` are the records that have sectors in common with others, as replayed extents know them.
    """
    its = Columns.of(records.packed)
    fresh = array(
        "Q",
        (
            sectors if kind in (_REMAP, _PENDING) else 0
            for sectors, kind in zip(its.sectors, its.kinds, strict=True)
        ),
    )
    for number in shared:
        fresh[number] = 0
    order = sorted(shared, key=its.mains.__getitem__)
    # Over main once, from one edge of a record to the next; over each piece in the records' own order.
    over: list[int] = []
    at = position = 0
    while over or at < len(order):
        if not over:
            position = its.mains[order[at]]
        while at < len(order) and its.mains[order[at]] <= position:
            insort(over, order[at])
            at += 1
        stop = min(its.mains[number] + its.sectors[number] for number in over)
        if at < len(order):
            stop = min(stop, its.mains[order[at]])
        damaged = False
        for number in over:
            if its.kinds[number] == _FREE:
                damaged = False
            elif not damaged:
                damaged = True
                fresh[number] += stop - position
        position = stop
        over = [number for number in over if its.mains[number] + its.sectors[number] > position]
    return fresh


def dated(times: Iterable[int], now: float) -> Iterator[int | None]:
    """For each record, in order, seconds since 1970 before which it was not made; None if unknown.

    That is its own time, if the clock can have told it.  A record from a time without a
    clock, or of a clock that was ahead of ours, is not older than the one before it.
    """
    before: int | None = None
    for time in times:
        if EARLIEST <= time <= now + SLACK:
            before = min(time, int(now))
        yield before


def _doubtful(records: Iterable[tuple[int, bool]], committed: int, now: float) -> int:
    """How many failures may be new or old, of records with their times and whether they are such.

    The clock cannot have told their time, and no record or commit of long ago came after them.
    """
    long_ago = now - MONTH * DAY
    if EARLIEST <= committed <= long_ago:
        return 0
    count = 0
    for time, failure in records:
        if EARLIEST <= time <= long_ago:
            count = 0
        elif failure and not EARLIEST <= time <= now + SLACK:
            count += 1
    return count


@dataclass(slots=True)
class Window:
    """What was found failing in the last so many ``days``; not what somebody asked to be moved."""

    days: int
    places: int = 0
    """Records of new damage: a run of sectors that failed together is one."""
    sectors: int = 0
    pending: int = 0
    """Sectors of these that could not be read when they were found."""
    bad_spare: int = 0
    """Sectors of the spare that failed."""

    @property
    def per_day(self) -> float:
        """New places a day."""
        return self.places / self.days


@dataclass(frozen=True, slots=True)
class Growth:
    """New damage by time.  Sectors of 512 bytes, times in seconds since 1970."""

    day: Window
    week: Window
    month: Window
    places: int
    """Of all time, as far as the records tell."""
    sectors: int
    undated: int
    """Of these sectors, those of which nothing tells the time."""
    failures: int
    """Of the places, those that failed; the others were moved or given up on request."""
    last_failure: int
    """Time of the last one of these that has a time; 0 if none has."""
    doubtful: int
    """Records of failures that may be new: their time cannot be, and nothing says they are old."""
    times: "array[int]"
    """When new damage was found, in order, and ..."""
    amounts: "array[int]"
    """... of how many sectors."""

    @classmethod
    def of(cls, loaded: Loaded, now: float) -> Self:
        """From what is on the spare, looked at ``now``."""
        fresh = new_damage(loaded.records, loaded.extents.shared)
        its = Columns.of(loaded.records.packed)
        windows = day, week, month = Window(1), Window(WEEK), Window(MONTH)
        undated = failures = last_failure = 0
        when, amounts = array("Q"), array("Q")
        rows = zip(dated(its.times, now), its.kinds, its.sectors, its.errors, fresh, strict=True)
        for time, kind, sectors, errors, new in rows:
            failed = new if errors else 0
            failures += bool(failed)
            if time is None:
                undated += new
                continue
            if new:
                when.append(time)
                amounts.append(new)
            elif kind != _BAD_SPARE:
                continue
            if failed:
                last_failure = max(last_failure, time)
            for window in windows:
                if time > now - window.days * DAY:
                    window.places += bool(failed)
                    window.sectors += failed
                    window.pending += failed if kind == _PENDING else 0
                    window.bad_spare += sectors if kind == _BAD_SPARE else 0
        failing = (
            kind == _BAD_SPARE or bool(new and errors)
            for kind, errors, new in zip(its.kinds, its.errors, fresh, strict=True)
        )
        order = sorted(range(len(when)), key=when.__getitem__)
        return cls(
            day=day,
            week=week,
            month=month,
            places=sum(map(bool, fresh)),
            sectors=sum(fresh),
            undated=undated,
            failures=failures,
            last_failure=last_failure,
            doubtful=_doubtful(zip(its.times, failing, strict=True), loaded.time, now),
            times=array("Q", map(when.__getitem__, order)),
            amounts=array("Q", map(amounts.__getitem__, order)),
        )

    def course(self, now: float, bins: int) -> list[tuple[int, int]]:
        """The sum of damaged sectors at so many times, evenly from the first damage until ``now``.

        Empty if nothing has a date; what has none is in the sum from the start.
        """
        if not self.times:
            return []
        first, last = self.times[0], max(int(now), self.times[-1])
        sums = list(accumulate(self.amounts, initial=self.undated))
        ends = [first + (last - first) * number // bins for number in range(bins + 1)]
        return [(end, sums[bisect_right(self.times, end)]) for end in ends]
