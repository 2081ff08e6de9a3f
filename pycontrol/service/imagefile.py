"""Writing metadata: into a new image file, or over what a device or a file holds."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pycontrol import metadata
from pycontrol.errors import Busy, DeviceIoError, UsageError, WrongDevice
from pycontrol.metadata import BLOCK, SECTOR, Read, Snapshot
from pycontrol.service import signatures
from pycontrol.service.blockdev import open_device, write_durably
from pycontrol.service.source import source, user_of
from pycontrol.text import plain

_CHUNK: Final = 1 << 20

Piece = tuple[int, bytes]
"""Bytes, and the offset at which they belong."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where metadata is to be written; ``loses`` says for people what will be overwritten."""

    path: str
    new: bool
    loses: tuple[str, ...] = ()


def examine(path: str, sectors: int) -> Destination:
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
        return Destination(path, False, tuple(_contents(found.read, found.size)))


def _contents(read: Read, size: int) -> list[str]:
    """What would be lost, for people; empty if the metadata region is all zero."""
    marks = [plain(mark) for mark in signatures.probe(read, size)]
    try:
        loaded = metadata.load(read, size)
    except metadata.NotOurs as error:
        return marks or ([] if error.all_zero else ["data of unknown kind"])
    except metadata.MetadataError as error:
        return [*marks, plain(error)]
    return [*marks, f"dm-remap metadata {loaded.uuid} with {len(loaded.records)} records"]


def write_snapshot(destination: Destination, snapshot: Snapshot, data: Iterable[Piece] = ()) -> None:
    """Make an image of a state; a new file is sparse and only there if all went well.

    ``data`` are pieces of the spare's data area, written first.  Headers come last, when
    all that they lead to is durable.
    """
    region = snapshot.geometry.region * SECTOR
    wipe = [] if destination.new else [(at, bytes(BLOCK)) for at in range(0, region, BLOCK)]
    steps: list[Iterable[Piece]] = [wipe, data, snapshot.blocks(), snapshot.headers()]
    size = snapshot.header.spare_sectors * SECTOR
    with _created(destination.path, size) if destination.new else locked(destination.path) as fd:
        write_steps(fd, destination.path, steps)


def write_steps(fd: int, path: str, steps: Iterable[Iterable[Piece]]) -> None:
    """Write; what one step wrote is durable before the next one is begun."""
    try:
        for step in steps:
            write_durably(fd, step)
    except OSError as error:
        raise DeviceIoError(
            f"writing {plain(path)} failed: {error.strerror}; what it holds now is not complete"
        ) from error


def write_text(path: str, pieces: Iterable[str]) -> None:
    """A new file with this text, which is only there if all went well."""

    def placed() -> Iterator[Piece]:
        offset = 0
        for piece in pieces:
            yield offset, piece.encode()
            offset += len(piece.encode())

    with _created(path, 0) as fd:
        write_steps(fd, path, [placed()])


@contextmanager
def _created(path: str, size: int) -> Iterator[int]:
    """A new file of that size, empty; removed again if the block fails."""
    shown = plain(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{shown} exists; name a new file") from error
    except OSError as error:
        raise DeviceIoError(f"{shown} cannot be made: {error.strerror}") from error
    try:
        try:
            os.ftruncate(fd, size)
        except OSError as error:
            raise DeviceIoError(f"{shown} cannot be made: {error.strerror}") from error
        yield fd
        os.fsync(fd)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


@contextmanager
def locked(path: str) -> Iterator[int]:
    """A descriptor to write with that nobody else has: O_EXCL for a device, a lock for all."""
    exclusive = os.O_EXCL if stat.S_ISBLK(Path(path).stat().st_mode) else 0
    fd = open_device(path, os.O_RDWR | exclusive)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise DeviceIoError(f"{plain(path)} cannot be locked: {error.strerror}") from error
            raise Busy(f"{plain(path)} is in use by another program; wait for it") from error
        if not exclusive and (user := user_of(path, fd)):
            raise Busy(f"{plain(path)} is {user}; release it first")
        yield fd
    finally:
        os.close(fd)


def copy_sparse(read: Read, ranges: Iterable[tuple[int, int]], path: str, size: int) -> None:
    """A new file of ``size`` bytes with these ranges (offset, length) in it, zeros left out.

    What cannot be read stays zero: the DeviceIoError says so when all the rest is copied.
    """
    failed: list[int] = []

    def pieces() -> Iterator[Piece]:
        for start, length in ranges:
            for offset in range(start, min(start + length, size), _CHUNK):
                want = min(_CHUNK, start + length - offset, size - offset)
                yield from _piece(read, offset, want, failed)

    with _created(path, size) as fd:
        write_steps(fd, path, [pieces()])
    if failed:
        raise DeviceIoError(
            f"{len(failed)} blocks cannot be read, the first at byte {failed[0]};"
            f" {plain(path)} has all the rest"
        )


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
