"""Fixtures for the fast tests: no root, no kernel, no devices."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from pycontrol.dm import cookie, flow, ioctl
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev, devices, kernellog
from pycontrol.service.blockdev import BlockDevice
from tests.fakes import FakeKernel

if TYPE_CHECKING:
    from tests.moving import Device, MovingKernel
    from tests.replacement import Replacement

MIB = 1 << 20


def pytest_configure() -> None:
    """What a shell starts in the background ignores ^C, and the tests interrupt things."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the files that may take longest, so that at the end nobody waits for one of them."""
    limits: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        if mark := item.get_closest_marker("timeout"):
            limits[item.path] = max(limits[item.path], mark.args[0])
    items.sort(key=lambda item: -limits[item.path])


# A busy machine is no reason to fail.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeKernel:
    """A kernel with our target, behind /dev/mapper/control; no udev, no real nodes."""
    fake = FakeKernel()
    real = ioctl.Control.__init__

    def init(self: ioctl.Control, *_: object) -> None:
        real(self, fake)

    monkeypatch.setattr(ioctl.Control, "__init__", init)
    monkeypatch.setattr(cookie, "udev_answers", lambda *_: False)
    monkeypatch.setattr(flow, "ensure_node", lambda name, dev: None)
    monkeypatch.setattr(flow, "drop_node", lambda name: None)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(kernellog.KernelLog, "sentence", lambda self: "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")
    return fake


class Disks:
    """Files that pass for block devices: only look() and number() are replaced."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.known: dict[str, BlockDevice] = {}

    def make(self, name: str, size: int, **facts: object) -> str:
        path = self.top / name
        with path.open("wb") as file:
            file.truncate(size)
        number = DevNumber(8, 16 * len(self.known))
        values: dict[str, object] = {"disk": name, "logical_block": 512} | facts
        self.known[str(path)] = BlockDevice(str(path), values.pop("dev", number), size, **values)  # type: ignore[arg-type]
        return str(path)

    def look(self, path: str, *_: object) -> BlockDevice:
        return self.known[path]

    def number(self, path: str) -> DevNumber:
        if path not in self.known:
            raise WrongDevice(f"{path} does not exist")
        return self.known[path].dev


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    made = Disks(tmp_path)
    monkeypatch.setattr(blockdev, "look", made.look)
    monkeypatch.setattr(blockdev, "number", made.number)
    return made


Run = Callable[..., Result]


@pytest.fixture
def run() -> Iterator[Run]:
    """``run('create', 'r0', ...)``: dmremapctl in this process."""
    from pycontrol.cli.main import cli

    def call(*arguments: str, answer: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=answer)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield call


@pytest.fixture
def moving(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "MovingKernel":
    """A kernel that looks at the spare when a table is resumed; see tests/moving.py."""
    from tests.moving import install

    return install(tmp_path, monkeypatch)


@pytest.fixture
def device(moving: "MovingKernel", disks: Disks, tmp_path: Path) -> "Device":
    """/dev/mapper/data, made of files."""
    from tests.moving import Device

    return Device(moving, disks, tmp_path)


@pytest.fixture
def replacement(device: "Device", monkeypatch: pytest.MonkeyPatch) -> "Replacement":
    """Its spare is replaced."""
    from tests.replacement import Replacement

    return Replacement(device, monkeypatch)
