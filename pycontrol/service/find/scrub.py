"""Reading a whole device, so that bad sectors are found before somebody needs them.

The target does the narrowing: a failed read makes the blocks that cannot be read pending,
and its message ``list`` tells which.  It keeps the position, too, on the spare.
"""

import errno
import mmap
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from pycontrol.dm.ioctl import Control
from pycontrol.errors import BrokenError, DeviceIoError, RemapError, TargetRefused, WrongDevice
from pycontrol.service import blockdev, devices
from pycontrol.service.devices import RemapTarget
from pycontrol.service.extents import listed, only_target, pending
from pycontrol.service.find.pace import Pace
from pycontrol.service.ranges import Range, difference, intersection, merged, total
from pycontrol.sizes import SECTOR
from pycontrol.text import plain

PIECE: Final = 2048
"""Sectors that are read at once."""

SAVE_EVERY: Final = 5.0
"""Seconds from one note of the position to the next; autosave brings it to the disk."""

MOST_UNEXPLAINED: Final = 32
"""Blocks in a row that fail without becoming pending, after which it is not the blocks."""

_GONE: Final = frozenset({errno.ENXIO, errno.ENODEV})


class Kind(StrEnum):
    """What is wrong with sectors that were found."""

    PENDING = "pending"
    """They cannot be read until they are written; the target has recorded that."""
    UNREADABLE = "unreadable"
    """They failed, but the target did not record it."""


class Ending(StrEnum):
    """How a scrub ended."""

    FINISHED = "finished"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    NOTHING = "nothing"
    """There was none that had stopped on its way, to be resumed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Sectors of 512 bytes that could not be read, found just now."""

    kind: Kind
    sector: int
    sectors: int


@dataclass(frozen=True, slots=True)
class Summary:
    """What a scrub did.  All in sectors of 512 bytes, but ``seconds``."""

    ending: Ending
    start: int
    position: int
    """Where the next one goes on; 0 after the end."""
    sectors: int
    """Size of the device."""
    read: int
    """Asked for in this run; known pending sectors are passed over."""
    found: int
    """Became pending, or were unreadable, in this run."""
    pending: int
    """Pending in the whole device at the end."""
    weak: int
    """Came back on a retry only."""
    seconds: float


class Reader(Protocol):
    """Reads and forgets; an OSError says that some of it failed."""

    def __call__(self, sector: int, sectors: int) -> None:
        """``sectors`` from ``sector`` on."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The device to be scrubbed."""

    name: str
    path: str
    uuid: str
    at: int
    """The target's first sector in the device."""
    sectors: int
    block: int
    """Sectors of a logical block."""


