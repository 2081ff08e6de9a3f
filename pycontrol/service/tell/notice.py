"""What is told of an event: its class, how urgent it is, and a line for people."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pycontrol.service.tell.totals import Totals
from pycontrol.service.tell.watch import Event
from pycontrol.text import plain

PRESENT: Final = "PRESENT"
RESUMED: Final = "RESUMED"
REMOVED: Final = "REMOVED"
EVENTS_LOST: Final = "EVENTS_LOST"


class Level(IntEnum):
    """Priorities of syslog."""

    CRITICAL = 2
    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


LEVELS: Final = {
    "REMAP": Level.WARNING,
    "PENDING": Level.ERROR,
    "UNMAP": Level.INFO,
    "COPY_LOST": Level.ERROR,
    "COPY_MENDED": Level.NOTICE,
    "SPARE_NEARLY_FULL": Level.WARNING,
    "SPARE_FULL": Level.CRITICAL,
    "MODE": Level.CRITICAL,
    "BREAKER": Level.CRITICAL,
    PRESENT: Level.INFO,
    RESUMED: Level.INFO,
    REMOVED: Level.NOTICE,
    EVENTS_LOST: Level.WARNING,
}
"""Every class of event, and how urgent it is."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An event, and the state of its device after it."""

    event: Event
    state: Totals | None = None
    """As read by ioctl when the event came; None if the device is gone."""
    lost: int | None = None
    """Of EVENTS_LOST: how many events, None if nobody can tell yet."""

    @property
    def level(self) -> Level:
        """How urgent it is; a device that comes up in need of attention is a warning."""
        level = LEVELS.get(self.event.action, Level.WARNING)
        if self.event.action in (PRESENT, RESUMED) and self.state and not self.state.healthy:
            return Level.WARNING
        return level

    @property
    def line(self) -> str:
        """One line of visible characters, without the time."""
        name = plain(self.event.name or self.event.device)
        parts = [f"{name}: {plain(self.event.action)}{details(self.event)}"]
        if self.event.action == EVENTS_LOST:
            said = f"{EVENTS_LOST} {lost_events(self)}"
            parts = [f"{name}: {said}" if name else said]
        if self.state is not None:
            parts.append(figures(self.state))
        return "; ".join(parts)


def details(event: Event) -> str:
    """Which sectors an event concerns, with a blank before it; empty if none."""
    text = ""
    if event.sector is not None and event.sectors != 0:
        text += f" sector {event.sector}"
    if event.sectors:
        scattered = f" in {event.extents} extents" if event.extents and event.extents > 1 else ""
        text += f" ({event.sectors} sectors{scattered})"
    return text


def figures(state: Totals) -> str:
    """The state of a device in a line."""
    return (
        f"{plain(state.state)}, {state.remapped_extents} remapped, {state.pending_extents} pending,"
        f" spare {state.spare_percent:.1f}% used, {state.valid_copies}/{state.copies} copies"
    )


def lost_events(notice: Notice) -> str:
    """What was missed; the figures behind it are right, for they were read anew."""
    if notice.lost is None:
        return "some, the state was read again"
    return f"{notice.lost} before number {notice.event.seqnum}"
