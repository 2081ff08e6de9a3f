"""Holding the writes of a file system back for moments, as fsfreeze(8) does.

A frozen file system stays frozen when the program that froze it dies.  So a second process
waits for the end of the first and thaws it then.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy, DeviceIoError
from pycontrol.text import plain

FIFREEZE: Final = 0xC0045877
FITHAW: Final = 0xC0045878

Ioctl = Callable[[int, int, int], object]
"""``ioctl(fd, number, 0)``; raises OSError."""

_FROZEN, _THAWED = b"F", b"T"


class Freezer:
    """Freezes and thaws the file system mounted at ``point``."""

    def __init__(self, point: str, fd: int, line: int, ioctl: Ioctl) -> None:
        self._point, self._fd, self._line, self._ioctl = point, fd, line, ioctl

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Nothing is written by the file system inside the block; signals wait for its end.

        Busy if it is frozen already, DeviceIoError if it cannot be.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            os.write(self._line, _FROZEN)
            try:
                self._ioctl(self._fd, FIFREEZE, 0)
            except OSError as error:
                os.write(self._line, _THAWED)
                raise self._refused(error) from error
            try:
                yield
            finally:
                self._ioctl(self._fd, FITHAW, 0)
                os.write(self._line, _THAWED)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _refused(self, error: OSError) -> Exception:
        where = plain(self._point)
        if error.errno == errno.EBUSY:
            return Busy(
                f"the file system on {where} is frozen already; thaw it first ('fsfreeze -u {where}')"
            )
        return DeviceIoError(f"the file system on {where} cannot be frozen: {error.strerror}; unmount it")


@contextmanager
def freezer(point: str, ioctl: Ioctl | None = None, dev: DevNumber | None = None) -> Iterator[Freezer]:
    """A freezer for the file system mounted at ``point``, and its guard, for the length of a block.

    Busy if what is to be seen there is not the file system on the device ``dev``.
    """
    ioctl = ioctl or fcntl.ioctl
    fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if dev is not None and os.fstat(fd).st_dev != os.makedev(dev.major, dev.minor):
            raise Busy(f"{plain(point)} is hidden by another mount; unmount that first")
        heard, line = os.pipe()
        guard = os.fork()
        if guard == 0:
            os.close(line)
            _stand_guard(fd, heard, ioctl)
        try:
            yield Freezer(point, fd, line, ioctl)
        finally:
            os.close(heard)
            os.close(line)
            os.waitpid(guard, 0)
    finally:
        os.close(fd)


def _stand_guard(fd: int, heard: int, ioctl: Ioctl) -> None:
    """Wait until the other end of the pipe is gone, then thaw if that was left undone; does not return."""
    try:
        # A ^C goes to the whole process group.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        last = _THAWED
        while said := os.read(heard, 1):
            last = said
        if last == _FROZEN:
            with suppress(OSError):
                ioctl(fd, FITHAW, 0)
    finally:
        os._exit(0)
