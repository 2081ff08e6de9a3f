"""A bounded rate: so much work, then so long a pause."""

import time
from collections.abc import Callable
from typing import Final

_SLICE: Final = 0.2
"""Seconds of sleep after which somebody may want us to stop."""


class Pace:
    """Spreads work evenly at ``rate`` units a second; 0 does not limit it.

    Time lost is not made up for: after a stall, on a disk that struggles with a sector,
    the rate is what it was before.
    """

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._due: float | None = None

    def wait(self, done: int, stop: Callable[[], object] = lambda: False) -> None:
        """Sleep until ``done`` more units may have been worked off, or ``stop`` says something true."""
        if not self._rate:
            return
        now = self._clock()
        duration = done / self._rate
        # The work itself took part of its time, or all of it.
        begun = now - duration if self._due is None else max(self._due, now - duration)
        self._due = begun + duration
        while now < self._due and not stop():
            self._sleep(min(_SLICE, self._due - now))
            now = self._clock()
