"""What the ``dmremapctl meta`` commands do, without printing or asking.

Reading opens read-only and never writes.  What writes comes in two parts: first a look
that says what would be lost, then the deed; between the two the command asks the user.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import Busy, DeviceIoError
from pycontrol.metadata import SECTOR, Corrupt, Geometry, Loaded, Read, Report, Severity, Snapshot
from pycontrol.metadata.dump import read_dump, to_json, to_text
from pycontrol.metadata.layout import MAX_COPIES, MAX_SHIFT
from pycontrol.metadata.repair import Step, majority, mend, mended, repair
from pycontrol.metadata.sanity import segments_of
from pycontrol.metadata.search import Hit
from pycontrol.metadata.search import search as metadata_search
from pycontrol.service.blockdev import Seen, write_durably
from pycontrol.service.offline.imagefile import (
    Destination,
    Piece,
    copy_sparse,
    examine,
    gathered,
    locked,
    write_snapshot,
)
from pycontrol.service.offline.source import Source, source
from pycontrol.service.progress import Progress, silent, telling
from pycontrol.text import plain

Range = tuple[int, int]
"""Offset and length in bytes."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found on ``path``; ``in_use`` says by whom, for people, or is empty."""

    path: str
    report: Report
    in_use: str


def check(path: str, uuid: UUID | None = None, *, offset: int = 0, progress: Progress = silent) -> Checked:
    """Everything that is wrong with the metadata of a device or image file.

    ``offset`` is the byte at which the spare begins, here and below.
    """
    with source(path, offset) as opened:
        report = opened.look(
            lambda read, size: metadata.check(reading(read, size, uuid, progress), size, uuid)
        )
        return Checked(path, report, opened.in_use)


def load(path: str, uuid: UUID | None = None, *, offset: int = 0, progress: Progress = silent) -> Loaded:
    """The state of a device or image file; MetadataError where there is none."""
    with source(path, offset) as opened:
        return opened.look(
            lambda read, size: metadata.load(reading(read, size, uuid, progress), size, uuid=uuid)
        )


def reading(read: Read, size: int, uuid: UUID | None, progress: Progress) -> Read:
    """``read`` for a load or a check, which tells how much of the log it has read."""
    if progress is silent:
        return read
    return telling(read, progress("reading", metadata.log_bytes(read, size, uuid)))


def dump(loaded: Loaded, *, as_json: bool = False) -> Iterator[str]:
    """A state as text, a line at a time, or as one JSON object in pieces; docs/meta.md has both forms.

    It holds all that a restore needs to make the same bytes again.
    """
    snapshot = Snapshot.of(loaded)
    return to_json(snapshot) if as_json else to_text(snapshot)


@dataclass(frozen=True, slots=True)
class Restore:
    """What a restore would do: write ``snapshot`` over what ``destination`` says is lost by it."""

    destination: Destination
    snapshot: Snapshot


def plan_restore(lines: Iterable[str], path: str) -> Restore:
    """Read a dump, and look what writing it to ``path`` would destroy; writes nothing.

    DumpError (a UsageError) if it is no dump, WrongDevice if ``path`` is of another size than
    the spare was.
    """
    snapshot = read_dump(lines)
    return Restore(examine(path, snapshot.header.spare_sectors, snapshot.geometry), snapshot)


def restore(plan: Restore, progress: Progress = silent) -> None:
    """Write the state where it was planned to go."""
    write_snapshot(plan.destination, plan.snapshot, origin="a dump", progress=progress)


def backup(
    path: str, out: str, uuid: UUID | None = None, *, offset: int = 0, progress: Progress = silent
) -> bool:
    """Copy all metadata, good or bad, to the same offsets of a new sparse file.

    Returns whether the state could be read; without a whole header all is copied where metadata
    may be.  What cannot be read stays zero: the DeviceIoError says so when all the rest is copied.
    """
    with source(path, offset) as opened:
        known, failed = _back_up(opened, out, uuid, progress)
    if failed:
        raise DeviceIoError(
            f"{len(failed)} blocks cannot be read, the first at byte {failed[0]}; {plain(out)} has all the"
            " rest"
        )
    return known


def _back_up(opened: Source, out: str, uuid: UUID | None, progress: Progress) -> tuple[bool, list[int]]:
    """Whether the state could be read, and the offsets of the blocks that could not."""

    def look(read: Read, size: int) -> tuple[Iterable[Piece], list[int], bool]:
        failed: list[int] = []
        ranges, known = _ranges(read, size, uuid, progress)
        advance = progress("copying", sum(length for _, length in ranges))
        blocks = gathered(telling(read, advance), ranges, size, failed)
        # In use: all as it stood at one moment, before the first byte is written.
        return list(blocks) if opened.in_use else blocks, failed, known

    blocks, failed, known = opened.look(look)
    copy_sparse(blocks, out, opened.size)
    return known, failed


