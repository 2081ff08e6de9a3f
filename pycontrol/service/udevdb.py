"""What udev knows about a block device; empty where no udev runs."""

from pathlib import Path

from pycontrol.dm.types import DevNumber


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


def _makedev(dev: DevNumber) -> int:
    import os

    return os.makedev(dev.major, dev.minor)
