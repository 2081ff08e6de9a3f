"""``dmremapctl`` on disks of files and a kernel of memory that outlives it: for those who call it.

``python -m tests.fake_dmremapctl DIRECTORY WORD...``; :func:`install` makes the directory, and a program
of this name in it that can be called like the real one.
"""

import json
import os
import pickle
import shlex
import stat
import sys
import time
from pathlib import Path

from pycontrol.dm import cookie, flow, ioctl
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev, devices, kernellog, live, removal
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.identity import Identity
from tests.fakes import Device, FakeKernel

TOP = Path(__file__).resolve().parents[1]
MIB = 1 << 20
SIZES = {"main": 64 * MIB, "spare": 8 * MIB, "other": 8 * MIB}
"""The disks there are, in bytes; their numbers are 8:0, 8:16 and 8:32."""


class Directory:
    """Where everything is: images, the nodes that stand for them, the kernel's devices, and the calls."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.program = top / "dmremapctl"
        self.calls = top / "calls"
        self.kernel = top / "kernel"
        self.numbers = {name: DevNumber(8, 16 * at) for at, name in enumerate(SIZES)}

    def node(self, name: str) -> Path:
        """A device node without a device; only its number is ever looked at."""
        return self.top / "nodes" / name

    def nodes(self) -> list[Path]:
        return [self.node(name) for name in SIZES]

    def image(self, name: str) -> Path:
        return self.top / "images" / name

    def block(self, name: str) -> Path:
        return self.top / "dev/block" / str(self.numbers[name])

    def look(self, path: str, *_: object) -> BlockDevice:
        name = Path(path).name
        number, size = self.number(path), SIZES[name]
        identity = Identity(wwn=f"0x{number.minor:04x}")
        return BlockDevice(
            str(self.image(name)), number, size, disk=name, logical_block=512, identity=identity
        )

    def number(self, path: str, *_: object) -> DevNumber:
        if Path(path).name not in SIZES:
            raise WrongDevice(f"{path} does not exist")
        return self.numbers[Path(path).name]

    def devices(self) -> dict[str, Device]:
        loaded: dict[str, Device] = pickle.loads(self.kernel.read_bytes())
        return loaded

    def called(self) -> list[list[str]]:
        """The words of each call so far, and forget them."""
        lines = self.calls.read_text().splitlines()
        self.calls.write_text("")
        return [json.loads(line) for line in lines]


def install(top: Path) -> Directory:
    """Needs the right to make device nodes."""
    made = Directory(top)
    for directory in ("nodes", "images", "dev/block"):
        (top / directory).mkdir(parents=True)
    for name, size in SIZES.items():
        with made.image(name).open("wb") as file:
            file.truncate(size)
        number = made.numbers[name]
        os.mknod(made.node(name), stat.S_IFBLK | 0o600, os.makedev(number.major, number.minor))
        made.block(name).symlink_to(made.image(name))
    made.calls.touch()
    made.kernel.write_bytes(pickle.dumps({}))
    words = shlex.join([sys.executable, "-B", "-m", "tests.fake_dmremapctl", str(top)])
    made.program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(TOP))} exec {words} "$@"\n')
    made.program.chmod(0o755)
    return made


def main(top: Path, words: list[str]) -> None:
    from pycontrol.cli.main import main as dmremapctl

    its = Directory(top)
    with its.calls.open("a") as file:
        print(json.dumps(words), file=file)
    kernel = FakeKernel(devices=its.devices())
    kernel.minors = len(kernel.devices)
    real = ioctl.Control.__init__
    for place, name, value in (
        (ioctl.Control, "__init__", lambda control, *_: real(control, kernel)),
        (cookie, "udev_answers", lambda *_: False),
        (flow, "ensure_node", lambda *_: None),
        (flow, "drop_node", lambda *_: None),
        (removal, "drop_node", lambda *_: None),
        (kernellog.KernelLog, "sentence", lambda *_: ""),
        (time, "sleep", lambda *_: None),
        (os, "geteuid", lambda: 0),
        (devices, "LOCKS", top / "locks"),
        (blockdev, "look", its.look),
        (blockdev, "number", its.number),
        (live, "DEV", top / "dev"),
        (live, "SYSFS", top / "sys"),
    ):
        # The process is its own: nothing has to be put back.
        setattr(place, name, value)
    if words[0] == "inspect":
        # It opens what it is given.
        words = [str(its.image(Path(word).name)) if word in map(str, its.nodes()) else word for word in words]
    sys.argv = ["dmremapctl", *words]
    try:
        dmremapctl()
    finally:
        its.kernel.write_bytes(pickle.dumps(kernel.devices))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
