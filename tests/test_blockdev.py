"""Facts from sysfs and /proc, made of directories."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.errors import AccessDenied, Busy, DeviceIoError, WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.identity import from_sysfs


def test_mounts_by_number_with_octal_escapes(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "22 1 8:1 / / rw - ext4 /dev/root rw\n"
        "23 1 8:16 / /mnt/a\\040b\\134c rw shared:1 - ext4 /dev/sdb rw\n"
        "24 1 8:16 / /mnt/a\\040b\\134c rw - ext4 /dev/sdb rw\n"
        "25 1 8:160 / /other rw - ext4 /dev/x rw\n"
    )
    assert blockdev.mounts(DevNumber(8, 16), tmp_path) == ("/mnt/a b\\c",)
    assert blockdev.mounts(DevNumber(8, 2), tmp_path) == ()


def test_holders_of_a_disk_and_of_its_partitions(tmp_path: Path) -> None:
    (tmp_path / "dm-3/dm").mkdir(parents=True)
    (tmp_path / "dm-3/dm/name").write_text("vg-lv\n")
    (tmp_path / "sda/holders").mkdir(parents=True)
    (tmp_path / "sda/sda1/holders").mkdir(parents=True)
    (tmp_path / "sda/holders/md0").mkdir()
    (tmp_path / "sda/sda1/holders/dm-3").symlink_to(tmp_path / "dm-3")
    assert blockdev.holders(tmp_path / "sda") == ("md0", "vg-lv")
    assert blockdev.holders(tmp_path / "gone") == ()


def test_partitions_of_a_disk(tmp_path: Path) -> None:
    for name in ("sda/sda2", "sda/sda1", "sda/queue"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("sda/sda2", "sda/sda1"):
        (tmp_path / name / "partition").write_text("1\n")
    assert blockdev.partitions(tmp_path / "sda") == ("sda1", "sda2")
    assert blockdev.partitions(tmp_path / "sda/sda1") == ()


def test_identity_without_udev(tmp_path: Path) -> None:
    disk = tmp_path / "devices/vda"
    disk.mkdir(parents=True)
    (disk / "serial").write_text("main 1\n")
    (tmp_path / "dev/block").mkdir(parents=True)
    (tmp_path / "dev/block/254:0").symlink_to(disk)
    assert str(from_sysfs(DevNumber(254, 0), tmp_path)) == "serial:main1"
    assert not from_sysfs(DevNumber(254, 16), tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("EBUSY", Busy), ("EACCES", AccessDenied), ("EPERM", AccessDenied), ("EROFS", AccessDenied),
     ("ENXIO", WrongDevice), ("ENOMEDIUM", WrongDevice), ("EIO", DeviceIoError)],
)  # fmt: skip
def test_each_refusal_to_open_in_words(
    name: str, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def fails(*_: object) -> int:
        raise OSError(getattr(errno, name), "no")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(kind, match="/dev/x"):
        blockdev.open_device("/dev/x", os.O_RDONLY)


def test_a_partition_that_is_elsewhere_by_now_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").touch()
    start = tmp_path / "sys/dev/block/8:1/start"
    start.parent.mkdir(parents=True)
    start.write_text("2048\n")
    facts = {blockdev.BLKGETSIZE64: 1 << 20, blockdev.BLKGETDISKSEQ: 5}
    monkeypatch.setattr(blockdev, "SYSFS", tmp_path / "sys")
    monkeypatch.setattr(blockdev, "_ioctl", lambda fd, request, *_: facts[request])
    real = os.fstat
    values = [stat.S_IFBLK, 0, 0, 1, 0, 0, 0, 0, 0, 0]

    def partition(fd: int) -> os.stat_result:
        return os.stat_result(values, {"st_rdev": os.makedev(8, 1)})

    with blockdev.opened(str(tmp_path / "image")) as fd:
        monkeypatch.setattr(os, "fstat", partition)
        before = blockdev.seen(fd, "/dev/sda1")
        blockdev.check_same(fd, "/dev/sda1", before)
        start.write_text("4096\n")
        with pytest.raises(WrongDevice, match="not what it was"):
            blockdev.check_same(fd, "/dev/sda1", before)
        start.write_text("2048\n")
        facts[blockdev.BLKGETSIZE64] *= 2
        with pytest.raises(WrongDevice, match="not what it was"):
            blockdev.check_same(fd, "/dev/sda1", before)
        monkeypatch.setattr(os, "fstat", real)


def test_ioctl_numbers_are_the_compilers(tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None or not Path("/usr/include/linux/fs.h").exists():
        pytest.skip("no gcc or no linux/fs.h")
    names = ["BLKROGET", "BLKSSZGET", "BLKGETSIZE64", "BLKGETDISKSEQ"]
    prints = "".join(f'printf("%lu\\n", (unsigned long){name});' for name in names)
    source, program = tmp_path / "p.c", tmp_path / "p"
    source.write_text(f"#include <linux/fs.h>\n#include <stdio.h>\nint main(void) {{ {prints} return 0; }}\n")
    subprocess.run([gcc, "-o", str(program), str(source)], check=True)
    out = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    assert [getattr(blockdev, name) for name in names] == list(map(int, out.split()))


def test_the_ioctl_for_the_size_has_the_size_of_a_pointer_in_it() -> None:
    assert (blockdev.block_ioctl(114, 4), blockdev.block_ioctl(114, 8)) == (0x80041272, 0x80081272)


def test_number_tells_what_is_no_block_device(tmp_path: Path) -> None:
    for path in (str(tmp_path), "/dev/null", str(tmp_path / "gone"), "bad\0name"):
        with pytest.raises(WrongDevice):
            blockdev.number(path)


def test_writing_goes_on_after_a_short_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, bytes(data[:3]), offset))
    path = tmp_path / "image"
    path.touch()
    with blockdev.opened(str(path), write=True) as fd:
        blockdev.write_durably(fd, [(2, b"abcdefgh"), (0, b"xy")])
    assert path.read_bytes() == b"xyabcdefgh"


def test_a_failed_flush_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    path = tmp_path / "image"
    path.touch()
    with blockdev.opened(str(path), write=True) as fd, pytest.raises(OSError, match="Input/output"):
        blockdev.write_durably(fd, [(0, b"x")])
