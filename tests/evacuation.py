"""/dev/mapper/data as a file, next to the disk to which it is evacuated."""

from pathlib import Path

from pycontrol.dm.types import DevNumber
from pycontrol.metadata import Kind
from pycontrol.service.blockdev import BlockDevice
from tests.moving import MAIN, UUID_, Device, loaded, put, store


class Mapped:
    """What the device of :class:`Device` holds as a whole, and the new disk."""

    def __init__(self, device: Device, size: int = MAIN) -> None:
        self.device = device
        self.new = device.disk("newdisk", size)
        self.path = device.top / "dev" / "data"
        self.refresh()

    def refresh(self) -> None:
        """The device as main and spare make it; what is pending is zero here."""
        number = DevNumber(253, self.device.kernel.devices["data"].minor)
        self.device.disks.known[str(self.path)] = BlockDevice(str(self.path), number, MAIN, 512)
        image = bytearray(Path(self.device.main).read_bytes())
        spare = Path(self.device.spare).read_bytes()
        for each in loaded(self.device.spare).extents:
            data = bytes(each.sectors * 512)
            if each.kind is Kind.REMAP:
                data = spare[each.spare * 512 : (each.spare + each.sectors) * 512]
            image[each.main * 512 : (each.main + each.sectors) * 512] = data
        store(self.path, image)

    def boot(self) -> None:
        """The device as it was at first."""
        kernel = self.device.kernel
        kernel.devices.clear()
        kernel.region = None
        kernel.step = lambda label: None
        kernel.add(
            "data", f"DMREMAP-{UUID_}", (0, MAIN // 512, "dm-remap-v4", self.device.table(self.device.spare))
        )
        self.refresh()
        store(self.new, b"?" * 512 + bytes(Path(self.new).stat().st_size - 512))

    def write_main(self, sector: int, data: bytes) -> None:
        """Somebody writes a sector that lives on main."""
        put(self.device.main, [(sector * 512, data)])
        put(str(self.path), [(sector * 512, data)])
        self.device.kernel.wrote(sector)

    def write(self, sector: int) -> None:
        """Somebody writes remapped sectors."""
        self.device.write(sector)
        put(str(self.path), [(sector * 512, self.device.expected(sector, 8))])

    def check(self) -> None:
        """The new disk begins with what the device held."""
        assert Path(self.new).read_bytes()[:MAIN] == self.path.read_bytes()
