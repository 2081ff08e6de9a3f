"""How far long work is: told by who does it, shown by whoever cares."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pycontrol.metadata.reader import Read

Advance = Callable[[int], None]
"""Told how much more is done, in the unit of its total."""


class Progress(Protocol):
    """Called at the beginning of each phase of long work."""

    def __call__(self, what: str, total: int | None) -> Advance:
        """``what`` is done is one word for people; None if nobody knows how much it is in all."""
        ...


def silent(what: str, total: int | None) -> Advance:
    """The :class:`Progress` of those who do not want to know."""
    return lambda done: None


def telling(read: "Read", advance: Advance) -> "Read":
    """``read``, which tells the bytes it has read, or could not read."""

    def told(offset: int, length: int) -> bytes:
        try:
            return read(offset, length)
        finally:
            advance(length)

    return told
