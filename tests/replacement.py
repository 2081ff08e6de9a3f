"""A replacement of the spare that can be begun again from the same disks, and struck at each step."""

from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.service import activate
from pycontrol.service.move import replace
from tests.conftest import MIB
from tests.faults import Storage
from tests.moving import UUID_, Device, store


class Replacement:
    """A replacement of the spare that can be begun again from the same disks."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device = device
        self.new = device.disk("new", 4 * MIB)
        self.accepting = False
        self.before = {path: Path(path).read_bytes() for path in (device.spare, self.new)}
        self.storage = Storage(monkeypatch, [device.spare, self.new])
        monkeypatch.setattr(activate, "every_device", lambda: [device.main, device.spare, self.new])

    def go(
        self, *, cut: int | None = None, fail: int | None = None, dies: tuple[str, int] | None = None
    ) -> tuple[str, ...]:
        """From the beginning, up to step ``cut``, or with step ``fail`` failing; its warnings."""
        for path, data in self.before.items():
            store(path, data)
        self.boot()
        return self.again(cut=cut, fail=fail, dies=dies)

    def boot(self) -> None:
        """The device with its old spare."""
        kernel = self.device.kernel
        kernel.devices.clear()
        kernel.region = None
        kernel.step = lambda label: None
        line = (0, 65536, "dm-remap-v4", self.device.table(self.device.spare))
        kernel.add("data", f"DMREMAP-{UUID_}", line)

    def again(
        self, *, cut: int | None = None, fail: int | None = None, dies: tuple[str, int] | None = None
    ) -> tuple[str, ...]:
        """The same, from what is there."""
        self.storage.steps, self.storage.cut, self.storage.fail, self.storage.dies = 0, cut, fail, dies
        with Control() as control:
            decided = replace.plan(control, "data", self.new)
            self.device.kernel.step = self.storage.step
            try:
                return replace.carry_out(control, decided, now=1000).warnings
            finally:
                self.device.kernel.step = lambda label: None
                self.storage.cut = self.storage.fail = self.storage.dies = None

    @property
    def arrived(self) -> bool:
        """Whether the new spare would take the place of the old one, were that retired."""
        data = Path(self.new).read_bytes()
        return bool(metadata.arrived_headers(metadata.Reader(lambda at, n: data[at : at + n], 4 * MIB)))

    @property
    def in_use(self) -> str:
        """The spare of the live table."""
        return self.device.kernel.spares[self.device.live[3].split()[1]]
