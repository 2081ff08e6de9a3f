"""Telling one disk from another: WWN, serial number and partition uuid.

Recorded on the spare when it is formatted, and compared at every activation, so that
a spare is never joined to a disk whose sectors it does not replace.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pycontrol.dm.types import DevNumber

RECORD_BYTES: Final = 128
"""Room for the identity in the metadata, in bytes of UTF-8."""

_KEYS: Final = ("wwn", "part", "serial")


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known; an empty string is not known."""

    wwn: str = ""
    part: str = ""
    serial: str = ""

    def __str__(self) -> str:
        """``wwn:... part:... serial:...``, shortened from the right to what can be recorded."""
        out = ""
        for key in _KEYS:
            value = "".join(str(getattr(self, key)).split())
            longer = f"{out} {key}:{value}".strip()
            if value and len(longer.encode(errors="replace")) <= RECORD_BYTES:
                out = longer
        return out

    def __bool__(self) -> bool:
        return bool(self.wwn or self.part or self.serial)

    @classmethod
    def parse(cls, recorded: str) -> Self:
        """From what :meth:`__str__` wrote; unknown keys are passed over."""
        pairs = (word.split(":", 1) for word in recorded.split() if ":" in word)
        return cls(**{key: value for key, value in pairs if key in _KEYS})

    @classmethod
    def from_udev(cls, properties: Mapping[str, str]) -> Self:
        """From udev's database; partitions inherit the disk's properties and add their own."""
        wwn = properties.get("ID_WWN_WITH_EXTENSION") or properties.get("ID_WWN", "")
        serial = properties.get("ID_SERIAL_SHORT") or properties.get("ID_SERIAL", "")
        part = properties.get("ID_PART_ENTRY_UUID", "") if properties.get("DEVTYPE") == "partition" else ""
        return cls(wwn="".join(wwn.split()), part="".join(part.split()), serial="".join(serial.split()))

    def conflicts(self, other: Self) -> str:
        """The first key both know and disagree on; empty if none.

        Comparing key by key, because the same disk behind another adapter may show fewer.
        """
        for key in _KEYS:
            mine, theirs = getattr(self, key), getattr(other, key)
            if mine and theirs and mine != theirs:
                return key
        return ""

    def same_disk(self, other: Self) -> bool:
        """Whether the two names certainly mean one whole disk (a WWN is unique; a serial is not)."""
        return bool(self.wwn) and self.wwn == other.wwn


def from_sysfs(dev: DevNumber, sysfs: Path = Path("/sys")) -> Identity:
    """Without udev: virtio and NVMe show their serial in sysfs, in the words udev uses."""
    top = sysfs / "dev/block" / str(dev)
    for place in ("serial", "device/serial", "../serial", "../device/serial"):
        try:
            serial = (top.resolve() / place).read_text(errors="surrogateescape")
        except OSError:
            continue
        return Identity(serial="".join(serial.split()))
    return Identity()
