"""When to stop copying what is written meanwhile, and let I/O stand still for the rest."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pycontrol.errors import Busy

LONGEST: Final = 5.0
"""Seconds that I/O may stand still, unless somebody says otherwise."""

_GUESS: Final = 20 << 20
"""Bytes a second, before anything was measured."""

_MEASURED: Final = 4 << 20
"""Bytes after which a rate means something."""


_LITTLE: Final = 0.5
"""Seconds."""


class Next(Enum):
    """What to do about what is left."""

    COPY = "copy"
    SWITCH = "switch"
    GIVE_UP = "give up"


@dataclass(slots=True)
class Rounds:
    """What was left at the beginning of each round, and how fast copying goes.  Bytes, seconds."""

    longest: float = LONGEST
    left: list[int] = field(default_factory=list)
    copied: int = 0
    seconds: float = 0.0
    beside: float = 0.0
    """Seconds that the switch takes beside the copying."""

    def takes_besides(self, seconds: float) -> None:
        """That the switch would take so long beside the copying; little is as good as nothing."""
        self.beside = seconds if seconds > _LITTLE else 0.0

    def did(self, copied: int, seconds: float) -> None:
        """So many bytes were copied in so many seconds."""
        self.copied += copied
        self.seconds += seconds

    def copying(self, left: int) -> float:
        """Seconds it would take to copy so many bytes."""
        if self.copied < _MEASURED or not self.seconds:
            return left / _GUESS
        return left * self.seconds / self.copied

    def standstill(self, left: int) -> float:
        """Seconds that I/O would stand still, with so many bytes left to be copied."""
        return self.beside + self.copying(left)

    def again(self, name: str, left: int) -> bool:
        """Whether to copy once more before the switch, with so many bytes left.

        Busy if ``name`` is written too fast for a switch, or has more metadata than can be written in it.
        """
        decided = self.decide(left)
        if decided is not Next.GIVE_UP:
            return decided is Next.COPY
        seconds = f"{max(self.standstill(left), 0.1):.1f} s"
        if self.beside > self.longest:
            raise Busy(
                f"I/O on {name} would have to stand still for {seconds} while its remaps are read from the"
                " old spare and written down on the new one; allow it with --pause"
            )
        raise Busy(
            f"{name} is written faster than it can be copied: I/O would have to stand still for {seconds};"
            " try at a quieter time, or allow it with --pause"
        )

    def decide(self, left: int) -> Next:
        """Copy once more, as long as that makes what is left (bytes) a good deal less."""
        self.left.append(left)
        shrinks = len(self.left) < 3 or left * 4 < self.left[-2] * 3
        seconds = self.standstill(left)
        if seconds <= self.longest / 10 or (not shrinks and seconds <= self.longest):
            return Next.SWITCH
        return Next.COPY if shrinks else Next.GIVE_UP
