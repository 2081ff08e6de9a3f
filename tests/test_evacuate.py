"""``dmremapctl evacuate``: what it refuses, what is copied, and what is given up."""

import json
import os
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.errors import Busy
from pycontrol.service.move import evacuate
from tests.conftest import MIB, Disks, Run
from tests.evacuation import Mapped
from tests.moving import MAIN, MAPPED, PENDING, SECTORS, Device, MovingKernel, bad_sectors, loaded, put, valid


@pytest.fixture
def mapped(device: Device) -> Mapped:
    return Mapped(device, size=MAIN + MIB)


def test_everything_is_copied_and_the_device_goes_on_there(
    mapped: Mapped, run: Run, moving: MovingKernel
) -> None:
    put(mapped.new, [(MAIN, b"behind")])
    result = run("evacuate", "data", mapped.new, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told.pop("seconds") > 0
    assert told == {
        "name": "data", "main": mapped.device.main, "spare": mapped.device.spare, "new": mapped.new,
        "dry_run": False, "sectors": SECTORS, "copied": SECTORS, "loses": [], "lost": [], "warnings": [],
    }  # fmt: skip
    mapped.check()
    assert Path(mapped.new).read_bytes()[MAIN : MAIN + 6] == b"behind"
    assert mapped.device.live == (0, SECTORS, "linear", f"{mapped.device.disks.number(mapped.new)} 0")
    assert not moving.devices["data"].suspended and moving.region is None
    with pytest.raises(metadata.OutOfService, match="moved to"):
        loaded(mapped.device.spare)
    # It is still there under its name, and says why it has nothing of dm-remap any more.
    assert "evacuated" in run("list").stdout
    assert "since it was evacuated" in run("status", "data").stdout
    for command in ("health", "map", "leave"):
        result = run(command, "data")
        assert result.exit_code == 4 and "since it was evacuated" in result.stderr, command
    assert run("remove", "data").exit_code == 0


def test_what_is_written_meanwhile_is_copied_from_where_it_lives(
    mapped: Mapped, run: Run, moving: MovingKernel
) -> None:
    def write(number: int) -> None:
        mapped.write(MAPPED[number])
        mapped.write_main(30_000 + number, bytes([number]) * 512)

    moving.at_count = write
    assert run("evacuate", "data", mapped.new, "--yes").exit_code == 0
    assert moving.told >= 3
    mapped.check()


def test_pending_sectors_are_refused_or_given_up(
    moving: MovingKernel, disks: Disks, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(moving, disks, tmp_path, pending=True)
    mapped = Mapped(device)
    put(device.main, [(PENDING * 512, b"stale" * 100)])
    bad_sectors(monkeypatch, str(mapped.path), set(range(PENDING, PENDING + 8)))
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 5 and "8 sectors of data cannot be read" in result.stderr
    assert Path(mapped.new).read_bytes() == bytes(MAIN)

    result = run("evacuate", "data", mapped.new, "--give-up-lost", str(tmp_path / "lost"), answer="n\n")
    assert result.exit_code == 10 and "8 sectors cannot be read and will be zeroes" in result.stderr
    result = run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "lost"))
    assert result.exit_code == 0, result.stderr
    assert "8 sectors are lost" in result.stdout and "wipefs" in result.stdout
    # Zeroes, and not what main still has there.
    mapped.check()
    assert (tmp_path / "lost").read_text() == f"{PENDING} 8\n"


def dying(mapped: Mapped, monkeypatch: pytest.MonkeyPatch, first: int, end: int) -> None:
    """These sectors cannot be read any more, which is not recorded, and are to be zeroes."""
    for path in (str(mapped.path), mapped.device.main):
        bad_sectors(monkeypatch, path, set(range(first, end)))
    put(str(mapped.path), [(first * 512, bytes((end - first) * 512))])


def test_zeroes_are_written_while_io_goes_on(
    mapped: Mapped, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying(mapped, monkeypatch, 42_000, 62_480)
    real, written = os.pwritev, []

    def pwritev(fd: int, buffers: list[memoryview], offset: int, *rest: int) -> int:
        if moving.devices["data"].suspended and os.fstat(fd).st_ino == Path(mapped.new).stat().st_ino:
            written.append(sum(map(len, buffers)))
        return real(fd, buffers, offset, *rest)

    monkeypatch.setattr(os, "pwritev", pwritev)
    # What is there must not remain.
    put(mapped.new, [(50_000 * 512, b"old")])
    result = run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "lost"))
    assert result.exit_code == 0, result.stderr
    mapped.check()
    assert (tmp_path / "lost").read_text() == "42000 20480\n"
    assert sum(written) == MIB


def test_what_was_lost_while_it_was_copied_again_is_zeroes(
    mapped: Mapped, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying(mapped, monkeypatch, 42_000, 42_008)

    def wear(number: int) -> None:
        # It is copied with the first round, and lost when it is written once more.
        if number == 2:
            mapped.write_main(43_000, b"#" * 512)
            dying(mapped, monkeypatch, 43_000, 43_001)

    moving.at_count = wear
    result = run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "lost"))
    assert result.exit_code == 0, result.stderr
    mapped.check()
    assert (tmp_path / "lost").read_text() == "42000 8\n43000 1\n"


