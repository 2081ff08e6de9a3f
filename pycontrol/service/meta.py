"""What the ``dmremapctl meta`` commands do, without printing or asking.

Reading opens read-only and never writes.  What writes comes in two parts: first a look
that says what would be lost, then the deed; between the two the command asks the user.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import Busy
from pycontrol.metadata import SECTOR, Geometry, Loaded, Read, Report, Severity, Snapshot
from pycontrol.metadata.dump import read_dump
from pycontrol.metadata.layout import MAX_COPIES, MAX_SHIFT
from pycontrol.metadata.repair import mended, repair
from pycontrol.metadata.sanity import segments_of
from pycontrol.metadata.search import Hit
from pycontrol.metadata.search import search as metadata_search
from pycontrol.service.imagefile import (
    Destination,
    Piece,
    copy_sparse,
    examine,
    locked,
    write_snapshot,
    write_steps,
)
from pycontrol.service.source import Source, source
from pycontrol.text import plain

Range = tuple[int, int]
"""Offset and length in bytes."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found on ``path``; ``in_use`` says by whom, for people, or is empty."""

    path: str
    report: Report
    in_use: str


def check(path: str, uuid: UUID | None = None, *, offset: int = 0) -> Checked:
    """Everything that is wrong with the metadata of a device or image file."""
    with source(path, offset) as opened:
        report = opened.look(lambda read, size: metadata.check(read, size, uuid))
        return Checked(path, report, opened.in_use)


def load(path: str, uuid: UUID | None = None, *, offset: int = 0) -> Loaded:
    """The state of a device or image file; MetadataError where there is none."""
    with source(path, offset) as opened:
        return opened.look(lambda read, size: metadata.load(read, size, uuid=uuid))


def plan_restore(lines: Iterable[str], path: str) -> tuple[Destination, Snapshot]:
    """The snapshot that a dump holds, and what writing it to ``path`` would destroy."""
    snapshot = read_dump(lines)
    return examine(path, snapshot.header.spare_sectors), snapshot


def restore(destination: Destination, snapshot: Snapshot) -> None:
    """Write a snapshot where it was planned to go."""
    write_snapshot(destination, snapshot)


def backup(path: str, out: str, uuid: UUID | None = None, *, offset: int = 0) -> bool:
    """Copy all metadata, good or bad, to the same offsets of a new sparse file.

    Returns whether the state could be read; if not, all is copied where metadata may be.
    """
    with source(path, offset) as opened:
        return _back_up(opened, out, uuid)


def _back_up(opened: Source, out: str, uuid: UUID | None) -> bool:
    if opened.in_use:
        # All as it stood at one moment, before the first byte is written.
        held, known = opened.look(lambda read, size: _hold(read, size, uuid))
        copy_sparse(held.read, held.ranges, out, opened.size)
    else:
        ranges, known = _ranges(opened.read, opened.size, uuid)
        copy_sparse(opened.read, ranges, out, opened.size)
    return known


def _ranges(read: Read, size: int, uuid: UUID | None) -> tuple[list[Range], bool]:
    """Offset and length of all metadata in bytes, and whether that is known for certain."""
    report = metadata.check(read, size, uuid)
    if report.header is None:
        return [(0, MAX_COPIES << MAX_SHIFT)], False
    geometry = Geometry(report.header.copies, report.header.spacing)
    ranges = [(0, geometry.region), *segments_of(geometry, report.header)]
    return [(start * SECTOR, sectors * SECTOR) for start, sectors in ranges], report.loaded is not None


@dataclass(frozen=True, slots=True)
class _Held:
    """Pieces of a device in memory."""

    ranges: list[Range]
    pieces: dict[int, bytes]

    def read(self, offset: int, length: int) -> bytes:
        start = max(each for each in self.pieces if each <= offset)
        return self.pieces[start][offset - start : offset - start + length]


def _hold(read: Read, size: int, uuid: UUID | None) -> tuple[_Held, bool]:
    ranges, known = _ranges(read, size, uuid)
    return _Held(ranges, {start: read(start, length) for start, length in ranges}), known


def search(path: str, advance: Callable[[int], None] = lambda done: None) -> Iterator[Hit]:
    """Every block of ours on a device or in a file, wherever; ``advance`` is told the bytes done."""
    with source(path) as opened:
        yield from metadata_search(opened.read, opened.size, advance)


def size_of(path: str) -> int:
    """Bytes of a device or image file."""
    with source(path) as opened:
        return opened.size


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair would do; ``needed`` is false where nothing is wrong that it could mend."""

    path: str
    loaded: Loaded
    needed: bool


def plan_repair(path: str, uuid: UUID | None = None) -> Repair:
    """Look what is to be mended; MetadataError where the state cannot be had."""
    with source(path) as opened:
        if opened.in_use:
            raise Busy(
                f"{plain(path)} is {opened.in_use}; 'dmremapctl message NAME repair' mends a spare in use"
            )
        report = metadata.check(opened.read, opened.size, uuid)
        loaded = report.loaded or metadata.load(opened.read, opened.size, uuid=uuid)
    mended(loaded)  # If that cannot be, it is said before anything is asked or written.
    wrong = [finding for finding in report.findings if finding.severity is not Severity.NOTE]
    return Repair(path, loaded, any(finding.kind != "size" for finding in wrong))


def repair_to(plan: Repair, out: str) -> None:
    """Write the mended metadata to a new sparse file, at the same offsets."""
    write_snapshot(Destination(out, new=True), mended(plan.loaded))


def repair_in_place(plan: Repair, backup_to: str, uuid: UUID | None = None) -> None:
    """Mend a device or image, after a backup; what changed since the plan is refused."""
    with locked(plan.path) as fd:
        opened = Source(plan.path, fd, os.lseek(fd, 0, os.SEEK_END), 0, "")
        opened.refresh()
        _back_up(opened, backup_to, uuid)
        again = metadata.load(opened.read, opened.size, uuid=uuid)
        if Snapshot.of(again) != Snapshot.of(plan.loaded):
            raise Busy(f"{plain(plan.path)} has changed meanwhile; look at it again")
        steps: Iterable[Iterable[Piece]] = repair(again)
        write_steps(fd, plan.path, steps)
