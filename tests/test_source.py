"""A spare or an image that is opened to be read: who uses it, and what cannot be read of it."""

import os
from pathlib import Path

import pytest

from pycontrol.errors import Busy, DeviceIoError, UsageError, WrongDevice
from pycontrol.service.offline import imagefile
from pycontrol.service.offline.imagefile import copy_sparse, gathered, locked, write_text
from pycontrol.service.offline.source import same, source, user_of
from tests.faults import unreadable


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "spare.img"
    path.write_bytes(b"0123456789" * 1000)
    return path


def used_by(path: Path, sysfs: Path) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        return user_of(fd, sysfs, sysfs)
    finally:
        os.close(fd)


def test_a_file_behind_a_loop_device(image: Path, tmp_path: Path) -> None:
    sysfs = tmp_path / "sys"
    assert used_by(image, sysfs) == ""
    for number, backing in enumerate((image, tmp_path / "gone.img", tmp_path)):
        place = sysfs / f"block/loop{number}/loop"
        place.mkdir(parents=True)
        (place / "backing_file").write_text(f"{backing}\n")
    assert used_by(image, sysfs) == "in use by loop0"


def test_reading_ends_with_the_file(image: Path) -> None:
    with source(str(image), 9990) as opened:
        assert (opened.size, opened.read(0, 4), opened.read(8, 4), opened.read(99, 1)) == (
            10,
            b"0123",
            b"89",
            b"",
        )
    with pytest.raises(WrongDevice, match="check the offset"), source(str(image), 10001):
        pass


def test_a_bad_block_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "spare.img"
    path.write_bytes(b"0123456789abcdef" * 1024)
    unreadable(monkeypatch, str(path), 8192)
    with pytest.raises(DeviceIoError, match="Input/output error"), source(str(path)) as opened:
        assert opened.read(4094, 4098) == b"ef" + b"0123456789abcdef" * 256
        assert opened.read(12288, 9999) == b"0123456789abcdef" * 256
        opened.read(4096, 8192)


def test_what_names_the_same(image: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(image)
    os.link(image, tmp_path / "other")
    (tmp_path / "copy").write_bytes(image.read_bytes())
    assert same(str(image), str(tmp_path / "link")) and same(str(image), str(tmp_path / "other"))
    assert not same(str(image), str(tmp_path / "copy"))
    assert not same(str(image), str(tmp_path / "none"))
    assert not same("/dev/null", "/dev/zero")


def test_a_lock_is_for_one_only(image: Path) -> None:
    with locked(str(image)), pytest.raises(Busy, match="another program"), locked(str(image)):
        pass
    with locked(str(image)) as fd:
        assert os.pwrite(fd, b"x", 0) == 1


def test_a_file_that_cannot_be_made(image: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceIoError, match="cannot be made: No such file"):
        write_text(str(tmp_path / "no/where"), ["x"])
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    with pytest.raises(UsageError, match="name a new file"):
        write_text(str(tmp_path / "dangling"), ["x"])
    with source(str(image)) as opened, pytest.raises(DeviceIoError, match="cannot be made: File too large"):
        copy_sparse(gathered(opened.read, [(0, 10)], 10, []), str(tmp_path / "huge"), 1 << 62)
    assert not (tmp_path / "huge").exists()


def test_no_file_is_made_among_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dev/disk").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "dev")
    monkeypatch.setattr(imagefile, "DEV", tmp_path / "dev")
    for name in ("dev/sdz", "dev/disk/sdz", "link/sdz"):
        with pytest.raises(WrongDevice, match="check the name"):
            write_text(str(tmp_path / name), ["x"])
        assert not (tmp_path / name).exists()
    write_text(str(tmp_path / "devices"), ["x"])


def test_long_text_is_written_whole(tmp_path: Path) -> None:
    lines = [f"line {number} ä\n" for number in range(150_000)]
    write_text(str(tmp_path / "text"), iter(lines))
    assert (tmp_path / "text").read_text() == "".join(lines)
    write_text(str(tmp_path / "empty"), [])
    assert (tmp_path / "empty").read_bytes() == b""
