"""Bringing a spare of an earlier version to the present format, into a new place."""

import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

from pycontrol.errors import UsageError, WrongDevice
from pycontrol.metadata import SECTOR
from pycontrol.metadata.convert import Converted, convert
from pycontrol.metadata.layout import DEFAULT_COPIES, DEFAULT_SPACING
from pycontrol.metadata.legacy import Old, read_old
from pycontrol.metadata.reader import Read
from pycontrol.service import blockdev
from pycontrol.service.blockdev import SYSFS
from pycontrol.service.offline.imagefile import Destination, Piece, examine, write_snapshot
from pycontrol.service.offline.source import loops_of, same, source
from pycontrol.service.pair import check_apart
from pycontrol.service.progress import Progress, silent
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Choices:
    """Of the new spare; ``spacing`` in sectors, ``block_size`` in bytes, ``sectors`` None for as before."""

    uuid: UUID = field(default_factory=uuid4)
    time: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970."""
    copies: int = DEFAULT_COPIES
    spacing: int = DEFAULT_SPACING
    block_size: int = 512
    sectors: int | None = None


@dataclass(frozen=True, slots=True)
class Import:
    """What an import would do."""

    path: str
    old: Old
    converted: Converted
    destination: Destination


def look(path: str) -> Old:
    """What an image or spare of v4.2 or v3.0 holds; NotOurs if it is neither."""
    with source(path) as opened:
        return opened.look(read_old)


def plan_import(path: str, out: str, choices: Choices | None = None, progress: Progress = silent) -> Import:
    """Read the old metadata, and see what would become of each sector; writes nothing."""
    choices = choices or Choices()
    with source(path) as opened:
        _check_elsewhere(path, out)
        old = opened.look(read_old)
        behind = [entry for entry in old.entries if entry.active and entry.spare * SECTOR >= opened.size]
        if behind:
            raise WrongDevice(
                f"{plain(path)} ends before the data of {len(behind)} remaps; give the whole old spare"
            )
        spare_sectors = choices.sectors or old.spare_sectors
        advance = progress("reading", sum(entry.active for entry in old.entries))

        def readable(sector: int) -> bool:
            advance(1)
            return _sector(opened.read, sector) is not None

        try:
            converted = convert(
                old, readable, uuid=choices.uuid,
                spare_sectors=spare_sectors, copies=choices.copies, spacing=choices.spacing,
                block_size=choices.block_size, time=choices.time,
            )  # fmt: skip
        except ValueError as error:
            raise UsageError(f"the new spare cannot be so: {error}") from error
    return Import(path, old, converted, examine(out, spare_sectors, converted.snapshot.geometry))


def _check_elsewhere(old: str, new: str) -> None:
    """Refuse a new place that has sectors in common with the old one; the old ones are still to be read."""
    if same(old, new):
        raise UsageError(f"{plain(new)} is the old spare itself; name another place")
    if not Path(new).exists():
        return
    found = [(path, Path(path).stat()) for path in (old, new)]
    files = [each for _, each in found if stat.S_ISREG(each.st_mode)]
    devices = [blockdev.look(path) for path, each in found if stat.S_ISBLK(each.st_mode)]
    if len(devices) == 2:
        check_apart(*devices)
    if any(device.disk in loops_of(file, SYSFS) for device in devices for file in files):
        raise WrongDevice(
            f"{plain(old)} and {plain(new)} overlap, one is the file of the other; name another place"
        )


def carry_out(plan: Import, progress: Progress = silent) -> None:
    """Copy the data of every remap to its new place, then write the metadata."""
    with source(plan.path) as opened:
        write_snapshot(
            plan.destination,
            plan.converted.snapshot,
            _data(opened.read, plan),
            origin=f"the older spare {plan.path}",
            data_bytes=len(plan.converted.moves) * SECTOR,
            progress=progress,
        )


def _data(read: Read, plan: Import) -> Iterator[Piece]:
    for old, new in plan.converted.moves:
        data = _sector(read, old)
        if data is None:
            raise WrongDevice(f"sector {old} of {plain(plan.path)} could be read before, and cannot be now")
        yield new * SECTOR, data


def _sector(read: Read, sector: int) -> bytes | None:
    try:
        data = read(sector * SECTOR, SECTOR)
    except OSError:
        return None
    return data if len(data) == SECTOR else None
