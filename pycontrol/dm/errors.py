"""Errors of the boundary: what was asked, and what came back."""

import errno
import os

from pycontrol.errors import RemapError


class DmError(RemapError):
    """Root of the boundary's errors."""


class DmIoctlError(DmError):
    """The kernel refused an ioctl, or the control node could not be opened."""

    def __init__(self, command: str, asked: str, code: int) -> None:
        super().__init__(command, asked, code)
        self.command = command
        """Name of the ioctl, ``DM_DEV_CREATE``; ``open`` for the control node."""
        self.asked = asked
        """What it was asked to do, with the names, for people."""
        self.errno = code
        """The kernel's answer, a positive errno."""

    def __str__(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.command} ({self.asked}) failed: {os.strerror(self.errno)} ({name})"


class DmReplyError(DmError):
    """The kernel's reply does not have the shape that linux/dm-ioctl.h gives it."""


class DmNameError(DmError, ValueError):
    """A name or uuid device-mapper would not accept, or udev would mangle."""


class CookieError(DmError):
    """udev did not finish with the device in time, or the semaphore failed."""
