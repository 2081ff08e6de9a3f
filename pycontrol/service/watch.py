"""Events of our devices as they happen.

From udev where it runs (its events come after the rules, with names), else straight
from the kernel's uevent socket.
"""

import errno
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.cookie import UDEV_CONTROL
from pycontrol.errors import AccessDenied

Properties = Mapping[str, str]
Source = Iterable[Properties]


@dataclass(frozen=True, slots=True)
class Event:
    """One event, or several of one kind within half a second.

    ``sector`` (the lowest) and ``sectors`` (the sum, in so many ``extents``) in units of 512
    bytes, None if it concerns none.
    """

    time: float
    """Seconds since 1970, when it was received."""
    name: str
    uuid: str
    action: str
    """The target's DM_ACTION, or ``RESUMED`` and ``REMOVED`` for the device itself."""
    device: str
    """The kernel's name, ``dm-0``."""
    seqnum: int | None
    sector: int | None
    sectors: int | None
    extents: int | None


def parse(properties: Properties, now: float) -> Event | None:
    """An event of ours, or None for everybody else's."""
    uuid, kind = properties.get("DM_UUID", ""), properties.get("ACTION", "")
    if properties.get("DM_TARGET") == TARGET and properties.get("DM_ACTION"):
        action = properties["DM_ACTION"]
    elif not uuid.startswith(UUID_PREFIX) or properties.get("SUBSYSTEM", "block") != "block":
        return None
    elif kind == "remove":
        action = "REMOVED"
    elif kind == "change" and properties.get("DM_COOKIE"):
        action = "RESUMED"
    else:
        return None
    return Event(
        time=now,
        name=properties.get("DM_NAME", ""),
        uuid=uuid,
        action=action,
        device=properties.get("DEVNAME", "").removeprefix("/dev/"),
        seqnum=_number(properties.get("DM_SEQNUM")),
        sector=_number(properties.get("DM_SECTOR")),
        sectors=_number(properties.get("DM_SECTORS")),
        extents=_number(properties.get("DM_EXTENTS")),
    )


def _number(word: str | None) -> int | None:
    return int(word) if word and word.isascii() and word.isdigit() and len(word) <= 20 else None


def events(
    source: Source,
    name: str | None = None,
    *,
    count: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Iterator[Event]:
    """Events of the named device, or of all of ours; ends after ``count``.

    By name, so that a device may go and come back under the same watch.
    """
    left = count
    if left == 0:
        return
    for properties in source:
        event = parse(properties, clock())
        if event is None or (name is not None and event.name != name):
            continue
        yield event
        if left is not None:
            left -= 1
            if left == 0:
                return


def open_source(control: Path = UDEV_CONTROL) -> tuple[str, Source]:
    """``udev`` or ``kernel``, and the events from there; listening starts here, not later."""
    return ("udev", udev_source()) if control.exists() else ("kernel", kernel_source())


def udev_source() -> Source:
    """udev's events of block devices, as pyudev gives them."""
    import pyudev

    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="udev")
    monitor.filter_by("block")
    monitor.set_receive_buffer_size(4 << 20)
    monitor.start()

    def stream() -> Iterator[Properties]:
        while True:
            try:
                device = monitor.poll()
            except OSError as error:
                if error.errno in (errno.ENOBUFS, errno.EINTR):
                    # Events were lost to a flood; those to come are still worth having.
                    continue
                raise
            if device is not None:
                yield {str(key): str(value) for key, value in device.properties.items()}

    return stream()


def kernel_source() -> Source:
    """The kernel's own uevents by netlink; only root's network namespace sees them."""
    from pyroute2.netlink.uevent import MONITOR_GROUP_KERNEL, UeventSocket

    socket = UeventSocket()
    try:
        socket.bind(groups=MONITOR_GROUP_KERNEL)
    except OSError as error:
        socket.close()
        raise AccessDenied(f"the kernel's events cannot be listened to: {error.strerror}") from error

    def stream() -> Iterator[Properties]:
        with closing(socket):
            while True:
                try:
                    messages = list(socket.get())
                except OSError as error:
                    if error.errno in (errno.ENOBUFS, errno.EINTR):
                        continue
                    raise
                for message in messages:
                    yield {key: value for key, value in message.items() if isinstance(value, str)}

    return stream()
