"""Keeping everybody else away from a device until device-mapper takes it itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pycontrol.service.blockdev import BlockDevice, open_device


class LetGo:
    """Call it just before a table names the device: device-mapper wants it for itself, too."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def __call__(self) -> None:
        """Give it back; nothing if that was done."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@contextmanager
def taken(what: str | BlockDevice) -> Iterator[LetGo]:
    """Have a device alone for the length of a block, or until it is let go; Busy if others have it."""
    holder = LetGo(open_device(what, os.O_RDONLY | os.O_EXCL))
    try:
        yield holder
    finally:
        holder()
