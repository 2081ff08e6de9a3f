"""dmremaptab under a real udev: hidden halves, either order of arrival, unplugging, copies."""

import inspect
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command import ctl, ok
from harness import Guest, Machine

TOP = Path(__file__).resolve().parents[2]
MIB = 1 << 20
BLOCK = 4096
# A disk that is plugged in again may have another name.
MAIN, SPARE = "/dev/disk/by-id/virtio-main", "/dev/disk/by-id/virtio-spare"
ACTIVATOR = "/usr/lib/dm-remap/activator"
FS = "11111111-2222-3333-4444-555555555555"
FAILING = range(800, 1600, 160)
"""Sectors of main that cannot be written: what is written there lives on the spare."""


def install(guest: Guest) -> None:
    """What the package puts on a machine, as far as udev needs it."""
    done = subprocess.run([TOP / "ci/boot"], capture_output=True, text=True, check=True)
    guest.push(Path(done.stdout.strip()) / "activator", "/tmp/activator")
    guest.push(TOP / "boot/udev/61-dm-remap.rules", "/etc/udev/rules.d/61-dm-remap.rules")
    guest.sh(
        """
        install -D -m 755 /tmp/activator /usr/lib/dm-remap/activator
        rm -f /etc/dmremaptab
        udevadm control --reload
        """
    )


def create(guest: Guest, options: str = "timeout=1") -> str:
    """Make the device data, and a line for it; the uuid."""
    uuid: str = ok(guest, "create", "data", MAIN, SPARE, "--yes")["uuid"].removeprefix("DMREMAP-")
    guest.push(f"data {MAIN} UUID={uuid} {options}\n", "/etc/dmremaptab")
    return uuid


