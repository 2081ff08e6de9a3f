"""``dmremapctl fill``: what is written, what never is, and who may use the device meanwhile."""

import errno
import fcntl
import json
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.service import blockdev, live
from pycontrol.service.blockdev import BlockDevice
from tests.conftest import Disks, Run
from tests.fake_target import FakeTarget
from tests.fakes import FakeKernel

SECTORS = 1 << 16
LOST = b"\xbd" * 512
"""What a pending sector of the stand-in for the device holds until it is written."""


def content(sector: int) -> bytes:
    """What the copy has there."""
    return sector.to_bytes(8, "big") * 64


class Rig:
    """The device r0, its target, and a copy of it: files that pass for devices."""

    def __init__(self, top: Path, target: FakeTarget) -> None:
        self.top, self.target = top, target
        self.device, self.copy = top / "r0", top / "copy"

    def lose(self, *sectors: int) -> None:
        with self.device.open("r+b") as file:
            for sector in sectors:
                file.seek(sector * 512)
                file.write(LOST)
        self.target.lost |= set(sectors)

    def read(self, sector: int) -> bytes:
        with self.device.open("rb") as file:
            file.seek(sector * 512)
            return file.read(512)

    def changed(self) -> set[int]:
        """The sectors that are neither as they were nor still lost."""
        data = self.device.read_bytes()
        parts = {sector: data[sector * 512 : (sector + 1) * 512] for sector in range(SECTORS)}
        return {sector for sector, part in parts.items() if part not in (LOST, bytes(512))}

    def write(self, sector: int, data: bytes) -> None:
        with self.device.open("r+b") as file:
            file.seek(sector * 512)
            file.write(data)


