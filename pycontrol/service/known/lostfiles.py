"""Which files of a mounted file system lie on given bytes of its device.

The kernel is asked for the places of each file (FS_IOC_FIEMAP); nothing is written, and no
file's data is read.
"""

import errno
import fcntl
import os
import stat
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pycontrol.service.ranges import Range, merged, total
from pycontrol.sizes import SECTOR

FS_IOC_FIEMAP: Final = 0xC020660B
_HEADER: Final = struct.Struct("=QQIIII")
_EXTENT: Final = struct.Struct("=QQQ16xI12x")
_AT_ONCE: Final = 256
_WHOLE_FILE: Final = (1 << 64) - 1

_LAST: Final = 0x1
# Without a place on the device, or with bytes there that are not the file's as they are; and
# preallocated ones, which read as zeros wherever they lie.
_NO_PLACE: Final = 0x2 | 0x4 | 0x8 | 0x200 | 0x800

Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True, slots=True)
class LostFile:
    """A file or directory with lost bytes; ``ranges`` are bytes in the file."""

    path: str
    ranges: list[Range]

    @property
    def sectors(self) -> int:
        """Sectors of 512 bytes that it has lost, whole or in part."""
        return -(-total(self.ranges) // SECTOR)


@dataclass(slots=True)
class Report:
    """What was found below a mount point."""

    files: list[LostFile] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """Paths that could not be looked at: what is below them is not known."""
    accounted: list[Range] = field(default_factory=list)
    """Bytes of the device that belong to the files; the others are metadata or free."""


def find(point: str, lost: list[Range], ioctl: Ioctl | None = None) -> Report:
    """The files below a mount point that have data in these bytes of the device, sorted by path.

    ``lost`` is in order, as :func:`pycontrol.service.ranges.merged` makes it.
    """
    report = Report()
    found: list[Range] = []
    starts = [start for start, _ in lost]
    for path, seen in _walk(point, Path(point).stat().st_dev):
        if not seen:
            report.unseen.append(path)
            continue
        try:
            extents = list(_extents(path, ioctl or fcntl.ioctl))
        except OSError as error:
            # A directory of XFS has no such places to tell.
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOENT):
                report.unseen.append(path)
            continue
        hit = [
            (logical + start - physical, logical + end - physical, start, end)
            for logical, physical, length in extents
            for start, end in _hits(lost, starts, physical, physical + length)
        ]
        if hit:
            report.files.append(LostFile(path, merged(piece[:2] for piece in hit)))
            found += [piece[2:] for piece in hit]
    report.files.sort(key=lambda file: file.path)
    report.unseen.sort()
    report.accounted = merged(found)
    return report


def _walk(point: str, dev: int) -> Iterator[tuple[str, bool]]:
    """Files and directories of one file system; False with those that cannot be looked into."""
    waiting = [point]
    while waiting:
        directory = waiting.pop()
        yield directory, True
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    mode = _mode(entry, dev)
                    if mode is None:
                        yield entry.path, False
                    elif stat.S_ISDIR(mode):
                        waiting.append(entry.path)
                    elif stat.S_ISREG(mode):
                        yield entry.path, True
        except OSError:
            yield directory, False


def _mode(entry: "os.DirEntry[str]", dev: int) -> int | None:
    """0 for what lies on another device; None for what cannot be looked at."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    return found.st_mode if found.st_dev == dev else 0


def _extents(path: str, ioctl: Ioctl) -> Iterator[tuple[int, int, int]]:
    """``(byte in the file, byte on the device, length)``."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = 0
        while True:
            buffer = bytearray(_HEADER.size + _AT_ONCE * _EXTENT.size)
            _HEADER.pack_into(buffer, 0, start, _WHOLE_FILE - start, 0, 0, _AT_ONCE, 0)
            ioctl(fd, FS_IOC_FIEMAP, buffer)
            count = _HEADER.unpack_from(buffer)[3]
            flags = _LAST
            for number in range(count):
                logical, physical, length, flags = _EXTENT.unpack_from(
                    buffer, _HEADER.size + number * _EXTENT.size
                )
                start = logical + length
                if not flags & _NO_PLACE:
                    yield logical, physical, length
            if flags & _LAST:
                return
    finally:
        os.close(fd)


def _hits(lost: list[Range], starts: list[int], first: int, last: int) -> Iterator[Range]:
    """What of the lost ranges is in an extent."""
    at = max(0, bisect_right(starts, first) - 1)
    while at < len(lost) and lost[at][0] < last:
        start, end = max(lost[at][0], first), min(lost[at][1], last)
        if start < end:
            yield start, end
        at += 1
