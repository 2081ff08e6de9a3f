"""The block devices there are, as sysfs, /proc and udev's database know them.

Nothing is opened or read, so no sleeping disk is woken.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pycontrol import UUID_PREFIX
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev, udevdb
from pycontrol.service.identity import Identity, from_sysfs
from pycontrol.sizes import SECTOR
from pycontrol.text import plain

_PASSED_OVER: Final = ("ram", "zram", "sr", "fd", "mtdblock")


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look; other than the defaults only for a tree of one's own."""

    sysfs: Path = blockdev.SYSFS
    proc: Path = blockdev.PROC
    dev: Path = Path("/dev")
    udev: Callable[[DevNumber], Mapping[str, str]] = udevdb.properties


PLACES: Final = Places()


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, a partition, or a device made of others.  Sizes in bytes."""

    name: str
    """The kernel's, as ``sda1``."""
    path: str
    dev: DevNumber
    kind: str
    """``disk``, ``partition``, ``dm``, ``md`` or ``loop``."""
    size: int
    logical_block: int
    readonly: bool = False
    removable: bool = False
    """Can be pulled out: a medium or a plug made for it."""
    rotational: bool = False
    suspended: bool = False
    """Put to sleep by the kernel."""
    disk: str = ""
    """Name of the whole disk; its own for one."""
    partitions: tuple[str, ...] = ()
    model: str = ""
    identity: Identity = field(default_factory=Identity)
    mounts: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    swap: bool = False
    known_as: tuple[str, ...] = ()
    """File system or partition table by udev's database."""
    dm_uuid: str = ""
    remapped_by: tuple[str, ...] = ()
    """Names of the dm-remap devices that stand on it or on its partitions."""

    @property
    def partition(self) -> bool:
        """Whether it is a partition, not a whole disk."""
        return self.kind == "partition"

    @property
    def ours(self) -> bool:
        """Whether it is a dm-remap device itself."""
        return self.dm_uuid.startswith(UUID_PREFIX)

    @property
    def use(self) -> str:
        """Who uses it, for people; empty if nobody does that can be seen."""
        if self.mounts:
            return f"mounted on {', '.join(map(plain, self.mounts))}"
        if self.holders:
            return f"in use by {', '.join(map(plain, self.holders))}"
        return "used for swapping" if self.swap else ""


def find(places: Places | None = None) -> list[Disk]:
    """Every device with a size that could be main or spare, partitions behind their disk."""
    where = places or PLACES
    swaps = _swaps(where.proc)
    found = []
    try:
        entries = sorted((where.sysfs / "class/block").iterdir())
    except OSError as error:
        raise WrongDevice(
            f"sysfs does not list block devices ({error.strerror}); is /sys mounted?"
        ) from error
    for entry in entries:
        if entry.name.rstrip("0123456789") in _PASSED_OVER:
            continue
        # A device may go at any moment; what is half gone is left out.
        disk = _describe(entry.resolve(), where, swaps)
        # Read-only loop devices are packages' file systems, often dozens of them.
        if disk and disk.size and not (disk.kind == "loop" and disk.readonly):
            found.append(disk)
    return sorted(found, key=lambda disk: (_natural(disk.disk), _natural(disk.name)))


def of_number(dev: DevNumber, places: Places | None = None) -> Disk | None:
    """The device with this number; None if sysfs does not have it."""
    where = places or PLACES
    entry = where.sysfs / "dev/block" / str(dev)
    return _describe(entry.resolve(), where, _swaps(where.proc)) if entry.exists() else None


def _describe(place: Path, where: Places, swaps: set[str]) -> Disk | None:
    try:
        major, _, minor = _read(place / "dev").partition(":")
        dev = DevNumber(int(major), int(minor))
        size = int(_read(place / "size")) * SECTOR
    except ValueError:
        return None
    partition = (place / "partition").exists()
    whole = place.parent if partition else place
    known = where.udev(dev)
    children = tuple(sorted((sub.parent.name for sub in place.glob("*/partition")), key=_natural))
    held = blockdev.holders(place)
    dm_name = _read(place / "dm/name")
    return Disk(
        name=place.name,
        # sysfs writes a slash in a name as an exclamation mark.
        path=str(where.dev / ("mapper/" + dm_name if dm_name else place.name.replace("!", "/"))),
        dev=dev,
        kind=_kind(place, partition),
        size=size,
        logical_block=_number(whole / "queue/logical_block_size", SECTOR),
        readonly=_number(place / "ro", 0) != 0,
        removable=_number(whole / "removable", 0) != 0 or any(p.startswith("usb") for p in whole.parts),
        rotational=_number(whole / "queue/rotational", 0) != 0,
        suspended=_read(whole / "device/power/runtime_status") == "suspended",
        disk=whole.name,
        partitions=children,
        model=" ".join(f"{_read(whole / 'device/vendor')} {_read(whole / 'device/model')}".split())
        or known.get("ID_MODEL", ""),
        identity=Identity.from_udev(known) or from_sysfs(dev, where.sysfs),
        mounts=_all_mounts(place, dev, children, where.proc),
        holders=held,
        swap=bool(swaps & {place.name, *children}),
        known_as=tuple(udevdb.signatures(known, partition=partition)),
        dm_uuid=_read(place / "dm/uuid"),
        remapped_by=_remapped_by(place),
    )


def _kind(place: Path, partition: bool) -> str:
    if partition:
        return "partition"
    return next((kind for kind in ("dm", "md", "loop") if (place / kind).is_dir()), "disk")


def _all_mounts(place: Path, dev: DevNumber, children: tuple[str, ...], proc: Path) -> tuple[str, ...]:
    """Where it or one of its partitions is mounted."""
    found = [*blockdev.mounts(dev, proc)]
    for child in children:
        number = _read(place / child / "dev").split(":")
        if len(number) == 2 and all(part.isdigit() for part in number):
            found += blockdev.mounts(DevNumber(int(number[0]), int(number[1])), proc)
    return tuple(found)


def _remapped_by(place: Path) -> tuple[str, ...]:
    found = []
    for holder in (*place.glob("holders/*"), *place.glob("*/holders/*")):
        if _read(holder / "dm/uuid").startswith(UUID_PREFIX):
            found.append(_read(holder / "dm/name"))
    return tuple(sorted(set(found)))


def _swaps(proc: Path) -> set[str]:
    """The kernel's names of the devices that are swapped to."""
    lines = _read(proc / "swaps").splitlines()[1:]
    return {Path(os.path.realpath(line.split()[0])).name for line in lines if line.startswith("/dev/")}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="surrogateescape").strip()
    except (OSError, ValueError):
        return ""


def _number(path: Path, otherwise: int) -> int:
    text = _read(path)
    return int(text) if text.isascii() and text.isdigit() else otherwise


def _natural(name: str) -> tuple[int, str]:
    # sdb before sdaa, sda2 before sda10.
    return len(name), name
