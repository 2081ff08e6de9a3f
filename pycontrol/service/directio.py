"""Reading and writing past the page cache, which does not see what the kernel's targets write."""

import errno
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from pycontrol.errors import DeviceIoError
from pycontrol.service.blockdev import BlockDevice, open_device
from pycontrol.text import plain

CHUNK: Final = 1 << 20
"""The most bytes of one request."""

_BATCH: Final = 5 << 20
"""Bytes that are put in order at a time: a chunk in each of five copies of a log."""

_BAD_BLOCK: Final = frozenset({errno.EIO, errno.ENODATA, errno.EREMOTEIO, errno.EILSEQ})
"""What reading a bad block gives; any other error is no matter of one block."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes to be copied, and where to; all in bytes."""

    source: int
    target: int
    length: int


class Direct:
    """An open device, or a file; offsets and lengths in bytes, multiples of its logical block."""

    def __init__(self, path: str, fd: int) -> None:
        self.path, self.fd = path, fd
        # Direct I/O wants aligned memory; a mapping is.
        self._buffer = mmap.mmap(-1, CHUNK)
        self._view = memoryview(self._buffer)

    def read(self, offset: int, length: int) -> memoryview:
        """So many bytes, at most CHUNK, good until the next call; the OSError is the device's."""
        view = self._view[:length]
        if os.preadv(self.fd, [view], offset) != length:
            raise OSError(errno.EIO, "it ends there")
        return view

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Any number of bytes, to keep; for those who read metadata.  The OSError is the device's."""
        parts = [
            bytes(self.read(at, min(CHUNK, offset + length - at)))
            for at in range(offset, offset + length, CHUNK)
        ]
        return b"".join(parts)

    def write(self, offset: int, data: "bytes | memoryview") -> None:
        """Write all of ``data`` at byte ``offset``; DeviceIoError if that fails."""
        for at in range(0, len(data), CHUNK):
            part = data[at : at + CHUNK]
            if not isinstance(part, memoryview):
                self._view[: len(part)] = part
                part = self._view[: len(part)]
            try:
                if os.pwritev(self.fd, [part], offset + at) != len(part):
                    raise OSError(errno.ENOSPC, "it ends there")
            except OSError as error:
                raise self._failed("writing", error) from error

    def sync(self) -> None:
        """What was written is on stable storage; DeviceIoError if not."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise self._failed("flushing", error) from error

    def store(self, blocks: Iterable[tuple[int, bytes]]) -> None:
        """Write every ``(offset, data)``, and sync; DeviceIoError if that fails.

        Neighbours go as one, and what is further on later: a disk has to seek for each request.
        """
        for batch in _batches(blocks):
            for offset, data in _joined(sorted(batch, key=lambda block: block[0])):
                self.write(offset, data)
        self.sync()

    def _failed(self, doing: str, error: OSError) -> DeviceIoError:
        return DeviceIoError(f"{doing} {plain(self.path)} failed: {error.strerror}; use another device")

    def close(self) -> None:
        """Close the device."""
        # The buffer goes when nobody holds a part of it any more.
        os.close(self.fd)


def _batches(blocks: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    batch: list[tuple[int, bytes]] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block[1])
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _joined(blocks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Blocks in the order of their places, those without a gap between them as one."""
    start, run = 0, list[bytes]()
    end = 0
    for offset, data in blocks:
        if run and offset != end:
            yield start, b"".join(run)
            run = []
        if not run:
            start = end = offset
        run.append(data)
        end += len(data)
    if run:
        yield start, b"".join(run)


@contextmanager
def direct(what: str | BlockDevice, *, write: bool = False, exclusive: bool = False) -> Iterator[Direct]:
    """Open for the length of a block, with the errors of :func:`open_device`."""
    path = what if isinstance(what, str) else what.path
    opened = Direct(path, open_direct(what, write=write, exclusive=exclusive))
    try:
        yield opened
    finally:
        opened.close()


def open_direct(what: str | BlockDevice, *, write: bool = False, exclusive: bool = False) -> int:
    """A descriptor with O_DIRECT, or without where the file system of an image has none.

    The errors are those of :func:`open_device`.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_EXCL if exclusive else 0)
    try:
        return open_device(what, flags | os.O_DIRECT)
    except DeviceIoError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EINVAL:
            raise
        return open_device(what, flags)


class Target(Protocol):
    """Where something is copied to."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of ``data`` at byte ``offset``."""


def copy(
    source: Direct,
    target: Target,
    copies: Iterable[Copy],
    unit: int,
    advance: Callable[[int], None],
    alive: Callable[[], None],
) -> list[Copy]:
    """Copy; what cannot be read, in blocks of ``unit`` bytes, is not written but given back.

    ``alive`` is called when a block could not be read, to raise if nothing else can either.
    """
    failed: list[Copy] = []
    for each in copies:
        for at in range(0, each.length, CHUNK):
            part = Copy(each.source + at, each.target + at, min(CHUNK, each.length - at))
            failed += _copy_part(source, target, part, unit, alive)
            advance(part.length)
    return failed


def _copy_part(
    source: Direct, target: Target, part: Copy, unit: int, alive: Callable[[], None]
) -> Iterator[Copy]:
    try:
        data = source.read(part.source, part.length)
    except OSError as error:
        if error.errno not in _BAD_BLOCK:
            raise DeviceIoError(f"{plain(source.path)} cannot be read: {error.strerror}") from error
        if part.length > unit:
            half = part.length // (2 * unit) * unit
            yield from _copy_part(source, target, Copy(part.source, part.target, half), unit, alive)
            rest = Copy(part.source + half, part.target + half, part.length - half)
            yield from _copy_part(source, target, rest, unit, alive)
            return
        alive()
        try:
            # Once more: what comes back on retry is whole.
            data = source.read(part.source, part.length)
        except OSError:
            yield part
            return
    target.write(part.target, data)
