"""Events of our devices as they happen.

From udev where it runs (its events come after the rules, with names), else straight
from the kernel's uevent socket.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.cookie import UDEV_CONTROL, udev_listens
from pycontrol.service.tell import uevents
from pycontrol.service.tell.uevents import Properties, kernel_name

Source = Iterable[Properties | None]
"""Uevents; None where some were lost."""


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
        device=kernel_name(properties),
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
    lost: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """Events of the named device, or of all of ours; ends after ``count``.

    By name, so that a device may go and come back under the same watch.  ``lost`` is called
    where the buffer overflowed and events went missing.
    """
    left = count
    if left == 0:
        return
    for properties in source:
        if properties is None:
            lost()
            continue
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
    source = uevents.UdevUevents() if udev_listens(control) else uevents.KernelUevents()
    return source.origin, uevents.stream(source)
