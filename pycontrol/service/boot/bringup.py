"""Bringing up what dmremaptab lists, waiting for halves that come late.

The activator of boot/ does the same without Python; this says more, and finishes what a
replacement of the spare has left.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

from pycontrol import UUID_PREFIX
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.flow import MakeCookie, bring_up
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, DmUuid
from pycontrol.errors import Busy, RemapError, TargetRefused, WrongDevice
from pycontrol.service import blockdev, devices
from pycontrol.service.activate import activate
from pycontrol.service.boot import halves
from pycontrol.service.boot.halves import Missing
from pycontrol.service.boot.tab import Entry
from pycontrol.service.create import FindPaths, Options, Plan, plan
from pycontrol.service.kernel import check_target, explained, require_root
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.move.underway import underway
from pycontrol.service.unfinished import clear_unfinished
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line; ``info`` is None, and ``error`` says why, if the device is not up."""

    entry: Entry
    info: DeviceInfo | None = None
    error: RemapError | None = None
    changed: bool = False
    """It was not up before."""
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Something is wrong; a half that is missing is not where the line says nofail."""
        return self.error is not None and not (self.entry.nofail and isinstance(self.error, Missing))


class Events(Protocol):
    """Something that wakes up when block devices come."""

    def wait(self, seconds: float) -> None:
        """Until something has come, at most so long."""


class Uevents:
    """udev's events, or the kernel's where no udev runs."""

    def __init__(self) -> None:
        from pycontrol.dm.cookie import udev_listens
        from pycontrol.service.tell import uevents

        self._source: uevents.Uevents = uevents.UdevUevents() if udev_listens() else uevents.KernelUevents()

    def wait(self, seconds: float) -> None:
        """Until something has come, at most so long; it is taken, and not looked at."""
        import select

        poll = select.poll()
        poll.register(self._source.fileno(), select.POLLIN)
        if poll.poll(max(seconds, 0) * 1000):
            self._source.read()


def bring_up_all(
    control: Control,
    entries: Iterable[Entry],
    *,
    wait: bool = True,
    find: FindPaths | None = None,
    events: Callable[[], Events] = Uevents,
    cookie: MakeCookie = Cookie,
    sysfs: Path = blockdev.SYSFS,
) -> Iterator[Outcome]:
    """Each line as it is done; with ``wait``, one whose half is missing gets its timeout.

    AccessDenied, TargetMissing and what else concerns all of them are raised.
    """
    require_root()
    check_target(control)
    left = list(entries)
    listening = events() if wait else None
    begun = monotonic()
    while left:
        waiting = []
        for entry in left:
            outcome = _try(control, entry, find, cookie, sysfs)
            late = isinstance(outcome.error, Missing) and monotonic() < begun + entry.timeout
            if listening and late:
                waiting.append(entry)
            else:
                yield outcome
        left = waiting
        if left and listening:
            listening.wait(begun + min(entry.timeout for entry in left) - monotonic())


def _try(control: Control, entry: Entry, find: FindPaths | None, cookie: MakeCookie, sysfs: Path) -> Outcome:
    try:
        info = _already(control, entry, cookie, sysfs)
        if info:
            return Outcome(entry, info)
        main, spare = halves.find(entry, find)
        protected = _protected(entry, main, spare)
        if entry.ro or protected:
            options = Options(relocate_weak=entry.relocate_weak)
            decided = plan(control, entry.name, main, spare, options, readonly=True)
            info = _read_only(control, decided, cookie)
            return Outcome(entry, info, changed=True, warnings=(*decided.warnings, *protected))
        done = activate(
            control, entry.name, main, spare, relocate_weak=entry.relocate_weak, find=find, cookie=cookie
        )
        return _check_mode(control, entry, done.plan, done.info, cookie)
    except RemapError as error:
        return Outcome(entry, error=error)
    except DmIoctlError as error:
        from pycontrol.service.kernel import explain

        return Outcome(entry, error=explain(error))


def _protected(entry: Entry, main: str, spare: str) -> tuple[str, ...]:
    """Why it is to be read-only though that was not asked for; WrongDevice if it may not be."""
    for path, option, given in ((main, "ro", False), (spare, "degraded or ro", entry.degraded)):
        if entry.ro or not blockdev.look(path).readonly:
            continue
        what = f"{plain(path)} is write-protected"
        if not given:
            raise WrongDevice(f"{entry.name}: {what}; the option {option} starts it read-only")
        return (f"{entry.name} is read-only: {what}",)
    return ()


def _already(control: Control, entry: Entry, cookie: MakeCookie, sysfs: Path) -> DeviceInfo | None:
    """The device, if it is up; one that never came up, or lost a half, is taken away if nobody uses it."""
    name = DmName(entry.name)
    if not any(each.name == name for each in control.list_devices()):
        return None
    device = devices.status(control, entry.name)
    if entry.uuid and device.info.uuid != UUID_PREFIX + entry.uuid:
        raise Busy(f"there is another device named {name}, with another spare; rename one of them")
    if not device.info.has_table:
        # Left by a command that was killed, and may hold both halves; who has the lock is making it.
        with underway(name, "activate"):
            clear_unfinished(control, name, cookie=cookie)
        return None
    used = [dev for target in device.targets for dev in (target.table.main, target.table.spare)]
    if all((sysfs / "dev/block" / dev).exists() for dev in used):
        return device.info
    if devices.still_open(control, entry.name):
        raise Busy(
            f"{name} is up on a device that was unplugged, and {devices.in_use(device.info) or 'still open'};"
            " release it first, then activate it again"
        )
    devices.remove(control, entry.name, cookie=cookie)
    return None


def _check_mode(
    control: Control, entry: Entry, decided: Plan, info: DeviceInfo, cookie: MakeCookie
) -> Outcome:
    """One that can record nothing serves readers only, and that is not what was asked for."""
    target = devices.status(control, entry.name).targets[0].status
    warnings = decided.warnings
    if target.mode == "rw":
        if "degraded" in target.errors:
            sentence = f"{entry.name}: some copies of the metadata cannot be written"
            warnings += (f"{sentence}; 'dmremapctl health {entry.name}' says what to do",)
        return Outcome(entry, info, changed=True, warnings=warnings)
    devices.remove(control, entry.name, cookie=cookie)
    if not entry.degraded:
        raise TargetRefused(
            f"{entry.name}: most copies of the metadata cannot be written; the option degraded starts it"
            " read-only"
        )
    info = _read_only(control, decided, cookie)
    sentence = f"{entry.name} is degraded and read-only: most copies of the metadata cannot be written"
    return Outcome(entry, info, changed=True, warnings=(*warnings, sentence))


def _read_only(control: Control, decided: Plan, cookie: MakeCookie) -> DeviceInfo:
    uuid = DmUuid(f"{UUID_PREFIX}{decided.uuid}")
    log = KernelLog()
    try:
        with underway(decided.name, "activate"), explained(log):
            return bring_up(control, decided.name, uuid, [decided.table], readonly=True, cookie=cookie)
    finally:
        log.close()
