"""Instructions of one request, by device, pattern, size and depth."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from harness import Guest

from pycontrol.metadata import SECTOR

from . import stacks
from .images import Images, MiB
from .nulldisk import null_disk, remove_null_disk
from .remaps import EXTENT_BYTES, Remaps
from .requests import OPERATIONS, Requester, Workload

MAIN_SECTORS = 1 << 31  # 1 TiB
SPARE_SECTORS = 1 << 24  # 8 GiB

NUMBERS = (0, 1, 1000, 100_000, 1_000_000)
SPLICED = (1000, 100_000)
SIZES = (512, 4096, 65536, MiB)
DEPTHS = (1, 32)
# Enough that the timer's interrupts do not count.
COUNTS = {512: 1024, 4096: 2048, 65536: 512, MiB: 128}

RAW = "raw null_blk"
LINEAR = "dm-linear"
LINEAR_ON_SPARE = "dm-linear on the spare"
TARGET = "dm-remap-v4"
SPLICED_NAME = "dm-linear, spliced"


@dataclass(frozen=True)
class Plan:
    """What to measure: sizes of the table and of requests, and whether also what others offer."""

    numbers: Sequence[int] = NUMBERS
    sizes: Sequence[int] = SIZES
    depths: Sequence[int] = DEPTHS
    others: bool = True

    def workloads(self) -> Iterator[Workload]:
        for size in self.sizes:
            for operation in OPERATIONS:
                for depth in self.depths:
                    yield Workload(operation, size, depth)


@dataclass(frozen=True)
class Cell:
    device: str
    remaps: int  # -1 where there is no such thing
    pattern: str
    workload: Workload
    instructions: float


@dataclass
class Figures:
    cells: list[Cell] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def find(self, device: str, remaps: int, pattern: str, workload: Workload) -> float | None:
        for cell in self.cells:
            if (cell.device, cell.remaps, cell.pattern, cell.workload) == (device, remaps, pattern, workload):
                return cell.instructions
        return None

    def ratio_of(self, device: str, remaps: int, pattern: str, workload: Workload) -> float | None:
        found = self.find(device, remaps, pattern, workload)
        return None if found is None else self.ratio(Cell(device, remaps, pattern, workload, found))

    def ratio(self, cell: Cell) -> float | None:
        """To dm-linear with the same workload.

        A hit lands on the spare, which has memory and costs more than main; only what it costs
        over dm-linear at the same place of the spare is charged, on top of dm-linear on main.
        """
        pattern = "sequential" if cell.pattern == "sequential" else "random"
        base = self.find(LINEAR, -1, pattern, cell.workload)
        if base is None:
            return None
        if cell.pattern != "hit":
            return cell.instructions / base
        on_spare = self.find(LINEAR_ON_SPARE, cell.remaps, "hit", cell.workload)
        return None if on_spare is None else (base + cell.instructions - on_spare) / base


@cache
def everywhere(size: int, sectors: int) -> list[int]:
    """Offsets of random requests on a device of so many sectors."""
    rng = random.Random(size)
    return [rng.randrange(sectors * SECTOR // size) * size for _ in range(COUNTS[size])]


@cache
def one_after_the_other(size: int) -> list[int]:
    return [number * size for number in range(COUNTS[size])]


class PerRequest:
    """Measures on one guest, into ``figures``."""

    def __init__(
        self,
        guest: Guest,
        requester: Requester,
        images: Images,
        plan: Plan,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.figures = Figures()
        self._plan, self._workloads = plan, list(plan.workloads())
        self._guest, self._requester, self._images, self._progress = guest, requester, images, progress
        self._main = null_disk(guest, "main", MAIN_SECTORS * SECTOR // MiB)

    def measure(self) -> Figures:
        guest, main = self._guest, self._main
        self._random(RAW, main)
        with stacks.linear(guest, main, MAIN_SECTORS) as device:
            self._random(LINEAR, device)
            self._sequential(LINEAR, -1, device)
        for number in self._plan.numbers:
            self._table(Remaps(number, MAIN_SECTORS, SPARE_SECTORS))
        if self._plan.others:
            self._peers()
        remove_null_disk(guest, "main")
        return self.figures

    def _peers(self) -> None:
        for name, (stack, sectors) in stacks.PEERS.items():
            try:
                with stack(self._guest, self._main, MAIN_SECTORS) as device:
                    self._random(name, device, sectors or MAIN_SECTORS)
            except stacks.Absent:
                self.figures.absent.append(name)

    def _table(self, remaps: Remaps) -> None:
        spare = null_disk(self._guest, "spare", SPARE_SECTORS * SECTOR // MiB, memory=True)
        if remaps.number:
            self._images.copy(self._guest, remaps, spare)
            with stacks.linear(self._guest, spare, SPARE_SECTORS) as device:
                self._fill(remaps, device)
                self._hits(LINEAR_ON_SPARE, remaps, device, on_spare=True)
        with stacks.remapped(self._guest, self._main, spare, remaps) as device:
            if remaps.number:
                self._patterns(TARGET, remaps, device)
            else:
                self._random(TARGET, device, number=0)
                self._sequential(TARGET, 0, device)
        if self._plan.others and remaps.number in SPLICED:
            with stacks.spliced(self._guest, self._main, spare, remaps) as device:
                self._patterns(SPLICED_NAME, remaps, device)
        remove_null_disk(self._guest, "spare")

    def _patterns(self, name: str, remaps: Remaps, device: str) -> None:
        for workload in self._workloads:
            size, count = workload.size, COUNTS[workload.size]
            self._cell(name, remaps.number, "missed", device, workload, missing(remaps, size, count))
            self._cell(name, remaps.number, "mixed", device, workload, mixed(remaps, size, count))
        self._hits(name, remaps, device, on_spare=False)

    def _hits(self, name: str, remaps: Remaps, device: str, *, on_spare: bool) -> None:
        for workload in self._workloads:
            if workload.size <= EXTENT_BYTES:
                offsets = hitting(remaps, workload.size, COUNTS[workload.size])[on_spare]
                self._cell(name, remaps.number, "hit", device, workload, offsets)

    def _fill(self, remaps: Remaps, spare: str) -> None:
        """Where nothing was ever written, a null_blk in memory reads otherwise than where something was."""
        for size in {w.size for w in self._workloads if w.size <= EXTENT_BYTES}:
            places = [
                place // EXTENT_BYTES * EXTENT_BYTES for place in hitting(remaps, size, COUNTS[size])[1]
            ]
            self._requester.nanoseconds(spare, Workload("write", EXTENT_BYTES), places)

    def _random(self, name: str, device: str, sectors: int = MAIN_SECTORS, number: int = -1) -> None:
        for workload in self._workloads:
            offsets = everywhere(workload.size, sectors)
            self._cell(name, number, "random", device, workload, offsets)

    def _sequential(self, name: str, number: int, device: str) -> None:
        for workload in self._workloads:
            if workload.size == MiB:
                self._cell(name, number, "sequential", device, workload, one_after_the_other(MiB))

    def _cell(
        self, name: str, number: int, pattern: str, device: str, workload: Workload, offsets: Sequence[int]
    ) -> None:
        spent = self._requester.nanoseconds(device, workload, offsets)
        cell = Cell(name, number, pattern, workload, spent)
        self.figures.cells.append(cell)
        ratio = self.figures.ratio(cell)
        w = workload
        self._progress(
            f"{name} {'' if number < 0 else number} {pattern} {w.operation} {w.size} x{w.depth}: {spent:.0f}"
            + (f" ({ratio:.4f})" if ratio else "")
        )


missing = cache(Remaps.missing)
mixed = cache(Remaps.mixed)
hitting = cache(Remaps.hitting)
