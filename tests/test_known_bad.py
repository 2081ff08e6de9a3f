"""``dmremapctl import`` and ``export``, against a target made of memory."""

import json
import random
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.service import blockdev, live, portions
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.find import smartctl
from tests.conftest import Disks, Run
from tests.fake_target import FakeTarget
from tests.fakes import FakeKernel

SECTORS = 1 << 21


@pytest.fixture
def target(kernel: FakeKernel, disks: Disks) -> FakeTarget:
    """The device r0 and its target, with 512-byte blocks."""
    kernel.add("r0", "DMREMAP-1", (0, SECTORS, "dm-remap-v4", "8:0 8:16"))
    kernel.answer = made = FakeTarget(SECTORS)
    mapped(disks, 512)
    return made


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """In seconds; stands still unless a test moves it."""
    now = [0.0]
    monkeypatch.setattr(portions, "monotonic", lambda: now[0])
    return now


def mapped(disks: Disks, block: int) -> None:
    dev = DevNumber(253, 0)
    disks.known["/dev/mapper/r0"] = BlockDevice("/dev/mapper/r0", dev, SECTORS * 512, block)


def write(top: Path, text: str, name: str = "list") -> str:
    path = top / name
    path.write_text(text)
    return str(path)


def messages(target: FakeTarget, word: str) -> list[str]:
    return [words for words in target.sent if words.startswith(f"{word} ")]


