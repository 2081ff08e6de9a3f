"""A stand-in for one dm-remap-v4 target: what its messages answer, after kernel/dm-remap-v4-message.c.

Sectors are kept one by one, in dictionaries: nothing of the ranges under test is used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

MOST_WORDS = 1 + 2 * 511


@dataclass
class FakeTarget:
    """Pass it as ``FakeKernel.answer``.  ``unreadable`` are sectors that main cannot give."""

    sectors: int
    block: int = 1
    remapped: dict[int, int] = field(default_factory=dict)
    """The sector of the spare for each sector of main that lives there."""
    lost: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    room: int = 1 << 30
    next_spare: int = 2048
    sent: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda words: None
    """Called with each message before it is served."""

    def __call__(self, words: str) -> str:
        self.before(words)
        self.sent.append(words)
        name, *arguments = words.split()
        assert len(arguments) < MOST_WORDS, "more than shares one commit"
        match name:
            case "list":
                return self._list(*map(int, arguments))
            case "remap":
                return self._remap(self._ranges(arguments))
            case "unmap":
                return self._unmap(self._ranges(arguments))
            case "pending":
                return self._pend(self._ranges(arguments))
            case "sync":
                return "Saved, sequence 7\n"
        raise OSError(22, "unknown message")

    def _ranges(self, words: list[str]) -> list[int]:
        numbers = list(map(int, words))
        if len(numbers) == 1:
            numbers.append(self.block)
        assert len(numbers) % 2 == 0
        found: list[int] = []
        for sector, count in zip(numbers[::2], numbers[1::2], strict=True):
            if count < 1 or sector + count > self.sectors or sector % self.block or count % self.block:
                raise OSError(22, "Invalid argument")
            found += range(sector, sector + count)
        return found

    def _remap(self, sectors: Iterable[int]) -> str:
        moved = lost = 0
        for sector in sectors:
            if sector in self.unreadable and sector not in self.remapped:
                self.lost.add(sector)
            lost += sector in self.lost
            if sector in self.remapped or sector in self.lost:
                continue
            if not self.room:
                raise OSError(28, "No space left on device")
            self.room -= 1
            self.remapped[sector] = self.next_spare
            self.next_spare += 1
            moved += 1
        return f"Remapped {moved} sectors" + (f", {lost} unreadable and pending" if lost else "") + "\n"

    def _unmap(self, sectors: Iterable[int]) -> str:
        asked = [sector for sector in sectors if sector in self.remapped]
        for sector in asked:
            del self.remapped[sector]
        return f"Unmapped {len(asked)} sectors\n"

    def _pend(self, sectors: Iterable[int]) -> str:
        asked = list(sectors)
        self.lost |= set(asked) - set(self.remapped)
        return f"{sum(sector in self.lost for sector in asked)} sectors are pending\n"

    def _list(self, start: int = 0, most: int = 100) -> str:
        if start >= self.sectors:
            raise OSError(22, "Invalid argument")
        lines: list[str] = []
        there = sorted(sector for sector in (*self.remapped, *self.lost) if sector >= start)
        at = 0
        while at < len(there) and len(lines) < most:
            first, count = there[at], 1
            while at + count < len(there) and self._continues(there[at + count - 1], there[at + count]):
                count += 1
            place = self.remapped.get(first, "-")
            lines.append(f"{first} {count} {place} {'pending' if first in self.lost else 'remap'}")
            at += count
        if at < len(there):
            lines.append(f"next {there[at]}")
        return "\n".join(lines or ["none"]) + "\n"

    def _continues(self, one: int, other: int) -> bool:
        if other != one + 1 or (one in self.lost) != (other in self.lost):
            return False
        return one in self.lost or self.remapped[other] == self.remapped[one] + 1