class Slots:
    """Disks as they are plugged in, one by one: the driver lets a disk go, and takes it again."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.bus = {
            serial: guest.run("readlink", "-f", f"/sys/class/block/{Path(path).name}/device")
            .out.split("/")[-1]
            .strip()
            for serial, path in guest.devices.items()
        }

    def unplug(self, *serials: str) -> None:
        for serial in serials:
            self._tell("unbind", serial)

    def plug(self, *serials: str) -> None:
        for serial in serials:
            self._tell("bind", serial)

    def _tell(self, what: str, serial: str) -> None:
        self.guest.sh(
            f"""
            echo {self.bus[serial]} >/sys/bus/virtio/drivers/virtio_blk/{what}
            udevadm settle
            """
        )


def properties(guest: Guest, path: str) -> dict[str, str]:
    lines = guest.run("udevadm", "info", "--query=property", path).out.splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_up(guest: Guest) -> bool:
    return guest.sh("[ -b /dev/mapper/data ]", check=False).rc == 0


def log(guest: Guest) -> str:
    """What has been said in the kernel log since the last look."""
    return guest.run("dmesg", "--read-clear").out


@pytest.fixture
def booted(guest: Guest) -> Guest:
    install(guest)
    log(guest)
    return guest


def test_the_halves_are_hidden_and_the_device_is_not(booted: Guest) -> None:
    guest = booted
    uuid = create(guest)
    guest.run("mkfs.ext4", "-q", "-U", FS, "/dev/mapper/data")
    ok(guest, "remove", "data")
    # Three of five headers, among them the first.
    for copy in (0, 2, 3):
        guest.write(SPARE, copy * 256, b"\xff" * BLOCK)
    slots = Slots(guest)
    slots.unplug("main", "spare")
    slots.plug("main", "spare")
    assert is_up(guest)
    main, spare = (properties(guest, f"/dev/disk/by-id/virtio-{name}") for name in ("main", "spare"))
    assert spare["ID_FS_TYPE"] == "dm_remap_member" and spare["ID_FS_USAGE"] == "raid"
    assert spare["DM_REMAP_UUID"] == uuid and spare["DM_REMAP_COPIES_VALID"] == "2"
    assert spare["UDISKS_IGNORE"] == main["UDISKS_IGNORE"] == "1"
    assert main["DM_REMAP_DEVICE"] == "data" and main["ID_FS_TYPE"] == "dm_remap_main"
    assert "ID_FS_UUID" not in main
    assert f"/dev/disk/by-id/dm-remap-spare-{uuid}" in spare["DEVLINKS"]
    # Both have the file system on them, but only one is to be mounted.
    by_uuid = guest.run("readlink", "-f", f"/dev/disk/by-uuid/{FS}").out
    assert by_uuid.startswith("/dev/dm-")
    assert "by-uuid" not in main["DEVLINKS"] and "by-id/virtio-main" in main["DEVLINKS"]
    assert "2 of 5 copies" in log(guest)
    # Without the device there is nothing to be mounted by that uuid.
    guest.run(ACTIVATOR, "deactivate", "data")
    guest.wait_for_udev()
    assert guest.sh(f"[ -e /dev/disk/by-uuid/{FS} ]", check=False).rc == 1


def test_a_partition_of_main_is_hidden_too(booted: Guest) -> None:
    guest = booted
    guest.run("sfdisk", "--label", "gpt", MAIN, stdin="1MiB 100MiB\n")
    guest.wait_for_udev()
    part = f"{MAIN}-part1"
    guest.run("mkfs.ext4", "-q", "-U", FS, part)
    create(guest)
    ok(guest, "remove", "data")
    slots = Slots(guest)
    slots.unplug("main")
    slots.plug("main")
    found = properties(guest, part)
    assert found["DM_REMAP_ROLE"] == "inside" and "ID_FS_UUID" not in found
    assert "by-uuid" not in found["DEVLINKS"] and "by-partuuid" not in found["DEVLINKS"]
    assert is_up(guest)


@pytest.mark.parametrize("first", ["main", "spare"])
def test_either_half_may_come_first(booted: Guest, first: str) -> None:
    guest = booted
    create(guest)
    words = b"here" * 128
    guest.write("/dev/mapper/data", 4000, words)
    ok(guest, "remove", "data")
    slots = Slots(guest)
    slots.unplug("main", "spare")
    slots.plug(first)
    assert not is_up(guest)
    # Whoever asks is told what is missing.
    done = guest.run(ACTIVATOR, "activate", "--all", "--wait", check=False)
    assert done.rc == 4
    assert ("no spare with the metadata uuid" if first == "main" else "virtio-main is not there") in done.err
    slots.plug("spare" if first == "main" else "main")
    assert is_up(guest)
    assert guest.read("/dev/mapper/data", 4000) == words


def test_who_waits_sees_a_half_that_comes_late(booted: Guest) -> None:
    guest = booted
    # Not brought up by udev: only by who asks for it.
    create(guest, "timeout=60,noauto")
    ok(guest, "remove", "data")
    slots = Slots(guest)
    slots.unplug("spare")
    waiting = guest.start_sh(f"exec {ACTIVATOR} activate --wait data 2>/tmp/waits")
    guest.sh("until grep -q 'waiting for it' /tmp/waits; do sleep 0.1; done")
    slots.plug("spare")
    assert "/dev/mapper/data: activated" in waiting.wait().out
    assert is_up(guest)


def load(path: str, acknowledged: str) -> int:
    """In the guest: write blocks with their numbers until one fails; the error."""
    import mmap
    import os

    fd = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    out = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    block = mmap.mmap(-1, 4096)
    number = 0
    try:
        while True:
            block[:] = (b"%015d\n" % number) * 256
            os.pwrite(fd, block, number % 4096 * 4096)
            os.write(out, b"%d\n" % number)
            number += 1
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(fd)


def kept(path: str, acknowledged: str) -> list[int]:
    """In the guest: the blocks whose last acknowledged content is not there."""
    import os

    with open(acknowledged) as file:  # noqa: PTH123
        last = {int(line) % 4096: int(line) for line in file}
    fd = os.open(path, os.O_RDONLY)
    wrong = []
    for at, number in last.items():
        # The write that was under way may have been done, too.
        found = os.pread(fd, 4096, at * 4096)
        if found not in ((b"%015d\n" % n) * 256 for n in (number, number + 4096)):
            wrong.append(at)
    os.close(fd)
    assert len(last) > 250
    return wrong


_LOAD = "import sys, inspect; exec(sys.argv[3]); print(load(sys.argv[1], sys.argv[2]))"


@pytest.mark.parametrize("half", ["main", "spare"])
def test_a_half_is_pulled_out_under_load_and_put_back(booted: Guest, half: str) -> None:
    guest = booted
    guest.machine.main.fail(FAILING, on="write")
    create(guest)
    slots = Slots(guest)
    writer = guest.start(
        *("python3", "-c", _LOAD, "/dev/mapper/data", "/tmp/acknowledged", inspect.getsource(load)),
        timeout=240,
    )
    guest.sh(
        "until [ -s /tmp/acknowledged ] && [ $(wc -l </tmp/acknowledged) -gt 300 ]; do sleep 0.05; done",
        timeout=200,
    )
    slots.unplug(half)
    assert int(writer.wait().out) > 0
    assert is_up(guest), "a device whose half is gone stays until somebody has use for its name"
    slots.plug(half)
    assert is_up(guest)
    state = ok(guest, "status", "data")[0]["targets"][0]
    assert state["mode"] == "rw" and state["remapped_extents"] == len(FAILING)
    assert guest.call(kept, "/dev/mapper/data", "/tmp/acknowledged") == []
    guest.run("rm", "/tmp/acknowledged")


def test_a_device_in_use_is_not_taken_away_when_its_half_comes_back(booted: Guest) -> None:
    guest = booted
    create(guest)
    slots = Slots(guest)
    guest.python("import os, sys; sys.held = os.open('/dev/mapper/data', os.O_RDONLY)")
    slots.unplug("main")
    slots.plug("main")
    assert "still in use" in log(guest)
    done = guest.run(ACTIVATOR, "activate", "data", check=False)
    assert done.rc == 5 and "unmount it" in done.err
    guest.python("import os, sys; os.close(sys.held)")
    # The same from dmremapctl, which reads the same table.
    assert ok(guest, "activate", "--all")[0]["changed"] is True
    assert ok(guest, "activate", "data")[0]["changed"] is False
    assert len(guest.read("/dev/mapper/data", 0)) == 512


def test_a_copy_of_the_spare_is_refused(machine: Callable[..., Machine]) -> None:
    guest = machine(extra={"copy": 64 * MIB}, power_cuts=False).boot()
    install(guest)
    uuid = create(guest)
    ok(guest, "remove", "data")
    copy = "/dev/disk/by-id/virtio-copy"
    guest.run("dd", f"if={SPARE}", f"of={copy}", "bs=1M", "conv=fsync")
    # Even where the copy's first header is gone.
    guest.write(copy, 0, b"\xff" * BLOCK)
    slots = Slots(guest)
    log(guest)
    slots.unplug("main")
    slots.plug("main")
    assert not is_up(guest)
    said = log(guest)
    assert f"have the metadata uuid {uuid}" in said
    done = guest.run(ACTIVATOR, "activate", "data", check=False)
    assert done.rc == 5 and "one is a copy of the other" in done.err
    done = ctl(guest, "activate", "data")
    assert done.rc == 5 and "one is a copy of the other" in done.err
    # It is read only: nothing has changed on either.
    assert guest.run("cmp", "-i", "4096", SPARE, copy, check=False).rc == 0
    slots.unplug("copy", "main")
    slots.plug("main")
    assert is_up(guest)
