"""A rescue image, a mirror or a backup: what of it can be had, and reading it with care."""

import errno
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.known import ddrescue
from pycontrol.service.known.textlines import lines_of
from pycontrol.service.ranges import Range, difference, intersection, merged
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Rescue:
    """An open image or device; offsets and sizes in bytes."""

    path: str
    fd: int
    size: int
    step: int
    """1, or the logical block of a device, which is read past the page cache in whole blocks."""

    def read(self, offset: int, length: int) -> bytes:
        """So many bytes; OSError if one of them cannot be had."""
        first, last = offset // self.step * self.step, -(-(offset + length) // self.step) * self.step
        with mmap.mmap(-1, last - first) as buffer:
            got = os.preadv(self.fd, [buffer], first)
            if got < offset + length - first:
                raise OSError(errno.EIO, "it ends there")
            return buffer[offset - first : offset - first + length]

    def data(self) -> list[Range]:
        """The bytes of a sparse file that are no hole; all of a device."""
        return merged(self._data())

    def _data(self) -> Iterator[Range]:
        if self.step > 1:
            yield 0, self.size
            return
        end = 0
        while end < self.size:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError:
                # ENXIO: nothing but a hole from there to the end.
                return
            end = os.lseek(self.fd, start, os.SEEK_HOLE)
            yield start, end


@contextmanager
def opened(path: str) -> Iterator[Rescue]:
    """Open for reading only; WrongDevice if it is neither a file nor a block device."""
    shown = plain(path)
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        raise WrongDevice(f"{shown} cannot be looked at: {error}") from error
    block = stat.S_ISBLK(mode)
    if not block and not stat.S_ISREG(mode):
        raise WrongDevice(f"{shown} is neither an image file nor a block device; name one of these")
    step = blockdev.look(path).logical_block if block else 1
    fd = blockdev.open_device(path, os.O_RDONLY | (os.O_DIRECT if block else 0))
    try:
        yield Rescue(path, fd, os.lseek(fd, 0, os.SEEK_END), step)
    finally:
        os.close(fd)


def rescued(map_file: str) -> list[Range]:
    """The bytes that a map file of GNU ddrescue says were rescued."""
    with lines_of(map_file) as lines:
        return merged(ddrescue.with_status(ddrescue.parse(lines), "+"))


def readable(source: Rescue, start: int, end: int, step: int) -> Iterator[tuple[int, bytes]]:
    """``(offset, data)`` of what can be read of these whole steps, by halves down to one of them."""
    try:
        yield start, source.read(start, end - start)
    except OSError:
        if end - start <= step:
            return
        middle = start + (end - start) // step // 2 * step
        yield from readable(source, start, middle, step)
        yield from readable(source, middle, end, step)


def check_other(source: str, main: str, spare: str, mapped: str) -> None:
    """Refuse to fill a device from itself, or from what it stands on.

    What main still reads in a pending place may be older than what was lost: it may have
    been lost on the spare.
    """
    if not stat.S_ISBLK(Path(source).stat().st_mode):
        return
    found = blockdev.look(source)
    for path, what in ((mapped, "the device itself"), (main, "its main device"), (spare, "its spare")):
        other = blockdev.look(path)
        if found.dev == other.dev:
            raise WrongDevice(f"{plain(source)} is {what}; name the rescue image, mirror or backup")
        on_one_disk = bool(found.disk) and found.disk == other.disk
        if on_one_disk and not (found.partition and other.partition):
            raise WrongDevice(f"{plain(source)} and {what} overlap; name the rescue image, mirror or backup")


def check_size(source: Rescue, offset: int, size: int, *, partial: bool) -> None:
    """WrongDevice for a source that does not fit the device's ``size``; all in bytes.

    With ``partial`` it need not have all of the device.
    """
    if offset >= source.size:
        raise WrongDevice(f"{plain(source.path)} has only {source.size} bytes, none at {offset}")
    there = source.size - offset
    if partial or there == size or (offset and there > size):
        return
    raise WrongDevice(
        f"{plain(source.path)} has {there} bytes for a device of {size}: is it of another disk?  Say --offset"
        " if it is of the whole disk, --partial if it is only a part"
    )


def usable(
    source: Rescue, offset: int, size: int, map_file: str | None, *, holes: bool
) -> tuple[list[Range], dict[str, list[Range]]]:
    """What of the device can be had from the source, and what not, by the reason; in bytes of the device."""
    everything: list[Range] = [(0, size)]

    def shifted(ranges: list[Range]) -> list[Range]:
        return intersection([(start - offset, end - offset) for start, end in ranges], everything)

    inside = shifted([(0, source.size)])
    missing = {"outside the source": difference(everything, inside)}
    if map_file is not None:
        good = intersection(inside, shifted(rescued(map_file)))
        missing["not rescued"] = difference(inside, good)
        return good, missing
    if holes:
        return inside, missing
    good = intersection(inside, shifted(source.data()))
    missing["a hole of the image"] = difference(inside, good)
    return good, missing
