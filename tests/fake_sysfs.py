"""A tree of directories that passes for /sys, /proc and /dev, with disks of a test's choosing."""

from __future__ import annotations

from pathlib import Path

from pycontrol.dm.types import DevNumber
from pycontrol.service.find.disks import Places


class FakeSysfs:
    """Disks are files under ``dev``; every attribute is where Linux 6.1 has it."""

    def __init__(self, top: Path) -> None:
        self.top, self.sys, self.dev = top, top / "sys", top / "dev"
        for directory in ("sys/class/block", "sys/dev/block", "dev/mapper", "proc/self"):
            (top / directory).mkdir(parents=True)
        (top / "proc/self/mountinfo").write_text("")
        (top / "proc/swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        self.udev: dict[str, dict[str, str]] = {}
        self.numbers: dict[str, DevNumber] = {}

    @property
    def places(self) -> Places:
        return Places(self.sys, self.top / "proc", self.dev, lambda dev: self.udev.get(str(dev), {}))

    def disk(
        self,
        name: str,
        size: int,
        *,
        model: str = "",
        vendor: str = "",
        serial: str = "",
        rotational: bool = False,
        removable: bool = False,
        readonly: bool = False,
        logical_block: int = 512,
        asleep: bool = False,
        under: str = "devices/pci0000:00/block",
        directory: str = "",
    ) -> str:
        """A whole disk of ``size`` bytes, or with ``directory`` a ``dm``, ``md`` or ``loop`` device."""
        place = self.sys / under / name
        self._device(place, name, size, readonly)
        for attribute, value in (
            ("removable", int(removable)),
            ("queue/rotational", int(rotational)),
            ("queue/logical_block_size", logical_block),
            ("device/model", model),
            ("device/vendor", vendor),
            ("device/power/runtime_status", "suspended" if asleep else "active"),
            *([("serial", serial)] if serial else []),
        ):
            self.write(place / attribute, str(value))
        if directory:
            (place / directory).mkdir()
        return str(self.dev / name)

    def partition(self, disk: str, number: int, size: int, name: str = "") -> str:
        """A partition of a disk that was made before."""
        name = name or f"{disk}{number}"
        place = (self.sys / "class/block" / disk).resolve() / name
        self._device(place, name, size, False)
        self.write(place / "partition", str(number))
        return str(self.dev / name)

    def mapped(self, name: str, uuid: str, size: int, *below: str) -> str:
        """A device-mapper device that stands on others."""
        kernel_name = f"dm-{len(list(self.sys.glob('devices/virtual/block/dm-*')))}"
        self.disk(kernel_name, size, under="devices/virtual/block", directory="dm")
        place = self.sys / "devices/virtual/block" / kernel_name
        self.write(place / "dm/name", name)
        self.write(place / "dm/uuid", uuid)
        for lower in below:
            self.hold(lower, place)
        return str(self.dev / "mapper" / name)

    def hold(self, lower: str, place: Path) -> None:
        holders = (self.sys / "class/block" / lower).resolve() / "holders"
        holders.mkdir(exist_ok=True)
        (holders / place.name).symlink_to(place)

    def mount(self, name: str, where: str) -> None:
        with (self.top / "proc/self/mountinfo").open("a") as file:
            file.write(f"30 1 {self.numbers[name]} / {where} rw - ext4 /dev/{name} rw\n")

    def swap(self, name: str) -> None:
        with (self.top / "proc/swaps").open("a") as file:
            file.write(f"/dev/{name}\tpartition\t8388604\t0\t-2\n")

    def put(self, name: str, offset: int, data: bytes) -> None:
        with (self.dev / name).open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def _device(self, place: Path, name: str, size: int, readonly: bool) -> None:
        number = self.numbers[name] = DevNumber(8, len(self.numbers))
        self.write(place / "dev", str(number))
        self.write(place / "size", str(size // 512))
        self.write(place / "ro", str(int(readonly)))
        (self.sys / "class/block" / name).symlink_to(place)
        (self.sys / "dev/block" / str(number)).symlink_to(place)
        with (self.dev / name.replace("!", "-")).open("wb") as file:
            file.truncate(size)

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
