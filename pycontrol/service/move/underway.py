"""One long change of a device at a time, and which it is."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pycontrol.dm.types import DmName
from pycontrol.errors import Busy, DeviceIoError
from pycontrol.service import devices, rundir
from pycontrol.text import plain


@contextmanager
def underway(name: DmName, what: str) -> Iterator[None]:
    """Hold the lock of a device for the length of a block; Busy tells what is going on instead.

    The lock ends with the process, however it ends.
    """
    top = devices.LOCKS
    try:
        rundir.make(top)
        fd = os.open(top / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeviceIoError(f"cannot make a lock in {top}: {error.strerror}") from error
    try:
        try:
            ours = rundir.lock(fd)
        except OSError as error:
            raise DeviceIoError(f"cannot lock {top / name}.lock: {error.strerror}") from error
        if not ours:
            other = plain(os.pread(fd, 500, 0).decode(errors="replace"))
            raise Busy(f"{name} is busy with {other or 'another command'}; wait for its end")
        os.ftruncate(fd, 0)
        os.pwrite(fd, os.fsencode(f"{what} (process {os.getpid()})"), 0)
        try:
            yield
        finally:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def said(name: str) -> str:
    """What long change of a device is under way, for people; empty if none, or it cannot be seen."""
    try:
        fd = os.open(devices.LOCKS / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return os.pread(fd, 500, 0).decode(errors="replace")
        return ""
    finally:
        os.close(fd)
