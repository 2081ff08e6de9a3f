"""Records, and the state they add up to.

A table may hold a million records, so both views are sequences over packed bytes that
make an object only for the one that is looked at.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from heapq import heappop, heappush
from typing import Final, NamedTuple, overload

from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import RECORD_SIZE, SECTOR

_RECORD: Final = struct.Struct("<QQIHHQ")


class Kind(IntEnum):
    """What a record says."""

    REMAP = 1
    PENDING = 2
    FREE = 4
    BAD_SPARE = 8


# Plain numbers for the loops: a member of an enum is looked up much more slowly.
_REMAP: Final = int(Kind.REMAP)
_PENDING: Final = int(Kind.PENDING)
_FREE: Final = int(Kind.FREE)
_BAD_SPARE: Final = int(Kind.BAD_SPARE)


class Record(NamedTuple):
    """One record as it stands on the medium; ``kind`` is a :class:`Kind` once checked."""

    main: int
    spare: int
    sectors: int
    kind: int
    errors: int = 0
    time: int = 0


class Extent(NamedTuple):
    """Neighbouring sectors in one state, remapped or pending (``spare`` is 0 then).

    Where records were merged, ``errors`` is the largest and ``time`` the latest of them.
    """

    main: int
    spare: int
    sectors: int
    kind: Kind
    errors: int
    time: int


class Records(Sequence[Record]):
    """All records in order, over their packed bytes."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes | bytearray = b"") -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed) // RECORD_SIZE

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return Record(*_RECORD.unpack_from(self.packed, range(len(self))[index] * RECORD_SIZE))

    def __iter__(self) -> Iterator[Record]:
        return map(Record._make, _RECORD.iter_unpack(self.packed))


def pack(records: Iterable[Record]) -> bytes:
    """Records as they stand on the medium."""
    return b"".join(_RECORD.pack(*record) for record in records)


