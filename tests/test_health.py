"""``dmremapctl health``: the verdict by a table of cases, and the command."""

import json
import time
from pathlib import Path

import pytest

from pycontrol.metadata import Record
from pycontrol.service.status import TargetStatus
from pycontrol.service.view.growth import Growth
from pycontrol.service.view.health import Facts, Level, Verdict, judge
from pycontrol.service.view.outlook import outlook
from pycontrol.service.view.when import local_day
from tests.conftest import Run
from tests.fakes import FakeKernel
from tests.inservice import DAY, NOW, InService, in_service
from tests.test_metadata_images import spare

GOOD, WATCH, ACT, FAILING = Level.GOOD, Level.WATCH, Level.ACT, Level.FAILING


def found(count: int, days: float, *, sectors: int = 1, kind: int = 1, at: int = 0) -> list[Record]:
    """So many places that failed so many days ago; ``at`` keeps apart what is to be apart."""
    when = NOW - int(days * DAY)
    first, step = 20_000 * at, 2 * sectors
    return [
        Record(first + step * n, 20_000 + first + step * n if kind == 1 else 0, sectors, kind, 1, when)
        for n in range(count)
    ]


def growth(records: list[Record], now: float = NOW) -> Growth:
    committed = max((record.time for record in records), default=NOW)
    return Growth.of(spare(records, time=committed).load(), now)


def verdict(
    records: list[Record] | None = None,
    line: str = "0/100000 0 0 5/5 9 0 0 0 0 0 0 rw -",
    *,
    pending: int = 0,
    now: float = NOW,
    readonly: bool = False,
) -> Verdict:
    grown = growth(records, now) if records is not None else None
    status = TargetStatus.parse(line)
    return judge(
        Facts(
            name="data", now=now, status=status, pending_sectors=pending, growth=grown, unread="it is gone",
            readonly=readonly,
        )
    )  # fmt: skip


def status_line(used: int = 0, *errors: str, copies: str = "5/5", mode: str = "rw", check: str = "-") -> str:
    words = " ".join([str(len(errors)), *errors])
    return f"{used}/100000 0 0 {copies} 9 0 0 0 0 0 {words} {mode} {check}"


def asked_for(records: list[Record]) -> list[Record]:
    """The same, moved because somebody said so."""
    return [record._replace(errors=0) for record in records]


def undated(count: int) -> list[Record]:
    """Failures of a time when no clock was set."""
    return [record._replace(time=5000) for record in found(count, 0)]


