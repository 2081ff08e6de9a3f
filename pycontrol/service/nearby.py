"""Devices there are, as sysfs tells anybody: to complete a name that is being typed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pycontrol import UUID_PREFIX
from pycontrol.sizes import SECTOR

SYSFS: Final = Path("/sys")


def remap_devices(sysfs: Path = SYSFS) -> list[str]:
    """Names of our devices, sorted; needs no root."""
    found = []
    for place in sysfs.glob("block/dm-*/dm"):
        if _word(place / "uuid").startswith(UUID_PREFIX):
            found.append(_word(place / "name"))
    return sorted(filter(None, found))


def block_devices(sysfs: Path = SYSFS) -> Iterator[tuple[str, int]]:
    """Path and size in bytes of each disk, partition and device-mapper device, sorted by path.

    A loop device or a drive without a medium has no bytes, and is left out.
    """
    found = {}
    for place in sysfs.glob("class/block/*"):
        size = _word(place / "size")
        if size.isdigit() and int(size):
            name = _word(place / "dm/name")
            # The kernel writes a slash in a name as an exclamation mark.
            path = f"/dev/mapper/{name}" if name else f"/dev/{place.name.replace('!', '/')}"
            found[path] = int(size) * SECTOR
    yield from sorted(found.items())


def _word(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        # It went away, or has no such thing.
        return ""
