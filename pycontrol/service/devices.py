"""The devices there are: list, status, remove, message.

What only those need that change something is imported there: ``status`` shall be quick.
"""

import errno
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import MANGLED, MAPPER_DIR, DeviceInfo, DmName, DmUuid, Ref, TargetLine
from pycontrol.errors import Busy, UsageError, WrongDevice
from pycontrol.service.kernel import explained
from pycontrol.service.status import TargetStatus, TargetTable
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.flow import MakeCookie

LOCKS = Path("/run/dm-remap")
"""Where long changes of a device are noted while they are under way."""

LARGEST_SECTOR: Final = (1 << 64) - 1
"""The kernel's sectors are of 64 bits."""

_TRIES: Final = 25
_PAUSE: Final = 0.2
"""Seconds between looks whether a device is still open."""


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
    moved: bool = False
    """It was evacuated: its table is another disk alone."""

    @property
    def lacking(self) -> str:
        """What a device without a target of ours has instead, for people."""
        if self.moved:
            return "is on another disk alone since it was evacuated: dm-remap has no part in it any more"
        return "has no table at present"

    @property
    def healthy(self) -> bool:
        """Nothing for anybody to do: of a suspended device all requests wait."""
        return not self.info.suspended and all(target.status.healthy for target in self.targets)

    @property
    def path(self) -> str:
        """Of its node, which udev makes."""
        return str(MAPPER_DIR / self.info.name)


def list_devices(control: Control) -> list[RemapDevice]:
    """Every device with our target, also those that dmsetup made; sorted by name.

    AccessDenied without root, TargetMissing without device-mapper.
    """
    found: list[RemapDevice] = []
    with explained():
        for entry in control.list_devices():
            try:
                device = _describe(control, _ref(entry.name, entry.uuid))
            except DmIoctlError:
                # Gone since the list was made, or taken down this moment.
                continue
            if device.targets or device.info.uuid.startswith(UUID_PREFIX):
                found.append(device)
    return sorted(found, key=lambda device: device.info.name)


def _ref(name: str, uuid: str) -> Ref:
    # The uuid stays when a device is renamed; others may have made it, of whatever characters.
    try:
        return DmUuid(uuid) if uuid else DmName.known(name)
    except ValueError:
        return DmName.known(name)


def status(control: Control, name: str) -> RemapDevice:
    """One device, by its name or path under /dev/mapper; WrongDevice if it is not there, or not ours."""
    ref = named(name)
    with explained():
        device = _describe(control, ref)
    if not device.targets and not device.info.uuid.startswith(UUID_PREFIX):
        raise WrongDevice(
            f"{plain(name)} is a device-mapper device, but not one of dm-remap; see 'dmremapctl list'"
        )
    return device


def named(name: str) -> DmName:
    """A name from the command line; a path under /dev/mapper will do, too.  UsageError if it can be none."""
    text = name.removeprefix(f"{MAPPER_DIR}/")
    try:
        return DmName.known(text) if MANGLED.fullmatch(text) else DmName(text)
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
    return RemapDevice(info, tuple(ours), moved=[table.type for table in tables] == ["linear"])


def _target(table: TargetLine, state: TargetLine) -> RemapTarget:
    return RemapTarget(
        table.start, table.length, TargetTable.parse(table.params), TargetStatus.parse(state.params)
    )


def remove(
    control: Control, name: str, *, deferred: bool = False, cookie: "MakeCookie | None" = None
) -> DeviceInfo:
    """Take a device down and wait for udev; the spare keeps its remaps.

    Busy if it is in use, unless ``deferred``: then it goes when its last user closes it.
    """
    from pycontrol.dm.cookie import Cookie
    from pycontrol.dm.flow import take_down

    device = status(control, name)
    if device.info.open_count > 0 and not deferred:
        users = in_use(device.info)
        if users:
            raise Busy(f"{plain(device.info.name)} is {users}; release it first, or use --deferred")
    try:
        return take_down(control, named(name), deferred=deferred, cookie=cookie or Cookie)
    except DmIoctlError as error:
        with explained():
            if error.errno != errno.EBUSY:
                raise
            users = in_use(device.info) or "still open"
            raise Busy(
                f"{plain(device.info.name)} is {users}; release it first ('fuser -vm' names the processes),"
                " or use --deferred"
            ) from error


def doing(name: str) -> str:
    """Which long change of a device is under way, for people; empty if none, or it cannot be seen."""
    if not (LOCKS / f"{name}.lock").exists():
        return ""
    from pycontrol.service.move.underway import said

    return said(name)


def in_use(info: DeviceInfo) -> str:
    """Who uses a device, for people; empty if it cannot be seen."""
    from pycontrol.service import blockdev

    mounted = blockdev.mounts(info.dev)
    if mounted:
        return f"mounted on {', '.join(map(plain, mounted))}"
    held = blockdev.holders((blockdev.SYSFS / "dev/block" / str(info.dev)).resolve())
    return f"in use by {', '.join(map(plain, held))}" if held else ""


def still_open(control: Control, name: str, *, but_for: int = 0) -> bool:
    """Whether others have a device open, besides so many of the caller's own.

    Who opens it for a moment, as udev does when it is written to or has an event, is waited for,
    some seconds at most.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE)
        with explained():
            if control.info(named(name)).open_count <= but_for:
                return False
    return True


def message(control: Control, name: str, words: tuple[str, ...], *, at: int = 0) -> str:
    """Send a message to the target at sector ``at`` of a device; its answer, without the last newline.

    UsageError if the words are not ASCII, or hold blanks, or there is no such sector; TargetRefused,
    with the kernel's sentence, if it does not take them; WrongDevice if there is no such device of ours.
    """
    from pycontrol.service.kernellog import KernelLog

    if not 0 <= at <= LARGEST_SECTOR:
        raise UsageError(f"{at} is not a sector number")
    if not words or any(not word or len(word.split()) != 1 or "\0" in word for word in words):
        raise UsageError("a message is made of words without blanks; try 'help'")
    for word in words:
        if not word.isascii():
            raise UsageError(f"a message is made of ASCII words, not of '{plain(word)}'; try 'help'")
    ref = status(control, name).info.name
    log = KernelLog()
    try:
        with explained(log):
            return control.message(named(ref), " ".join(words), sector=at).rstrip("\n")
    finally:
        log.close()
