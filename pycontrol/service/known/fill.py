"""Writing what was lost back from a rescue image, a mirror or a backup.

:func:`plan` looks and changes nothing; :func:`carry_out` writes.  Nothing but pending
blocks is ever written, and only while nobody else can write (:mod:`pycontrol.service.soleuse`):
what is pending is asked anew then, for each part.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.errors import Busy, DeviceIoError
from pycontrol.service import blockdev, devices, extents
from pycontrol.service.devices import RemapDevice, RemapTarget
from pycontrol.service.extents import only_target
from pycontrol.service.known import rescue
from pycontrol.service.known.rescue import Rescue
from pycontrol.service.live import node
from pycontrol.service.ranges import Range, difference, intersection, inward, merged, pieces, scaled, total
from pycontrol.service.soleuse import SoleUse, sole_use
from pycontrol.sizes import SECTOR
from pycontrol.text import plain

PART: Final = 2048
"""Sectors that are written at one go: the longest that a file system is frozen for."""
MOST_RANGES: Final = 256
"""Ranges that are written at one go."""

Pieces = list[tuple[int, bytes]]
"""Data by the sector of main it belongs to."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What to fill from."""

    source: str
    map_file: str | None = None
    """A map file of GNU ddrescue: only what it says was rescued is taken."""
    offset: int = 0
    """The byte of the source, and of the map file, where the device begins."""
    partial: bool = False
    """The source need not have all of the device."""
    holes: bool = False
    """Holes of a sparse image are zeros that were saved."""
    freeze: bool = False
    """A mounted file system may be frozen for moments."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to fill; in sectors of 512 bytes of main."""

    device: RemapDevice
    target: RemapTarget
    choices: Choices
    block: int
    """Logical block of the device in sectors."""
    pending: list[Range]
    usable: list[Range]
    """What of it the source has."""
    missing: dict[str, list[Range]]
    """What of it the source has not, by the reason."""

    @property
    def crowded(self) -> bool:
        """The spare has not room for all: each block that is filled lives there."""
        return total(self.usable) > self.target.status.total_sectors - self.target.status.used_sectors


@dataclass(slots=True)
class Outcome:
    """What became of it; in sectors of 512 bytes of main."""

    filled: list[Range] = field(default_factory=list)
    """Written, and read back the same."""
    unreadable: list[Range] = field(default_factory=list)
    """The source failed there."""
    healed: list[Range] = field(default_factory=list)
    """Not pending any more when it was their turn: not touched."""
    lost: list[tuple[Range, str]] = field(default_factory=list)
    """Pending at the end, and why."""


Advance = Callable[[int], None]


