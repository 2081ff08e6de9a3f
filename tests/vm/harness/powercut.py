"""What a disk with a volatile write cache holds after a power cut.

Killing QEMU alone loses nothing: the host's page cache keeps every write.  So a disk is
rebuilt from its state when the machine was started and QEMU's log of all that happened
since: everything up to the last flush, and of the writes after it a random choice, each
kept, lost or torn.
"""

import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from .writelog import DISCARD, FLUSH, FUA, SECTOR, Entry

Key = tuple[int, int, int]  # offset, length, crc of the data


@dataclass
class Failures:
    """Which writes met bad sectors, as the disk itself saw it.

    The log does not tell: QEMU logs a write whether it failed or not.  Equal writes are
    told apart by counting them, since disk and log see them in the same order.
    """

    seen: dict[Key, int] = field(default_factory=dict)
    done: dict[tuple[Key, int], int] = field(default_factory=dict)  # (key, nth time): bytes stored

    @classmethod
    def decode(cls, reply: dict[str, list[list[int]]]) -> "Failures":
        seen = {(o, n, crc): times for o, n, crc, times in reply["seen"]}
        return cls(seen, {((o, n, crc), nth): done for o, n, crc, nth, done in reply["failed"]})


def as_stored(log: Iterable[Entry], failures: Failures) -> Iterator[Entry]:
    """The log with failed writes cut down to what was stored of them."""
    count: dict[Key, int] = {}
    for e in log:
        if e.data:
            key = (e.offset, e.length, zlib.crc32(e.data))
            count[key] = nth = count.get(key, 0) + 1
            # QEMU logs a write when it has been answered: the disk must know it.
            if nth > failures.seen.get(key, 0):
                raise AssertionError(f"the disk never saw logged write {nth} of {key}")
            done = failures.done.get((key, nth), e.length)
            if done < e.length:
                e = replace(e, nr_sectors=done // SECTOR, data=e.data[:done])
        yield e


@dataclass
class Cut:
    """What became of the writes after the last flush (for the test's own curiosity)."""

    flushed: int = 0
    kept: int = 0
    torn: int = 0
    lost: int = 0


def rebuild(
    image: Path,
    log: Iterable[Entry],
    seed: int,
    *,
    keep: float | None = None,
    torn: bool = True,
) -> Cut:
    """Write to `image`, the disk when the machine was started, what survives of `log`.

    `keep` is the probability that a write after the last flush survives; by default the
    seed chooses it too, so that a series of seeds also meets "all" and "none".  With
    `torn`, a surviving write may have stored only some of its 512-byte sectors.
    """
    dice = random.Random(seed)
    if keep is None:
        keep = dice.choice([0.0, 0.2, 0.5, 0.8, 1.0])
    entries = list(log)
    last_flush = max((i for i, e in enumerate(entries) if e.flags & FLUSH), default=-1)
    cut = Cut()
    with image.open("r+b") as f:
        for i, e in enumerate(entries):
            if not e.nr_sectors:
                continue
            if i <= last_flush or e.flags & FUA:
                _store(f, e, range(e.nr_sectors))
                cut.flushed += 1
            elif dice.random() >= keep:
                cut.lost += 1
            elif torn and e.nr_sectors > 1 and dice.random() < 0.3:
                _store(f, e, _some_sectors(dice, e.nr_sectors))
                cut.torn += 1
            else:
                _store(f, e, range(e.nr_sectors))
                cut.kept += 1
    return cut


def _some_sectors(dice: random.Random, n: int) -> list[int]:
    """The start of the request, its end, or sectors here and there."""
    at = dice.randrange(1, n)
    return dice.choice([list(range(at)), list(range(at, n)), [i for i in range(n) if dice.random() < 0.5]])


def _store(f: BinaryIO, e: Entry, sectors: Iterable[int]) -> None:
    if isinstance(sectors, range) and len(sectors) == e.nr_sectors:
        f.seek(e.offset)
        f.write(bytes(e.length) if e.flags & DISCARD else e.data)
        return
    for i in sectors:
        f.seek(e.offset + i * SECTOR)
        f.write(bytes(SECTOR) if e.flags & DISCARD else e.data[i * SECTOR : (i + 1) * SECTOR])
