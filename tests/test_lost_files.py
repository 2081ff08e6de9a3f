"""Which files lie on lost bytes, by what the kernel says of their places."""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pycontrol.service.known import lostfiles
from pycontrol.service.known.lostfiles import FS_IOC_FIEMAP, find

Extent = tuple[int, int, int, int]
"""Byte in the file, byte on the device, length, flags."""
Ioctl = Callable[[int, int, bytearray], object]


def fiemap(places: dict[str, Sequence[Extent] | int]) -> Ioctl:
    """A kernel that has these extents for each name, or fails with an errno; linux/fiemap.h."""

    def ioctl(fd: int, number: int, buffer: bytearray) -> object:
        assert number == FS_IOC_FIEMAP
        start, length, flags, _mapped, room, _reserved = struct.unpack_from("=QQIIII", buffer)
        assert flags == 0 and length == (1 << 64) - 1 - start and len(buffer) == 32 + 56 * room
        said = places.get(Path(f"/proc/self/fd/{fd}").readlink().name, ())
        if isinstance(said, int):
            raise OSError(said, os.strerror(said))
        there = [extent for extent in said if extent[0] + extent[2] > start][:room]
        for number, (logical, physical, size, marks) in enumerate(there):
            last = 1 if said[-1][0] == logical else 0
            struct.pack_into(
                "=QQQQQIIII", buffer, 32 + 56 * number, logical, physical, size, 0, 0, marks | last, 0, 0, 0
            )
        struct.pack_into("=I", buffer, 20, len(there))
        return 0

    return ioctl


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "mnt"
    (top / "dir").mkdir(parents=True)
    for name in ("a", "dir/b", "c"):
        (top / name).touch()
    os.mkfifo(top / "pipe")
    (top / "link").symlink_to("a")
    return top


def test_files_and_directories_with_lost_bytes(tree: Path) -> None:
    ioctl = fiemap({
        "a": [(0, 8192, 4096, 0), (4096, 65536, 8192, 0)],
        "b": [(0, 0, 8192, 0)],
        "c": [(0, 12288, 4096, 0)],
        "dir": [(0, 32768, 4096, 0)],
    })  # fmt: skip
    lost = [
        (512, 1024),
        (8192, 8704),
        (11776, 12288),
        (32768, 33280),
        (65536, 74240),
        (1 << 30, (1 << 30) + 512),
    ]
    report = find(str(tree), lost, ioctl)
    assert [(file.path, file.ranges, file.sectors) for file in report.files] == [
        (f"{tree}/a", [(0, 512), (3584, 12288)], 18),
        (f"{tree}/dir", [(0, 512)], 1),
        (f"{tree}/dir/b", [(512, 1024)], 1),
    ]
    # The tail of the last extent's range, and what lies far behind, belong to nobody.
    assert report.accounted == [
        (512, 1024), (8192, 8704), (11776, 12288), (32768, 33280), (65536, 73728)
    ]  # fmt: skip
    assert report.unseen == []


def test_a_file_in_very_many_pieces(tree: Path) -> None:
    pieces = [(n * 4096, n * 8192, 4096, 0) for n in range(1000)]
    report = find(str(tree), [(4096, 8192), (999 * 8192, 999 * 8192 + 512)], fiemap({"a": pieces}))
    [file] = report.files
    assert file.ranges == [(999 * 4096, 999 * 4096 + 512)]


@pytest.mark.parametrize("flag", [0x2, 0x4, 0x8, 0x200, 0x800])
def test_extents_without_data_of_the_file_there(tree: Path, flag: int) -> None:
    report = find(str(tree), [(0, 4096)], fiemap({"a": [(0, 0, 4096, flag)]}))
    assert report.files == [] and report.accounted == []


def test_what_cannot_be_looked_into_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("/dir"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = find(str(tree), [(0, 512)], fiemap({"a": errno.EIO, "c": errno.EOPNOTSUPP}))
    assert report.unseen == [f"{tree}/a", f"{tree}/dir"] and report.files == []


def test_other_file_systems_are_left_out(tree: Path) -> None:
    seen = {path for path, _ in lostfiles._walk(str(tree), tree.stat().st_dev + 1)}
    assert seen == {str(tree)}


def test_a_real_file_if_the_temporary_directory_can_tell(tree: Path) -> None:
    """The layout of the structures, against the running kernel."""
    path = tree / "a"
    path.write_bytes(b"x" * 8192)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    try:
        extents = list(lostfiles._extents(str(path), fcntl.ioctl))
    except OSError as error:
        pytest.skip(f"the file system of {tree} has no FIEMAP: {error.strerror}")
    assert sum(length for _, _, length in extents) >= 8192
    assert extents[0][0] == 0
