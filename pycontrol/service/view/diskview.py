"""All that a picture of a device shows, collected: what is where now, and how it came to be."""

import time
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.metadata import Geometry, Kind, Loaded
from pycontrol.metadata.sanity import segments_of
from pycontrol.service.devices import RemapDevice, RemapTarget, status
from pycontrol.service.extents import streamed
from pycontrol.service.progress import Progress, silent
from pycontrol.service.view.checkup import history_of, target_at
from pycontrol.service.view.diskmap import GRAIN, DiskMap, Span, SpareUse, zoomed
from pycontrol.service.view.growth import Growth

_REMAP: Final = int(Kind.REMAP)


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of main is looked at: by default all; sectors of 512 bytes."""

    begin: int | None = None
    end: int | None = None
    zoom: str = ""
    """A region, or one of its regions, see :func:`diskmap.zoomed`; instead of the others."""

    @property
    def whole(self) -> bool:
        """All of the main device is meant."""
        return self.begin is None and self.end is None and not self.zoom

    def span(self, main_sectors: int) -> Span:
        """Of a main device of that size; UsageError if it has no such part."""
        if self.zoom:
            return zoomed(main_sectors, self.zoom)
        end = main_sectors if self.end is None else min(self.end, main_sectors)
        return Span.cut(self.begin or 0, end)


@dataclass(frozen=True, slots=True)
class View:
    """One target at one moment; ``spare``, ``growth`` and ``loaded`` are None if ``unread`` says why."""

    device: RemapDevice
    target: RemapTarget
    part: Part
    now: float
    found: DiskMap
    main_sectors: int
    spare: SpareUse | None
    growth: Growth | None
    loaded: Loaded | None
    unread: str = ""


_WHOLE: Final = Part()


def look(
    control: Control,
    name: str,
    part: Part = _WHOLE,
    *,
    at: int = 0,
    keep: int = 0,
    now: float | None = None,
    progress: Progress = silent,
) -> View:
    """Collect what a picture of a device shows; writes nothing.

    ``at`` is a sector of the device that the target covers; ``keep`` extents are remembered one
    by one; ``now`` in seconds since 1970, by default the time; ``progress`` is told in extents.  If
    the spare cannot be read the rest is there all the same.  UsageError if there is no such part.
    """
    device = status(control, name)
    target = target_at(device, at)
    moment = time.time() if now is None else now
    progress("reading the spare", None)
    loaded, unread = history_of(device, target)
    main_sectors = loaded.main_sectors if loaded else target.length
    span = part.span(main_sectors)
    found = DiskMap(span, keep)
    state = target.status
    advance = progress("listing", state.remapped_extents + state.pending_extents if part.whole else None)
    start = list_from(span.begin, main_sectors)
    for extent in streamed(control, name, at=target.start, start=start, end=span.end):
        found.add(extent)
        advance(1)
    return View(
        device=device,
        target=target,
        part=part,
        now=moment,
        found=found,
        main_sectors=main_sectors,
        spare=spare_use(loaded) if loaded else None,
        growth=Growth.of(loaded, moment) if loaded else None,
        loaded=loaded,
        unread=unread,
    )


def list_from(sector: int, main_sectors: int) -> int:
    """Where to begin a listing so that the target takes the number: at a whole logical block.

    The last block of a device may be a part of one, which the target does not know.
    """
    start = sector // GRAIN * GRAIN
    return start if start + GRAIN <= main_sectors else max(0, start - GRAIN)


def spare_use(loaded: Loaded) -> SpareUse:
    """What every sector (512 bytes) of a spare is used for."""
    use = SpareUse(Span.cut(0, loaded.spare_sectors))
    geometry = Geometry(loaded.copies, loaded.spacing)
    use.add(use.log, 0, geometry.data_start)
    for start, sectors in segments_of(geometry, loaded.header):
        use.add(use.log, start, sectors)
    for start, sectors in loaded.bad_spare:
        use.add(use.bad, start, sectors)
    its = loaded.extents.columns
    for start, sectors, kind in zip(its.spares, its.sectors, its.kinds, strict=True):
        if kind == _REMAP:
            use.add(use.data, start, sectors)
    return use