def plan(control: Control, name: str, choices: Choices) -> Plan:
    """Compare device and source; changes nothing.

    WrongDevice if the source is of another size (unless that is allowed), or the device itself.
    """
    device, target = only_target(control, name)
    size = target.length * SECTOR
    with rescue.opened(choices.source) as source:
        rescue.check_other(choices.source, node(target.table.main), node(target.table.spare), device.path)
        rescue.check_size(source, choices.offset, size, partial=choices.partial)
        have, missing = rescue.usable(source, choices.offset, size, choices.map_file, holes=choices.holes)
    block = blockdev.look_as(device.path, device.info.dev).logical_block // SECTOR
    pending = extents.pending(extents.listed(control, name, at=target.start))
    whole = [(start // SECTOR, end // SECTOR) for start, end in inward(have, block * SECTOR)]
    usable = intersection(pending, whole)
    return Plan(
        device=device,
        target=target,
        choices=choices,
        block=block,
        pending=pending,
        usable=usable,
        missing={why: _touched(pending, ranges, block) for why, ranges in missing.items()},
    )


def _touched(pending: list[Range], ranges: list[Range], block: int) -> list[Range]:
    step = block * SECTOR
    sectors = merged((start // step * block, -(-end // step) * block) for start, end in ranges)
    return intersection(pending, sectors)


def rehearse(plan: Plan, advance: Advance = lambda done: None) -> Outcome:
    """Read the source, and write nothing: ``filled`` is what could be.

    ``advance`` is told of sectors done.
    """
    outcome = Outcome()
    with rescue.opened(plan.choices.source) as source:
        for part in _parts(plan.usable):
            outcome.filled += _ranges(_read(source, plan, part, outcome))
            advance(total(part))
    _judge(plan, outcome, difference(plan.pending, merged(outcome.filled)))
    return outcome


def carry_out(control: Control, plan: Plan, advance: Advance = lambda done: None) -> Outcome:
    """Fill; ``advance`` is told of sectors done.  What was filled before an error stays.

    Busy if the device is in use or suspended, or mounted and may not be frozen; DeviceIoError if a
    write fails.
    """
    outcome = Outcome()
    name = plan.device.info.name
    with (
        rescue.opened(plan.choices.source) as source,
        sole_use(control, plan.device, freeze=plan.choices.freeze) as use,
    ):
        try:
            for part in _parts(plan.usable):
                data = _read(source, plan, part, outcome)
                if data:
                    _fill(control, plan, use, data, outcome)
                advance(total(part))
            os.fsync(use.fd)
        except OSError as error:
            raise DeviceIoError(
                f"writing {plain(name)} failed after {total(outcome.filled)} sectors, which stay:"
                f" {error.strerror}; see 'dmremapctl status'"
            ) from error
    try:
        devices.message(control, name, ("sync",), at=plan.target.start)
        pending = extents.pending(extents.listed(control, name, at=plan.target.start))
    except Busy as error:
        raise Busy(f"after {total(outcome.filled)} sectors, which stay, {error}") from error
    _judge(plan, outcome, pending)
    return outcome


def _parts(ranges: list[Range]) -> Iterator[list[Range]]:
    part: list[Range] = []
    for piece in pieces(ranges, PART):
        if part and (len(part) == MOST_RANGES or total(part) + total([piece]) > PART):
            yield part
            part = []
        part.append(piece)
    if part:
        yield part


def _read(source: Rescue, plan: Plan, part: list[Range], outcome: Outcome) -> Pieces:
    """What the source can give of a part."""
    found: Pieces = []
    offset = plan.choices.offset
    for start, end in scaled(part, SECTOR):
        for at, data in rescue.readable(source, start + offset, end + offset, plan.block * SECTOR):
            found.append(((at - offset) // SECTOR, data))
    outcome.unreadable += difference(part, merged(_ranges(found)))
    return found


def _ranges(data: Pieces) -> list[Range]:
    return [(sector, sector + len(content) // SECTOR) for sector, content in data]


def _fill(control: Control, plan: Plan, use: SoleUse, data: Pieces, outcome: Outcome) -> None:
    wanted = merged(_ranges(data))
    with use.undisturbed():
        there = extents.listed(
            control, plan.device.info.name, at=plan.target.start, start=wanted[0][0], end=wanted[-1][1]
        )
        pending = extents.pending(there)
        for sector, content in data:
            for start, end in intersection([(sector, sector + len(content) // SECTOR)], pending):
                cut = content[(start - sector) * SECTOR : (end - sector) * SECTOR]
                _write(use.fd, (plan.target.start + start) * SECTOR, cut, start)
                outcome.filled.append((start, end))
    outcome.healed += difference(wanted, pending)


def _write(fd: int, offset: int, data: bytes, sector: int) -> None:
    """Write and read back, both past the page cache."""
    # Whole pages of its own: O_DIRECT wants the memory aligned.
    with mmap.mmap(-1, len(data)) as buffer:
        buffer[:] = data
        if os.pwritev(fd, [buffer], offset) != len(data):
            raise DeviceIoError(f"sector {sector} and those behind it were not written whole; try again")
        buffer[:] = bytes(len(data))
        if os.preadv(fd, [buffer], offset) != len(data) or buffer[:] != data:
            raise DeviceIoError(
                f"sector {sector} or one behind it reads back other than it was written; does the spare"
                " fail, too?"
            )


def _judge(plan: Plan, outcome: Outcome, lost: list[Range]) -> None:
    """Say why each sector that is still pending is."""
    reasons = {"unreadable in the source": outcome.unreadable, **plan.missing}
    rest = lost
    for why, ranges in reasons.items():
        here = intersection(rest, merged(ranges))
        outcome.lost += [(found, why) for found in here]
        rest = difference(rest, here)
    outcome.lost += [(found, "became pending meanwhile") for found in rest]
    outcome.lost.sort()


def lost_ranges(outcome: Outcome) -> list[Range]:
    """The sectors (512 bytes) of main that are still lost, in order."""
    return merged(found for found, _ in outcome.lost)
