"""What udev knows about a block device; empty where no udev runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pycontrol.dm.types import DevNumber

SPARE: Final = "dm_remap_member"
"""ID_FS_TYPE of a spare, by the rule in ``boot/udev``."""


def properties(dev: DevNumber, control: Path = Path("/run/udev/control")) -> dict[str, str]:
    """The properties in udev's database.  No udev, no device, no pyudev: none."""
    if not control.exists():
        return {}
    try:
        import pyudev

        context = pyudev.Context()
        device = pyudev.Devices.from_device_number(context, "block", _makedev(dev))
        return {str(key): str(value) for key, value in device.properties.items()}
    except (ImportError, OSError, ValueError):
        # pyudev's DeviceNotFoundError is a LookupError in some versions and a ValueError in others.
        return {}
    except LookupError:
        return {}


def signatures(known: Mapping[str, str], *, partition: bool) -> list[str]:
    """What udev found on a device with these properties, but for metadata of ours.

    Of those our own rule tells it; what they are for, and whether they are whole, they say themselves.
    """
    # A partition's ID_PART_TABLE_TYPE is that of the disk it is on.
    keys = ("ID_FS_TYPE",) if partition else ("ID_FS_TYPE", "ID_PART_TABLE_TYPE")
    return [known[key] for key in keys if known.get(key) and known[key] != SPARE]


def _makedev(dev: DevNumber) -> int:
    import os

    return os.makedev(dev.major, dev.minor)
