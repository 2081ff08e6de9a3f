"""Which parts of a device are written while it is copied.

Device-mapper counts the writes that ended in each area of the device.  A write that ends
after the count was taken changes the next one, and one that ended before is seen by
whoever reads after it: so what was read between two equal counts is whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pycontrol.dm import stats
from pycontrol.dm.errors import DmError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName
from pycontrol.service.kernel import explained
from pycontrol.service.ranges import Range, merged
from pycontrol.service.signals import signals_held

PROGRAM: Final = "dmremapctl-move"

_SMALLEST: Final = 128
"""Sectors: 64 KiB."""

_MOST_AREAS: Final = 1 << 16
_MEMORY: Final = 64 << 20
"""Bytes of kernel memory that the counts may take."""

_SHARED: Final = 128
_EACH: Final = 112
"""Bytes an area takes once, and for each processor there could be."""

POSSIBLE: Final = Path("/sys/devices/system/cpu/possible")

Counts = Sequence[int]


def area_sectors(sectors: int, processors: int) -> int:
    """Sectors of an area, a power of two, so that the counts of ``sectors`` do not take too much memory."""
    areas = max(1, min(_MOST_AREAS, _MEMORY // (_SHARED + _EACH * processors)))
    step = _SMALLEST
    while step * areas < sectors:
        step *= 2
    return step


def processors(possible: Path = POSSIBLE) -> int:
    """How many processors the kernel could have; 64 where it does not say."""
    try:
        last = possible.read_text().strip().split(",")[-1].split("-")[-1]
    except OSError:
        last = ""
    return int(last) + 1 if last.isascii() and last.isdigit() else 64


@dataclass(frozen=True, slots=True)
class Written:
    """The counts of a device; they are there while it is suspended, too."""

    control: Control
    name: DmName
    region: stats.Region
    sectors: int

    def counts(self) -> Counts:
        """The present counts, for :meth:`between`; WrongDevice if the device is gone."""
        with explained():
            return stats.writes(self.control, self.name, self.region)

    def between(self, before: Counts, after: Counts) -> list[Range]:
        """The sectors in whose areas writes have ended between two counts."""
        step = self.region.step
        return merged(
            (at * step, min((at + 1) * step, self.sectors))
            for at, (one, other) in enumerate(zip(before, after, strict=True))
            if one != other
        )


@contextmanager
def watched(
    control: Control, name: DmName, sectors: int, standing: Callable[[], bool] = lambda: False
) -> Iterator[Written]:
    """Count the writes to the first ``sectors`` of a device, for the length of a block.

    The counts stay if at its end this program leaves the device ``standing`` still: by them
    :func:`pycontrol.service.move.settle.settle` knows whose doing it is.
    """
    try:
        with explained():
            # What a killed program has left counts for nobody.
            _forget(control, name)
            step = area_sectors(sectors, processors())
            region = stats.create(control, name, sectors, step, PROGRAM)
        yield Written(control, name, region, sectors)
    finally:
        # The device may be gone, and its counts with it.
        with suppress(DmError), signals_held():
            if not standing():
                _forget(control, name)


def _forget(control: Control, name: DmName) -> None:
    for number in stats.of_program(control, name, PROGRAM):
        stats.delete(control, name, number)
