"""A machine of files and a fake kernel in which every command has something to do.

It is made, and commands are run in it, in a process of its own (tests/hostile_process.py): what
that changes, signals and environment included, ends with it.
"""

import errno
import hashlib
import importlib
import os
import pkgutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import pycontrol
from pycontrol import metadata
from pycontrol.dm import cookie, flow, ioctl
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.types import DevNumber
from pycontrol.metadata import Kind, Record
from pycontrol.service import blockdev, devices, kernellog, live, module, trust
from pycontrol.service.find import disks, smartctl
from pycontrol.service.tell import uevents, watch  # fmt: skip
from tests.conftest import MIB, Disks
from tests.fake_sysfs import FakeSysfs
from tests.fake_target import FakeTarget
from tests.fakes import PolledKernel, _Answer
from tests.hostile_process import run
from tests.moving import MovingKernel, content, loaded, put, store, valid
from tests.test_meta_legacy import ACTIVE, v42

MAIN, SPARE = 4 * MIB, 2 * MIB
SECTORS = MAIN // 512
UUID_DATA, UUID_IDLE = UUID(int=77), UUID(int=78)
REMAPPED = (1000, 2000, 3000)
PENDING = 5000
"""Main sectors at which eight live on the spare, and of eight that cannot be read."""
LOST = b"\xbd" * 512


@cache
def old_spare() -> bytes:
    """A spare of v4.2."""
    return bytes(v42([(8, 3000, 1_700_000_000, ACTIVE)]))


@cache
def contents(sector: int) -> bytes:
    """What eight sectors hold."""
    return b"".join(map(content, range(sector, sector + 8)))