def _ranges(read: Read, size: int, uuid: UUID | None, progress: Progress) -> tuple[list[Range], bool]:
    """Offset and length of all metadata in bytes, and whether that is known for certain."""
    report = metadata.check(reading(read, size, uuid, progress), size, uuid)
    if report.header is None:
        return [(0, MAX_COPIES << MAX_SHIFT)], False
    geometry = Geometry(report.header.copies, report.header.spacing)
    ranges = [(0, geometry.region), *segments_of(geometry, report.header)]
    return [(start * SECTOR, sectors * SECTOR) for start, sectors in ranges], report.loaded is not None


def search(path: str, progress: Progress = silent) -> Iterator[Hit]:
    """Every block of ours on a device or in a file, wherever."""
    with source(path) as opened:
        yield from metadata_search(opened.read, opened.size, progress("searching", opened.size))


def size_of(path: str) -> int:
    """Bytes of a device or image file."""
    with source(path) as opened:
        return opened.size


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair of the spare that begins at byte ``offset`` of ``path`` would do.

    ``needed`` is false where nothing is wrong that it could mend.
    """

    path: str
    offset: int
    loaded: Loaded
    needed: bool
    seen: Seen


def plan_repair(
    path: str, uuid: UUID | None = None, *, offset: int = 0, progress: Progress = silent
) -> Repair:
    """Look what is to be mended; MetadataError where the state cannot be had."""
    with source(path, offset) as opened:
        if opened.in_use:
            raise Busy(
                f"{plain(path)} is {opened.in_use}; 'dmremapctl message NAME repair' mends a spare in use"
            )
        report = metadata.check(reading(opened.read, opened.size, uuid, progress), opened.size, uuid)
        loaded = report.loaded or metadata.load(opened.read, opened.size, uuid=uuid)
    mended(loaded)  # If that cannot be, it is said before anything is asked or written.
    wrong = [finding for finding in report.findings if finding.severity is not Severity.NOTE]
    return Repair(path, offset, loaded, any(finding.kind != "size" for finding in wrong), opened.seen)


def repair_to(plan: Repair, out: str, progress: Progress = silent) -> None:
    """Write the mended metadata to a new sparse file, at the same offsets."""
    write_snapshot(Destination(out, new=True), mended(plan.loaded), origin=plan.path, progress=progress)


def check_newest(path: str, loaded: Loaded) -> None:
    """Corrupt where what was found may be older than what was acknowledged last."""
    if loaded.may_be_old:
        raise Corrupt(
            f"a minority of the headers on {plain(path)} is whole, and a newer one may be among the others:"
            " see that they can be read, or mend it to a new file with -o, or, if they are gone for good,"
            " add --anyway"
        )


def repair_in_place(
    plan: Repair,
    backup_to: str,
    uuid: UUID | None = None,
    progress: Progress = silent,
    *,
    anyway: bool = False,
) -> list[int]:
    """Mend a device or image, after a backup; what changed since the plan is refused.

    So is, unless ``anyway``, a state that may be old (:attr:`Loaded.may_be_old`).  Returns the
    offsets of the blocks that could not be read: they are zero in the backup.
    """
    with locked(plan.path, plan.seen) as fd:
        opened = Source(plan.path, fd, os.lseek(fd, 0, os.SEEK_END) - plan.offset, plan.offset, "", plan.seen)
        opened.refresh()
        _, unread = _back_up(opened, backup_to, uuid, progress)
        again = metadata.load(reading(opened.read, opened.size, uuid, progress), opened.size, uuid=uuid)
        if Snapshot.of(again) != Snapshot.of(plan.loaded):
            raise Busy(f"{plain(plan.path)} has changed meanwhile; look at it again")
        if not anyway:
            check_newest(plan.path, again)
        steps = list(repair(again))
        advance = progress("mending", sum(len(block) for step in steps for _, block in step.blocks))

        def write(step: Step) -> None:
            write_durably(fd, [(plan.offset + at, block) for at, block in step.blocks])
            advance(sum(len(block) for _, block in step.blocks))

        failed = mend(steps, again.copies, write)
    if failed:
        raise _not_written(plan, failed, backup_to, unread)
    return unread


def _not_written(
    plan: Repair, failed: dict[int, OSError], backup_to: str, unread: list[int]
) -> DeviceIoError:
    """That some copies could not be mended, and what that means."""
    which = f"{'copy' if len(failed) == 1 else 'copies'} {', '.join(map(str, sorted(failed)))}"
    if majority(plan.loaded.copies, failed):
        then = "the others are mended; replace the spare, with 'dmremapctl spare replace'"
    else:
        then = "that is too many, but what could be read still can; copy it elsewhere, and mend the copy"
    kept = "the metadata as it was" + (", as far as it could be read," if unread else "")
    return DeviceIoError(
        f"{which} of {plain(plan.path)} cannot be written: {next(iter(failed.values())).strerror};"
        f" {kept} is in {plain(backup_to)}; {then}"
    )