OLD = found(10_000, 100)
CASES = [
    # What there is and does not grow.
    ("a fresh device", [], status_line(), GOOD, "good", "No sector has failed so far"),
    ("10 000 old remaps", OLD, status_line(10_000), GOOD, "good", "10000 places are damaged in all, none"),
    ("two quiet weeks", found(9, 14), status_line(), GOOD, "good", "in the last week, the last one on 2026-"),
    ("without dates", [Record(8, 5000, 8, 1)], status_line(), GOOD, "good", "1 place moved or given up"),
    ("a full spare that lasts", OLD, status_line(95_000), WATCH, "spare_nearly_full", "does not fill"),
    ("a large import", asked_for(found(10_000, 0.1)), status_line(), GOOD, "good", "10000 places"),
    ("one old place", found(1, 50), status_line(), GOOD, "good", "1 place is damaged in all, none"),
    # Whose age nobody knows.
    ("without a clock", undated(39), status_line(), WATCH, "clock", "39 records of failures"),
    ("and one later", undated(1) + found(1, 20, at=1), status_line(), WATCH, "clock", "1 record of"),
    ("one long ago", undated(39) + found(1, 50, at=1), status_line(), GOOD, "good", "40 places are damaged"),
    ("on request", asked_for(undated(39)), status_line(), GOOD, "good", "no other sector has failed"),
    ("of the spare", [Record(0, 9000, 8, 8, 1)], status_line(), WATCH, "clock", "1 record of"),
    # What grows.
    ("beside it", asked_for(found(99, 0.1)) + found(1, 0.5, at=9), status_line(), WATCH, "rate", "1 new"),
    ("one new place", OLD + found(1, 0.5, at=9), status_line(10_000), WATCH, "rate", "1 new place in"),
    ("a few a week", found(3, 5), status_line(), WATCH, "rate", "0 new places in the last day, 3 in"),
    ("a burst today", OLD + found(12, 0.5, at=9), status_line(), ACT, "rate", "faster and faster"),
    ("a bad week", found(8, 20) + found(20, 4, at=1), status_line(), ACT, "rate", "faster, 0 new places"),
    (
        "many every day",
        [record for day in range(29) for record in found(11, day + 0.5, at=day)],
        status_line(),
        ACT,
        "rate",
        "The disk loses 11 places a day",
    ),
    # The spare.
    ("full in two months", found(4, 6, sectors=1750), status_line(50_000), WATCH, "rate", ""),
    ("full in three weeks", found(4, 6, sectors=7000), status_line(20_000), ACT, "exhaustion", "20 days"),
    ("full tomorrow", found(4, 6, sectors=7000), status_line(96_000), FAILING, "exhaustion", "24 hours"),
    ("nearly full and slow", found(3, 5), status_line(95_000), WATCH, "spare_nearly_full", "full in about"),
    ("full", OLD, status_line(100_000, "spare_full"), ACT, "spare_full", "not taken over:"),
    ("full and more", found(1, 2), status_line(100_000), FAILING, "spare_full", "and there are new ones"),
    ("the spare fails", [Record(0, 9000, 8, 8, 1, NOW - DAY)], status_line(), ACT, "bad_spare", "8 sectors"),
    ("it failed once", [Record(0, 9000, 8, 8, 1, NOW - 9 * DAY)], status_line(), WATCH, "bad_spare", "0 of"),
    ("and long ago", [Record(0, 9000, 8, 8, 1, NOW - 90 * DAY)], status_line(), GOOD, "good", "No sector"),
    # The state of the target.
    ("a copy", OLD, status_line(copies="4/5"), WATCH, "copies", "1 of 5 copies"),
    ("two copies", OLD, status_line(copies="3/5"), ACT, "copies", "one more and nothing can be recorded"),
    ("needs_check", [], status_line(check="needs_check"), ACT, "needs_check", "message data repair"),
    ("the breaker", OLD, status_line(0, "breaker"), FAILING, "breaker", "message data rearm"),
    ("ro", OLD, status_line(0, "metadata", mode="ro"), FAILING, "mode", "not taken over any more"),
    ("Fail", None, status_line(mode="Fail", copies="0/5"), FAILING, "mode", "meta check"),
    ("no history", None, status_line(), WATCH, "history", "not known, it is gone"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("records", "line", "level", "kind", "words"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_verdicts(records: list[Record] | None, line: str, level: Level, kind: str, words: str) -> None:
    said = verdict(records, line)
    (reason,) = (each for each in said.reasons if each.kind == kind)
    assert (said.level, reason.level) == (level, level), said
    assert words in reason.sentence
    for reason in said.reasons:
        assert reason.sentence.endswith(".") and ": " in reason.sentence, "what to do is said"
    assert [reason.level for reason in said.reasons] == sorted((r.level for r in said.reasons), reverse=True)


@pytest.mark.parametrize(
    ("records", "pending", "level", "words"),
    [
        (found(5, 60, kind=2), 5, WATCH, "5 sectors is lost until they are written, none of them new"),
        (found(5, 3, kind=2), 5, ACT, "5 of them since last week"),
        (found(5, 3, kind=2) + found(4, 1), 1, ACT, "1 of them since last week"),
        (None, 5, WATCH, "5 sectors is lost"),
    ],
)
def test_pending(records: list[Record] | None, pending: int, level: Level, words: str) -> None:
    said = verdict(records, pending=pending)
    assert said.level == level
    assert any(
        words in reason.sentence and "dmremapctl fill data" in reason.sentence for reason in said.reasons
    )


def test_read_only_on_purpose_is_no_failure() -> None:
    said = verdict(OLD, status_line(10_000, mode="ro"), readonly=True)
    assert said.level is WATCH and "activate it for writing" in said.reasons[0].sentence


def test_what_was_asked_for_is_neither_counted_nor_dated_as_a_failure() -> None:
    said = verdict(found(1, 20) + asked_for(found(1, 0, at=1)))
    assert said.level is GOOD
    (reason,) = said.reasons
    assert reason.sentence == (
        f"1 place is damaged in all, none in the last week, the last one on {local_day(NOW - 20 * DAY)}, and"
        " 1 place moved or given up on request: there is nothing to do."
    )


def test_healing_old_damage_is_no_new_damage() -> None:
    """Pending blocks that are written become remaps, and a place of the spare that fails is replaced."""
    healed = found(2000, 100, kind=2) + found(2000, 0.1)
    assert verdict(healed).level is GOOD
    moved = [record._replace(spare=record.spare + 500_000, time=NOW - 60) for record in OLD[:3]]
    assert verdict(OLD + moved).level is GOOD


def test_a_block_that_came_back_and_fails_again_is_new_damage() -> None:
    old, free = found(1, 100), found(1, 50, kind=4)
    again = [old[0]._replace(time=NOW - DAY // 2)]
    assert growth(old + free).day.places == 0 and growth(old + free).places == 1
    assert growth(old + free + again).day.places == 1 and growth(old + free + again).places == 2


def test_new_damage_that_partly_overlaps_old_counts_once() -> None:
    records = [
        Record(100, 5000, 20, 1, 1, NOW - 9 * DAY),
        Record(110, 0, 20, 2, 1, NOW - 60),
        Record(90, 5100, 50, 1, 1, NOW),
    ]
    grown = growth(records)
    assert (grown.places, grown.sectors) == (3, 50)
    assert (grown.day.places, grown.day.sectors, grown.day.pending) == (2, 30, 10)
    assert list(grown.amounts) == [20, 10, 20]


# Clocks.


def test_a_clock_that_jumped_back() -> None:
    """Everything on the spare is newer than the clock: that nothing is new cannot be said."""
    said = verdict(found(50, 0.5), now=NOW - 400 * DAY)
    assert (
        said.level is WATCH and said.reasons[0].kind == "clock" and "50 records" in said.reasons[0].sentence
    )
    assert verdict(found(50, 0.5), now=0).reasons[0].kind == "clock"


def test_a_record_of_the_future_is_as_new_as_the_one_before_it() -> None:
    ahead = [record._replace(time=NOW + 365 * DAY) for record in found(12, 0, at=2)]
    grown = growth([*found(1, 0.5), *ahead])
    assert (grown.day.places, grown.doubtful, grown.undated) == (13, 12, 0)
    said = verdict([*found(1, 0.5), *ahead])
    assert said.level is ACT and {reason.kind for reason in said.reasons} == {"rate", "clock"}


def test_records_of_the_future_that_something_shows_to_be_old() -> None:
    """One with a sane time follows, or the last commit was long ago by the clock as it is now."""
    ahead = [record._replace(time=NOW + 365 * DAY) for record in found(12, 0, at=2)]
    assert growth(ahead + found(1, 40)).doubtful == 0
    again = [record._replace(main=record.main + 9000, spare=record.spare + 9000) for record in ahead[:1]]
    assert growth(ahead + found(1, 40) + again).doubtful == 1
    assert growth(ahead + found(1, 40) + ahead[:1]).doubtful == 0, "it is the same place"
    loaded = spare(ahead, time=NOW - 31 * DAY).load()
    assert Growth.of(loaded, NOW).doubtful == 0 and Growth.of(loaded, NOW - 2 * DAY).doubtful == 12


def test_a_little_ahead_is_now() -> None:
    grown = growth([record._replace(time=NOW + 200) for record in found(1, 0)])
    assert (grown.day.places, grown.doubtful, list(grown.times)) == (1, 0, [NOW])


@pytest.mark.parametrize("nothing", [0, 5000, 2**63])
def test_without_a_clock(nothing: int) -> None:
    """Before the first date nothing is known, after it a record is not older than that."""
    undated = [record._replace(time=nothing) for record in found(100, 0, at=1)]
    grown = growth(undated)
    assert (grown.places, grown.undated, grown.month.places, list(grown.times)) == (100, 100, 0, [])
    assert grown.course(NOW, 8) == []
    grown = growth(undated + found(1, 20, at=2))
    assert (grown.undated, grown.month.places, grown.week.places) == (100, 1, 0)
    assert [total for _, total in grown.course(NOW, 4)] == [101] * 5
    grown = growth(found(1, 2, at=2) + undated)
    assert (grown.undated, grown.week.places) == (0, 101)
    # Only what came after them says that they are old.
    some, old = found(1, 20, at=2), found(1, 40, at=2)
    for records, doubtful in ((undated + some, 100), (undated + old, 0), (old + undated, 100)):
        assert Growth.of(spare(records, time=NOW).load(), NOW).doubtful == doubtful


def test_the_course_is_in_order_whatever_the_order_of_the_records() -> None:
    grown = growth(found(1, 1) + found(1, 9, at=1, sectors=8) + found(1, 5, at=2))
    assert [time - NOW for time in grown.times] == [-9 * DAY, -5 * DAY, -DAY]
    assert [total for _, total in grown.course(NOW, 9)] == [8, 8, 8, 8, 9, 9, 9, 9, 10, 10]


# How long the spare lasts.


def test_the_outlook_and_how_far_it_may_be_trusted() -> None:
    status = TargetStatus.parse(status_line(30_000))
    ahead = outlook(status, growth(found(4, 6, sectors=700)), NOW)
    assert ahead and ahead.days == 175 and ahead.earliest == 175 and ahead.latest == 750
    rates = "by other rates from 6 months to 2 years, a guess from very few events"
    assert ahead.words == f"in about 6 months ({local_day(NOW + 175 * DAY)}), {rates}"
    ahead = outlook(status, growth(found(10, 6, sectors=10)), NOW)
    assert ahead and "a rough estimate" in ahead.words
    ahead = outlook(status, growth(found(40, 20, sectors=100)), NOW)
    assert ahead and ahead.words.startswith("in about 17 months (2028-02")
    assert ahead.words.endswith("), if it goes on like this")
    ahead = outlook(status, growth(found(1, 20)), NOW)
    assert ahead and ahead.words == "in more than a century at this rate" and ahead.day == ""
    assert outlook(status, growth(OLD), NOW) is None
    ahead = outlook(TargetStatus.parse(status_line(99_999)), growth(found(30, 0.1, sectors=8)), NOW)
    assert ahead and "in about 1 hour" in ahead.words


# The command.


@pytest.fixture
def data(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InService:
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    monkeypatch.setenv("COLUMNS", "81")
    return in_service(kernel, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("days", "count", "level", "code"), [(100, 20, "good", 0), (3, 1, "watch", 0), (0.5, 20, "act", 1)]
)
def test_command(data: InService, run: Run, days: float, count: int, level: str, code: int) -> None:
    data.put([Record(8 * n, 3000 + 8 * n, 1, 1, 1, NOW - int(days * DAY)) for n in range(count)])
    result = run("health")
    assert result.exit_code == code
    lines = result.stdout.splitlines()
    assert lines[0] == f"/dev/mapper/data: {level}" and lines[1].startswith(f"  {level}: ")
    assert max(map(len, lines)) <= 80
    assert "3 read and 4 write errors" in result.stdout and "\x1b" not in result.stdout


def test_command_in_json(data: InService, run: Run) -> None:
    data.put([Record(0, 0, 8, 2, 1, NOW - 60), Record(64, 3000, 8, 1, 1, NOW - 60)])
    result = run("health", "data", "--json")
    (said,) = json.loads(result.stdout)
    assert result.exit_code == 1 and said["verdict"] == "act"
    assert [reason["kind"] for reason in said["reasons"]] == ["pending", "rate"]
    assert (
        said["pending_sectors"] == 8 and said["week"]["sectors"] == 16 and said["exhaustion"]["places"] == 2
    )
    words = run("health", "--help").stdout
    keys = [*said, *said["reasons"][0], *said["exhaustion"], *said["day"]]
    assert [key for key in keys if key not in words] == []
    data.put(())
    (said,) = json.loads(run("health", "data", "--json").stdout)
    assert said["exhaustion"] is None and said["verdict"] == "good"


def test_command_without_a_spare_that_can_be_read(data: InService, run: Run) -> None:
    data.put([Record(0, 0, 8, 2)])
    data.image.write_bytes(bytes(1 << 20))
    result = run("health", "data", "--json")
    (said,) = json.loads(result.stdout)
    assert result.exit_code == 0 and said["verdict"] == "watch" and said["week"] is None
    assert said["pending_sectors"] == 1, "an extent has one at least"
    assert "all zero" in " ".join(reason["sentence"] for reason in said["reasons"])


def test_command_for_all_devices_and_none(data: InService, run: Run) -> None:
    data.kernel.add("other", "", (0, 8, "dm-remap-v4", "8:0 8:99"), (8, 8, "dm-remap-v4", "8:0 8:16"))
    data.kernel.devices["other"].suspended = True
    result = run("health")
    assert result.exit_code == 1
    lines = [line for line in result.stdout.splitlines() if line.startswith("/dev")]
    assert lines == [
        "/dev/mapper/data: good",
        "/dev/mapper/other: act",
        "/dev/mapper/other from sector 8: act",
    ]
    assert "is suspended" in result.stdout
    del data.kernel.devices["other"]
    data.kernel.add("bare", "DMREMAP-x")
    result = run("health", "bare")
    assert result.exit_code == 4 and "no table at present" in result.stderr
    result = run("health")
    assert result.exit_code == 1 and "/dev/mapper/bare: failing" in result.stdout
    assert "every request to it fails: 'dmremapctl remove bare'" in " ".join(result.stdout.split())
    good, bare = json.loads(run("health", "--json").stdout)
    assert (good["verdict"], bare["verdict"], bare["reasons"][0]["kind"]) == ("good", "failing", "no_table")
    assert good.keys() == bare.keys() and bare["mode"] is bare["pending_sectors"] is None


def test_what_is_pending_on_a_suspended_device_is_not_forgotten(data: InService, run: Run) -> None:
    """Its map is not in memory, and its status line counts nothing; the spare does."""
    data.put([Record(0, 0, 8, 2), Record(16, 0, 8, 2)])
    data.kernel.devices["data"].suspended = True
    (said,) = json.loads(run("health", "data", "--json").stdout)
    assert said["pending_sectors"] == 16 and {"pending", "suspended"} <= {
        reason["kind"] for reason in said["reasons"]
    }
    (device,) = json.loads(run("status", "data", "--json").stdout)
    assert device["suspended"] and not device["targets"][0]["healthy"]


def test_a_device_whose_name_libdevmapper_has_mangled(data: InService, run: Run) -> None:
    """Others make such, with dmsetup and without a uuid."""
    name = "my\\x20data"  # a backslash, which is shown as two
    data.kernel.add(name, "", (0, 8, "dm-remap-v4", "8:0 8:16"))
    for words in (["health"], ["list"], ["status", name]):
        assert "x20data" in run(*words).stdout
    assert run("status", "my data").exit_code == 2
    data.kernel.devices.clear()


def test_none(data: InService, run: Run) -> None:
    data.kernel.devices.clear()
    assert run("health").stdout == "no devices\n"
    assert run("health", "data").exit_code == 4
