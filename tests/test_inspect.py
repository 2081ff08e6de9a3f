"""``dmremapctl inspect`` on images, by its output, its exit code and what it leaves alone."""

import hashlib
import json
import os
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pycontrol.cli.main import cli
from pycontrol.metadata import BLOCK, Record
from pycontrol.service.offline.inspection import inspect
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, remaps, slots, spare

SECTORS = 8192
TABLE = [
    Record(1000, 5000, 1, 1, 2, 1_700_000_000),
    Record(1001, 5001, 1, 1),
    Record(2000, 0, 8, 2, 1),
    Record(0, 6000, 2, 8),
]


def run(*arguments: str) -> Result:
    # click 8.1 mixes the two streams unless told not to, 8.2 knows no such argument.
    apart: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    result = CliRunner(**apart).invoke(cli, ["inspect", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def image() -> Sparse:
    return spare(TABLE, spare_sectors=SECTORS, sequence=2)


def store(image: Sparse, directory: Path) -> str:
    path = directory / "spare.img"
    path.write_bytes(image.flat())
    return str(path)


def test_all_valid(image: Sparse, tmp_path: Path) -> None:
    result = run(store(image, tmp_path))
    assert result.exit_code == 0
    lines = [" ".join(line.replace("│", " ").split()) for line in result.output.splitlines()]
    assert "Valid copies 5/5" in lines
    assert any(line.startswith("1000 5000 2 2 remap 2023-11-14 22:13:20 UTC") for line in lines)
    assert any(line.startswith("2000 - 8 1 pending") for line in lines)
    assert "Bad place on the spare: sector 6000, 2 sectors" in lines
    assert str(UUID_A) in result.output
    assert "wwn:0x5000c500a1b2c3d4" in result.output
    assert "0x80000" in result.output
    assert "Note:" not in result.stdout


def test_json_keys(image: Sparse, tmp_path: Path) -> None:
    result = run(store(image, tmp_path), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["uuid"] == str(UUID_A)
    assert (found["sequence"], found["valid_copies"], found["intact"], found["chosen"]) == (2, 5, True, 0)
    assert found["extents"] == [
        {"main": 1000, "spare": 5000, "sectors": 2, "kind": "remap", "errors": 2, "time": 1_700_000_000},
        {"main": 2000, "spare": None, "sectors": 8, "kind": "pending", "errors": 1, "time": 0},
    ]
    assert found["bad_spare"] == [{"spare": 6000, "sectors": 2}]
    assert (found["records"], found["remaps"], found["pendings"]) == (4, 1, 1)
    assert (found["used_sectors"], found["pending_sectors"]) == (2, 8)
    header = found["slots"][1]["header"]
    assert (header["offset"], header["state"], header["sequence"]) == (0x20000, "valid", 2)
    assert header["crc_stored"] == header["crc_computed"]
    assert found["slots"][0]["log"]["state"] == "valid"
    words = run("--help").output
    missing = [key for key in [*found, *found["slots"][0], *header] if key not in words]
    assert missing == []


def test_empty_table_is_json_too(tmp_path: Path) -> None:
    assert json.loads(run(store(spare(spare_sectors=SECTORS), tmp_path), "--json").stdout)["extents"] == []


@pytest.mark.parametrize("copy", range(5))
def test_damage_is_told_and_the_exit_code_is_1(image: Sparse, tmp_path: Path, copy: int) -> None:
    image.flip(slots()[copy])
    path = store(image, tmp_path)
    result = run(path)
    assert result.exit_code == 1
    assert "4/5" in result.output
    assert "damaged: CRC does not match" in result.output
    assert run(path, "--json").exit_code == 1


def test_stale_copy_is_told(image: Sparse, tmp_path: Path) -> None:
    image.put(0, spare((), spare_sectors=SECTORS, sequence=1).blocks[0])
    result = run(store(image, tmp_path))
    assert result.exit_code == 1
    assert "stale: sequence 1, newest is 2" in result.output
    assert "1 *" in result.output


def test_nothing_is_written(image: Sparse, tmp_path: Path) -> None:
    image.flip(0)
    path = store(image, tmp_path)
    Path(path).chmod(0o444)
    before = hashlib.sha256(Path(path).read_bytes()).digest(), Path(path).stat().st_mtime_ns
    run(path)
    run(path, "--json")
    assert (hashlib.sha256(Path(path).read_bytes()).digest(), Path(path).stat().st_mtime_ns) == before


def test_opened_read_only(image: Sparse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(image, tmp_path)
    seen: list[int] = []
    real = os.open

    def spy(name: str, flags: int, *rest: int) -> int:
        if name == path:
            seen.append(flags)
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", spy)
    inspect(path)
    assert [flags & os.O_ACCMODE for flags in seen] == [os.O_RDONLY]


def test_beyond_recovery(image: Sparse, tmp_path: Path) -> None:
    for slot in slots():
        image.flip(slot)
    result = run(store(image, tmp_path))
    assert result.exit_code == 3
    assert "every copy of the header is damaged" in result.stderr


def test_lost_log_block_still_shows_the_copies(tmp_path: Path) -> None:
    image = spare(remaps(300, 4000), spare_sectors=SECTORS)
    for slot in slots():
        image.flip(slot + 3 * BLOCK)
    path = store(image, tmp_path)
    result = run(path)
    assert result.exit_code == 3
    assert "block 0: CRC does not match" in result.stdout
    assert "log block 0 is lost" in result.stderr
    assert run(path, "--json").stdout == ""


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (b"", "all zero"),
        (b"LUKS\xba\xbe", "something else"),
        (b"DMREMAP3", "v3.0"),
        (b"4RMD\4\0\0\0".ljust(32, b"\0") + (84288).to_bytes(4, "little"), "v4.2"),
    ],
)
def test_not_ours(tmp_path: Path, first: bytes, words: str) -> None:
    path = tmp_path / "other.img"
    path.write_bytes(first.ljust(2 << 20, b"\0"))
    result = run(str(path))
    assert result.exit_code == 4
    assert words in result.stderr
    assert result.stdout == ""


def test_no_such_device(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none")).exit_code == 4
    assert run(str(tmp_path)).exit_code == 4
    os.mkfifo(tmp_path / "fifo")
    assert run(str(tmp_path / "fifo")).exit_code == 4
    assert run("/dev/null").exit_code == 4


def test_not_permitted(image: Sparse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(image, tmp_path)
    real = os.open

    def refuse(name: str, flags: int, *rest: int) -> int:
        if name == path:
            raise PermissionError(13, "Permission denied", name)
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert run(path).exit_code == 6


def test_io_error(image: Sparse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(image, tmp_path)

    def fail(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    result = run(path)
    assert result.exit_code == 6
    assert "Input/output error" in result.stderr


def test_other_uuid(image: Sparse, tmp_path: Path) -> None:
    result = run(store(image, tmp_path), "--uuid", str(UUID_B))
    assert result.exit_code == 4
    assert str(UUID_A) in result.stderr


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    hostile = "a\x1b[31mb\n[bold]c\u202ed\\"
    image = spare(TABLE, spare_sectors=SECTORS, name=hostile, main_id=hostile, time=2**64 - 1)
    path = store(image, tmp_path)
    output = run(path).output
    assert "a\\x1b[31mb\\x0a[bold]c\\u202ed\\\\" in output
    assert "\x1b" not in output
    assert json.loads(run(path, "--json").stdout)["name"] == hostile


def test_long_tables_are_cut(tmp_path: Path) -> None:
    path = store(spare(remaps(50, 4000), spare_sectors=SECTORS), tmp_path)
    assert "... and 40 more" in run(path, "--max", "10").output
    for everything in ("0", 25 * "9"):
        assert "more (" not in run(path, "--max", everything).output
    assert len(json.loads(run(path, "--json", "--max", "10").stdout)["extents"]) == 50


def test_another_size_is_noted(image: Sparse, tmp_path: Path) -> None:
    image.size += 4096
    result = run(store(image, tmp_path))
    assert result.exit_code == 0
    assert "this one has 8200" in " ".join(result.output.split())


def test_a_minority_of_headers_is_noted_and_no_mending_is_promised(
    image: Sparse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the target does then is in docs/target.md: it writes nothing."""
    path, real = store(image, tmp_path), os.pread

    def bad(fd: int, length: int, offset: int) -> bytes:
        if offset in slots()[1:]:
            raise OSError(5, "Input/output error")
        return real(fd, length, offset)

    assert "Note:" not in run(path).stdout
    monkeypatch.setattr(os, "pread", bad)
    result = run(path)
    words = " ".join(result.stdout.split())
    assert result.exit_code == 1
    assert "Note: a minority of the headers is whole, and a newer one may be among the others" in words
    assert "the target writes nothing" in words and "the target mends them" not in words


def test_why_each_block_was_chosen_and_where_the_remaps_lie(tmp_path: Path) -> None:
    image = spare(remaps(300, 4000), spare_sectors=SECTORS, sequence=9)
    image.put(slots()[1], spare((), spare_sectors=SECTORS, sequence=8).blocks[slots()[1]])
    image.flip(slots()[0] + 3 * BLOCK)
    image.flip(slots()[4] + BLOCK)
    lines = run(store(image, tmp_path)).output.splitlines()
    assert "Header: sequence 9 is the newest whole one, in copies 0 2 3 4" in lines
    assert "Info: sequence 1 is the newest whole one, in copies 0 1 2 3" in lines
    assert any(line.startswith("Log: ") and "1 of copy 0, 1 of copy 1" in line for line in lines)
    assert any(line.startswith("[+" + 63 * ".") for line in lines)


def test_pending_and_mostly_remapped_in_the_picture(tmp_path: Path) -> None:
    half = 1 << 20
    table = [Record(half, 3000, 8, 1), Record(half - 1, 0, 1, 2), Record(0, 4000, 700, 1)]
    image = spare(table, spare_sectors=SECTORS, main_sectors=2 * half)
    assert "[+" + 30 * "." + "!+" + 31 * "." in run(store(image, tmp_path)).output
    image = spare(table, spare_sectors=SECTORS, main_sectors=half + 8)
    assert "[+" in run(store(image, tmp_path)).output
    image = spare([Record(0, 4000, 33, 1)], spare_sectors=SECTORS, main_sectors=4096)
    assert "[#" in run(store(image, tmp_path)).output


def test_headers_only(tmp_path: Path) -> None:
    image = spare(remaps(300, 4000), spare_sectors=SECTORS)
    for slot in slots():
        image.flip(slot + 3 * BLOCK)
    path = store(image, tmp_path)
    assert run(path).exit_code == 3
    result = run(path, "--headers")
    assert result.exit_code == 0, "the log is not looked at"
    assert "Sequence" in result.output and "0x80000" in result.output
    image.flip(slots()[3])
    assert run(store(image, tmp_path), "--headers").exit_code == 1


def test_headers_as_json(image: Sparse, tmp_path: Path) -> None:
    path = store(image, tmp_path)
    found = json.loads(run(path, "--headers", "--json").stdout)
    whole = json.loads(run(path, "--json").stdout)
    for slot in whole["slots"]:
        del slot["log"]
    assert found == {key: whole[key] for key in found}
    of_the_log = {"notes", "valid_copies", "chosen", "records", "remaps", "pendings", "used_sectors"}
    assert whole.keys() - found.keys() == {*of_the_log, "pending_sectors", "bad_spare", "extents"}
    image.flip(slots()[3])
    result = run(store(image, tmp_path), "--headers", "--json")
    assert (result.exit_code, json.loads(result.stdout)["intact"]) == (1, False)


def test_one_copy_beside_what_counts(tmp_path: Path) -> None:
    image = spare(TABLE, spare_sectors=SECTORS, sequence=9)
    image.put(slots()[1], spare(TABLE[:1], spare_sectors=SECTORS, sequence=8).blocks[slots()[1]])
    image.blocks[slots()[1]] = image.blocks[slots()[1]][:0x500] + b"x" + image.blocks[slots()[1]][0x501:]
    path = store(image, tmp_path)
    result = run(path, "--copy", "1")
    assert result.exit_code == 1
    lines = [line.split() for line in result.output.splitlines()]
    assert ["sequence", "8", "9", "differs"] in lines
    assert ["record_count", "1", "4", "differs"] in lines
    assert ["spacing", "256", "256"] in lines
    assert "header of copy 1 at byte 0x20000: damaged: CRC does not match" in result.output
    assert "differs" not in run(path, "--copy", "2").output
    assert run(path, "--copy", "5").exit_code == 2

    result = run(path, "--copy", "1", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["copy"], found["intact"]) == (1, 1, False)
    header = found["header"]
    assert (header["offset"], header["state"], header["reason"]) == (0x20000, "damaged", "CRC does not match")
    assert header["differs"] == ["sequence", "records", "record_count"]
    assert header["fields"]["uuid"] == str(UUID_A)
    assert header["fields"]["records"] == [TABLE[0]._asdict()]
    assert found["info"]["differs"] == []
    words = run("--help").output
    assert [key for key in [*found, *header] if key not in words] == []


def test_a_copy_that_cannot_be_read_has_no_fields(tmp_path: Path) -> None:
    path = store(spare(TABLE, spare_sectors=SECTORS), tmp_path)
    os.truncate(path, slots()[4])
    header = json.loads(run(path, "--copy", "4", "--json").stdout)["header"]
    assert (header["state"], header["fields"], header["differs"]) == ("damaged", None, [])