def prepare() -> None:
    """Do here what each process would do anew: import what the commands may need, make what they read."""
    for found in pkgutil.walk_packages(pycontrol.__path__, "pycontrol."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in ("box", "live", "progress", "status", "table"):
        importlib.import_module(f"rich.{name}")
    old_spare()
    for sector in (*REMAPPED, PENDING):
        contents(sector)


@dataclass
class Kernel(PolledKernel, MovingKernel):
    """Its target ``data`` answers every message that a command sends."""

    target: FakeTarget = field(default_factory=lambda: FakeTarget(SECTORS))
    position: int = 0
    armed: Callable[[], None] = lambda: None
    commit: Callable[[], None] = lambda: None
    """Has the spare hold what the target has."""

    def __call__(self, fd: int, number: int, buffer: bytearray) -> int:
        done = super().__call__(fd, number, buffer)
        self.step("done")
        return done

    def _DM_DEV_ARM_POLL(self, name: str, uuid: str, flags: int, *rest: object) -> _Answer:
        self.armed()
        return super()._DM_DEV_ARM_POLL(name, uuid, flags, *rest)

    def reply(self, words: str) -> str | None:
        match words.split():
            case ["help"]:
                return "help list\nremap SECTOR COUNT\n"
            case ["scrub"]:
                return f"{self.position}\n"
            case ["scrub", sector]:
                self.position = int(sector)
                return f"{sector}\n"
            case ["unmap", *ranges]:
                # A kernel is not interrupted between its map and its metadata.
                before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                for first, count in zip(ranges[::2], ranges[1::2], strict=True):
                    for at in range(int(first), int(first) + int(count)):
                        self.target.remapped.pop(at, None)
                self.commit()
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                return f"Unmapped {sum(map(int, ranges[1::2]))} sectors\n"
            case [word, *_] if word.startswith("@"):
                return super().reply(words)
        return self.target(words)


def _digest(path: Path) -> str:
    """Of what a file holds; of one that holds the time and what is random, whether it is whole."""
    data = path.read_bytes()
    match path.name:
        case "map.svg":
            return "whole" if data.rstrip().endswith(b"</svg>") else "cut off"
        case "new":
            return "whole" if valid(str(path)) else "cut off"
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """How a command ended, what it printed, and how things stood then."""

    code: int
    out: str
    err: str
    state: dict[str, object] = field(repr=False)

    @property
    def sentences(self) -> list[str]:
        """Its errors; not warnings, and no notices of a command that waits."""
        return [
            line
            for line in self.err.splitlines()
            if line.startswith(("dmremapctl: ", "Error: "))
            and not line.startswith(("dmremapctl: warning", "dmremapctl: watching", "dmremapctl: monitoring"))
        ]


class World:
    """Devices, disks, images and lists; ``place`` says where, by the names the commands' words use."""

    def __init__(self, top: Path, *, pending: bool = True) -> None:
        self.patch = pytest.MonkeyPatch()
        self.top = top
        self.kernel = Kernel(targets={"dm-remap-v4": (1, 0, 0), "linear": (1, 4, 0)})
        self.disks = Disks(top)
        self.place: dict[str, str] = {}
        self.over: Callable[[], None] = lambda: None
        """Called when a command has ended."""
        for directory in ("dev/block", "out", "lists", "proc/self"):
            (top / directory).mkdir(parents=True)
        (top / "proc/self/mountinfo").write_text("")
        self._install()
        self._devices(pending)
        self._images()
        self._lists()
        self._scanned()
        self._module()

    # What a command may touch

    def _install(self) -> None:
        kernel, patch, top = self.kernel, self.patch, self.top
        before = self._init = ioctl.Control.__init__
        self._fileno = ioctl.Control.fileno
        patch.setattr(ioctl.Control, "__init__", lambda control, *_: before(control, kernel))
        patch.setattr(ioctl.Control, "fileno", lambda control: kernel.control)
        patch.setattr(uevents, "_open_netlink", lambda: kernel.socket)
        patch.setattr(watch.open_source, "__defaults__", (top / "no udev",))
        patch.setattr(cookie, "udev_answers", lambda *_: False)
        patch.setattr(flow, "ensure_node", lambda name, dev: None)
        patch.setattr(flow, "drop_node", lambda name: None)
        patch.setattr("pycontrol.service.removal.drop_node", lambda name: None)
        patch.setattr(kernellog, "KMSG", top / "kmsg")
        patch.setattr(kernellog.KernelLog.__init__, "__defaults__", (top / "kmsg",))
        patch.setattr(time, "sleep", lambda seconds: None)
        patch.setattr(os, "geteuid", lambda: 0)
        # Not every file system a test may run on knows direct I/O.
        patch.setattr(os, "O_DIRECT", 0)
        patch.setattr(blockdev, "look", self.disks.look)
        patch.setattr(blockdev, "number", self.disks.number)
        patch.setattr(blockdev, "PROC", top / "proc")
        patch.setattr(live, "DEV", top / "dev")
        patch.setattr(live, "SYSFS", top / "sys")
        patch.setattr(devices, "MAPPER_DIR", top / "dev")
        patch.setattr(devices, "LOCKS", top / "locks")
        patch.setattr(smartctl, "SEARCH", str(top))
        patch.setattr("pycontrol.service.activate.every_device", lambda: [*self.disks.known])
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def disk(self, name: str, size: int, **facts: object) -> str:
        path = self.disks.make(name, size, **facts)
        number = str(self.disks.number(path))
        (self.top / "dev/block" / number).symlink_to(path)
        self.kernel.spares[number] = path
        self.disks.known[str(self.top / "dev/block" / number)] = self.disks.known[path]
        self.place[name] = path
        return path

    def _devices(self, pending: bool) -> None:
        main, spare = self.disk("main", MAIN), self.disk("spare", SPARE)
        self.disk("newspare", SPARE), self.disk("newdisk", MAIN)
        self.disk("bare", MAIN), self.disk("blank", SPARE)
        self.disk("idle", MAIN), self.disk("idlespare", SPARE)
        start = metadata.data_start()
        records = [Record(at, start + 8 * n, 8, Kind.REMAP, 0, 5) for n, at in enumerate(REMAPPED)]
        records += [Record(PENDING, 0, 8, Kind.PENDING, 1, 6)] if pending else []
        self._hold(spare, UUID_DATA, records)
        self._hold(self.place["idlespare"], UUID_IDLE, [])
        self.kernel.commit = self._commit
        image = bytearray(MAIN)
        for number, sector in enumerate(REMAPPED):
            words = contents(sector)
            put(spare, [((start + 8 * number) * 512, words)])
            image[sector * 512 : (sector + 8) * 512] = words
            self.kernel.target.remapped |= {sector + at: start + 8 * number + at for at in range(8)}
        if pending:
            image[PENDING * 512 : (PENDING + 8) * 512] = LOST * 8
            self.kernel.target.lost |= set(range(PENDING, PENDING + 8))
        self.node = self.top / "dev/data"
        store(self.node, image)
        self.disks.known[str(self.node)] = blockdev.BlockDevice(str(self.node), DevNumber(253, 0), MAIN, 512)
        self.kernel.answer = self.kernel.reply
        self.kernel.target.before = lambda words: self._heal()
        numbers = f"{self.disks.number(main)} {self.disks.number(spare)}"
        line = (0, SECTORS, "dm-remap-v4", f"{numbers} 4 copies 5 spacing 256")
        self.kernel.add("data", f"DMREMAP-{UUID_DATA}", line)
        self.kernel.add("other", "LVM-1", (0, SECTORS, "linear", "8:240 0"))
        self.kernel.status_line = f"24/2816 3 {int(pending)} 5/5 9 0 0 0 0 0 0 rw -"

    def _hold(self, spare: str, uuid: UUID, records: list[Record]) -> None:
        blocks = metadata.encode_image(
            records, uuid=uuid, main_sectors=SECTORS, spare_sectors=SPARE // 512, time=1, sequence=9,
            cursor=metadata.data_start() + 8 * len(REMAPPED), main_id="", name="data",
        )  # fmt: skip
        put(spare, blocks)

    def _commit(self) -> None:
        target = self.kernel.target
        records = [Record(at, place, 1, Kind.REMAP, 0, 5) for at, place in sorted(target.remapped.items())]
        records += [Record(at, 0, 1, Kind.PENDING, 1, 6) for at in sorted(target.lost)]
        self._hold(self.place["spare"], UUID_DATA, records)

    def _heal(self) -> None:
        # Whatever is written in a pending place heals it.
        with self.node.open("rb") as file:
            for sector in sorted(self.kernel.target.lost):
                file.seek(sector * 512)
                if file.read(512) != LOST:
                    self.kernel.target.lost.discard(sector)

    def _images(self) -> None:
        lists = self.top / "lists"
        image = Path(self.place["spare"]).read_bytes()
        hurt = bytearray(image)
        hurt[100] ^= 1
        copy = self.node.read_bytes().replace(LOST * 8, contents(PENDING))
        for name, data in (("image", image), ("hurt", hurt), ("copy", copy), ("old", old_spare())):
            self.place[name] = str(lists / name)
            store(lists / name, data)
        from pycontrol.metadata.dump import to_text

        text = "".join(to_text(metadata.Snapshot.of(loaded(self.place["image"]))))
        self.place["dump"] = str(lists / "dump")
        (lists / "dump").write_text(text)
        self.place["out"] = str(self.top / "out")

    def _lists(self) -> None:
        self.place["bad"] = str(self.top / "lists/bad")
        Path(self.place["bad"]).write_text("".join(f"{sector} 1\n" for sector in range(10, 4000, 3)))

    def _scanned(self) -> None:
        tree = FakeSysfs(self.top / "tree")
        tree.disk("sda", MAIN, model="A\x1b[31m disk", serial="S[red]")
        self.patch.setattr(disks, "PLACES", tree.places)

    def _module(self) -> None:
        release, tools = "6.1.0-9", self.top / "tools"
        build = self.top / f"modules/{release}/build"
        for directory in (
            build,
            tools,
            self.top / "sys/dm_mod",
            self.top / "sys/dm_bufio",
            self.top / "kernel",
        ):
            directory.mkdir(parents=True)
        for file in (build / ".config", build / "Makefile", self.top / "kernel/Makefile"):
            file.touch()
        script = f"#!/bin/sh\necho module >'{self.top}/cache/dm-remap-v4.ko'\n"
        for tool in ("make", "gcc"):
            (tools / tool).write_text(script, errors="surrogateescape")
            (tools / tool).chmod(0o755)
        self.patch.setenv("PATH", str(tools))
        self.patch.setattr(trust, "SEARCH", str(tools))
        sysfs, patch = self.top / "sys", self.patch
        patch.setattr(module, "SYSFS", sysfs)
        patch.setattr(module, "cache_dir", lambda release: self.top / "cache")
        patch.setattr(module.build, "__kwdefaults__", {"modules": self.top / "modules"})
        patch.setattr(module.status, "__kwdefaults__", {"modules": self.top / "modules", "sysfs": sysfs})
        patch.setattr(module.is_loaded, "__defaults__", (sysfs,))
        patch.setattr(module.users, "__defaults__", (sysfs,))
        patch.setattr(module, "running", lambda: release)
        self.loaded = sysfs / "dm_remap_v4"

        def syscall(which: int, *_: object) -> None:
            self.loaded.mkdir() if which == 0 else self.loaded.rmdir()

        patch.setattr(module, "_syscall", syscall)
        self.place |= {"source": str(self.top / "kernel"), "module": str(build / "Makefile")}

    # What may be missing

    def without_device_mapper(self) -> None:
        """There is no control node."""
        missing, before = self.top / "no control", self._init
        self.patch.setattr(ioctl.Control, "__init__", lambda control, *_: before(control, path=missing))
        self.patch.setattr(ioctl.Control, "fileno", self._fileno)

    def without_target(self) -> None:
        """The module is not loaded, so there can be no device either."""
        del self.kernel.targets["dm-remap-v4"], self.kernel.devices["data"]

    def without_root(self) -> None:
        """Neither the control node nor a disk may be opened."""

        def refused(control: ioctl.Control) -> int:
            raise DmIoctlError("open", str(ioctl.CONTROL), errno.EACCES)

        real, forbidden = os.open, {*self.disks.known}

        def opened(path: str, *rest: int, **options: int) -> int:
            if str(path) in forbidden:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return real(path, *rest, **options)

        self.patch.setattr(os, "geteuid", lambda: 1000)
        self.patch.setattr(ioctl.Control, "fileno", refused)
        self.patch.setattr(os, "open", opened)

    # What is there

    def state(self) -> dict[str, object]:
        """All that a command may have changed and that counts."""
        found: dict[str, object] = {
            each.name: (each.live, each.pending, each.suspended, each.deferred)
            for each in self.kernel.devices.values()
        }
        target = self.kernel.target
        found["extents"] = sorted(target.remapped), sorted(target.lost), self.kernel.position
        found["counted"] = self.kernel.region
        for name in ("spare", "newspare", "blank", "idlespare", "hurt"):
            path = self.place[name]
            found[name] = list(loaded(path).records) if valid(path) else None
        found["intact"] = valid(self.place["hurt"]) and loaded(self.place["hurt"]).intact
        found["loaded"] = self.loaded.exists()
        found["out"] = {path.name: _digest(path) for path in (self.top / "out").iterdir()}
        return found

    def run(self, *words: str, **streams: Any) -> Outcome:
        """``dmremapctl`` with these words; ``streams`` as for :func:`run`."""
        code, out, err = run(*words, ended=self.over, **streams)
        return Outcome(code, out, err, self.state())
