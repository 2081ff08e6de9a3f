"""A machine with a Debian whose root file system lies on dm-remap, made by ``ci/rootfs``.

No agent runs in it.  It tells on the console how the boot went, and goes off.
"""

import json
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from harness.console import Console
from harness.disk import Disk
from harness.machine import CI, Machine
from harness.processes import freeze, spawn

from pycontrol import metadata
from pycontrol.metadata.records import Kind

MIB = 1 << 20
SPARE = 64 * MIB
BAD_EACH = 2048
"""Of so many sectors one block cannot be written.  The journal alone has some tens of them."""
PAIRS = {"root": ("main", "spare"), "data": ("data", "dataspare")}
"""Devices of /etc/dmremaptab: main and spare."""
PATIENCE = 1200.0
"""Longer than anything in the machine has patience with another, as ci/rootfs sets it."""
COLOURS = re.compile(r"\x1b(\[[0-9;]*[A-Za-z]|M)")
CPU = f"{Machine.cpu},la57=off"
"""Quicker by a level of page tables."""
ARGUMENTS = (
    "console=ttyS0 ro panic=-1 oops=panic loglevel=5"
    # What takes time and is not the subject.
    " mitigations=off init_on_alloc=0 cryptomgr.notests"
    # A busy host lets a processor wait for long.
    " watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=300"
    # What systemd says to the very end, and that it has to kill something.
    " systemd.log_target=console"
)
WORDS = (
    *("kernel", "uptime", "root", "data", "packages", "module", "loaded", "ballast"),
    *("table", "status", "failed", "boots"),
)
"""With which lines of the report begin."""


@dataclass
class Ext4:
    """What the superblock of an ext4 says of how it was left."""

    clean: bool
    journal_is_empty: bool
    uuid: UUID

    @classmethod
    def on(cls, image: Path) -> "Ext4":
        with image.open("rb") as file:
            file.seek(1024)
            superblock = file.read(1024)
        (state,) = struct.unpack_from("<H", superblock, 0x3A)
        (incompatible,) = struct.unpack_from("<I", superblock, 0x60)
        return cls(state == 1, not incompatible & 4, UUID(bytes=superblock[0x68:0x78]))


