"""What of a device is remapped or pending, as the target's message ``list`` tells it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from pycontrol.dm.ioctl import Control
from pycontrol.errors import BrokenError, Busy, UsageError, WrongDevice
from pycontrol.service import devices
from pycontrol.service.devices import RemapDevice, RemapTarget
from pycontrol.service.known.textlines import decimal
from pycontrol.service.ranges import Range, merged
from pycontrol.text import plain

PAGE: Final = 1000
"""Extents that are asked for at once."""


@dataclass(frozen=True, slots=True)
class Extent:
    """So many sectors of 512 bytes of main that are not on main; ``spare`` is None if pending."""

    sector: int
    sectors: int
    spare: int | None

    @property
    def end(self) -> int:
        """Sector of main behind it."""
        return self.sector + self.sectors

    @property
    def pending(self) -> bool:
        """It cannot be read until it is written."""
        return self.spare is None

    @classmethod
    def parse(cls, line: str) -> Self:
        """From a line of the target's; ValueError if it is none."""
        words = line.split()
        if len(words) != 4:
            raise ValueError(line)
        sector, sectors = decimal(words[0]), decimal(words[1])
        spare = None if words[2] == "-" else decimal(words[2])
        kind = "pending" if words[2] == "-" else "remap"
        if sector is None or not sectors or words[3] != kind or (spare is None and kind == "remap"):
            raise ValueError(line)
        return cls(sector, sectors, spare)

    def __str__(self) -> str:
        """The line again, as the target writes it."""
        place = "-" if self.spare is None else self.spare
        return f"{self.sector} {self.sectors} {place} {'pending' if self.pending else 'remap'}"


def listed(
    control: Control, name: str, *, at: int = 0, start: int = 0, end: int | None = None
) -> list[Extent]:
    """The extents from sector ``start`` to ``end`` of main, of the target at sector ``at`` of the device.

    All in sectors of 512 bytes.  An extent that crosses ``start`` is cut there, one that crosses
    ``end`` is whole.  WrongDevice if there is no such device of ours, Busy while it is suspended.
    """
    return list(streamed(control, name, at=at, start=start, end=end))


def streamed(
    control: Control, name: str, *, at: int = 0, start: int = 0, end: int | None = None
) -> Iterator[Extent]:
    """The extents of :func:`listed` one by one, a page in memory at a time: there may be a million."""
    following: int | None = start
    while following is not None and (end is None or following < end):
        try:
            answer = devices.message(control, name, ("list", str(following), str(PAGE)), at=at)
        except Busy as error:
            raise _suspended(name) from error
        following = None
        for line in answer.splitlines():
            match line.split():
                case ["none"]:
                    return
                case ["next", word]:
                    following = decimal(word)
                case _:
                    extent = _understood(line)
                    if end is not None and extent.sector >= end:
                        return
                    yield extent


def _suspended(name: str) -> Busy:
    return Busy(
        f"{plain(name)} is suspended and tells nothing: wait, give the 'spare replace' or 'evacuate' again"
        f" that was killed, or 'dmsetup resume {plain(name)}' if it was neither"
    )


def _understood(line: str) -> Extent:
    try:
        return Extent.parse(line)
    except ValueError as error:
        raise BrokenError(
            f"the target lists '{plain(line)}', which is not as documented; module and dmremapctl may differ"
            " in version"
        ) from error


def remapped(extents: Iterable[Extent]) -> list[Range]:
    """The sectors of main that live on the spare."""
    return merged((extent.sector, extent.end) for extent in extents if not extent.pending)


def pending(extents: Iterable[Extent]) -> list[Range]:
    """The sectors of main that cannot be read until they are written."""
    return merged((extent.sector, extent.end) for extent in extents if extent.pending)


def only_target(control: Control, name: str) -> tuple[RemapDevice, RemapTarget]:
    """A device of ours and its target, in service.

    WrongDevice if its table has none, UsageError if it has several, Busy if it is suspended.
    """
    device = devices.status(control, name)
    if not device.targets:
        raise WrongDevice(f"{plain(name)} {device.lacking}; see 'dmremapctl status'")
    if len(device.targets) > 1:
        raise UsageError(f"{plain(name)} has several targets; send 'message --sector' to each of them")
    if device.info.suspended:
        raise _suspended(name)
    return device, device.targets[0]
