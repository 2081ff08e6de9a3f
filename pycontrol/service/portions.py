"""How much to ask of the target at once: between two messages an interruption is heard.

A message is not broken off but by SIGKILL, and a dying disk may take seconds for each block.
Sectors are of 512 bytes.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from pycontrol.service.ranges import Range

FIRST: Final = 64
"""Sectors of the first message: 32 KiB."""
LEAST: Final = 8
"""A block of 4096 bytes."""
MOST: Final = 32 << 11
"""32 MiB."""
_GOAL: Final = 2.0
"""Seconds that a message may take."""
_STEP: Final = 8
"""Up to so many times as much as before, if that was quick."""


class Portion:
    """The sectors of the next message, a power of two: fewer where the last ones took long."""

    def __init__(self) -> None:
        self.sectors = FIRST

    @contextmanager
    def measured(self, asked: int) -> Iterator[None]:
        """The block sends a message about ``asked`` sectors."""
        began = monotonic()
        yield
        seconds = monotonic() - began
        if seconds > _GOAL:
            fitting = max(LEAST, int(asked * _GOAL / seconds))
            self.sectors = 1 << fitting.bit_length() - 1
        elif seconds * _STEP <= _GOAL and asked * 2 >= self.sectors:
            self.sectors = min(MOST, self.sectors * _STEP)


def batches(ranges: Iterable[Range], portion: Portion, most_ranges: int = 1) -> Iterator[list[Range]]:
    """The ranges of one message after the other; long ones in parts.

    Whole logical blocks stay whole.
    """
    left = deque(ranges)
    while left:
        batch: list[Range] = []
        room = portion.sectors
        while left and room and len(batch) < most_ranges:
            start, end = left.popleft()
            cut = min(end, start + room)
            batch.append((start, cut))
            room -= cut - start
            if cut < end:
                left.appendleft((cut, end))
        yield batch