@pytest.fixture
def rig(kernel: FakeKernel, disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    kernel.add("r0", "DMREMAP-1", (0, SECTORS, "dm-remap-v4", "8:0 8:16")).open_count = 1
    made = Rig(tmp_path, FakeTarget(SECTORS))
    made.device.write_bytes(bytes(SECTORS * 512))
    made.copy.write_bytes(b"".join(map(content, range(SECTORS))))

    def heal(words: str) -> None:
        # Whatever is written in a pending place heals it.
        made.target.lost = {sector for sector in made.target.lost if made.read(sector) == LOST}

    made.target.before = heal
    kernel.answer = made.target
    (tmp_path / "block").mkdir()
    for number, name in (("8:0", "main"), ("8:16", "spare")):
        disks.known[str(tmp_path / "block" / number)] = BlockDevice(
            f"/dev/{name}", DevNumber(8, int(number[2:])), SECTORS * 512, 512, disk=name
        )
        (tmp_path / "block" / number).touch()
    monkeypatch.setattr(live, "DEV", tmp_path)
    disks.known["/dev/mapper/r0"] = BlockDevice("/dev/mapper/r0", DevNumber(253, 0), SECTORS * 512, 512)
    monkeypatch.setattr(blockdev, "PROC", tmp_path / "proc")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text("")
    real = os.open

    def opened(path: str, flags: int, *rest: int) -> int:
        return real(str(made.device) if path == "/dev/mapper/r0" else path, flags & ~os.O_DIRECT, *rest)

    monkeypatch.setattr(os, "open", opened)
    return made


def fill(run: Run, rig: Rig, *options: str, code: int = 0) -> dict[str, object]:
    result = run("fill", "r0", "--from", str(rig.copy), "--yes", "--json", *options)
    assert result.exit_code == code, result.stderr
    told: dict[str, object] = json.loads(result.stdout)
    return told


def unreadable(monkeypatch: pytest.MonkeyPatch, rig: Rig, *sectors: int) -> None:
    """Reading these sectors of the copy fails."""
    real = os.preadv

    def read(fd: int, buffers: Sequence[bytearray], offset: int) -> int:
        wanted = range(offset // 512, -(-(offset + sum(map(len, buffers))) // 512))
        if Path(f"/proc/self/fd/{fd}").readlink() == rig.copy and set(wanted) & set(sectors):
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)


def test_pending_sectors_and_no_others_are_written(rig: Rig, run: Run) -> None:
    lost = {0, 5, 6, 7, *range(1000, 6000), SECTORS - 1}
    rig.lose(*lost)
    rig.target.remapped = {9: 2048}
    told = fill(run, rig)
    assert rig.changed() == lost - {0}  # Sector 0 of the copy is all zero.
    assert all(rig.read(sector) == content(sector) for sector in lost)
    assert (told["pending"], told["filled"], told["healed"], told["lost"]) == (len(lost), len(lost), 0, [])
    assert told["files"] is None and rig.target.sent[-2:] == ["sync", "list 0 1000"]


def test_what_the_source_cannot_read_stays_lost(rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.lose(*range(100, 200), 300)
    unreadable(monkeypatch, rig, 100, 150, 151, 199, 250)
    told = fill(run, rig, code=1)
    assert told["filled"] == 97
    assert told["lost"] == [
        {"sector": first, "sectors": count, "reason": "unreadable in the source"}
        for first, count in ((100, 1), (150, 2), (199, 1))
    ]
    assert rig.changed() == {*range(100, 200), 300} - {100, 150, 151, 199}


def test_only_what_the_map_says_was_rescued(rig: Rig, run: Run) -> None:
    rig.lose(*range(8, 24))
    path = rig.top / "map"
    path.write_text(f"0 ?\n0 0x1400 +\n0x1400 512 -\n5632 100 *\n5732 924 +\n6656 1024 /\n7680 {1 << 24} +\n")
    told = fill(run, rig, "--map", str(path), code=1)
    # Sector 11 was rescued in part only.
    assert rig.changed() == {8, 9, 12, *range(15, 24)}
    assert told["lost"] == [
        {"sector": 10, "sectors": 2, "reason": "not rescued"},
        {"sector": 13, "sectors": 2, "reason": "not rescued"},
    ]


def test_holes_of_an_image_are_no_data_unless_said_so(rig: Rig, run: Run) -> None:
    with rig.copy.open("wb") as file:
        file.truncate(SECTORS * 512)
        file.seek(4096 * 512)
        file.write(content(4096) * 64)
    if os.stat(rig.copy).st_blocks * 512 >= SECTORS * 512:  # noqa: PTH116
        pytest.fail("the temporary directory has no sparse files")
    rig.lose(100, 4096)
    told = fill(run, rig, code=1)
    assert told["lost"] == [{"sector": 100, "sectors": 1, "reason": "a hole of the image"}]
    assert rig.read(4096) == content(4096)
    assert fill(run, rig, "--holes")["filled"] == 1 and rig.read(100) == bytes(512)


def test_offset_and_part(rig: Rig, run: Run) -> None:
    rig.lose(10, 20)
    rig.copy.write_bytes(bytes(1024) + rig.copy.read_bytes())
    for options in ((), ("--offset", "4096")):
        result = run("fill", "r0", "--from", str(rig.copy), "--yes", *options)
        assert result.exit_code == 4 and "for a device of" in result.stderr
    assert fill(run, rig, "--offset", "1024", "--dry-run")["filled"] == 2
    fill(run, rig, "--offset", "1024")
    assert rig.read(10) == content(10) and rig.read(20) == content(20)

    rig.lose(10, 20)
    rig.copy.write_bytes(rig.copy.read_bytes()[1024 : 1024 + 15 * 512 + 100])
    told = fill(run, rig, "--partial", code=1)
    assert rig.read(10) == content(10)
    assert told["lost"] == [{"sector": 20, "sectors": 1, "reason": "outside the source"}]
    result = run("fill", "r0", "--from", str(rig.copy), "--yes", "--partial", "--offset", "1G")
    assert result.exit_code == 4 and "none at" in result.stderr


def test_what_its_owner_wrote_meanwhile_is_left_alone(rig: Rig, run: Run) -> None:
    rig.lose(*range(10, 20))
    heal = rig.target.before

    def owner(words: str) -> None:
        # Between the plan and the second look, which is made when nobody else can write.
        if rig.target.sent:
            rig.write(12, b"newer" + bytes(507))
        heal(words)

    rig.target.before = owner
    told = fill(run, rig)
    assert rig.read(12) == b"newer" + bytes(507)
    assert (told["filled"], told["healed"], told["lost"]) == (9, 1, [])


def test_what_is_lost_meanwhile_is_told(rig: Rig, run: Run) -> None:
    rig.lose(10)
    heal = rig.target.before

    def fails(words: str) -> None:
        if words == "sync":
            rig.lose(40)
        heal(words)

    rig.target.before = fails
    assert fill(run, rig, code=1)["lost"] == [
        {"sector": 40, "sectors": 1, "reason": "became pending meanwhile"}
    ]


def test_a_dry_run_reads_only(rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.lose(*range(10, 40))
    unreadable(monkeypatch, rig, 12)
    shown = run("fill", "r0", "--from", str(rig.copy), "--dry-run")
    assert shown.exit_code == 1 and rig.changed() == set() and rig.target.sent == ["list 0 1000"]
    assert "29 of 30 lost sectors of r0 could be filled" in shown.stdout
    assert "1 sectors would still be lost:\n  12 1  unreadable in the source" in shown.stdout
    assert "mount the device read-only" in shown.stdout


def test_it_asks(rig: Rig, run: Run) -> None:
    rig.lose(10)
    refused = run("fill", "r0", "--from", str(rig.copy), answer="n\n")
    assert refused.exit_code == 10 and "as old as it is" in refused.stderr and rig.changed() == set()
    done = run("fill", "r0", "--from", str(rig.copy), answer="y\n")
    assert done.exit_code == 0 and "1 of 1 lost sectors of r0 were filled" in done.stdout
    none = run("fill", "r0", "--from", str(rig.copy), answer="")
    assert none.exit_code == 0 and none.stdout == "nothing of r0 is pending\n"


def test_many_lost_places_are_not_all_shown(rig: Rig, run: Run) -> None:
    rig.lose(*range(0, 100, 2))
    rig.copy.write_bytes(bytes(0))
    with rig.copy.open("wb") as file:
        file.truncate(SECTORS * 512)
    shown = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert shown.exit_code == 1 and "and 30 more; --json has all" in shown.stdout


def test_a_spare_without_room_is_foretold(kernel: FakeKernel, rig: Rig, run: Run) -> None:
    kernel.status_line = "4095/4096 0 0 5/5 1 0 0 0 0 0 0 rw -"
    rig.lose(10, 11)
    assert "has not room" in run("fill", "r0", "--from", str(rig.copy), "--dry-run").stderr


def test_a_write_that_fails_says_what_stays(rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.lose(10, 9000)
    real = os.pwritev

    def full(fd: int, buffers: Sequence[bytes], offset: int) -> int:
        if offset > 100 * 512:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "pwritev", full)
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 6 and "failed after 1 sectors, which stay: No space left" in result.stderr
    assert rig.read(10) == content(10)


@pytest.mark.parametrize("words", ["reads back other than it was written", "not written whole"])
def test_a_write_that_does_not_arrive_is_found(
    rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    rig.lose(10)
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, offset: 512 if "other" in words else 100)
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 6 and words in result.stderr


def test_interrupted(rig: Rig, run: Run) -> None:
    rig.lose(10)

    def interrupted(words: str) -> None:
        if words == "sync":
            raise KeyboardInterrupt

    rig.target.before = interrupted
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 10 and "what was filled stays" in result.stderr


# What may be the source.


def block_device(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let a file pass for a block device."""
    real = Path.stat

    def looked(self: Path, **options: bool) -> os.stat_result:
        found = real(self, **options)
        if self != path:
            return found
        return os.stat_result((found.st_mode & 0o777 | stat.S_IFBLK, *found[1:]))

    monkeypatch.setattr(Path, "stat", looked)


@pytest.mark.parametrize(
    ("dev", "disk", "words"),
    [
        ((253, 0), "", "the device itself"),
        ((8, 0), "main", "its main device"),
        ((8, 16), "spare", "its spare"),
        ((8, 99), "main", "and its main device overlap"),
    ],
)
def test_the_device_is_not_filled_from_itself(
    rig: Rig,
    run: Run,
    disks: Disks,
    monkeypatch: pytest.MonkeyPatch,
    dev: tuple[int, int],
    disk: str,
    words: str,
) -> None:
    disks.known[str(rig.copy)] = BlockDevice(str(rig.copy), DevNumber(*dev), SECTORS * 512, 512, disk=disk)
    block_device(monkeypatch, rig.copy)
    rig.lose(10)
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 4 and words in result.stderr and rig.changed() == set()


def test_a_mirror_is_read_in_its_own_blocks(
    rig: Rig, run: Run, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks.known[str(rig.copy)] = BlockDevice(str(rig.copy), DevNumber(8, 32), SECTORS * 512, 4096, disk="x")
    block_device(monkeypatch, rig.copy)
    rig.lose(10, 30)
    unreadable(monkeypatch, rig, 24)
    told = fill(run, rig, code=1)
    assert rig.read(10) == content(10)
    assert told["lost"] == [{"sector": 30, "sectors": 1, "reason": "unreadable in the source"}]


def test_sources_that_are_none(rig: Rig, run: Run, tmp_path: Path) -> None:
    for path, words in ((tmp_path, "neither an image file"), (tmp_path / "gone", "cannot be looked at")):
        result = run("fill", "r0", "--from", str(path))
        assert result.exit_code == 4 and words in result.stderr


def test_a_device_that_stands_still_is_not_filled(rig: Rig, run: Run, kernel: FakeKernel) -> None:
    rig.lose(10)
    kernel.devices["r0"].suspended = True
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 5 and "r0 is suspended" in result.stderr and result.stdout == ""
    assert rig.changed() == set()


def test_what_was_filled_before_it_stood_still_stays(rig: Rig, run: Run, kernel: FakeKernel) -> None:
    rig.lose(10)
    heal = rig.target.before

    def suspend(words: str) -> None:
        heal(words)
        kernel.devices["r0"].suspended = words == "sync"

    rig.target.before = suspend
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 5 and "which stay" in result.stderr and "r0 is suspended" in result.stderr
    assert rig.changed() == {10}


# Who may use the device meanwhile.


def mount(rig: Rig, fstype: str, point: str = "/mnt") -> None:
    line = f"36 25 253:0 / {point} rw,relatime shared:1 - {fstype} /dev/mapper/r0 rw\n"
    sub = f"37 25 253:0 /sub /elsewhere rw - {fstype} /dev/mapper/r0 rw\n"
    (rig.top / "proc/self/mountinfo").write_text(f"short\n{sub}{line}")


def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """O_EXCL fails, as it does for a device that is mounted."""
    inner = os.open

    def opened(path: str, flags: int, *rest: int) -> int:
        if path == "/dev/mapper/r0" and flags & os.O_EXCL:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return inner(path, flags, *rest)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize(
    ("fstype", "options", "words"),
    [("ext4", (), "is mounted on /mnt; unmount it, or use --freeze"),
     ("btrfs", ("--freeze",), "as btrfs; unmount it first"),
     ("", ("--freeze",), "in use; release it first")],
)  # fmt: skip
def test_a_device_in_use_is_refused(
    rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch, fstype: str, options: tuple[str, ...], words: str
) -> None:
    held(monkeypatch)
    if fstype:
        mount(rig, fstype)
    rig.lose(10)
    result = run("fill", "r0", "--from", str(rig.copy), "--yes", *options)
    assert result.exit_code == 5 and words in result.stderr and rig.changed() == set()


def test_a_program_that_has_it_open_is_noticed(kernel: FakeKernel, rig: Rig, run: Run) -> None:
    kernel.devices["r0"].open_count = 2
    rig.lose(10)
    result = run("fill", "r0", "--from", str(rig.copy), "--yes")
    assert result.exit_code == 5 and "open in another program" in result.stderr and rig.changed() == set()


def test_a_mounted_file_system_is_frozen_while_it_is_written(
    kernel: FakeKernel, rig: Rig, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(monkeypatch)
    point = rig.top / "mnt"
    point.mkdir()
    for name in ("good", "bad\x1b", "unseen"):
        (point / name).touch()
    mount(rig, "xfs", str(point))
    # The directory passes for the file system on the device.
    monkeypatch.setattr(os, "makedev", lambda major, minor: point.stat().st_dev)
    kernel.devices["r0"].open_count = 2
    rig.lose(10, *range(20, 40), 50)
    unreadable(monkeypatch, rig, 11, 12, 35, 50)
    happened: list[str] = []
    frozen: list[int] = []

    def ioctl(fd: int, number: int, argument: bytearray | int) -> int:
        if isinstance(argument, int):
            frozen[:] = [fd] if number == 0xC0045877 else []
            happened.append("freeze" if frozen else "thaw")
            return 0
        assert number == 0xC020660B
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        if name == "unseen":
            raise OSError(errno.EIO, "Input/output error")
        place = {"good": 0, "bad\x1b": 32 * 512}.get(name)
        if place is not None:
            struct.pack_into("=QQQQQI", argument, 32, 0, place, 4096, 0, 0, 1)
            struct.pack_into("=I", argument, 20, 1)
        return 0

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    heal = rig.target.before

    def before(words: str) -> None:
        happened.append(words.split()[0])
        heal(words)

    rig.target.before = before
    result = run("fill", "r0", "--from", str(rig.copy), "--yes", "--freeze")
    assert result.exit_code == 1, result.stderr
    assert happened == ["list", "freeze", "list", "thaw", "sync", "list"]
    assert "20 of 22 lost sectors of r0 were filled" in result.stdout
    assert "files with lost sectors:" in result.stdout and "bad\\x1b  1 sectors" in result.stdout
    assert "1 are in no file" in result.stdout
    assert "these could not be looked into:" in result.stdout and "unseen" in result.stdout
    told = json.loads(run("fill", "r0", "--from", str(rig.copy), "--dry-run", "--json").stdout)
    assert told["files"] == [{"path": f"{point}/bad\x1b", "sectors": 1, "ranges": [[1536, 2048]]}]
    assert told["elsewhere"] == 1 and told["unseen"] == [f"{point}/unseen"]


def test_what_is_mounted_nowhere_here_has_no_files(rig: Rig, run: Run) -> None:
    (rig.top / "proc/self/mountinfo").unlink()
    rig.lose(10)
    assert fill(run, rig, "--dry-run")["files"] is None
