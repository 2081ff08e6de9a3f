"""Where on a new spare the sectors go that live on an old one, while remaps come and go."""

from collections.abc import Iterable
from typing import NamedTuple

from pycontrol.errors import WrongDevice
from pycontrol.service.ranges import Range, difference, intersection, merged, near


class Piece(NamedTuple):
    """Sectors of main, where they live on the old spare, and where on the new one."""

    main: int
    sectors: int
    old: int
    new: int

    @property
    def end(self) -> int:
        """The main sector behind it."""
        return self.main + self.sectors

    def part(self, start: int, end: int) -> "Piece":
        """What of it lies between two main sectors."""
        return Piece(start, end - start, self.old + start - self.main, self.new + start - self.main)


class NoRoom(WrongDevice):
    """The new spare is too small for what lives on the old one."""


class Placement:
    """Places for what is remapped, one behind the other from ``start`` to ``end`` of the new spare.

    ``waiting`` are the main sectors that were not copied yet to where they now belong.
    """

    def __init__(self, start: int, end: int) -> None:
        self._start, self._end = start, end
        self.cursor = start
        self.pieces: list[Piece] = []
        self.waiting: list[Range] = []

    def follow(self, extents: Iterable[tuple[int, int, int]]) -> None:
        """Take over the present remaps: ``(main, sectors, old spare sector)``, in order.

        What lives where it lived keeps its place.  NoRoom, if even all anew would not fit.
        """
        wanted = list(extents)
        if not self._place(wanted):
            # Places of remaps that are gone were not used again; now they are.
            self.cursor, self.pieces, self.waiting = self._start, [], []
            if not self._place(wanted):
                raise NoRoom(f"{sum(each[1] for each in wanted)} sectors do not fit")

    def _place(self, wanted: list[tuple[int, int, int]]) -> bool:
        kept = list(_still(self.pieces, wanted))
        had = [(piece.main, piece.end) for piece in kept]
        without = [
            Piece(start, end - start, old + start - main, 0)
            for main, sectors, old in wanted
            for start, end in difference([(main, main + sectors)], near(had, main, main + sectors))
        ]
        # In the order of the old spare: so it is read, and the new one written, in long runs.
        fresh: list[Piece] = []
        cursor = self.cursor
        for piece in sorted(without, key=lambda piece: piece.old):
            fresh.append(piece._replace(new=cursor))
            cursor += piece.sectors
        if cursor > self._end:
            return False
        self.cursor = cursor
        self.pieces = sorted([*kept, *fresh])
        new = [(piece.main, piece.end) for piece in without]
        self.waiting = merged([*intersection(self.waiting, merged(had)), *new])
        return True

    def of(self, sectors: list[Range]) -> list[Piece]:
        """The parts of the pieces that are in these main sectors."""
        return list(_cut(self.pieces, sectors))


def _cut(pieces: list[Piece], sectors: list[Range]) -> Iterable[Piece]:
    rest = iter(sectors)
    hole = next(rest, None)
    for piece in pieces:
        while hole and hole[1] <= piece.main:
            hole = next(rest, None)
        while hole and hole[0] < piece.end:
            yield piece.part(max(hole[0], piece.main), min(hole[1], piece.end))
            if hole[1] > piece.end:
                break
            hole = next(rest, None)


def _still(pieces: list[Piece], wanted: list[tuple[int, int, int]]) -> Iterable[Piece]:
    """The parts of the pieces whose sectors live where they did."""
    rest = iter(wanted)
    extent = next(rest, None)
    for piece in pieces:
        while extent and extent[0] + extent[1] <= piece.main:
            extent = next(rest, None)
        while extent and extent[0] < piece.end:
            main, sectors, old = extent
            if old - main == piece.old - piece.main:
                yield piece.part(max(main, piece.main), min(main + sectors, piece.end))
            if main + sectors > piece.end:
                break
            extent = next(rest, None)
