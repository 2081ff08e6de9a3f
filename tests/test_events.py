"""``dmremapctl events``, the times people write, and reading a spare that is in service."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.errors import UsageError, WrongDevice
from pycontrol.metadata import Corrupt, Record
from pycontrol.service import live
from pycontrol.service.offline import source
from pycontrol.service.view.when import local, parse_time
from tests.conftest import Run
from tests.fakes import FakeKernel
from tests.inservice import DAY, NOW, InService, in_service

TABLE = [
    Record(1000, 3000, 8, 1, 1, NOW - 9 * DAY),
    Record(2000, 0, 16, 2, 1, NOW - 2 * DAY),
    Record(1000, 0, 8, 4, 1, NOW - 3600),
    Record(0, 4000, 1, 8, 1, 0),
]


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def data(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InService:
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    monkeypatch.setenv("COLUMNS", "80")
    made = in_service(kernel, tmp_path, monkeypatch)
    made.put(TABLE)
    return made


def test_events_for_people(data: InService, run: Run) -> None:
    assert run("events", "data").stdout.splitlines() == [
        "2026-09-12 16:13:20  remap 1000, spare 3000, 8 sectors",
        "2026-09-19 16:13:20  pending 2000, 16 sectors",
        "2026-09-21 15:13:20  unmap 1000, 8 sectors",
        "2026-09-21 15:13:20? bad spare 4000, 1 sectors",
    ]


def test_events_on_a_narrow_terminal(data: InService, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = run("events", "data").stdout.splitlines()
    assert lines[:2] == ["2026-09-12 16:13:20 ", "  remap 1000, spare 3000, 8 sectors"]
    assert max(map(len, lines)) < 40


def test_events_in_json(data: InService, run: Run) -> None:
    found = [json.loads(line) for line in run("events", "data", "--json").stdout.splitlines()]
    assert found[0] == {
        "time": NOW - 9 * DAY, "not_before": NOW - 9 * DAY, "kind": "remap", "sector": 1000, "sectors": 8,
        "spare": 3000,
    }  # fmt: skip
    assert [(each["kind"], each["sector"], each["spare"]) for each in found[1:]] == [
        ("pending", 2000, None),
        ("unmap", 1000, None),
        ("bad_spare", None, 4000),
    ]
    assert (found[3]["time"], found[3]["not_before"]) == (0, NOW - 3600)
    words = run("events", "--help").stdout
    assert [key for key in found[0] if key not in words] == []
    assert "not a diary" in words and "compacted" in words


@pytest.mark.parametrize(
    ("since", "kinds"),
    [
        ("30d", ["remap", "pending", "unmap", "bad_spare"]),
        ("3d", ["pending", "unmap", "bad_spare"]),
        ("today", ["unmap", "bad_spare"]),
        ("now", []),
    ],
)
def test_events_since(data: InService, run: Run, since: str, kinds: list[str]) -> None:
    result = run("events", "data", "--since", since, "--json")
    assert [json.loads(line)["kind"] for line in result.stdout.splitlines()] == kinds
    assert result.stderr == ""


def test_events_without_a_date(data: InService, run: Run) -> None:
    data.put([Record(8, 3100, 8, 1, 1, 0), *TABLE[:1]])
    assert run("events", "data").stdout.startswith("time unknown       ? remap 8, spare 3100")
    result = run("events", "data", "--since", "30d")
    assert result.stdout.count("\n") == 1 and "1 records without a date are left out" in result.stderr


def test_events_of_nothing_and_of_what_cannot_be_read(data: InService, run: Run) -> None:
    data.put(())
    assert run("events", "data").stdout == ""
    assert run("events", "data", "--since", "soon").exit_code == 2
    assert run("events", "nothing").exit_code == 4
    data.image.write_bytes(b"4RMD" * 200_000)
    assert run("events", "data").exit_code == 3
    data.image.unlink()
    result = run("events", "data")
    assert result.exit_code == 4 and "no node for the block device 8:16" in result.stderr


# Times.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", NOW),
        ("90s", NOW - 90),
        ("5m", NOW - 300),
        (" 2H ", NOW - 7200),
        ("3 d", NOW - 3 * DAY),
        ("2w", NOW - 14 * DAY),
        ("1700000000", 1_700_000_000),
        ("@5", 5),
        ("2026-09-21", NOW - 16 * 3600 - 13 * 60 - 20),
        ("today", NOW - 16 * 3600 - 13 * 60 - 20),
        ("yesterday", NOW - 40 * 3600 - 13 * 60 - 20),
        ("2026-09-21T16:13:20", NOW),
        ("2026-09-21 14:13:20Z", NOW),
        ("2026-09-21T14:13:20+00:00", NOW),
    ],
)
def test_times_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_time(text, NOW) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "2x", "-5", "h", "2026-13-01", "²h", "@", "9" * 13, "5m5", "1e9"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, NOW)


def test_yesterday_across_a_change_of_the_clocks() -> None:
    # 2026-10-25 has 25 hours in Berlin: midnight before is 49 hours and not 48 before midnight after it.
    after = parse_time("2026-10-26T12:00", NOW)
    assert parse_time("yesterday", after) == parse_time("2026-10-25", NOW)
    assert after - parse_time("yesterday", after) == 37 * 3600


def test_a_time_that_no_calendar_has() -> None:
    assert local(2.0**63) == "9223372036854775808 s"


# A spare in service.


def test_a_device_is_found_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dev, sysfs = tmp_path / "dev", tmp_path / "sys"
    (dev / "block").mkdir(parents=True)
    place = sysfs / "dev/block/8:16"
    place.mkdir(parents=True)
    with pytest.raises(WrongDevice, match="no node"):
        live.node("8:16", dev, sysfs)
    (place / "uevent").write_text("MAJOR=8\nMINOR=16\nDEVNAME=sdb\n")
    with pytest.raises(WrongDevice, match="no node"):
        live.node("8:16", dev, sysfs)
    (dev / "sdb").touch()
    with pytest.raises(WrongDevice, match="no node"):
        live.node("8:16", dev, sysfs)
    real = Path.stat
    block = os.stat_result((0o060660, 1, 1, 1, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(8, 16)})
    monkeypatch.setattr(Path, "stat", lambda path, **k: block if path == dev / "sdb" else real(path, **k))
    assert live.node("8:16", dev, sysfs) == str(dev / "sdb")
    assert live.kernel_name("8:16", sysfs) == "sdb" and live.kernel_name("\0", sysfs) == ""
    (dev / "block/8:16").touch()
    assert live.node("8:16", dev, sysfs) == str(dev / "block/8:16")


def test_a_spare_in_use_is_read_again_when_its_log_moved(
    data: InService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a compaction goes on the log may be gone when it is looked for."""
    whole = data.image.read_bytes()
    torn = bytearray(whole)
    for copy in range(5):
        torn[copy * 0x20000 + 0x200] ^= 1
    data.image.write_bytes(torn)
    with pytest.raises(Corrupt):
        live.load_live("8:16")
    looks: list[int] = []
    real = source.Source.refresh

    def refresh(opened: source.Source) -> None:
        looks.append(1)
        data.image.write_bytes(whole if len(looks) > 4 else torn)
        real(opened)

    monkeypatch.setattr(source, "user_of", lambda *_: "in use by data")
    monkeypatch.setattr(source.Source, "refresh", refresh)
    assert len(live.load_live("8:16").records) == len(TABLE) and len(looks) == 5
    looks.clear()
    monkeypatch.setattr(live, "TRIES", 3)
    with pytest.raises(Corrupt):
        live.load_live("8:16")


def test_of_two_sets_of_metadata_the_device_names_its_own(data: InService) -> None:
    other = "DMREMAP-ffeeddcc-bbaa-9988-7766-554433221100"
    with pytest.raises(metadata.NotOurs, match="not of ffeeddcc"):
        live.load_live("8:16", other)
    for uuid in ("", "LVM-xyz", "DMREMAP-1"):
        assert len(live.load_live("8:16", uuid).records) == len(TABLE)