class Extents(Sequence[Extent]):
    """Extents sorted by main sector, each one machine word a field."""

    __slots__ = ("_errors", "_kinds", "_mains", "_sectors", "_spares", "_times")

    def __init__(self) -> None:
        self._mains, self._spares, self._sectors = array("Q"), array("Q"), array("Q")
        self._kinds, self._errors, self._times = array("B"), array("H"), array("Q")

    def __len__(self) -> int:
        return len(self._mains)

    @overload
    def __getitem__(self, index: int) -> Extent: ...
    @overload
    def __getitem__(self, index: slice) -> list[Extent]: ...
    def __getitem__(self, index: int | slice) -> Extent | list[Extent]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return Extent(
            self._mains[index], self._spares[index], self._sectors[index],
            Kind(self._kinds[index]), self._errors[index], self._times[index],
        )  # fmt: skip

    def add(self, main: int, spare: int, sectors: int, kind: int, errors: int, time: int) -> None:
        """Append what lies behind everything so far, merged with its neighbour if that goes on in it."""
        if self._mains and self._kinds[-1] == kind and self._mains[-1] + self._sectors[-1] == main:
            follows = self._spares[-1] + self._sectors[-1] == spare if kind == _REMAP else True
            if follows:
                self._sectors[-1] += sectors
                self._errors[-1] = max(self._errors[-1], errors)
                self._times[-1] = max(self._times[-1], time)
                return
        self._mains.append(main)
        self._spares.append(spare)
        self._sectors.append(sectors)
        self._kinds.append(kind)
        self._errors.append(errors)
        self._times.append(time)

    def count(self, kind: object) -> int:
        """Extents of one kind; of anything else, how often it occurs."""
        if isinstance(kind, Kind):
            return self._kinds.count(kind)
        return super().count(kind)

    def sectors(self, kind: Kind) -> int:
        """Sectors in all extents of one kind."""
        return sum(each for each, found in zip(self._sectors, self._kinds, strict=True) if found == kind)

    def on_spare(self) -> Iterator[tuple[int, int]]:
        """Start and end on the spare of every remap, sorted by start."""
        remaps = [index for index, kind in enumerate(self._kinds) if kind == _REMAP]
        remaps.sort(key=self._spares.__getitem__)
        for index in remaps:
            yield self._spares[index], self._spares[index] + self._sectors[index]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the numbers in a record are checked against; all in sectors, ``block_size`` in bytes."""

    main_sectors: int
    spare_sectors: int
    block_size: int
    data_start: int = 0


def replay(packed: bytes | bytearray, limits: Limits) -> tuple[Extents, list[tuple[int, int]]]:
    """The extents that records add up to, and start and sectors of the bad places on the spare."""
    starts, ends = array("Q"), array("Q")
    order: list[int] = []
    bad: list[tuple[int, int]] = []
    unit = limits.block_size // SECTOR
    main_sectors, spare_sectors, data_start = limits.main_sectors, limits.spare_sectors, limits.data_start
    for index, (main, spare, sectors, kind, _, _) in enumerate(_RECORD.iter_unpack(packed)):
        if (
            not sectors
            or (sectors | main | spare) % unit
            or main + sectors > main_sectors
            or (kind == _REMAP and (spare < data_start or spare + sectors > spare_sectors))
            or kind not in (_REMAP, _PENDING, _FREE)
            or (kind != _REMAP and spare)
        ):
            _check_bad_spare(index, Record(main, spare, sectors, kind), unit, limits)
            bad.append((spare, spare + sectors))
            starts.append(0)
            ends.append(0)
            continue
        starts.append(main)
        ends.append(main + sectors)
        order.append(index)
    order.sort(key=starts.__getitem__)
    return _sweep(packed, starts, ends, order), _merged(bad)


def _check_bad_spare(index: int, record: Record, unit: int, limits: Limits) -> None:
    """Refuse a record that is not even a sound "bad spare"."""
    if record.kind not in (_REMAP, _PENDING, _FREE, _BAD_SPARE):
        raise Corrupt(f"record {index} has the unknown kind {record.kind}")
    if not record.sectors or (record.sectors | record.main | record.spare) % unit:
        raise Corrupt(f"record {index} is not made of whole logical blocks")
    if record.kind in (_REMAP, _BAD_SPARE) and record.spare < limits.data_start:
        raise Corrupt(f"record {index} points at spare sector {record.spare}, into the metadata")
    if record.kind != _BAD_SPARE:
        raise Corrupt(f"record {index} names sectors that are not on the device")
    if record.main or record.spare + record.sectors > limits.spare_sectors:
        raise Corrupt(f"record {index} names a bad place that is not on the spare")


def _sweep(packed: bytes | bytearray, starts: "array[int]", ends: "array[int]", order: list[int]) -> Extents:
    """Go over the main device once; of the records that name a place, the last one counts.

    ``alive`` is a heap of the records begun so far, latest record first.  Each step
    goes to where its top ends or the next record begins, so there are at most twice as
    many steps as records, whatever their overlaps.
    """
    extents = Extents()
    alive: list[int] = []
    at, position, total = 0, 0, len(order)
    while alive or at < total:
        if not alive:
            position = starts[order[at]]
        while at < total and starts[order[at]] <= position:
            heappush(alive, -order[at])
            at += 1
        top = -alive[0]
        if ends[top] <= position:
            heappop(alive)
            continue
        stop = ends[top]
        if at < total:
            stop = min(stop, starts[order[at]])
        _, spare, _, kind, errors, time = _RECORD.unpack_from(packed, top * RECORD_SIZE)
        if kind == _REMAP:
            extents.add(position, spare + position - starts[top], stop - position, kind, errors, time)
        elif kind == _PENDING:
            extents.add(position, 0, stop - position, kind, errors, time)
        position = stop
    return extents


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
    union = _merged([(start, start + sectors) for start, sectors in taken])
    begins = [start for start, _ in union]
    before = data_start
    for start, end in extents.on_spare():
        if start < data_start:
            raise Corrupt(f"a remap points at spare sector {start}, into the metadata")
        if start < before:
            raise Corrupt(f"two remaps point at spare sector {start}")
        before = end
        last = bisect_left(begins, end) - 1
        if last >= 0 and sum(union[last]) > start:
            place = max(start, union[last][0])
            raise Corrupt(f"a remap points at spare sector {place}, which is bad or holds a log segment")
