"""The block devices with what is known of each: its health, its use, and an opinion on it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pycontrol.dm.ioctl import Control
from pycontrol.errors import RemapError, WrongDevice
from pycontrol.service import blockdev, contents
from pycontrol.service.find import disks, judge, smartctl
from pycontrol.service.find.disks import Disk, Places
from pycontrol.service.find.judge import Content, Contents, Fit, Fitness, Need, Protection
from pycontrol.service.find.smart import Smart
from pycontrol.text import plain

_AT_ONCE = 8
"""How many disks are asked for their health at one time."""

AskDisk = Callable[[str], Smart]


@dataclass(frozen=True, slots=True)
class Role:
    """What a device does in a dm-remap device."""

    name: str
    role: str
    """``main`` or ``spare``; empty where the target could not be asked."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One device and what is thought of it."""

    disk: Disk
    smart: Smart
    roles: tuple[Role, ...]
    contents: Contents
    protection: Protection
    as_spare: Fitness

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why it could not become main as things are; plain words."""
        return judge.obstacles(self.disk)


def scan(
    control: Control | None = None,
    main: str | None = None,
    *,
    places: Places | None = None,
    ask: AskDisk = smartctl.ask,
) -> list[Entry]:
    """Look at every device, and judge spares for the device at path ``main`` if that is given.

    ``control`` tells which devices are main and which are spare; without it, or without
    leave to use it, sysfs tells only that they are ours.  Sizes are in bytes.  Writes nothing
    and wakes no disk; WrongDevice if ``main`` is not there.
    """
    found = disks.find(places)
    wanted = _chosen(found, main) if main is not None else None
    health = _health(found, ask)
    roles = _roles(control) if control else {}
    return [_entry(disk, health.get(disk.disk, Smart()), roles, wanted) for disk in found]


def for_main(entries: Iterable[Entry], main: str) -> list[Entry]:
    """The same devices, judged as spares for the one at path ``main``; nothing is asked again."""
    found = list(entries)
    wanted = _chosen((entry.disk for entry in found), main)
    return [
        replace(entry, as_spare=judge.fitness(entry.disk, entry.smart, entry.contents, wanted))
        for entry in found
    ]


def by_need(entries: Iterable[Entry]) -> list[Entry]:
    """What could be protected now, the most urgent first; a disk comes behind its partitions."""
    order = {Need.URGENT: 0, Need.ADVISED: 1, Need.UNKNOWN: 2, Need.NONE: 3, Need.PROTECTED: 4}
    free = [entry for entry in entries if not entry.obstacles and entry.disk.kind != "loop"]
    return sorted(free, key=lambda entry: (order[entry.protection.need], bool(entry.disk.partitions)))


def by_fitness(entries: Iterable[Entry]) -> list[Entry]:
    """What could be a spare, the best first."""
    fit = [entry for entry in entries if entry.as_spare.fit is not Fit.UNFIT]

    def key(entry: Entry) -> tuple[bool, int, int]:
        made_for_it = entry.contents.kind is Content.METADATA and entry.as_spare.fit is Fit.GOOD
        # A large disk is wasted on a spare: the smallest that does comes first.
        return not made_for_it, len(entry.as_spare.reasons), entry.disk.size

    return sorted(fit, key=key)


def _chosen(found: Iterable[Disk], path: str) -> Disk:
    number = blockdev.number(path)
    for disk in found:
        if disk.dev == number:
            return disk
    raise WrongDevice(f"{plain(path)} has no size, or is not a disk; see 'dmremapctl scan'")


def _health(found: Iterable[Disk], ask: AskDisk) -> dict[str, Smart]:
    """Reports by the names of whole disks."""
    from concurrent.futures import ThreadPoolExecutor

    whole = [disk for disk in found if disk.kind == "disk"]
    health = {disk.name: Smart(asleep=True, problem="asleep, not woken") for disk in whole if disk.suspended}
    awake = [disk for disk in whole if not disk.suspended]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        reports = pool.map(ask, [disk.path for disk in awake])
        return health | {disk.name: report for disk, report in zip(awake, reports, strict=True)}


def _roles(control: Control) -> dict[str, list[Role]]:
    """By device number.  No root, no device-mapper: none."""
    from pycontrol.service.devices import list_devices

    roles: dict[str, list[Role]] = {}
    try:
        ours = list_devices(control)
    except RemapError:
        return roles
    for device in ours:
        for target in device.targets:
            roles.setdefault(target.table.main, []).append(Role(device.info.name, "main"))
            roles.setdefault(target.table.spare, []).append(Role(device.info.name, "spare"))
    return roles


def _entry(disk: Disk, health: Smart, roles: Mapping[str, list[Role]], main: Disk | None) -> Entry:
    mine = roles.get(str(disk.dev)) or [Role(name, "") for name in disk.remapped_by]
    # Only what could be a spare otherwise is read, and no disk is woken for it.
    unread = Contents(words="asleep; what is on it was not looked at" if health.asleep else "")
    fit = judge.fitness(disk, health, unread, main).fit
    found = contents.examine(disk) if fit is not Fit.UNFIT and not health.asleep else unread
    return Entry(
        disk=disk,
        smart=health,
        roles=tuple(dict.fromkeys(mine)),
        contents=found,
        protection=judge.protection(disk, health),
        as_spare=judge.fitness(disk, health, found, main),
    )
