"""The devices there are: list, status, remove, remap, unmap, message."""

import errno
from dataclasses import dataclass
from pathlib import Path

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.cookie import MAPPER_DIR, Cookie
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.flow import MakeCookie, take_down
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, DmUuid, Ref, TargetLine
from pycontrol.errors import Busy, UsageError, WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.kernel import explained
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.status import TargetStatus, TargetTable
from pycontrol.text import plain

LARGEST_SECTOR = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class RemapTarget:
    """One dm-remap-v4 line of a table; ``start`` and ``length`` in sectors of 512 bytes."""

    start: int
    length: int
    table: TargetTable
    status: TargetStatus


@dataclass(frozen=True, slots=True)
class RemapDevice:
    """A device-mapper device with at least one of our targets in its live table."""

    info: DeviceInfo
    targets: tuple[RemapTarget, ...]

    @property
    def path(self) -> str:
        return str(MAPPER_DIR / self.info.name)


def list_devices(control: Control) -> list[RemapDevice]:
    """Every device with our target, also those that dmsetup made; sorted by name."""
    found: list[RemapDevice] = []
    with explained():
        for entry in control.list_devices():
            ref: Ref
            try:
                # A name with odd characters cannot be ours, but its uuid may still be asked for.
                ref = DmUuid(entry.uuid) if entry.uuid else DmName(entry.name)
            except ValueError:
                continue
            try:
                device = _describe(control, ref)
            except DmIoctlError:
                # Gone since the list was made, or taken down this moment.
                continue
            if device.targets or device.info.uuid.startswith(UUID_PREFIX):
                found.append(device)
    return sorted(found, key=lambda device: device.info.name)


def status(control: Control, name: str) -> RemapDevice:
    """One device, which must be ours."""
    ref = named(name)
    with explained():
        device = _describe(control, ref)
    if not device.targets and not device.info.uuid.startswith(UUID_PREFIX):
        raise WrongDevice(
            f"{plain(name)} is a device-mapper device, but not one of dm-remap; see 'dmremapctl list'"
        )
    return device


def named(name: str) -> DmName:
    """A name from the command line; a path under /dev/mapper will do, too."""
    text = name.removeprefix(f"{MAPPER_DIR}/")
    try:
        return DmName(text)
    except ValueError as error:
        raise UsageError(plain(error)) from error


def _describe(control: Control, ref: Ref) -> RemapDevice:
    _, tables = control.table(ref)
    info, states = control.status(ref)
    # A reload between the two calls can make the lists differ; a target is what both agree on.
    ours = [
        _target(table, state)
        for table, state in zip(tables, states, strict=False)
        if table.type == state.type == TARGET and table.start == state.start
    ]
    return RemapDevice(info, tuple(ours))


def _target(table: TargetLine, state: TargetLine) -> RemapTarget:
    return RemapTarget(
        table.start, table.length, TargetTable.parse(table.params), TargetStatus.parse(state.params)
    )


def remove(control: Control, name: str, *, deferred: bool = False, cookie: MakeCookie = Cookie) -> DeviceInfo:
    """Take a device down and wait for udev; refuses one in use unless ``deferred``."""
    device = status(control, name)
    if device.info.open_count > 0 and not deferred:
        users = in_use(device.info)
        if users:
            raise Busy(f"{plain(device.info.name)} is {users}; release it first, or use --deferred")
    try:
        return take_down(control, named(name), deferred=deferred, cookie=cookie)
    except DmIoctlError as error:
        with explained():
            if error.errno != errno.EBUSY:
                raise
            users = in_use(device.info) or "still open"
            raise Busy(
                f"{plain(device.info.name)} is {users}; release it first ('fuser -vm' names the processes),"
                " or use --deferred"
            ) from error


def in_use(info: DeviceInfo, sysfs: Path = blockdev.SYSFS, proc: Path = blockdev.PROC) -> str:
    """Who uses a device, for people; empty if it cannot be seen."""
    mounted = blockdev.mounts(info.dev, proc)
    if mounted:
        return f"mounted on {', '.join(map(plain, mounted))}"
    held = blockdev.holders((sysfs / "dev/block" / str(info.dev)).resolve())
    return f"in use by {', '.join(map(plain, held))}" if held else ""


def message(control: Control, name: str, words: tuple[str, ...], *, sector: int = 0) -> str:
    """Send a message to the target at ``sector`` (of the device); its answer."""
    if not words or any(not word or len(word.split()) != 1 or "\0" in word for word in words):
        raise UsageError("a message is made of words without blanks; try 'help'")
    ref = status(control, name).info.name
    log = KernelLog()
    try:
        with explained(log):
            return control.message(named(ref), " ".join(words), sector=sector).rstrip("\n")
    finally:
        log.close()


def remap(control: Control, name: str, sector: int, count: int | None = None) -> str:
    """Move ``count`` sectors of 512 bytes (the whole logical block if None) to the spare."""
    return message(control, name, ("remap", *_extent(sector, count)))


def unmap(control: Control, name: str, sector: int, count: int | None = None) -> str:
    """Copy back, verify, and drop the record."""
    return message(control, name, ("unmap", *_extent(sector, count)))


def _extent(sector: int, count: int | None) -> tuple[str, ...]:
    if not 0 <= sector <= LARGEST_SECTOR:
        raise UsageError(f"{sector} is not a sector number")
    if count is None:
        return (str(sector),)
    if not 1 <= count <= LARGEST_SECTOR - sector:
        raise UsageError(f"{count} is not a number of sectors; it is at least 1")
    return (str(sector), str(count))