def test_what_is_lost_is_tried_again_for_half_the_pause(
    mapped: Mapped, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dying(mapped, monkeypatch, 42_000, 42_100)
    real, clock = os.preadv, [0.0]
    failed: list[int] = []

    def preadv(fd: int, buffers: list[memoryview], offset: int, *rest: int) -> int:
        try:
            return real(fd, buffers, offset, *rest)
        except OSError:
            if moving.devices["data"].suspended:
                clock[0] += 0.5
                failed.append(offset // 512)
            raise

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr("pycontrol.service.move.evacuate.monotonic", lambda: clock[0])
    words = (
        "evacuate",
        "data",
        mapped.new,
        "--yes",
        "--pause",
        "4",
        "--give-up-lost",
        str(tmp_path / "lost"),
    )
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    mapped.check()
    # Each block is read twice.
    assert failed == [42_000, 42_000, 42_001, 42_001]


def test_what_came_there_while_it_was_asked(mapped: Mapped) -> None:
    with Control() as control:
        decided = evacuate.plan(control, "data", mapped.new)
        put(mapped.new, [(0x438, b"\x53\xef")])
        before = Path(mapped.new).read_bytes()
        with pytest.raises(Busy, match=r"carries ext2/3/4 .* by now"):
            evacuate.carry_out(control, decided)
    assert Path(mapped.new).read_bytes() == before and valid(mapped.device.spare)


def test_the_device_itself_is_no_new_disk(mapped: Mapped, run: Run) -> None:
    result = run("evacuate", "data", str(mapped.path), "--yes", "--overwrite")
    assert result.exit_code == 4 and "is data itself" in result.stderr


def test_the_list_of_what_is_lost_is_a_new_file(mapped: Mapped, run: Run, tmp_path: Path) -> None:
    (tmp_path / "lost").write_text("old")
    result = run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "lost"))
    assert result.exit_code == 2 and "exists" in result.stderr
    result = run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "no/lost"))
    assert result.exit_code == 6
    # Nothing was lost: no file.
    assert (
        run("evacuate", "data", mapped.new, "--yes", "--give-up-lost", str(tmp_path / "none")).exit_code == 0
    )
    assert not (tmp_path / "none").exists()


def test_a_block_that_fails_while_copying_is_named(
    mapped: Mapped, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bad_sectors(monkeypatch, str(mapped.path), {20_001})
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 5 and "the first is 20001" in result.stderr
    assert valid(mapped.device.spare) and mapped.device.live[2] == "dm-remap-v4"
    # It comes back on another try, from the raw disk.
    put(mapped.device.main, [(20_001 * 512, b"#" * 512)])
    put(str(mapped.path), [(20_001 * 512, b"#" * 512)])
    result = run(
        "evacuate", "data", mapped.new, "--yes", "--overwrite", "--give-up-lost", str(tmp_path / "lost")
    )
    assert result.exit_code == 0, result.stderr
    mapped.check()
    assert not (tmp_path / "lost").exists()


def test_a_device_that_is_gone_ends_it(mapped: Mapped, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_sectors(monkeypatch, str(mapped.path), set(range(SECTORS)))
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 6 and "cannot be read at all any more" in result.stderr
    assert valid(mapped.device.spare)


def test_a_dry_run(mapped: Mapped, run: Run) -> None:
    put(mapped.new, [(0x438, b"\x53\xef")])
    before = Path(mapped.new).read_bytes()
    shown = run("evacuate", "data", mapped.new, "--dry-run", "--overwrite").stdout
    assert "would copy 32 MiB of data" in shown and "would overwrite ext2/3/4" in shown
    assert json.loads(run("evacuate", "data", mapped.new, "--dry-run", "--overwrite", "--json").stdout)[
        "dry_run"
    ]
    result = run("evacuate", "data", mapped.new, "--overwrite", answer="\n")
    assert result.exit_code == 10 and "ext2/3/4" in result.stderr
    assert Path(mapped.new).read_bytes() == before and valid(mapped.device.spare)


def refused(mapped: Mapped, run: Run, code: int, words: str, *arguments: str) -> None:
    result = run("evacuate", *arguments, "--yes")
    assert result.exit_code == code, result.stderr
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert mapped.device.live[2] == "dm-remap-v4" and valid(mapped.device.spare)


def test_what_cannot_take_it(mapped: Mapped, run: Run, moving: MovingKernel) -> None:
    device = mapped.device
    refused(mapped, run, 4, "too small", "data", device.disk("small", MAIN - MIB))
    refused(mapped, run, 4, "logical blocks of 4096", "data", device.disk("large", MAIN, logical_block=4096))
    refused(mapped, run, 4, "in use here already", "data", device.main)
    refused(mapped, run, 5, "mounted on /mnt", "data", device.disk("mounted", MAIN, mounts=("/mnt",)))
    put(mapped.new, [(0, b"precious")])
    refused(mapped, run, 5, "data of unknown kind", "data", mapped.new)
    moving.devices["data"].live = [(8, 800, "dm-remap-v4", device.table(device.spare))]
    refused(mapped, run, 4, "sector 0 of its table", "data", mapped.new)


def test_one_that_is_suspended_by_somebody_else(mapped: Mapped, run: Run, moving: MovingKernel) -> None:
    moving.devices["data"].suspended = True
    refused(mapped, run, 5, "suspended by another program", "data", mapped.new)
    result = run("evacuate", "data", mapped.new, "--dry-run")
    assert result.exit_code == 5 and "data is suspended" in result.stderr
    result = run("spare", "replace", "data", mapped.new, "--dry-run")
    assert result.exit_code == 5 and "data is suspended" in result.stderr
