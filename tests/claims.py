"""What a table stands on it has for itself alone, before it is live, too; and sysfs shows it."""

import errno
import os
from dataclasses import replace

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.service import blockdev
from pycontrol.service.blockdev import BlockDevice
from tests.conftest import Disks
from tests.fakes import FakeKernel


def install(kernel: FakeKernel, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks that know which device-mapper devices hold them, and O_EXCL that is refused then."""
    real = os.open

    def holders(dev: DevNumber) -> tuple[str, ...]:
        return tuple(
            device.name
            for device in kernel.devices.values()
            if any(str(dev) in line[3].split() for line in (device.pending or device.live or []))
        )

    def claiming(path: str, flags: int, *rest: int) -> int:
        if flags & os.O_EXCL and path in disks.known and holders(disks.known[path].dev):
            raise OSError(errno.EBUSY, "claimed")
        return real(path, flags, *rest)

    def look(path: str, *_: object) -> BlockDevice:
        found = disks.look(path)
        return replace(found, holders=found.holders + holders(found.dev))

    monkeypatch.setattr(os, "open", claiming)
    monkeypatch.setattr(blockdev, "look", look)
