"""Going back to the bare disk: whether and how, and doing it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.errors import Busy, RemapError, TargetRefused
from pycontrol.metadata import Kind, Loaded
from pycontrol.service import devices, extents, live
from pycontrol.service.directio import CHUNK, Direct, direct
from pycontrol.service.kernel import require_root
from pycontrol.service.move import newdevice
from pycontrol.service.move.underway import underway
from pycontrol.service.portions import Portion, batches
from pycontrol.service.progress import Progress, silent
from pycontrol.service.ranges import Range, merged, total
from pycontrol.service.removal import remove_waiting
from pycontrol.sizes import SECTOR
from pycontrol.text import plain

_RANGES: Final = 256
"""Ranges in one message."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What stands between a device and its bare disk; ranges of main sectors of 512 bytes."""

    name: str
    main: str
    remapped: tuple[Range, ...]
    """Can be copied back where main takes them."""
    failing: tuple[Range, ...]
    """Those of them at which main cannot even be read now."""
    pending: tuple[Range, ...]
    """Cannot be read anywhere: main alone would give what it has there, or an error."""
    users: str
    """Who uses the device, for people; empty if nobody."""

    @property
    def clear(self) -> bool:
        """Nothing is in the way: the disk alone has everything."""
        return not (self.remapped or self.pending)


@dataclass(frozen=True, slots=True)
class Left:
    """What was done; ``removed`` is whether the device is gone and main stands for itself."""

    name: str
    main: str
    copied_back: int
    """Sectors."""
    remaining: tuple[Range, ...]
    """Remapped still: main does not take them, or did not take them when somebody wrote meanwhile."""
    pending: tuple[Range, ...]
    """Became so meanwhile: they cannot be read anywhere."""
    removed: bool
    unread: str = ""
    """Why the spare could not be read when the device was gone: nobody knows what was on it."""

    @property
    def clear(self) -> bool:
        """The disk alone has everything."""
        return self.removed and not (self.remaining or self.pending or self.unread)


def look(control: Control, name: str) -> Outlook:
    """Find out; changes nothing.

    WrongDevice or UsageError if it is no device of ours with one target, Busy if it is suspended.
    """
    require_root()
    device, target = extents.only_target(control, name)
    listed = extents.listed(control, name)
    remapped = extents.remapped(listed)
    main = newdevice.path_of(target.table.main)
    with direct(main) as opened:
        failing = tuple(_failing(opened, remapped))
    users = devices.in_use(device.info)
    if not users and devices.still_open(control, device.info.name):
        users = "open"
    return Outlook(device.info.name, main, tuple(remapped), failing, tuple(extents.pending(listed)), users)


def _failing(main: Direct, ranges: list[Range]) -> Iterator[Range]:
    for start, end in ranges:
        step = CHUNK // SECTOR
        for at in range(start, end, step):
            try:
                main.read(at * SECTOR, min(step, end - at) * SECTOR)
            except OSError:
                yield at, min(at + step, end)


def leave(control: Control, name: str, *, progress: Progress = silent, cookie: MakeCookie = Cookie) -> Left:
    """Copy everything back to main, each block verified, and take the device down.

    Busy while it is used or suspended, or while something is pending.  If main does not take
    everything, the device stays as it is with what remains, and nothing is lost.  Who opens it in
    the very last moment is waited for; if what that one wrote is not all on main, it remains, too.
    """
    require_root()
    device, _ = extents.only_target(control, name)
    with underway(devices.named(device.info.name), "leave"):
        return _leave(control, name, progress, cookie)


def _leave(control: Control, name: str, progress: Progress, cookie: MakeCookie) -> Left:
    outlook = look(control, name)
    device, target = extents.only_target(control, name)
    if outlook.users:
        raise Busy(f"{plain(outlook.name)} is {outlook.users}; release it first")
    if outlook.pending:
        raise Busy(
            f"{total(outlook.pending)} sectors of {plain(outlook.name)} cannot be read, also on the bare"
            " disk; fill or overwrite them first"
        )
    advance = progress("copying back", total(outlook.remapped))
    portion = Portion()
    for batch in batches(outlook.remapped, portion, _RANGES):
        with portion.measured(total(batch)):
            _unmap(control, outlook.name, batch)
        advance(total(batch))
    listed = extents.listed(control, name)
    remaining, pending = tuple(extents.remapped(listed)), tuple(extents.pending(listed))
    left = Left(
        outlook.name, outlook.main, total(outlook.remapped) - total(remaining), remaining, pending, False
    )
    if remaining or pending:
        return left
    remove_waiting(control, name, cookie=cookie)
    # Whoever opened it since it was asked may have written: only now is it certain.
    try:
        loaded = live.load_live(target.table.spare, device.info.uuid)
    except (RemapError, OSError) as error:
        return replace(left, removed=True, unread=str(error))
    return replace(
        left,
        remaining=_ranges(loaded, Kind.REMAP),
        pending=_ranges(loaded, Kind.PENDING),
        removed=True,
    )


def _ranges(loaded: Loaded, kind: Kind) -> tuple[Range, ...]:
    """What of main is so, as the spare has it."""
    return tuple(
        merged((each.main, each.main + each.sectors) for each in loaded.extents if each.kind is kind)
    )


def _unmap(control: Control, name: str, ranges: list[Range]) -> None:
    """Have the target copy these back; where it refuses, one by one, and go on."""
    words = [str(word) for start, end in ranges for word in (start, end - start)]
    try:
        devices.message(control, name, ("unmap", *words))
    except TargetRefused:
        if len(ranges) > 1:
            half = len(ranges) // 2
            _unmap(control, name, ranges[:half])
            _unmap(control, name, ranges[half:])
