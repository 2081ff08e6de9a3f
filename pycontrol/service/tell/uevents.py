"""uevents, from the kernel or from udev, for a loop that polls.

The kernel's are read by a plain netlink socket; docs/monitor.md says why not by pyroute2's.  A
message is a header and ``KEY=value`` strings, each ended by a null byte (lib/kobject_uevent.c).
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from pycontrol.errors import AccessDenied

Properties = Mapping[str, str]

RECEIVE_BUFFER: Final = 128 << 20
"""Bytes, as much as udev's own: an event takes about 1 KiB.  Charged only while it is full."""
BATCH: Final = 256
"""Events taken at once, so that a flood is held by the socket and not by this process."""

_SO_RCVBUFFORCE: Final = 33
_NETLINK_KOBJECT_UEVENT: Final = 15
_KERNEL_GROUP: Final = 1
_LARGEST_MESSAGE: Final = 8192


class Uevents(Protocol):
    """A source of uevents."""

    @property
    def origin(self) -> str:
        """``kernel`` or ``udev``."""

    def fileno(self) -> int:
        """For poll(): readable when :meth:`read` has something."""

    def read(self) -> list[Properties | None]:
        """What has come, at most :data:`BATCH`, without waiting; None where events were lost."""

    def close(self) -> None:
        """Stop listening."""


class KernelUevents:
    """The kernel's own; they need no udev, but root's network namespace."""

    origin = "kernel"

    def __init__(self, source: socket.socket | None = None) -> None:
        self._socket = source or _open_netlink()
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Becomes readable when an event is there."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def read(self) -> list[Properties | None]:
        """Events that are there, without waiting; None stands for some that were lost."""
        return list(self._read())

    def _read(self) -> Iterator[Properties | None]:
        for _ in range(BATCH):
            try:
                message, sender = self._socket.recvfrom(_LARGEST_MESSAGE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            # Only the kernel sends from port 0.
            if not isinstance(sender, tuple) or sender[0] == 0:
                yield decode(message)


def decode(message: bytes) -> Properties:
    """The properties of one message of the kernel; its header says nothing new and is left out."""
    words = message.decode(errors="surrogateescape").split("\0")[1:]
    pairs = (word.partition("=") for word in words)
    return {key: value for key, equals, value in pairs if equals}


def _open_netlink() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_KOBJECT_UEVENT)
    try:
        opened.bind((0, _KERNEL_GROUP))
    except OSError as error:
        opened.close()
        raise AccessDenied(f"the kernel's events cannot be listened to: {error.strerror}") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        # Without root the administrator's limit holds.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return opened


class UdevUevents:
    """udev's events of block devices: they come after the rules, with names for all of them."""

    origin = "udev"

    def __init__(self) -> None:
        import pyudev

        self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
        self._monitor.filter_by("block")
        # Without root the system's default is what there is.
        with contextlib.suppress(PermissionError):
            self._monitor.set_receive_buffer_size(RECEIVE_BUFFER)
        self._monitor.start()

    def fileno(self) -> int:
        """Becomes readable when an event is there."""
        number: int = self._monitor.fileno()
        return number

    def close(self) -> None:
        """Stop listening."""
        # The descriptor is libudev's; it goes with the monitor.
        del self._monitor

    def read(self) -> list[Properties | None]:
        """Events that are there, without waiting; None stands for some that were lost."""
        return list(self._read())

    def _read(self) -> Iterator[Properties | None]:
        for _ in range(BATCH):
            try:
                device = self._monitor.poll(0)
            except OSError as error:
                if errno.ENOBUFS not in (error.errno, self._trouble()):
                    raise
                yield None
                continue
            if device is None:
                return
            yield {str(key): str(value) for key, value in device.properties.items()}

    def _trouble(self) -> int:
        """The number of the socket's error, which is cleared by that; 0 if it has none.

        After an overflow poll() says POLLERR until somebody takes the error.  pyudev only raises an
        OSError without a number then, before it would receive anything.
        """
        with socket.socket(fileno=os.dup(self._monitor.fileno())) as ours:
            return ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def stream(source: Uevents) -> Iterator[Properties | None]:
    """All events of a source, for ever; waits in poll(), and never by time."""
    import select

    poll = select.poll()
    poll.register(source.fileno(), select.POLLIN)
    try:
        while True:
            poll.poll()
            yield from source.read()
    finally:
        source.close()


def kernel_name(properties: Properties) -> str:
    """``dm-0``: the kernel sends it bare, udev as a path."""
    return os.path.basename(properties.get("DEVNAME", ""))  # noqa: PTH119  (pathlib is slow for a flood)
