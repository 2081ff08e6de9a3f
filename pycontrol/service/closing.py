"""Waiting until nobody uses a device any more, by what the kernel tells of it.

Closing is told by inotify on the node, unmounting by a change of the mount table, the end
of a device stacked on it by device-mapper.  Nobody tells when the last file of a file system
that was taken from the tree is closed: so once a second it is tried again all the same.
"""

import ctypes
import os
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.service.blockdev import PROC

_IN_CLOSE: Final = 0x18
_IN_CLOEXEC: Final = 0o2000000
_IN_NONBLOCK: Final = 0o4000
_EVENTS: Final = 4096 + struct.calcsize("iIII")

_TICK: Final = 1.0
"""Seconds after which it is tried again, whatever is told."""

Wait = Callable[[float], None]
"""``wait(seconds)``: until something may have changed, at most so long."""


@contextmanager
def closings(control: Control, node: str, proc: Path = PROC) -> Iterator[Wait]:
    """What waits until somebody may have let go of the device at ``node``.

    DmIoctlError if the control node cannot be opened.
    """
    poller = select.poll()
    closed = _inotify(node)
    mounts = -1
    try:
        if closed >= 0:
            poller.register(closed, select.POLLIN)
        with suppress(OSError):
            mounts = os.open(proc / "self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            poller.register(mounts, select.POLLPRI)
        if control.fileno() >= 0:
            poller.register(control.fileno(), select.POLLIN)

        def wait(seconds: float) -> None:
            poller.poll(max(0.0, min(seconds, _TICK)) * 1000)
            if closed >= 0:
                with suppress(BlockingIOError):
                    os.read(closed, _EVENTS)
            control.arm_poll()

        control.arm_poll()
        yield wait
    finally:
        for fd in (closed, mounts):
            if fd >= 0:
                os.close(fd)


def _inotify(node: str) -> int:
    """A descriptor that becomes readable when somebody closes the node; -1 if there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(_IN_CLOEXEC | _IN_NONBLOCK)
    if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(os.path.realpath(node)), _IN_CLOSE) < 0:
        os.close(fd)
        return -1
    return fd
