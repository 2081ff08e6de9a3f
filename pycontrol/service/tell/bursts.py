"""Hysteresis: many events of one kind become one call.

The first event of a kind opens a window; when it ends, everything that came is told at
once.  What follows is gathered in a window twice as long, and so on up to the longest.  After
a window in which nothing came it begins anew with the shortest.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pycontrol.service.tell.notice import Notice

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Burst:
    """Events of one class and device, added up.  Sectors are 512 bytes."""

    latest: Notice
    first: float
    """When the first was received, in seconds since 1970."""
    count: int = 0
    """uevents; each may tell of several extents."""
    extents: int = 0
    sectors: int = 0
    lost: int = 0
    """Of EVENTS_LOST: how many events, as far as that is known."""
    sector: int | None = None
    """The lowest."""

    def add(self, notice: Notice) -> None:
        """Count a further event of this burst."""
        event = notice.event
        self.latest = notice
        self.count += 1
        self.extents += event.extents or 0
        self.sectors += event.sectors or 0
        self.lost += notice.lost or 0
        if event.sector is not None and event.sectors:
            self.sector = event.sector if self.sector is None else min(self.sector, event.sector)


@dataclass(slots=True)
class _Window:
    width: float
    end: float
    burst: Burst | None = None


class Bursts(Generic[Key]):
    """Open windows by key; ``shortest`` and ``longest`` in seconds, times by a monotonic clock."""

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = max(shortest, longest)
        self._windows: dict[Key, _Window] = {}

    def add(self, key: Key, notice: Notice, now: float) -> None:
        """Gather an event of this kind at ``now``, in seconds by the monotonic clock."""
        self._forget_quiet(now)
        window = self._windows.setdefault(key, _Window(self._shortest, now + self._shortest))
        if window.burst is None:
            window.burst = Burst(notice, notice.event.time)
        window.burst.add(notice)

    @property
    def deadline(self) -> float | None:
        """When the next burst is due; None if nothing was gathered, so that no timer is needed."""
        return min((window.end for window in self._windows.values() if window.burst), default=None)

    def due(self, now: float) -> tuple[Key, Burst] | None:
        """Take a burst whose window has ended by ``now``, None without one; the others stay, and grow."""
        for key, window in self._windows.items():
            if window.burst and window.end <= now:
                burst, window.burst = window.burst, None
                window.width = min(window.width * 2, self._longest)
                window.end = now + window.width
                return key, burst
        return None

    def close(self) -> None:
        """Let everything be due at once."""
        for window in self._windows.values():
            window.end = float("-inf")

    def _forget_quiet(self, now: float) -> None:
        for key in [key for key, window in self._windows.items() if not window.burst and window.end <= now]:
            del self._windows[key]
