"""Copying what lives on a spare to a new one, while it goes on being written."""

from bisect import bisect_right
from collections.abc import Iterator
from time import monotonic

from pycontrol.errors import DeviceIoError
from pycontrol.metadata import BLOCK, SECTOR, Extent, Geometry, Kind, Loaded, Record
from pycontrol.service.directio import Copy, Direct, copy
from pycontrol.service.move.placement import Piece, Placement
from pycontrol.service.move.replace_plan import remaps
from pycontrol.service.move.rounds import Rounds
from pycontrol.service.move.written import Counts, Written
from pycontrol.service.progress import Progress
from pycontrol.service.ranges import Range, difference, intersection, merged, near, total
from pycontrol.text import plain


class Filling:
    """What of an old spare was copied to a new one, and what must be once more.

    ``lost`` are the main sectors whose place on the old spare could not be read.
    """

    def __init__(
        self, source: Direct, target: Direct, geometry: Geometry, sectors: int, unit: int, written: Written
    ) -> None:
        """``sectors`` has the new spare, ``unit`` bytes the smallest block that fails by itself."""
        self._source, self._target, self._geometry, self._unit = source, target, geometry, unit
        self._written = written
        self._counts: Counts | None = None
        self._dirty: list[Range] = []
        self.placement = Placement(geometry.data_start, sectors)
        self.lost: list[Range] = []

    def counts(self) -> Counts:
        """How often each area was written.

        To be taken before the metadata is read that :meth:`left` is told.
        """
        return self._written.counts()

    def left(self, loaded: Loaded, counts: Counts) -> list[Piece]:
        """What must be copied: it is new, or may have been written since it was copied.

        NoRoom if the new spare is too small for what was remapped meanwhile.
        """
        if self._counts is not None:
            self._dirty = merged([*self._dirty, *self._written.between(self._counts, counts)])
        self._counts = counts
        self.placement.follow(remaps(loaded))
        there = merged((piece.main, piece.end) for piece in self.placement.pieces)
        self.lost = intersection(self.lost, there)
        return self.placement.of(merged([*self.placement.waiting, *self._dirty]))

    def lost_blocks(self) -> list[Piece]:
        """What could not be read, in blocks that fail by themselves."""
        step = self._unit // SECTOR
        return [
            piece.part(start, min(start + step, piece.end))
            for piece in self.placement.of(self.lost)
            for start in range(piece.main, piece.end, step)
        ]

    def copy(self, pieces: list[Piece], progress: Progress, rounds: Rounds, what: str) -> None:
        """Copy these, all that was left; ``what`` is how ``progress`` calls it.

        What cannot be read is in ``lost`` afterwards.  DeviceIoError if the new spare cannot be written,
        or nothing can be read of the old one.
        """
        amount = sum(piece.sectors for piece in pieces) * SECTOR
        began = monotonic()
        advance = progress(what, amount)
        ordered = sorted(pieces, key=lambda piece: piece.old)
        failed = copy(self._source, self._target, _runs(ordered), self._unit, advance, self._alive)
        rounds.did(amount, monotonic() - began)
        self._dirty, self.placement.waiting = [], []
        tried = merged((piece.main, piece.end) for piece in pieces)
        self.lost = merged([*difference(self.lost, tried), *_mains(ordered, failed)])

    def _alive(self) -> None:
        """DeviceIoError if nothing can be read of the old spare any more, not even its metadata."""
        for copy_number in range(self._geometry.copies):
            try:
                self._source.read(self._geometry.slot(copy_number), BLOCK)
                return
            except OSError:
                continue
        raise DeviceIoError(f"{plain(self._source.path)} cannot be read at all any more; nothing was changed")

    def records(self, loaded: Loaded) -> list[Record]:
        """The metadata's records for the new spare; what is lost is pending."""
        return _joined(self._records(loaded))

    def _records(self, loaded: Loaded) -> Iterator[Record]:
        live = [extent for extent in loaded.extents if extent.kind is Kind.REMAP]
        pieces = iter(self.placement.of([(extent.main, extent.main + extent.sectors) for extent in live]))
        piece = next(pieces, None)
        for extent in loaded.extents:
            if extent.kind is not Kind.REMAP:
                yield Record(*extent)
                continue
            while piece and piece.main < extent.main + extent.sectors:
                yield from self._whole_and_lost(piece, extent)
                piece = next(pieces, None)

    def _whole_and_lost(self, piece: Piece, extent: Extent) -> Iterator[Record]:
        here = [(piece.main, piece.end)]
        gone = intersection(here, near(self.lost, *here[0]))
        for start, end in sorted([*gone, *difference(here, gone)]):
            if (start, end) in gone:
                yield Record(start, 0, end - start, Kind.PENDING, extent.errors, extent.time)
            else:
                place = piece.new + start - piece.main
                yield Record(start, place, end - start, Kind.REMAP, extent.errors, extent.time)

    @property
    def lost_sectors(self) -> int:
        """Sectors that are still lost."""
        return total(self.lost)


def _joined(records: Iterator[Record]) -> list[Record]:
    """Neighbours of one extent that stayed neighbours are one record again."""
    found: list[Record] = []
    for record in records:
        last = found[-1] if found else None
        if (
            last
            and last[3:] == record[3:]
            and last.main + last.sectors == record.main
            and (record.kind == Kind.PENDING or last.spare + last.sectors == record.spare)
        ):
            found[-1] = last._replace(sectors=last.sectors + record.sectors)
        else:
            found.append(record)
    return found


def _runs(pieces: list[Piece]) -> Iterator[Copy]:
    """Pieces in the order of the old spare, neighbours in one."""
    start: Piece | None = None
    sectors = 0
    for piece in pieces:
        if start and start.old + sectors == piece.old and start.new + sectors == piece.new:
            sectors += piece.sectors
            continue
        if start:
            yield Copy(start.old * SECTOR, start.new * SECTOR, sectors * SECTOR)
        start, sectors = piece, piece.sectors
    if start:
        yield Copy(start.old * SECTOR, start.new * SECTOR, sectors * SECTOR)


def _mains(pieces: list[Piece], failed: list[Copy]) -> Iterator[Range]:
    """The main sectors that live at these places of the old spare; pieces in its order."""
    places = [piece.old for piece in pieces]
    for each in failed:
        start, end = each.source // SECTOR, (each.source + each.length) // SECTOR
        at = bisect_right(places, start) - 1
        while at < len(pieces) and pieces[at].old < end:
            piece = pieces[at]
            first, last = max(start, piece.old), min(end, piece.old + piece.sectors)
            if first < last:
                yield piece.main + first - piece.old, piece.main + last - piece.old
            at += 1
