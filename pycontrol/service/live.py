"""The metadata on the spare of a device that is in service."""

import os
import stat
from pathlib import Path
from typing import Final
from uuid import UUID

from pycontrol import UUID_PREFIX, metadata
from pycontrol.errors import WrongDevice
from pycontrol.metadata import Corrupt, Loaded
from pycontrol.service.offline.source import TRIES, source
from pycontrol.text import plain

DEV: Final = Path("/dev")
SYSFS: Final = Path("/sys")


def node(dev: str, top: Path | None = None, sysfs: Path | None = None) -> str:
    """The path of the block device with this number, ``8:16``; WrongDevice if there is none."""
    top, sysfs = top or DEV, sysfs or SYSFS
    path = top / "block" / dev
    if path.exists():
        return str(path)
    # Without udev there are no links by number, but the kernel knows the name it gave.
    name = kernel_name(dev, sysfs)
    if name and _is(top / name, dev):
        return str(top / name)
    raise WrongDevice(f"there is no node for the block device {dev}; is udev running?")


def kernel_name(dev: str, sysfs: Path | None = None) -> str:
    """What the kernel calls the device with this number, ``sdb``; empty if there is none."""
    try:
        lines = (
            ((sysfs or SYSFS) / "dev/block" / dev / "uevent").read_text(errors="surrogateescape").splitlines()
        )
    except (OSError, ValueError):
        return ""
    names = (line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME="))
    return next(names, "")


def shown(dev: str) -> str:
    """A device for people, ``sdb (8:16)``."""
    name = kernel_name(dev)
    return plain(f"{name} ({dev})" if name else dev)


def _is(path: Path, dev: str) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    return stat.S_ISBLK(found.st_mode) and number == dev


def load_live(dev: str, dm_uuid: str = "") -> Loaded:
    """What the spare with this number, ``8:16``, holds, while commits go on.

    A header says with a CRC which log it counts, and log blocks are never changed while it
    does: what can be loaded is the state of one moment.  Where a compaction wrote over the
    log that was being read, it is read again.  MetadataError says why there is no state,
    the other errors are about the device.  The condition of each copy may be that of
    another moment: the target's status has that.
    """
    uuid = _uuid(dm_uuid)
    with source(node(dev)) as opened:
        for _ in range(TRIES - 1):
            opened.refresh()
            try:
                return metadata.load(opened.read, opened.size, uuid=uuid)
            except Corrupt:
                if not opened.in_use:
                    raise
        opened.refresh()
        return metadata.load(opened.read, opened.size, uuid=uuid)


def _uuid(dm_uuid: str) -> UUID | None:
    """The spare's uuid in that of the device; None for a device that dmsetup made without one."""
    try:
        return UUID(dm_uuid.removeprefix(UUID_PREFIX)) if dm_uuid.startswith(UUID_PREFIX) else None
    except ValueError:
        return None