def assert_succeeds(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def _every(step: int, offset: int, sectors: int) -> list[int]:
    """The sectors of one block in so many, of a disk with so many sectors."""
    return [at + i for at in range(step + offset, sectors - 8, step) for i in range(8)]


class Debian:
    """The machine.  Its disks keep what is on them from one boot to the next."""

    def __init__(self, directory: Path, *, power_cuts: bool = False) -> None:
        self._power_cuts = power_cuts
        made = subprocess.run([CI / "rootfs"], stdout=subprocess.PIPE, text=True, check=True)
        rootfs = Path(made.stdout.splitlines()[-1])
        self.directory = directory
        self.console = Console(directory / "console.log")
        self.disks: dict[str, Disk] = {}
        self.uuids: dict[str, UUID] = {}
        for name in ("main", "boot", "data"):
            image = rootfs / f"{name}.ext4"
            disk = self.disks[name] = Disk(directory, name, image.stat().st_size, power_cuts=power_cuts)
            subprocess.run(["cp", "--sparse=always", image, disk.image], check=True)
        for line in (rootfs / "spares").read_text().splitlines():
            name, uuid = line.split()
            self.uuids[name] = UUID(uuid)
            self._make_spare(name)
        self._qemu: subprocess.Popen[bytes] | None = None
        self._seen = 0
        self._late = ""

    def _make_spare(self, name: str) -> None:
        main, spare = PAIRS[name]
        sectors = self.disks[main].size // 512
        disk = self.disks[spare] = Disk(self.directory, spare, SPARE, power_cuts=self._power_cuts)
        for offset, block in metadata.encode_image(
            [], uuid=self.uuids[name], main_sectors=sectors, spare_sectors=SPARE // 512,
            time=1, main_id=f"serial:{main}", name=name,
        ):  # fmt: skip
            disk.write(offset // 512, block)
        self.disks[main].fail(_every(BAD_EACH, 1032, sectors), on="write")

    @property
    def kernels(self) -> list[str]:
        """The versions of those in /boot, the oldest first."""
        listed = subprocess.run(
            ["debugfs", "-R", "ls -p /", self.disks["boot"].image], check=True, capture_output=True, text=True
        )
        versions = re.findall("/vmlinuz-([^/]+)/", listed.stdout)
        return sorted(versions, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])

    def _from_boot(self, file: str) -> str:
        """What a boot loader reads: a file of /boot, which has a disk of its own."""
        at = self.directory / file
        subprocess.run(
            ["debugfs", "-R", f"dump /{file} {at}", self.disks["boot"].image], check=True, capture_output=True
        )
        assert at.stat().st_size > 0, f"/boot has no {file}"
        return str(at)

    def before_its_report(self, script: Path) -> None:
        """Let it run that, once, as soon as all is up."""
        done = subprocess.run(
            ["debugfs", "-w", "-f", "-", self.disks["main"].image],
            input=f"cd /root\nwrite {script} before\n", capture_output=True, text=True,
        )  # fmt: skip
        assert "Allocated inode" in done.stdout, done.stderr

    def wear(self) -> None:
        """More of main cannot be written, between what could not be before."""
        main = self.disks[PAIRS["root"][0]]
        main.fail(_every(BAD_EACH, 0, main.size // 512), on="write")

    def start(
        self,
        kernel: str = "",
        *,
        spare: bool = True,
        monitor: bool = False,
        root: str = "/dev/mapper/root",
        module: bool = True,
    ) -> None:
        """Boot the newest kernel, or that one.

        Without ``spare`` that of the root file system is not there until :meth:`plug_spare`.
        Without ``monitor``, which is in Python and takes some seconds, that service is masked.
        Without ``module`` the kernel does not load it.  ``root`` is how it is told its root file system.
        """
        kernel = kernel or self.kernels[-1]
        image, initrd = self._from_boot(f"vmlinuz-{kernel}"), self._from_boot(f"initrd.img-{kernel}")
        for disk in self.disks.values():
            disk.before_boot()
        self._seen = len(self.console.text())
        given = f"{ARGUMENTS} root={root}"
        given += "" if monitor else " systemd.mask=dmremap-monitor.service"
        given += "" if module else " module_blacklist=dm_remap_v4"
        console = f"file,id=console,path={self.console.path},append=on"
        arguments = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            # One processor: of two, one may meet the breakpoint of an instruction the other has just
            # finished patching, and the kernel dies of it.
            *("-machine", "q35,accel=tcg", "-cpu", CPU, "-smp", "1", "-m", "1024"),
            *("-kernel", image, "-initrd", initrd, "-append", given),
            *("-chardev", console, "-serial", "chardev:console"),
            *("-qmp", f"unix:{self._monitor},server=on,wait=off", "-device", "pcie-root-port,id=cage"),
        ]
        for name, disk in self.disks.items():
            options = disk.arguments()
            if name == "spare":
                options[-1] += ",bus=cage"
                self._late = options[-1]
                options = options if spare else options[:-2]
            arguments += options
        self._monitor.unlink(missing_ok=True)
        self._qemu = spawn(arguments, self.directory / "qemu.log")

    @property
    def _monitor(self) -> Path:
        return self.directory / "monitor"

    def plug_spare(self) -> None:
        """As a disk that is put into its slot."""
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rwb") as file:
            line.settimeout(60)
            line.connect(str(self._monitor))
            file.readline()
            # By the human's command: the machine's wants each value in the type it has.
            add = {"command-line": f"device_add {self._late}"}
            for command, given in (("qmp_capabilities", {}), ("human-monitor-command", add)):
                file.write(json.dumps({"execute": command, "arguments": given}).encode() + b"\n")
                file.flush()
                answer = json.loads(file.readline())
                while "event" in answer:
                    answer = json.loads(file.readline())
                assert answer.get("return") in ("", {}), answer

    def wait_for(self, words: str) -> None:
        """Until it has said so on the console, since it was started."""
        assert self._qemu
        until = time.monotonic() + PATIENCE
        while words not in self.said():
            assert self._qemu.poll() is None, f"it went off and had not said '{words}'"
            assert time.monotonic() < until, f"it has not said '{words}'"
            time.sleep(0.05)

    def said(self) -> str:
        """On the console, since it was started; without the colours of systemd."""
        return COLOURS.sub("", self.console.text()[self._seen :])

    def wait_until_off(self) -> None:
        """However it goes off."""
        assert self._qemu
        self._qemu.wait(PATIENCE)

    def wait_for_its_end(self, patience: float = PATIENCE) -> dict[str, str]:
        """Until it has gone off; what it told of itself."""
        assert self._qemu
        self._qemu.wait(patience)
        lines = [line.strip() for line in self.said().splitlines()]
        assert "report done" in lines
        return {line.split(" ")[0]: line.partition(" ")[2] for line in lines if line.split(" ")[0] in WORDS}

    def cut(self, seed: int) -> None:
        """The power fails."""
        assert self._qemu
        freeze(self._qemu.pid)
        self._qemu.kill()
        self._qemu.wait()
        for number, disk in enumerate(self.disks.values()):
            disk.power_cut(seed + number, None, True)

    # When the machine is off.

    def loaded(self, name: str = "root") -> metadata.Loaded:
        """The spare of a device."""
        data = self.disks[PAIRS[name][1]].image.read_bytes()
        return metadata.load(lambda at, length: data[at : at + length], len(data))

    def remaps(self, name: str = "root") -> dict[int, int]:
        """Each remapped sector of a device, and where on the spare it is."""
        return {
            extent.main + i: extent.spare + i
            for extent in self.loaded(name).extents
            if extent.kind is Kind.REMAP
            for i in range(extent.sectors)
        }

    def check_clean(self, name: str) -> None:
        """The file system and the metadata of a device were left as those who leave in order do."""
        main, spare = (self.disks[half].image for half in PAIRS[name])
        with self._seen_through(name):
            left = Ext4.on(main)
            assert left.clean and left.journal_is_empty, name
            assert_succeeds("e2fsck", "-fn", main)
        assert_succeeds(sys.executable, "-m", "pycontrol", "meta", "check", spare)

    @contextmanager
    def _seen_through(self, name: str) -> Iterator[None]:
        """Let the image of main be what is seen through the device: with what was remapped."""
        main, spare = (self.disks[half] for half in PAIRS[name])
        remaps = self.remaps(name)
        stale = {sector: main.read(sector) for sector in remaps}
        for sector, at in remaps.items():
            main.write(sector, spare.read(at))
        try:
            yield
        finally:
            for sector, data in stale.items():
                main.write(sector, data)

    def close(self) -> None:
        if self._qemu and self._qemu.poll() is None:
            self._qemu.kill()
            self._qemu.wait()
        for disk in self.disks.values():
            disk.close()
