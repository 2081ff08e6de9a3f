"""Writing metadata: into a new image file, or over what a device or a file holds."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pycontrol import metadata
from pycontrol.errors import Busy, DeviceIoError, UsageError, WrongDevice
from pycontrol.metadata import BLOCK, SECTOR, Condition, Geometry, Mark, Read, Snapshot
from pycontrol.service import signatures
from pycontrol.service.blockdev import Seen, check_same, open_device, seen, write_durably
from pycontrol.service.buffered import read_at
from pycontrol.service.contents import check_agreed, is_blank
from pycontrol.service.directio import Direct
from pycontrol.service.move import retire
from pycontrol.service.offline.source import source, user_of
from pycontrol.service.progress import Advance, Progress, silent
from pycontrol.text import plain

_CHUNK: Final = 1 << 20

DEV: Final = Path("/dev")

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What link(2) gives where a file can have one name only."""

Piece = tuple[int, bytes]
"""Bytes, and the offset at which they belong."""


class _NotWritten(DeviceIoError):
    """Writing failed half way."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where metadata is to be written; ``loses`` says for people what will be overwritten."""

    path: str
    new: bool
    loses: tuple[str, ...] = ()
    seen: Seen | None = None
    """What is there; it must be the same still when it is written.  None for a new file."""


def examine(path: str, sectors: int, geometry: Geometry) -> Destination:
    """Look at a place for a spare of so many sectors; refuse one that cannot take it."""
    if not Path(path).exists():
        return Destination(path, new=True)
    with source(path) as found:
        if found.in_use:
            raise Busy(f"{plain(path)} is {found.in_use}; release it first")
        if found.size != sectors * SECTOR:
            raise WrongDevice(
                f"{plain(path)} has {found.size // SECTOR} sectors, but the spare has {sectors}; name a"
                " device or file of that size, or a new file"
            )
        return Destination(path, False, tuple(_contents(found.read, found.size, geometry)), found.seen)


def _contents(read: Read, size: int, geometry: Geometry) -> list[str]:
    """What would be lost, for people; empty if the metadata region is all zero."""
    marks = [plain(mark) for mark in signatures.probe(read, size)]
    try:
        loaded = metadata.load(read, size)
    except metadata.OutOfService as error:
        return [*marks, plain(error)]
    except metadata.NotOurs as error:
        blank = error.all_zero and is_blank(read, geometry.region * SECTOR)
        return marks or ([] if blank else ["data of unknown kind"])
    except metadata.MetadataError as error:
        return [*marks, plain(error)]
    return [*marks, f"dm-remap metadata {loaded.uuid} with {len(loaded.records)} records"]


def write_snapshot(
    destination: Destination,
    snapshot: Snapshot,
    data: Iterable[Piece] = (),
    *,
    origin: str,
    data_bytes: int = 0,
    progress: Progress = silent,
) -> None:
    """Make an image of a state; a new file is sparse and only there if all went well.

    ``data`` are pieces of the spare's data area, ``data_bytes`` in all, written first.  Headers
    come last, when all that they lead to is durable; till then there is a mark that names the
    ``origin`` of it all.  Busy if there is more to lose than ``destination`` says.
    """
    header, path = snapshot.header, destination.path
    steps: list[Iterable[Piece]] = [data, snapshot.blocks(), *metadata.waves([*snapshot.headers()])]
    size = header.spare_sectors * SECTOR
    with _created(path, size) if destination.new else locked(path, destination.seen) as fd:
        if not destination.new:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            found = _contents(partial(read_at, fd), size, snapshot.geometry)
            check_agreed(path, found, destination.loses)
            mark = Mark(Condition.UNFINISHED, header.uuid, header.time, origin)
            retire.begin(Direct(path, fd), size, snapshot.geometry, mark)
        # The log, and of each copy a header and an info block.
        blocks = (header.log_blocks + 2) * header.copies
        write_steps(fd, path, steps, progress("writing", blocks * BLOCK + data_bytes))


def write_steps(
    fd: int, path: str, steps: Iterable[Iterable[Piece]], advance: Advance = lambda done: None
) -> None:
    """Write; what one step wrote is durable before the next one is begun.

    ``advance`` is told the bytes.
    """
    try:
        for step in steps:
            write_durably(fd, _counted(step, advance))
    except OSError as error:
        raise _NotWritten(
            f"writing {plain(path)} failed: {error.strerror}; what it holds now is not complete"
        ) from error


def _counted(step: Iterable[Piece], advance: Advance) -> Iterator[Piece]:
    for offset, data in step:
        yield offset, data
        # Asked for the next one: this one is written.
        advance(len(data))


def write_text(path: str, pieces: Iterable[str]) -> None:
    """A new file with this text, which is only there if all went well."""

    with _created(path, 0) as fd:
        write_steps(fd, path, [_joined(pieces)])


