"""Files as disks with a volatile cache, and steps that fail or are the last."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontrol.metadata import BLOCK, SECTOR


def unreadable(monkeypatch: pytest.MonkeyPatch, path: str, *places: int) -> None:
    """Let the blocks at these bytes of a file be bad, for those who read through the page cache.

    Of a read that meets one the kernel gives what lies before it, as if the file ended there.
    Once it is written a block is good again, as a disk has another place for it.
    """
    bad, inode = set(places), Path(path).stat().st_ino
    real, real_write = os.pread, os.pwrite

    def read(fd: int, length: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == inode:
            met = [at for at in bad if at < offset + length and offset < at + BLOCK]
            if met and min(met) <= offset:
                raise OSError(errno.EIO, "Input/output error")
            length = min([length, *(at - offset for at in met)])
        return real(fd, length, offset)

    def write(fd: int, data: bytes, offset: int) -> int:
        if os.fstat(fd).st_ino == inode:
            bad.difference_update(range(offset, offset + len(data)))
        return real_write(fd, data, offset)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(os, "pwrite", write)


def unwritable(monkeypatch: pytest.MonkeyPatch, path: str, *places: int) -> None:
    """Let writes that begin at these bytes of a file fail, and what was there be gone."""
    real, inode = os.pwrite, Path(path).stat().st_ino

    def write(fd: int, data: bytes, offset: int) -> int:
        if os.fstat(fd).st_ino == inode and offset in places:
            real(fd, bytes(SECTOR), offset)
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", write)


class Cut(BaseException):
    """The power is gone: nothing after this is done."""


class Storage:
    """Counts what is done to some files: writes, flushes, and whatever else calls :meth:`step`.

    At step ``cut`` everything ends; step ``fail`` fails once; from step ``dies[1]`` on file
    ``dies[0]`` cannot be written or flushed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
        self.cut: int | None = None
        self.fail: int | None = None
        self.dies: tuple[str, int] | None = None
        self.steps = 0
        self._owner = os.getpid()
        self._unflushed: list[tuple[int, int, bytes, bytes]] = []
        self._paths = {Path(path).stat().st_ino: Path(path) for path in paths}
        self._pwritev, self._fsync = os.pwritev, os.fsync
        monkeypatch.setattr(os, "pwritev", self._write)
        monkeypatch.setattr(os, "fsync", self._flush)

    def step(self, label: str = "") -> None:
        """One more; may be the last."""
        self.steps += 1
        if self.cut is not None and os.getpid() != self._owner:
            # A process that guards the other one has no power, either.
            os._exit(0)
        if self.cut is not None and self.steps >= self.cut:
            raise Cut
        if self.steps == self.fail:
            raise OSError(errno.EIO, f"step {self.steps} fails ({label})")

    def _write(self, fd: int, buffers: list[memoryview], offset: int, *rest: int) -> int:
        self.step("write")
        inode = os.fstat(fd).st_ino
        self._check_alive(inode)
        if inode in self._paths:
            data = b"".join(map(bytes, buffers))
            # By its name: the descriptor takes whole, aligned blocks only.
            with self._paths[inode].open("rb") as file:
                file.seek(offset)
                self._unflushed.append((inode, offset, file.read(len(data)), data))
        return self._pwritev(fd, buffers, offset, *rest)

    def _flush(self, fd: int) -> None:
        self.step("flush")
        inode = os.fstat(fd).st_ino
        self._check_alive(inode)
        self._unflushed = [each for each in self._unflushed if each[0] != inode]
        self._fsync(fd)

    def _check_alive(self, inode: int) -> None:
        if self.dies and self.steps >= self.dies[1] and Path(self.dies[0]).stat().st_ino == inode:
            raise OSError(errno.EIO, "it is dead")

    def lose(self, rng: random.Random) -> None:
        """Of what was not flushed keep some, lose some and tear some, as a disk does without power."""
        keep = rng.choice([0.0, 0.3, 0.7, 1.0])
        self._cut(lambda: rng.random() < keep, lambda: rng.random() < 0.3, rng)

    def tear(self, rng: random.Random) -> None:
        """Tear everything that was not flushed."""
        self._cut(lambda: True, lambda: True, rng)

    def _cut(self, kept: Callable[[], bool], torn: Callable[[], bool], rng: random.Random) -> None:
        for inode, offset, before, _ in reversed(self._unflushed):
            self._store(inode, offset, before)
        for inode, offset, _, data in self._unflushed:
            if not kept():
                continue
            some = torn()
            for at in range(0, len(data), 512):
                if not some or rng.random() < 0.5:
                    self._store(inode, offset + at, data[at : at + 512])
        self._unflushed = []

    def _store(self, inode: int, offset: int, data: bytes) -> None:
        with self._paths[inode].open("r+b") as file:
            file.seek(offset)
            file.write(data)
