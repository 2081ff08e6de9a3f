"""Images of v4.2 and v3.0, built here from their layouts: recognised, shown, imported."""

import errno
import hashlib
import json
import os
import random
import struct
from collections.abc import Sequence
from pathlib import Path

import crcmod  # type: ignore[import-untyped,unused-ignore]
import pytest

from pycontrol.metadata import BLOCK, Kind, Loaded, Record, load
from pycontrol.metadata.legacy import crc_v42, read_old
from tests.conftest import Run
from tests.user_metadata import Disk, Metadata

MAIN, SPARE = 65536, 8192
SIZE = 84288
SLOTS = [copy * 0x20000 for copy in range(5)]
PENDING, ACTIVE = 1, 2
UUID = "00112233-4455-6677-8899-aabbccddeeff"

Entry = tuple[int, int, int, int]  # main, spare, seconds, flags


def seedless(data: bytes) -> int:
    """CRC by the bit: reflected 0x04C11DB7, seed 0, no final xor."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value


def v42_structure(entries: Sequence[Entry], sequence: int = 2, time: int = 1_700_000_000) -> bytearray:
    block = bytearray(SIZE)
    struct.pack_into("<IIQQIIII", block, 0, 0x444D5234, 4, sequence, time, 0, 0, SIZE, 0)
    struct.pack_into("<QQI", block, 0x78, MAIN, SPARE, 512)
    struct.pack_into("<IIII", block, 0x128, len(entries), 2048, 7, 0)
    for number, (main, place, when, flags) in enumerate(entries):
        at = 0x138 + 40 * number
        struct.pack_into("<QQQIIHH", block, at, main, place, when * 10**9 + 5, 1, 2, 1, flags)
    struct.pack_into("<I", block, 0x18, crc_v42(bytes(block)))
    return block


def v42(entries: Sequence[Entry], sequence: int = 2) -> bytearray:
    """A spare whose every sector names itself, with the five copies on top of that."""
    image = named_sectors()
    for slot in SLOTS:
        image[slot : slot + SIZE] = v42_structure(entries, sequence)
    return image


def v3(entries: Sequence[tuple[int, int]], state: int = 0) -> bytearray:
    image = named_sectors()
    image[:BLOCK] = bytes(BLOCK)
    struct.pack_into(
        "<8sIIQQIIQQIIQ", image, 0,
        b"DMREMAP3", 1, 0xDEAD, 1_600_000_000, 1_600_000_001, len(entries), 252, MAIN, SPARE, state, 3, 9,
    )  # fmt: skip
    for number, pair in enumerate(entries):
        struct.pack_into("<QQ", image, BLOCK + 16 * number, *pair)
    return image


def named_sectors() -> bytearray:
    return bytearray(b"".join(sector(number) for number in range(SPARE)))


def sector(number: int) -> bytes:
    return number.to_bytes(8, "little") * 64


def store(image: bytes | bytearray, directory: Path, name: str = "old.img") -> str:
    path = directory / name
    path.write_bytes(image)
    return str(path)


def imported(path: Path) -> tuple[Loaded, bytes]:
    data = path.read_bytes()
    loaded = load(lambda offset, length: data[offset : offset + length], len(data))
    assert loaded.intact
    return loaded, data


def states(path: Path) -> dict[int, int | None]:
    """Of each main sector in the table the old spare sector whose data it has, or None: pending."""
    loaded, data = imported(path)
    found: dict[int, int | None] = {}
    for extent in loaded.extents:
        for at in range(extent.sectors):
            place = (extent.spare + at) * 512
            content = data[place : place + 512]
            if extent.kind is Kind.REMAP:
                assert content == content[:8] * 64
            found[extent.main + at] = (
                int.from_bytes(content[:8], "little") if extent.kind is Kind.REMAP else None
            )
    return found


TABLE = [(1000, 5000, 10, ACTIVE), (1001, 5001, 11, ACTIVE), (2000, 4999, 12, ACTIVE)]


def test_the_seedless_crc() -> None:
    data = random.Random(1).randbytes(SIZE)
    left_out = data[:0x18] + data[0x1C:]
    assert crc_v42(data) == seedless(left_out)
    assert crc_v42(data + b"behind the structure") == crc_v42(data)
    # The same polynomial, seed and final xor apart, as that of the present format.
    assert crcmod.mkCrcFun(0x104C11DB7, initCrc=0, rev=True, xorOut=0)(b"123456789") == 0x2DFD2D88


@pytest.mark.parametrize("image", [v42(TABLE), v3([(1000, 5000)])], ids=["v4.2", "v3.0"])
def test_recognised_and_left_alone(run: Run, tmp_path: Path, image: bytearray) -> None:
    path = store(image, tmp_path)
    before = hashlib.sha256(Path(path).read_bytes()).digest()
    for command in (["check"], ["inspect"], ["dump"], ["backup", str(tmp_path / "out")]):
        result = run("meta", command[0], path, *command[1:])
        assert result.exit_code == 4 and "import" in result.stderr
    assert run("meta", "import-legacy", path).exit_code == 0
    assert run("meta", "import-legacy", path, str(tmp_path / "new.img")).exit_code == 0
    assert hashlib.sha256(Path(path).read_bytes()).digest() == before


def test_v42_is_shown(run: Run, tmp_path: Path) -> None:
    image = v42(TABLE, sequence=8)
    image[SLOTS[1] : SLOTS[1] + SIZE] = v42_structure(TABLE[:1], sequence=9)
    image[SLOTS[2] + 0x200] ^= 1
    image[SLOTS[3] : SLOTS[3] + SIZE] = bytes(SIZE)
    path = store(image, tmp_path)
    found = json.loads(run("meta", "import-legacy", "--json", path).stdout)
    assert [(copy["valid"], copy["sequence"]) for copy in found["copies"]] == [
        (True, 8), (True, 9), (False, 8), (False, None), (True, 8),
    ]  # fmt: skip
    assert (found["version"], found["sequence"], found["chosen"]) == ("4.2", 9, 1)
    assert (found["main_sectors"], found["spare_sectors"]) == (MAIN, SPARE)
    assert found["entries"] == [{"main": 1000, "spare": 5000, "errors": 2, "time": 10, "active": True}]
    text = run("meta", "import-legacy", path).stdout
    assert "CRC does not match" in text and "1000" in text and "v4.2" in text
    words = run("meta", "import-legacy", "--help").output
    assert [key for key in [*found, *found["copies"][0], *found["entries"][0]] if key not in words] == []


def test_v3_is_shown(run: Run, tmp_path: Path) -> None:
    text = run("meta", "import-legacy", store(v3([(7, 4000)], state=2), tmp_path)).stdout
    assert "v3.0" in text and "checksum of v3.0 was never right" in text and "writing" in text


def test_v42_is_imported_with_its_data(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    result = run("meta", "import-legacy", "--uuid", UUID, store(v42(TABLE), tmp_path), str(out))
    assert result.exit_code == 0 and "imported 3 sectors" in result.stderr
    assert states(out) == {1000: 5000, 1001: 5001, 2000: 4999}
    loaded, _ = imported(out)
    assert (str(loaded.uuid), loaded.main_sectors, loaded.spare_sectors) == (UUID, MAIN, SPARE)
    assert run("meta", "check", str(out)).exit_code == 0


def test_v3_is_imported(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    # The last of two for one sector counts, and of two at one place the last one has the data.
    path = store(v3([(9, 4000), (9, 4001), (50, 4002), (60, 4002), (70, 15)]), tmp_path)
    result = run("meta", "import-legacy", path, str(out))
    assert result.exit_code == 1
    assert states(out) == {9: 4001, 50: None, 60: 4002, 70: None}
    assert "main sector 70 is pending: spare sector 15 lay under the old metadata" in result.stderr
    assert "main sector 50 is pending: spare sector 4002 was given away again" in result.stderr


def test_v42_whose_first_sector_cannot_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, real = store(v42(TABLE), tmp_path), tmp_path / "new.img", os.pread

    def bad(fd: int, length: int, offset: int) -> bytes:
        if offset < BLOCK:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", bad)
    assert "'dmremapctl meta import-legacy' reads it" in run("meta", "check", path).stderr
    found = json.loads(run("meta", "import-legacy", "--json", path).stdout)
    assert (found["chosen"], [copy["valid"] for copy in found["copies"]]) == (1, [False, *[True] * 4])
    assert "Input/output error" in found["copies"][0]["reason"]
    assert run("meta", "import-legacy", path, str(out)).exit_code == 0
    monkeypatch.undo()
    assert states(out) == {1000: 5000, 1001: 5001, 2000: 4999}


@pytest.mark.parametrize(
    ("image", "bad"),
    [(v42(TABLE), SLOTS), (v42(TABLE), [slot + BLOCK for slot in SLOTS]), (v3([(1000, 5000)]), SLOTS[:1])],
    ids=["every copy", "behind the start of every copy", "the only copy"],
)
def test_what_cannot_be_read_is_not_said_to_be_something_else(image: bytearray, bad: list[int]) -> None:
    def read(offset: int, length: int) -> bytes:
        if any(offset <= each < offset + length for each in bad):
            raise OSError(errno.EIO, "Input/output error")
        return bytes(image[offset : offset + length])

    with pytest.raises(OSError, match="Input/output error"):
        read_old(read, len(image))


def test_what_v42_did_not_move_is_left_and_what_it_overwrote_is_pending(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    entries = [(1, 0, 5, ACTIVE), (2, 1188, 5, ACTIVE), (3, 1189, 5, ACTIVE), (4, 4000, 5, PENDING)]
    result = run("meta", "import-legacy", "--json", store(v42(entries), tmp_path), str(out))
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert (found["left"], found["remapped"]) == ([4], 1)
    assert [each["main"] for each in found["lost"]] == [1, 2]
    assert states(out) == {1: None, 2: None, 3: 1189}


def test_the_later_of_two_has_the_data(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new.img"
    entries = [(10, 4000, 99, ACTIVE), (20, 4000, 50, ACTIVE), (30, 4001, 1, ACTIVE), (30, 4002, 2, ACTIVE)]
    assert run("meta", "import-legacy", store(v42(entries), tmp_path), str(out)).exit_code == 1
    assert states(out) == {10: 4000, 20: None, 30: 4002}


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        (bytearray(SPARE * 512), 4, "neither v4.2 nor v3.0"),
        (v42([(MAIN, 5000, 1, ACTIVE)]), 3, "main sector 65536"),
        (v42([(5, SPARE, 1, ACTIVE)]), 4, "ends before"),
        (v42(TABLE)[: 5000 * 512], 4, "ends before the data of 2"),
        (v3([(MAIN, 5000)]), 3, "main sector 65536"),
    ],
)
def test_refused(run: Run, tmp_path: Path, image: bytearray, code: int, words: str) -> None:
    out = tmp_path / "new.img"
    result = run("meta", "import-legacy", store(image, tmp_path), str(out))
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert not out.exists()


def test_no_copy_can_be_trusted(run: Run, tmp_path: Path) -> None:
    image = v42(TABLE)
    for slot in SLOTS:
        image[slot + 0x300] ^= 4
    result = run("meta", "import-legacy", store(image, tmp_path), str(tmp_path / "new.img"))
    assert result.exit_code == 3 and "no copy" in result.stderr


def test_a_count_that_cannot_be(run: Run, tmp_path: Path) -> None:
    image = v42(TABLE)
    structure = v42_structure(TABLE)
    structure[0x128:0x12C] = b"\xff" * 4
    structure[0x18:0x1C] = crc_v42(bytes(structure)).to_bytes(4, "little")
    for slot in SLOTS:
        image[slot : slot + SIZE] = structure
    assert run("meta", "import-legacy", store(image, tmp_path)).exit_code == 3
    image = v3([])
    image[0x20] = 253
    assert run("meta", "import-legacy", store(image, tmp_path)).exit_code == 3


def test_logical_blocks_of_4096(run: Run, tmp_path: Path) -> None:
    whole = [(4096 + at, 5000 + at, 1, ACTIVE) for at in range(8)]
    out = tmp_path / "new.img"
    path = store(v42(whole), tmp_path)
    assert run("meta", "import-legacy", "--block-size", "4096", path, str(out)).exit_code == 0
    assert list(states(out)) == [4096 + at for at in range(8)]
    path = store(v42(whole[1:]), tmp_path)
    result = run("meta", "import-legacy", "--block-size", "4096", path, str(tmp_path / "b"))
    assert result.exit_code == 2 and "whole logical blocks of 4096" in result.stderr


def test_a_new_spare_without_room_is_a_wrong_choice(run: Run, tmp_path: Path) -> None:
    path, out = store(v42(TABLE), tmp_path), tmp_path / "new.img"
    result = run("meta", "import-legacy", "--size", f"{2048 + 2}s", path, str(out))
    assert result.exit_code == 2 and "no room for 3 sectors of data" in result.stderr and not out.exists()
    assert run("meta", "import-legacy", "--size", f"{2048 + 3}s", path, str(out)).exit_code == 0


def test_into_an_existing_place(run: Run, tmp_path: Path) -> None:
    path, out = store(v42(TABLE), tmp_path), tmp_path / "new.img"
    out.write_bytes(bytes(2 * SPARE * 512))
    assert run("meta", "import-legacy", path, str(out), answer="n\n").exit_code == 10
    assert not any(out.read_bytes())
    assert run("meta", "import-legacy", path, str(out), answer="y\n").exit_code == 0
    assert imported(out)[0].spare_sectors == 2 * SPARE
    assert run("meta", "import-legacy", "--yes", path, str(out)).exit_code == 5
    assert run("meta", "import-legacy", "--yes", "--force", path, str(out)).exit_code == 0
    assert run("meta", "import-legacy", "--yes", "--force", path, path).exit_code == 2


def test_a_full_table_loads_in_the_kernel_code(run: Run, tmp_path: Path) -> None:
    entries = [(2 * at, 2000 + at, 3, ACTIVE) for at in range(2048)]
    path, out = store(v42(entries), tmp_path), tmp_path / "new.img"
    assert run("meta", "import-legacy", path, str(out)).exit_code == 0
    assert states(out) == {main: place for main, place, _, _ in entries}
    loaded, data = imported(out)
    disk = Disk(SPARE)
    for at in range(0, len(data), BLOCK):
        if any(data[at : at + BLOCK]):
            disk.poke(at // BLOCK, data[at : at + BLOCK])
    with Metadata(disk, MAIN, block_size=512) as metadata:
        assert metadata.records == list(loaded.records)
        assert metadata.status.valid == 5
        assert metadata.mend() == 0, "nothing is to be mended"
        metadata.commit([Record(60001, 8000, 1, Kind.REMAP)])
    assert disk.load().intact