def _joined(pieces: Iterable[str]) -> Iterator[Piece]:
    """Text one behind the other, in pieces that are worth a system call."""
    offset, data = 0, bytearray()
    for piece in pieces:
        data += piece.encode()
        if len(data) >= _CHUNK:
            yield offset, bytes(data)
            offset += len(data)
            data.clear()
    yield offset, bytes(data)


@contextmanager
def _created(path: str, size: int) -> Iterator[int]:
    """A new file of that size, empty; it gets its name when the block is done and all is durable."""
    shown = plain(path)
    # A kill leaves no more than this one, under a name that is in nobody's way.
    temporary = Path(path).parent / f".dmremapctl-{os.urandom(8).hex()}"
    try:
        if _among_devices(Path(path).parent.resolve()):
            raise WrongDevice(f"there is no device {shown}, and no file is made there; check the name")
        if os.path.lexists(path):
            raise FileExistsError
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _not_made(path, error) from error
    try:
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise _not_made(path, error) from error
        yield fd
        os.fsync(fd)
        try:
            _name(temporary, path)
        except OSError as error:
            raise _not_made(path, error) from error
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, _NotWritten) and isinstance(error.__cause__, OSError):
            reason = error.__cause__.strerror
            raise DeviceIoError(f"writing {shown} failed: {reason}; nothing of it was kept") from error
        raise
    finally:
        os.close(fd)


def _not_made(path: str, error: OSError) -> UsageError | DeviceIoError:
    """Why there is no new file."""
    if isinstance(error, FileExistsError):
        return UsageError(f"{plain(path)} exists; name a new file")
    return DeviceIoError(f"{plain(path)} cannot be made: {error.strerror}")


def _name(temporary: Path, path: str) -> None:
    """Give a file that is whole and durable its name, durably; FileExistsError if somebody has it by now."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: what is replaced then is a file of ours.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        temporary.replace(path)
    try:
        temporary.unlink(missing_ok=True)
        _sync_directory(path)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def _among_devices(directory: Path) -> bool:
    """Whether a directory is that of the devices' nodes; below it others may be mounted, as /dev/shm."""
    same = directory.stat().st_dev == DEV.stat().st_dev
    return same and (directory.is_relative_to(DEV) or DEV.is_mount())


def _sync_directory(path: str) -> None:
    """Make the name of a new file as durable as what is in it."""
    fd = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some file systems cannot, which is no reason to give up the file.
        if error.errno != errno.EINVAL:
            raise DeviceIoError(f"writing {plain(path)} failed: {error.strerror}") from error
    finally:
        os.close(fd)


@contextmanager
def locked(path: str, before: Seen | None = None) -> Iterator[int]:
    """A descriptor to write with that nobody else has: O_EXCL for a device, a lock for all.

    WrongDevice if it is not what was seen ``before``.
    """
    # O_EXCL means nothing for a file, and O_NONBLOCK nothing for either.
    fd = open_device(path, os.O_RDWR | os.O_EXCL | os.O_NONBLOCK)
    try:
        regular = stat.S_ISREG(seen(fd, path).kind)
        check_same(fd, path, before)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise DeviceIoError(f"{plain(path)} cannot be locked: {error.strerror}") from error
            raise Busy(f"{plain(path)} is in use by another program; wait for it") from error
        if regular and (user := user_of(fd)):
            raise Busy(f"{plain(path)} is {user}; release it first")
        yield fd
    finally:
        os.close(fd)


def copy_sparse(blocks: Iterable[Piece], path: str, size: int) -> None:
    """A new file of ``size`` bytes with these in it."""
    with _created(path, size) as fd:
        write_steps(fd, path, [blocks])


def gathered(read: Read, ranges: Iterable[tuple[int, int]], size: int, failed: list[int]) -> Iterator[Piece]:
    """The blocks of these ranges (offset, length) that are not zero, of ``size`` bytes in all.

    What cannot be read is added to ``failed``, by its offset.
    """
    for start, length in ranges:
        for offset in range(start, min(start + length, size), _CHUNK):
            want = min(_CHUNK, start + length - offset, size - offset)
            yield from _piece(read, offset, want, failed)


def _piece(read: Read, offset: int, length: int, failed: list[int]) -> Iterator[Piece]:
    """The blocks of a piece that are not zero, read one by one if they cannot be read at once."""
    try:
        data = read(offset, length)
    except OSError:
        if length <= BLOCK:
            failed.append(offset)
            return
        for at in range(offset, offset + length, BLOCK):
            yield from _piece(read, at, min(BLOCK, offset + length - at), failed)
        return
    for at in range(0, len(data), BLOCK):
        block = data[at : at + BLOCK]
        if block.count(0) != len(block):
            yield offset + at, block
