"""One remap, from the message to the durable reply, against its flushes alone."""

from dataclasses import dataclass
from statistics import median

from harness import Guest

from . import stacks
from .remaps import Remaps

COMMITS = 60


@dataclass(frozen=True)
class Commit:
    """Medians in nanoseconds, which are instructions on a machine that counts."""

    remap: float  # message to reply
    flushes: float  # as many as the remap made, one after the other, and nothing else
    number: float  # of flushes

    @property
    def ratio(self) -> float:
        return self.remap / self.flushes

    @property
    def beside(self) -> float:
        """What the remap takes beside its flushes."""
        return self.remap - self.flushes


def measure(guest: Guest, main: str, spare: str) -> Commit:
    """Remap one block after the other; in between, flush the spare as often as that did."""
    sectors = int(guest.run("blockdev", "--getsz", main).out)
    with stacks.remapped(guest, main, spare, Remaps(0, sectors, 0)):
        samples = guest.call(_commits, spare, COMMITS, timeout=300)
    return Commit(*(median(sample[what] for sample in samples) for what in ("remap", "flushes", "count")))


def _commits(spare: str, count: int) -> list[dict[str, int]]:
    """In the guest: times of a remap and of its flushes alone, in pairs."""
    import os
    import time
    from pathlib import Path

    from pycontrol.dm.ioctl import Control
    from pycontrol.dm.types import DmName

    def flushed() -> int:
        return int(Path(f"/sys/class/block/{Path(spare).resolve().name}/stat").read_text().split()[15])

    samples = []
    fd = os.open(spare, os.O_RDWR)
    with Control() as control:
        for number in range(count):
            before = flushed()
            begin = time.monotonic_ns()
            control.message(DmName("remapped"), f"remap {number * 64} 8")
            remap = time.monotonic_ns() - begin
            made = flushed() - before
            begin = time.monotonic_ns()
            for _ in range(made):
                os.fsync(fd)
            samples.append({"remap": remap, "flushes": time.monotonic_ns() - begin, "count": made})
    os.close(fd)
    return samples