def test_ten_thousand_blocks_in_few_messages_and_out_again(
    target: FakeTarget, run: Run, tmp_path: Path
) -> None:
    chosen = sorted(random.Random(7).sample(range(SECTORS // 2), 10_000))
    target.unreadable = {2 * block for block in chosen[::10]}
    path = write(tmp_path, "".join(f"{block}\n" for block in random.Random(8).sample(chosen, 10_000)))
    told = json.loads(run("import", "r0", "--badblocks", path, "--json").stdout)
    # The first ones are small, to see how long they take.
    assert len(messages(target, "remap")) <= 2 + -(-10_000 // 511)
    assert target.lost == {2 * block for block in chosen[::10]}
    assert set(target.remapped) | target.lost == {2 * b + half for b in chosen for half in (0, 1)}
    assert (told["listed"], told["new"], told["remapped"], told["pending"]) == (20_000, 20_000, 19_000, 1000)
    assert told["left"] == 0 and told["read"] and not told["dry_run"]

    assert run("export", "r0", "--badblocks").stdout == "".join(f"{block}\n" for block in chosen)
    before = dict(target.remapped), set(target.lost)
    # What is known already costs no message.
    target.sent.clear()
    again = json.loads(run("import", "r0", "--badblocks", path, "--json").stdout)
    assert messages(target, "remap") == [] and (target.remapped, target.lost) == before
    assert (again["new"], again["remapped_before"], again["pending_before"]) == (0, 19_000, 1000)


@pytest.mark.parametrize("form", ["--list", "--ddrescue", "--badblocks"])
def test_what_is_exported_is_imported_the_same(
    target: FakeTarget, run: Run, tmp_path: Path, form: str
) -> None:
    picked = random.Random(3)
    lost = {picked.randrange(SECTORS) for _ in range(3000)} | {0, SECTORS - 1, *range(800, 900)}
    target.lost = set(lost)
    size = ("--block-size", "512") if form == "--badblocks" else ()
    out = str(tmp_path / "out")
    assert run("export", "r0", form, *size, "-o", out).exit_code == 0
    target.lost.clear()
    assert run("import", "r0", form, out, *size, "--no-read", "--yes").exit_code == 0
    assert target.lost == lost


@pytest.mark.parametrize("words", [("export",), ("import", "--list", "list")], ids=" ".join)
def test_a_device_that_stands_still_tells_nothing(
    target: FakeTarget, kernel: FakeKernel, run: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    paths = [write(tmp_path, "8 8\n") if word == "list" else word for word in words[1:]]
    kernel.devices["r0"].suspended = True
    result = run(words[0], "r0", *paths)
    assert result.exit_code == 5 and "r0 is suspended" in result.stderr and result.stdout == ""
    assert target.sent == []


def test_what_was_imported_before_it_stood_still_stays(
    target: FakeTarget, kernel: FakeKernel, run: Run, tmp_path: Path
) -> None:
    def suspend(words: str) -> None:
        # From the next message on, which asks how it ended.
        kernel.devices["r0"].suspended = words.startswith("remap")

    target.before = suspend
    result = run("import", "r0", "--list", write(tmp_path, "8 8\n"), "--yes")
    assert result.exit_code == 5 and "which stay" in result.stderr and "r0 is suspended" in result.stderr
    assert len(target.remapped) == 8


def test_a_map_file_says_pending_is_bad_and_all_else_is_rescued(target: FakeTarget, run: Run) -> None:
    target.remapped, target.lost = {8: 2048, 9: 2049}, {16, 17}
    lines = run("export", "r0", "--ddrescue").stdout.splitlines()
    assert [line.split() for line in lines if line[0] != "#"] == [
        ["0x00000000", "+", "1"],
        ["0x00000000", "0x00002000", "+"],
        ["0x00002000", "0x00000400", "-"],
        ["0x00002400", f"0x{SECTORS * 512 - 0x2400:08X}", "+"],
    ]
    refused = run("export", "r0", "--ddrescue", "--remapped-only")
    assert refused.exit_code == 2 and "what is remapped can be" in refused.stderr


def test_export_of_one_kind_as_text_and_json(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    target.remapped, target.lost = {8: 2048, 9: 2049}, {16}
    assert run("export", "r0").stdout.splitlines()[2:] == ["8 2 2048 remap", "16 1 - pending"]
    assert run("export", "r0", "--pending-only").stdout.splitlines()[2:] == ["16 1 - pending"]
    assert run("export", "r0", "--badblocks", "--remapped-only").stdout == "4\n"
    assert json.loads(run("export", "r0", "--json").stdout) == {
        "name": "r0",
        "sectors": SECTORS,
        "extents": [{"sector": 8, "sectors": 2, "spare": 2048}, {"sector": 16, "sectors": 1, "spare": None}],
    }
    odd = run("export", "r0", "--badblocks")
    assert odd.exit_code == 2 and "--round" in odd.stderr and odd.stdout == ""
    assert run("export", "r0", "--badblocks", "--round").stdout == "4\n8\n"
    out = tmp_path / "bad"
    assert "2 extents of r0 are in" in run("export", "r0", "--list", "-o", str(out)).stdout
    assert run("export", "r0", "-o", str(out)).exit_code == 2
    assert run("export", "r0", "--block-size", "512").exit_code == 2


def test_only_whole_logical_blocks_are_touched(
    target: FakeTarget, run: Run, disks: Disks, tmp_path: Path
) -> None:
    mapped(disks, 4096)
    target.block = 8
    path = write(tmp_path, f"17\n30 4\n{SECTORS - 1}\n")
    assert run("import", "r0", "--list", path).exit_code == 0
    assert sorted(target.remapped) == [*range(16, 40), *range(SECTORS - 8, SECTORS)]


def test_a_last_part_of_a_block_cannot_be_moved(
    kernel: FakeKernel, target: FakeTarget, run: Run, disks: Disks, tmp_path: Path
) -> None:
    mapped(disks, 4096)
    [(start, _, kind, params)] = kernel.devices["r0"].live or []
    kernel.devices["r0"].live = [(start, 100, kind, params)]
    target.block, target.sectors = 8, 100
    assert run("import", "r0", "--list", write(tmp_path, "90 10\n")).exit_code == 0
    assert sorted(target.remapped) == list(range(88, 96))


@pytest.mark.parametrize("lost", [{1000}, {999}, {3, 997, 1000}, set(range(992, 1001))], ids=str)
@pytest.mark.parametrize("size", [1024, 4096])
def test_a_list_of_blocks_whose_last_one_is_cut_off_by_the_end(
    kernel: FakeKernel, target: FakeTarget, run: Run, tmp_path: Path, size: int, lost: set[int]
) -> None:
    sectors, step = 1001, size // 512
    [(start, _, kind, params)] = kernel.devices["r0"].live or []
    kernel.devices["r0"].live = [(start, sectors, kind, params)]
    target.sectors, target.lost = sectors, set(lost)
    out, options = str(tmp_path / "out"), ("--badblocks", "--block-size", str(size))
    assert run("export", "r0", *options, "--round", "-o", out).exit_code == 0
    target.lost.clear()
    result = run("import", "r0", options[0], out, *options[1:], "--no-read", "--yes")
    assert result.exit_code == 0, result.stderr
    blocks = {sector // step for sector in lost}
    assert target.lost == {sector for sector in range(sectors) if sector // step in blocks}
    # One that lies behind the end altogether is still of another disk.
    behind = write(tmp_path, f"{-(-sectors // step)}\n")
    assert run("import", "r0", options[0], behind, *options[1:]).exit_code == 4


def test_long_ranges_go_in_parts(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    """More each time, as long as they are quick."""
    assert run("import", "r0", "--list", write(tmp_path, "0 200000\n300000 5\n")).exit_code == 0
    counts = [sum(map(int, words.split()[2::2])) for words in messages(target, "remap")]
    assert counts == [64, 512, 4096, 32768, 65536, 65536, 31493]
    assert len(target.remapped) == 200_005


def test_a_dying_disk_is_asked_for_little_at_once(
    target: FakeTarget, clock: list[float], run: Run, tmp_path: Path
) -> None:
    """Nobody hears ^C before a message has ended."""

    def slow(words: str) -> None:
        name, *numbers = words.split()
        if name == "remap":
            sector, count = map(int, numbers)
            bad = range(max(sector, 1100), min(sector + count, 1620))
            clock[0] += 0.001 * count + 5 * len(bad)

    target.before = slow
    assert run("import", "r0", "--list", write(tmp_path, "0 10000\n")).exit_code == 0
    counts = [int(words.split()[2]) for words in messages(target, "remap")]
    assert counts == [64, 512, 512, 512, 8, 8, 8, 8, 64, *(16 * [512]), 112]
    assert len(target.remapped) == 10_000


@pytest.mark.parametrize(
    ("text", "option"),
    [(f"{SECTORS // 2}\n", "--badblocks"), (f"5\n{SECTORS} 1\n", "--list"),
     (f"0 + 1\n0 512 -\n512 {SECTORS * 512} +\n", "--ddrescue")],
)  # fmt: skip
def test_a_list_of_another_disk_changes_nothing(
    target: FakeTarget, run: Run, tmp_path: Path, text: str, option: str
) -> None:
    result = run("import", "r0", option, write(tmp_path, f"{text}"))
    assert result.exit_code == 4 and "of another disk" in result.stderr
    assert not target.remapped and not target.lost


@pytest.mark.parametrize(
    ("text", "option"),
    [("1\n2\n3x\n", "--badblocks"), ("1\n2\nx\n", "--list"), ("0 ?\n0 8 -\nx", "--ddrescue")],
)
def test_a_malformed_list_changes_nothing_and_its_line_is_named(
    target: FakeTarget, run: Run, tmp_path: Path, text: str, option: str
) -> None:
    result = run("import", "r0", option, write(tmp_path, text, "bad\x1bname"))
    assert result.exit_code == 2 and "bad\\x1bname: line 3, " in result.stderr
    assert result.stderr.count("\n") == 1 and target.sent == []


def test_giving_up_asks(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "8 4\n")
    refused = run("import", "r0", "--list", path, "--no-read", answer="n\n")
    assert refused.exit_code == 10 and "4 sectors of r0 will not be readable again" in refused.stderr
    assert not target.lost
    assert run("import", "r0", "--list", path, "--no-read", answer="y\n").exit_code == 0
    assert target.lost == {8, 9, 10, 11} and not target.remapped
    # Nothing new: nothing to ask.
    assert run("import", "r0", "--list", path, "--no-read", answer="").exit_code == 0


def test_a_dry_run_changes_nothing(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    target.lost = {10}
    path = write(tmp_path, "".join(f"{4 * n + 8} 3\n" for n in range(30)))
    shown = run("import", "r0", "--list", path, "--no-read", "--dry-run")
    assert shown.exit_code == 0 and not messages(target, "pending") and target.lost == {10}
    assert "90 sectors of r0 are listed; 0 were remapped before, 1 pending" in shown.stdout
    assert "89 in 30 ranges would become pending" in shown.stdout and "and 10 more" in shown.stdout
    told = json.loads(run("import", "r0", "--list", path, "--dry-run", "--json").stdout)
    assert told["dry_run"] and told["remapped"] is None
    assert told["ranges"][0] == {"sector": 8, "sectors": 2}


def test_standard_input(target: FakeTarget, run: Run) -> None:
    assert run("import", "r0", "--list", "-", answer="77\n").exit_code == 0
    assert set(target.remapped) == {77}
    result = run("import", "r0", "--badblocks", "-", "--no-read", answer="9\n")
    assert result.exit_code == 2 and "use --yes" in result.stderr
    assert run("import", "r0", "--badblocks", "-", "--no-read", "--yes", answer="9\nx\n").exit_code == 2
    assert not target.lost


@pytest.mark.parametrize(
    ("option", "data"),
    [
        ("--list", b"5\n6\n\xff\xfe\n"),
        ("--badblocks", b"5\n6\n\xff\xfe\n"),
        ("--ddrescue", b"0 ?\n0 8 -\n\xff\xfe\n"),
    ],
)
def test_standard_input_that_is_no_text(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str,
    data: bytes,
) -> None:  # fmt: skip
    """As Python gives it in a locale of UTF-8: strict."""
    from pycontrol.cli.main import cli

    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(data), "utf-8", "strict"))
    with pytest.raises(SystemExit) as ended:
        cli(["import", "r0", option, "-"])
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1
    assert told.startswith("dmremapctl: standard input: line 3, '") and target.sent == []


@pytest.mark.parametrize(
    "options",
    [(), ("--smart", "--list", "x"), ("--list", "x", "--block-size", "512"), ("--smart", "--status", "-"),
     ("--ddrescue", "x", "--status", "a"), ("--ddrescue", "x", "--status", ""),
     ("--badblocks", "x", "--block-size", "100")],
)  # fmt: skip
def test_options_that_make_no_sense(target: FakeTarget, run: Run, options: tuple[str, ...]) -> None:
    result = run("import", "r0", *options)
    assert result.exit_code == 2 and target.sent == []


def test_what_counts_as_bad_in_a_map_can_be_chosen(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "0 ?\n0 512 ?\n512 512 *\n1024 512 /\n1536 512 -\n2048 512 +\n")
    run("import", "r0", "--ddrescue", path, "--dry-run")
    for status, sectors in (("-", {3}), ("*-", {1, 3}), ("?", {0})):
        target.remapped.clear()
        assert run("import", "r0", "--ddrescue", path, "--status", status).exit_code == 0
        assert set(target.remapped) == sectors
    target.remapped.clear()
    assert run("import", "r0", "--ddrescue", path).exit_code == 0
    assert set(target.remapped) == {1, 2, 3}


def test_a_spare_that_fills_up_is_foretold_and_what_was_moved_stays(
    kernel: FakeKernel, target: FakeTarget, run: Run, tmp_path: Path
) -> None:
    kernel.status_line = "3000/4096 0 0 5/5 1 0 0 0 0 0 0 rw -"
    target.room = 1096
    result = run("import", "r0", "--list", write(tmp_path, "".join(f"{n * 10}\n" for n in range(2000))))
    assert "the spare has room for 1096 sectors, and 2000 may need it" in result.stderr
    assert result.exit_code == 9
    assert "after 1086 of 2000 sectors, which stay as they are now" in result.stderr
    assert "No space left" in result.stderr and len(result.stderr) < 600
    assert len(target.remapped) == 1096


def test_an_interruption_says_what_stays(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    def interrupted(words: str) -> None:
        if words.startswith("remap") and target.remapped:
            raise KeyboardInterrupt

    target.before = interrupted
    result = run("import", "r0", "--list", write(tmp_path, "".join(f"{n * 10}\n" for n in range(2000))))
    assert result.exit_code == 10 and "goes on with the rest" in result.stderr
    assert len(target.remapped) == 64


def test_sectors_that_somebody_moves_back_are_told(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    def moved_back(words: str) -> None:
        if words.startswith("list") and target.remapped:
            target.remapped.pop(5, None)

    target.before = moved_back
    result = run("import", "r0", "--list", write(tmp_path, "5 2\n"))
    assert result.exit_code == 0 and "1 are neither" in result.stderr


@pytest.mark.parametrize("command", [("import", "--smart"), ("export",)])
def test_devices_of_another_kind(kernel: FakeKernel, run: Run, command: tuple[str, ...]) -> None:
    kernel.add("two", "", (0, 8, "dm-remap-v4", "8:2 8:3"), (8, 8, "dm-remap-v4", "8:2 8:3"))
    kernel.add("none", "DMREMAP-9")
    kernel.add("root", "LVM-xyz", (0, 8, "linear", "8:1 0"))
    word, *options = command
    for name, code, words in (("two", 2, "several targets"), ("none", 4, "no table"), ("root", 4, "not one")):
        result = run(word, name, *options)
        assert result.exit_code == code and words in result.stderr


def test_a_target_that_lists_something_else(kernel: FakeKernel, target: FakeTarget, run: Run) -> None:
    kernel.answer = lambda words: "8 eight\x1b 1 remap\n"
    result = run("export", "r0")
    assert result.exit_code == 6 and "'8 eight\\x1b 1 remap', which is not as documented" in result.stderr


# What the disk itself says.


@pytest.fixture
def disk(disks: Disks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Main is the second partition of sda, from sector 2048 on; smartctl is a program that prints a file."""
    path = tmp_path / "block/8:0"
    path.parent.mkdir()
    path.touch()
    disks.known[str(path)] = BlockDevice(
        str(path), DevNumber(8, 0), SECTORS * 512, 512, disk="sda", partition=True
    )
    (tmp_path / "dev/block/8:0").mkdir(parents=True)
    (tmp_path / "dev/block/8:0/start").write_text("2048\n")
    monkeypatch.setattr(blockdev, "SYSFS", tmp_path)
    monkeypatch.setattr(live, "DEV", tmp_path)
    return tmp_path


def smart(monkeypatch: pytest.MonkeyPatch, top: Path, document: object) -> None:
    program = top / "smartctl"
    (top / "answer").write_text(json.dumps(document))
    program.write_text(f'#!/bin/sh\necho "$@" >{top}/asked\ncat {top}/answer\n')
    program.chmod(0o755)
    monkeypatch.setattr(smartctl, "SEARCH", f"{top}:/bin:/usr/bin")


def test_bad_blocks_by_smart_are_those_of_the_partition(
    target: FakeTarget, run: Run, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lbas = [5, 2048, 2050, 2048 + SECTORS - 1, 2048 + SECTORS]
    smart(monkeypatch, disk, {"ata_pending_defects_log": {"table": [{"lba": lba} for lba in lbas]}})
    assert run("import", "r0", "--smart").exit_code == 0
    assert set(target.remapped) == {0, 2, SECTORS - 1}
    assert (disk / "asked").read_text().split()[-1] == "/dev/sda"


def test_smart_that_says_nothing(
    target: FakeTarget, run: Run, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smart(monkeypatch, disk, None)
    (disk / "smartctl").write_text("#!/bin/sh\nexit 3\n")
    result = run("import", "r0", "--smart")
    assert result.exit_code == 4 and "/dev/sda does not tell its bad blocks: asleep" in result.stderr
    assert not target.remapped
