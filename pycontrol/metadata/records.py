"""Records, and the state they add up to.

A table may hold a million records, so both views are sequences over packed bytes that
make an object only for the one that is looked at.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import compress, count
from typing import Final, NamedTuple, Self, overload

from pycontrol.metadata.layout import RECORD_SIZE
from pycontrol.metadata.ranges import kept

RECORD: Final = struct.Struct("<QQIHHQ")


class Kind(IntEnum):
    """What a record says."""

    REMAP = 1
    PENDING = 2
    FREE = 4
    BAD_SPARE = 8


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
        return Record(*RECORD.unpack_from(self.packed, range(len(self))[index] * RECORD_SIZE))

    def __iter__(self) -> Iterator[Record]:
        return map(Record._make, RECORD.iter_unpack(self.packed))


def pack(records: Iterable[Record]) -> bytes:
    """Records as they stand on the medium."""
    return b"".join(RECORD.pack(*record) for record in records)


class Columns:
    """The fields of many records, one array each: what is done to a million of them is done in C."""

    __slots__ = ("errors", "kinds", "mains", "sectors", "spares", "times")

    def __init__(self) -> None:
        self.mains, self.spares, self.sectors, self.times = array("Q"), array("Q"), array("Q"), array("Q")
        self.kinds, self.errors = array("H"), array("H")

    @classmethod
    def of(cls, packed: bytes | bytearray) -> Self:
        """The fields of packed records."""
        columns = cls()
        # One after the other: each of these is as large as all records.
        numbers = _integers("Q", packed)
        columns.mains, columns.spares, columns.times = numbers[0::4], numbers[1::4], numbers[3::4]
        numbers = _integers("H", packed)
        columns.kinds, columns.errors = numbers[10::16], numbers[11::16]
        numbers = _integers("I", packed)
        columns.sectors = array("Q", numbers[4::8])
        return columns

    def record(self, at: int) -> Record:
        """One of them."""
        return Record(
            self.mains[at], self.spares[at], self.sectors[at], self.kinds[at], self.errors[at], self.times[at]
        )

    def are(self, *kinds: int) -> bytes:
        """Of each record, 1 if it is of one of these kinds, else 0; all are of known ones."""
        low = self.kinds.tobytes()[sys.byteorder == "big" :: 2]
        return low.translate(bytes(each in kinds for each in range(256)))

    def numbers(self, kind: int) -> list[int]:
        """Where those of one kind are."""
        return list(compress(count(), self.are(kind)))

    def where(self, chosen: bytes | bytearray) -> "Columns":
        """Those records, in their order, whose byte is not zero."""
        columns = Columns()
        for name in self.__slots__:
            setattr(columns, name, kept(getattr(self, name), chosen))
        return columns

    def of_main(self, bad: Sequence[int]) -> "tuple[array[int], array[int]]":
        """Main sector and sectors of each record but the ``bad``, which name none."""
        chosen = bytearray(b"\1") * len(self.mains)
        for number in bad:
            chosen[number] = False
        return kept(self.mains, chosen), kept(self.sectors, chosen)

    def remaps(self) -> "tuple[array[int], array[int]]":
        """Spare sector and sectors of each remap."""
        chosen = self.are(Kind.REMAP)
        return kept(self.spares, chosen), kept(self.sectors, chosen)

    def extend(self, other: "Columns") -> None:
        """Add the records of another."""
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))


def _integers(typecode: str, packed: bytes | bytearray) -> "array[int]":
    found = array(typecode)
    found.frombytes(packed)
    if sys.byteorder == "big":
        found.byteswap()
    return found


class Extents(Sequence[Extent]):
    """Extents sorted by main sector, kept as columns.

    The columns may be those of records in their own order; they are sorted when somebody looks.
    ``live`` is how many records still say something, be it of a bad place on the spare;
    ``shared`` are the numbers of those that share main sectors with others, and of some whose
    neighbours go on in them, by main sector.
    """

    __slots__ = ("_order", "_origin", "columns", "live", "shared")

    def __init__(
        self,
        columns: Columns,
        origin: "Sequence[int] | None" = None,
        live: int = 0,
        shared: Sequence[int] = (),
    ) -> None:
        self.columns = columns
        self.live = len(columns.mains) if origin is None else live
        self.shared = shared
        self._origin = origin
        self._order: array[int] | None = None

    def __len__(self) -> int:
        return len(self.columns.mains)

    @property
    def order(self) -> "array[int]":
        """Where in the columns each extent is."""
        if self._order is None:
            mains = self.columns.mains
            self._order = array("Q", sorted(range(len(mains)), key=mains.__getitem__))
        return self._order

    def origin(self, at: int) -> int:
        """The number of the record that the extent at this place in the columns comes from.

        It is the first if several joined.
        """
        return at if self._origin is None else self._origin[at]

    @overload
    def __getitem__(self, index: int) -> Extent: ...
    @overload
    def __getitem__(self, index: slice) -> list[Extent]: ...
    def __getitem__(self, index: int | slice) -> Extent | list[Extent]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        its, at = self.columns, self.order[index]
        return Extent(
            its.mains[at], its.spares[at], its.sectors[at], Kind(its.kinds[at]), its.errors[at], its.times[at]
        )

    def count(self, kind: object) -> int:
        """Extents of one kind; of anything else, how often it occurs."""
        if isinstance(kind, Kind):
            return self.columns.kinds.count(kind)
        return super().count(kind)

    def sectors(self, kind: Kind) -> int:
        """Sectors in all extents of one kind."""
        its = self.columns
        return sum(each for each, found in zip(its.sectors, its.kinds, strict=True) if found == kind)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the numbers in a record are checked against; all in sectors, ``block_size`` in bytes."""

    main_sectors: int
    spare_sectors: int
    block_size: int
    data_start: int = 0
