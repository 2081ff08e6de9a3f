"""Superblocks told by their magic, and disks by their identity."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.errors import DeviceIoError
from pycontrol.service.identity import Identity
from pycontrol.service.signatures import probe

SIZE = 4 << 20


def found(*marks: tuple[int, bytes], size: int = SIZE) -> list[str]:
    image = bytearray(size)
    for offset, data in marks:
        image[offset : offset + len(data)] = data
    return [mark.kind for mark in probe(lambda offset, length: bytes(image[offset : offset + length]), size)]


MBR = (446, bytes([0x80, 0, 0, 0, 0x83]) + bytes(59) + b"\x55\xaa")


@pytest.mark.parametrize(
    ("marks", "kinds"),
    [
        ([], []),
        ([(0x438, b"\x53\xef")], ["ext2/3/4"]),
        ([(0, b"XFSB")], ["xfs"]),
        ([(0x10040, b"_BHRfS_M")], ["btrfs"]),
        ([(4086, b"SWAPSPACE2")], ["swap"]),
        ([(65526, b"SWAPSPACE2")], ["swap"]),
        ([(0, b"LUKS\xba\xbe")], ["LUKS"]),
        ([(512, b"LABELONE")], ["LVM physical volume"]),
        ([(1536, b"LABELONE")], ["LVM physical volume"]),
        ([(0, b"\xfc\x4e\x2b\xa9")], ["md raid 1.1"]),
        ([(4096, b"\xfc\x4e\x2b\xa9")], ["md raid 1.2"]),
        ([(SIZE - 8192, b"\xfc\x4e\x2b\xa9")], ["md raid 1.0"]),
        ([(SIZE - 65536, b"\xfc\x4e\x2b\xa9")], ["md raid 0.90"]),
        ([MBR], ["MBR partition table"]),
        (
            [MBR, (512, b"EFI PART"), (SIZE - 512, b"EFI PART")],
            ["GPT", "GPT (backup)", "MBR partition table"],
        ),
        ([(4096, b"EFI PART")], ["GPT"]),
        ([(510, b"\x55\xaa")], ["boot sector"]),
        ([(0x52, b"FAT32   "), (510, b"\x55\xaa")], ["vfat"]),
        ([(0, b"xfsb"), (2048, b"LABELONE")], []),
    ],
)
def test_signatures(marks: list[tuple[int, bytes]], kinds: list[str]) -> None:
    assert found(*marks) == kinds


@given(st.integers(0, 70000))
def test_any_size_of_zeroes_has_none(size: int) -> None:
    assert found(size=size) == []


@given(st.binary(max_size=5000))
def test_any_bytes_are_survived(raw: bytes) -> None:
    for mark in probe(lambda offset, length: raw[offset : offset + length], len(raw)):
        assert 0 <= mark.offset < len(raw)


def test_a_device_that_cannot_be_read_is_not_called_blank() -> None:
    def fails(offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(DeviceIoError):
        probe(fails, SIZE)


@pytest.mark.parametrize(
    ("tool", "arguments", "kind"),
    [("mkfs.ext4", ["-q", "-F"], "ext2/3/4"), ("mkswap", [], "swap"), ("mkfs.xfs", ["-q"], "xfs"),
     ("mkfs.btrfs", ["-q"], "btrfs"), ("mkfs.vfat", [], "vfat")],
)  # fmt: skip
def test_what_the_real_tools_make(tmp_path: Path, tool: str, arguments: list[str], kind: str) -> None:
    program = shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip(f"no {tool} here")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([program, *arguments, str(image)], check=True, capture_output=True)
    with image.open("rb") as made:

        def read(offset: int, length: int) -> bytes:
            made.seek(offset)
            return made.read(length)

        assert kind in [mark.kind for mark in probe(read, 320 << 20)]


def test_identity_from_udev() -> None:
    disk = {"ID_WWN": "0x5", "ID_WWN_WITH_EXTENSION": "0x56", "ID_SERIAL": "WDC_S1", "ID_SERIAL_SHORT": "S1",
            "ID_PART_ENTRY_UUID": "of-a-parent", "DEVTYPE": "disk"}  # fmt: skip
    assert str(Identity.from_udev(disk)) == "wwn:0x56 serial:S1"
    part = disk | {"DEVTYPE": "partition", "ID_PART_ENTRY_UUID": "aa-bb"}
    assert str(Identity.from_udev(part)) == "wwn:0x56 part:aa-bb serial:S1"
    assert not Identity.from_udev({})


@given(*[st.text(st.characters(categories=("L", "N", "P", "S")), max_size=60)] * 3)
def test_identity_is_recorded_whole_or_shortened_by_a_key(wwn: str, part: str, serial: str) -> None:
    full = Identity("".join(wwn.split()), "".join(part.split()), "".join(serial.split()))
    text = str(full)
    assert len(text.encode()) <= 128
    again = Identity.parse(text)
    assert again.conflicts(full) == ""
    assert again.wwn == full.wwn or len(full.wwn.encode()) > 124


@pytest.mark.parametrize(
    ("recorded", "now", "key"),
    [
        ("wwn:1 serial:A", "wwn:1 serial:A", ""),
        ("wwn:1 serial:A", "wwn:2 serial:A", "wwn"),
        ("wwn:1 serial:A", "serial:B", "serial"),
        ("wwn:1", "serial:B", ""),
        ("wwn:1 part:p1", "wwn:1 part:p2", "part"),
        ("", "wwn:1", ""),
        ("nonsense new:key wwn:1", "wwn:2", "wwn"),
    ],
)
def test_conflicts(recorded: str, now: str, key: str) -> None:
    assert Identity.parse(recorded).conflicts(Identity.parse(now)) == key


def test_only_a_wwn_proves_one_disk() -> None:
    assert Identity(wwn="1").same_disk(Identity(wwn="1", serial="x"))
    assert not Identity(serial="x").same_disk(Identity(serial="x"))
    assert not Identity().same_disk(Identity())