def subject(control: Control, name: str) -> Subject:
    """Look at the device: it must be ours, in service, and have one target.

    WrongDevice or UsageError if it is no such device, Busy if it is suspended, DeviceIoError if it
    has failed.
    """
    device, target = only_target(control, name)
    if target.status.mode == "Fail":
        raise DeviceIoError(f"{plain(name)} is out of service (mode Fail); 'dmremapctl status' says more")
    looked_at = blockdev.look_as(device.path, device.info.dev)
    block = max(looked_at.logical_block // SECTOR, 1)
    return Subject(device.info.name, device.path, device.info.uuid, target.start, target.length, block)


def position(control: Control, of: Subject) -> int:
    """The sector where the last scrub stopped; 0 if it came to the end, or there was none."""
    return _answered(devices.message(control, of.name, ("scrub",), at=of.at), of)


def keep(control: Control, of: Subject, sector: int, *, durably: bool) -> None:
    """Note the position, a sector of 512 bytes; ``durably`` commits it to the spare at once."""
    devices.message(control, of.name, ("scrub", str(sector)), at=of.at)
    if durably:
        devices.message(control, of.name, ("sync",), at=of.at)


def _answered(answer: str, of: Subject) -> int:
    if not (answer.isascii() and answer.isdigit()):
        raise BrokenError(
            f"the target answers 'scrub' with '{plain(answer)}'; module and dmremapctl may differ in version"
        )
    return min(int(answer), of.sectors) // of.block * of.block


@contextmanager
def direct_reader(of: Subject) -> Iterator[Reader]:
    """Reads past the page cache: what is in memory says nothing about the disk."""
    fd = blockdev.open_device(of.path, os.O_RDONLY | os.O_DIRECT)
    try:
        # A mapping is aligned as direct I/O wants its memory.
        with mmap.mmap(-1, PIECE * SECTOR) as memory, memoryview(memory) as view:

            def read(sector: int, sectors: int) -> None:
                offset, end = (of.at + sector) * SECTOR, (of.at + sector + sectors) * SECTOR
                while offset < end:
                    with view[: end - offset] as part:
                        got = os.preadv(fd, [part], offset)
                    if not got:
                        raise OSError(errno.ENXIO, "the device has become smaller")
                    offset += got

            yield read
    finally:
        os.close(fd)


@dataclass(slots=True)
class Scrub:
    """One run over a device."""

    control: Control
    subject: Subject
    read: Reader
    pace: Pace
    stop: Callable[[], Ending | None] = lambda: None
    """Asked after every piece and while waiting; an ending ends the run."""
    tell: Callable[[Finding], None] = lambda finding: None
    progress: Callable[[int, int, int], None] = lambda position, read, found: None
    clock: Callable[[], float] = time.monotonic
    _known: list[Range] | None = None
    _read: int = 0
    _found: int = 0
    _unexplained: int = 0

    def run(self, start: int = 0) -> Summary:
        """Read from sector ``start`` to the end, or until told to stop; the position is kept.

        DeviceIoError if the device fails as a whole; what was found until then was told.
        """
        of, begun = self.subject, self.clock()
        at, ending = start, None
        self._known = pending(listed(self.control, of.name, at=of.at))
        weak = self._target().status.sectors_salvaged
        try:
            saved = begun
            while at < of.sectors and not (ending := self.stop()):
                end = min(at // PIECE * PIECE + PIECE, of.sectors)
                self._piece(at, end)
                done, at = end - at, end
                self.progress(at, self._read, self._found)
                if self.clock() - saved >= SAVE_EVERY and at < of.sectors:
                    self._keep(at, durably=False)
                    saved = self.clock()
                self.pace.wait(done * SECTOR, self.stop)
        except BaseException:
            with suppress(RemapError, OSError):
                keep(self.control, of, at, durably=True)
            raise
        at = at if ending else 0
        self._keep(at, durably=True)
        return Summary(
            ending=ending or Ending.FINISHED,
            start=start,
            position=at,
            sectors=of.sectors,
            read=self._read,
            found=self._found,
            pending=total(pending(listed(self.control, of.name, at=of.at))),
            weak=max(self._target().status.sectors_salvaged - weak, 0),
            seconds=self.clock() - begun,
        )

    def _target(self) -> RemapTarget:
        """The target as it is now; a table may be exchanged for another while we read."""
        device = devices.status(self.control, self.subject.name)
        if not device.targets:
            raise WrongDevice(
                f"{plain(self.subject.name)} is not a device of dm-remap any more; see 'dmremapctl list'"
            )
        return device.targets[0]

    def _keep(self, sector: int, *, durably: bool) -> None:
        try:
            keep(self.control, self.subject, sector, durably=durably)
        except TargetRefused:
            self._target()
            raise

    def _piece(self, start: int, end: int) -> None:
        """Read what is not known to be pending; after a failure, what is left between the bad blocks."""
        todo = deque(difference([(start, end)], self._known or []))
        self._read += total(todo)
        while todo:
            part = todo.popleft()
            if self._readable(part):
                self._unexplained = 0
                continue
            bad = self._newly_pending(part)
            if bad:
                self._unexplained = 0
                self._note(Kind.PENDING, bad)
                todo.extendleft(reversed(difference([part], bad)))
                continue
            self._check_device(part[0])
            half = (part[0] + part[1]) // 2 // self.subject.block * self.subject.block
            if half > part[0]:
                todo.extendleft([(half, part[1]), (part[0], half)])
            else:
                self._unexplained += 1
                self._note(Kind.UNREADABLE, [part])

    def _readable(self, part: Range) -> bool:
        try:
            self.read(part[0], part[1] - part[0])
        except OSError as error:
            if error.errno in _GONE:
                raise WrongDevice(
                    f"{plain(self.subject.name)} vanished while it was read at sector {part[0]}"
                ) from error
            return False
        return True

    def _newly_pending(self, part: Range) -> list[Range]:
        of = self.subject
        self._target()
        now = pending(listed(self.control, of.name, at=of.at, start=part[0], end=part[1]))
        return difference(intersection(now, [part]), self._known or [])

    def _note(self, kind: Kind, bad: list[Range]) -> None:
        self._known = merged([*(self._known or []), *bad])
        self._found += total(bad)
        for start, end in bad:
            self.tell(Finding(kind, start, end - start))

    def _check_device(self, sector: int) -> None:
        """A read failed and nothing became pending: is it still the block?"""
        name = self.subject.name
        status = self._target().status
        if "breaker" in status.errors:
            raise DeviceIoError(
                f"the main device of {plain(name)} fails as a whole, at sector {sector} as elsewhere; look at"
                f" its cable and power, then 'dmremapctl message {plain(name)} rearm'"
            )
        if status.mode == "Fail" or self._unexplained >= MOST_UNEXPLAINED:
            raise DeviceIoError(
                f"{plain(name)} cannot be read at sector {sector} and around it, and it is not the sectors;"
                " 'dmremapctl status' says more"
            )
