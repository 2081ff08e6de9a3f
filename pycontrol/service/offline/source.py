"""A spare, or an image of one, to be read: opened read-only, and read as it stood at one moment."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy, DeviceIoError, WrongDevice
from pycontrol.metadata import Read, fingerprint
from pycontrol.service.blockdev import PROC, SYSFS, Seen, holders, mounts, open_device, seen
from pycontrol.service.buffered import read_at
from pycontrol.text import plain

TRIES: Final = 20
"""Readings of a spare in use, before it is said to change too fast."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Source:
    """An open device or image; ``size`` in bytes, from ``offset`` on."""

    path: str
    fd: int
    size: int
    offset: int
    in_use: str
    """Who uses it, for people; empty if nobody does that can be seen."""
    seen: Seen
    """By this it is known again when it is opened to be written."""

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes, or fewer at the end; OSError if one of them cannot be read."""
        return read_at(self.fd, self.offset + offset, min(length, self.size - offset))

    def look(self, judge: Callable[[Read, int], _T]) -> _T:
        """What ``judge(read, size)`` makes of it, of one and the same state from begin to end.

        While a spare is in use, commits go on.  What was read counts if headers and info
        blocks were the same before and after.
        """
        if not self.in_use:
            return judge(self.read, self.size)
        for _ in range(TRIES):
            self.refresh()
            before = fingerprint(self.read, self.size)
            result = judge(self.read, self.size)
            self.refresh()
            if fingerprint(self.read, self.size) == before:
                return result
        raise Busy(f"{plain(self.path)} changes faster than it can be read; try again when less is written")

    def refresh(self) -> None:
        """Forget what was read before."""
        # dm-bufio writes past the page cache of the device: pages from an earlier look are old.
        os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def source(path: str, offset: int = 0) -> Iterator[Source]:
    """A device or an image file, for the length of a block; its errors in words.

    ``offset`` is the byte at which the spare begins, where it is part of something larger.
    """
    shown = plain(path)
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    fd = open_device(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = seen(fd, path)
        size = os.lseek(fd, 0, os.SEEK_END)
        if offset > size:
            raise WrongDevice(f"{shown} has only {size} bytes, none at {offset}; check the offset")
        opened = Source(path, fd, size - offset, offset, user_of(fd), found)
        opened.refresh()
        yield opened
    except OSError as error:
        raise DeviceIoError(f"{shown} cannot be read: {error.strerror}; check the device") from error
    finally:
        os.close(fd)


def same(path: str, other: str) -> bool:
    """Whether both name the same device or file; false if one of them does not exist."""
    try:
        one, two = Path(path).stat(), Path(other).stat()
    except OSError:
        return False
    if stat.S_ISBLK(one.st_mode) and stat.S_ISBLK(two.st_mode):
        return one.st_rdev == two.st_rdev
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def user_of(fd: int, sysfs: Path = SYSFS, proc: Path = PROC) -> str:
    """Who uses an open device or file, for people; empty if nobody does that can be seen."""
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        loops = loops_of(found, sysfs)
        return f"in use by {', '.join(map(plain, loops))}" if loops else ""
    dev = DevNumber(os.major(found.st_rdev), os.minor(found.st_rdev))
    if names := mounts(dev, proc):
        return f"mounted on {', '.join(map(plain, names))}"
    if names := holders((sysfs / "dev/block" / str(dev)).resolve()):
        return f"in use by {', '.join(map(plain, names))}"
    try:
        # Read-only: closing a writable descriptor would make udev probe the device again.
        # By the descriptor: the name may be another's by now.
        os.close(open_device(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK))
    except Busy:
        return "in use"
    return ""


def loops_of(file: os.stat_result, sysfs: Path) -> list[str]:
    """The loop devices whose backing file this is."""
    found = []
    for backing in sorted(sysfs.glob("block/loop*/loop/backing_file")):
        try:
            other = Path(backing.read_text(errors="surrogateescape").rstrip("\n")).stat()
        except OSError:
            # It went away, or its name means nothing here.
            continue
        if (other.st_dev, other.st_ino) == (file.st_dev, file.st_ino):
            found.append(backing.parent.parent.name)
    return found
