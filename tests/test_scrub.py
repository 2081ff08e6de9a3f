"""``dmremapctl scrub`` over a target whose disk has bad sectors: found, told, refused."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycontrol
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service.find import scrub
from pycontrol.service.find.pace import Pace
from tests.conftest import Disks, Run
from tests.fakes import FakeKernel
from tests.scrubbing import HEALTHY, SECTORS, FakeTarget, lines, prepared


@pytest.fixture
def target(kernel: FakeKernel, disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    return prepared(kernel, disks, tmp_path, monkeypatch)


def test_a_good_device_is_read_once_and_whole(target: FakeTarget, run: Run, tmp_path: Path) -> None:
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 0, result.stderr
    findings, summary = lines(result.stdout)
    assert findings == [] and summary.pop("seconds") >= 0
    assert summary == {
        "name": "r0", "path": str(tmp_path / "r0"), "ending": "finished", "start": 0, "position": 0,
        "sectors": SECTORS, "read": SECTORS, "found": 0, "pending": 0, "weak": 0,
    }  # fmt: skip
    assert target.asked == target.came_back
    assert [sector for sector, _ in target.asked] == list(range(0, SECTORS, scrub.PIECE))
    assert len(target.read_well) == SECTORS


def test_bad_sectors_are_told_and_all_others_are_read(target: FakeTarget, run: Run) -> None:
    target.bad = {0, 5000, 5001, 7777, SECTORS - 1}
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 1
    findings, summary = lines(result.stdout)
    assert findings == [
        {"kind": "pending", "sector": 0, "sectors": 1},
        {"kind": "pending", "sector": 5000, "sectors": 2},
        {"kind": "pending", "sector": 7777, "sectors": 1},
        {"kind": "pending", "sector": SECTORS - 1, "sectors": 1},
    ]
    assert (summary["found"], summary["pending"]) == (5, 5)
    assert target.read_well == set(range(SECTORS)) - target.bad


def test_what_is_pending_already_is_passed_over_and_still_counts(target: FakeTarget, run: Run) -> None:
    target.pending = {100, 101, 3000}
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 1
    findings, summary = lines(result.stdout)
    assert findings == [] and (summary["found"], summary["pending"]) == (0, 3)
    assert target.asked == target.came_back
    assert target.read_well == set(range(SECTORS)) - target.pending


def test_for_people_without_a_terminal(target: FakeTarget, run: Run, kernel: FakeKernel) -> None:
    target.bad = {5000}
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 1 and result.stderr == ""
    told = result.stdout.splitlines()
    assert told[0] == "sector 5000, 1 sector: cannot be read, pending until written"
    assert told[1].startswith("r0: finished, ") and told[1].endswith("1 sector found that cannot be read")
    assert "1 sector pending in all" in told[2] and len(told) == 3


def test_weak_sectors_are_counted_by_the_target(target: FakeTarget, run: Run, kernel: FakeKernel) -> None:
    def retried(sector: int) -> None:
        kernel.status_line = HEALTHY.replace("1 0 0 0 0", "1 1 0 8 0")

    target.before_read = retried
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 0 and "8 sectors could be read on a retry only" in result.stdout


# What goes wrong


def test_a_device_that_vanishes(target: FakeTarget, run: Run) -> None:
    def vanish(sector: int) -> None:
        if sector == 3 * scrub.PIECE:
            raise OSError(errno.ENXIO, "No such device or address")

    target.before_read = vanish
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 4
    assert result.stderr == "dmremapctl: r0 vanished while it was read at sector 6144\n"
    assert target.position == target.durable == 3 * scrub.PIECE


def test_a_device_that_is_gone_altogether(target: FakeTarget, run: Run, kernel: FakeKernel) -> None:
    """Not even its position can be kept; the first sentence is the one that counts."""

    def vanish(sector: int) -> None:
        kernel.devices.clear()
        raise OSError(errno.EIO, "Input/output error")

    target.before_read = vanish
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 4 and "no such device" in result.stderr and result.stderr.count("\n") == 1


def test_a_device_that_becomes_smaller(target: FakeTarget, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: 0)
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 4 and "vanished" in result.stderr


def test_reads_that_come_in_parts(target: FakeTarget, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: target.preadv(fd, [buffers[0][:8192]], at))
    assert run("scrub", "r0", "--rate", "0").exit_code == 0
    assert len(target.read_well) == SECTORS


def test_a_disk_that_fails_as_a_whole_ends_it(target: FakeTarget, run: Run, kernel: FakeKernel) -> None:
    def die(sector: int) -> None:
        if sector >= scrub.PIECE:
            kernel.status_line = HEALTHY.replace("0 rw -", "1 breaker rw -")
            raise OSError(errno.EIO, "Input/output error")

    target.before_read = die
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 6 and "fails as a whole" in result.stderr and "rearm" in result.stderr
    assert target.durable == scrub.PIECE


def test_what_the_target_does_not_record_is_narrowed_here(target: FakeTarget, run: Run) -> None:
    target.bad, target.records = {5000, 5003, 9999}, False
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 1
    findings, summary = lines(result.stdout)
    assert findings == [
        {"kind": "unreadable", "sector": sector, "sectors": 1} for sector in sorted(target.bad)
    ]
    assert (summary["found"], summary["pending"]) == (3, 0)
    assert target.read_well == set(range(SECTORS)) - target.bad


def test_many_bad_sectors_between_good_ones_are_still_the_sectors(target: FakeTarget, run: Run) -> None:
    target.bad, target.records = set(range(1000, 1000 + 3 * 2 * scrub.MOST_UNEXPLAINED, 3)), False
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 1
    assert lines(result.stdout)[1]["found"] == len(target.bad)


def test_errors_everywhere_that_nobody_explains(target: FakeTarget, run: Run) -> None:
    target.bad, target.records = set(range(4000, SECTORS)), False
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 6 and "it is not the sectors" in result.stderr
    assert result.stdout.count('"finding"') == scrub.MOST_UNEXPLAINED
    assert target.durable == scrub.PIECE


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("module", 7, "dmremapctl module load"),
        ("name", 4, "no such device"),
        ("other", 4, "not one of dm-remap"),
        ("suspended", 5, "is suspended"),
        ("fail", 6, "mode Fail"),
        ("user", 6, "root"),
        ("node", 4, "is another device"),
        ("size", 2, "is not a size"),
        ("answer", 6, "may differ in version"),
    ],
)
def test_what_is_refused_before_anything_is_read(
    target: FakeTarget,
    run: Run,
    kernel: FakeKernel,
    disks: Disks,
    change: str,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, options = "r0", ["--rate", "0"]
    match change:
        case "module":
            kernel.targets.clear()
        case "name":
            name = "r1"
        case "other":
            kernel.devices["r0"].live = [(0, SECTORS, "linear", "8:0 0")]
            kernel.devices["r0"].uuid = "LVM-1"
        case "suspended":
            kernel.devices["r0"].suspended = True
        case "fail":
            kernel.status_line = HEALTHY.replace("rw", "Fail")
        case "user":
            monkeypatch.setattr(os, "geteuid", lambda: 1000)
        case "node":
            disks.make("r0", SECTORS * 512, dev=DevNumber(253, 9))
        case "size":
            options = ["--rate", "fast"]
        case "answer":
            kernel.answer = lambda words: "unknown message"
    result = run("scrub", name, *options)
    assert result.exit_code == code, result.stderr
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert target.asked == []


# The engine, with a clock of the test's own


def engine(target: FakeTarget, found: list[scrub.Finding], **more: Any) -> scrub.Scrub:
    of = scrub.Subject("r0", "/dev/mapper/r0", "", 0, target.sectors, target.block)
    return scrub.Scrub(Control(), of, target.read, Pace(0), tell=found.append, **more)


def test_the_place_is_noted_every_few_seconds(target: FakeTarget, kernel: FakeKernel) -> None:
    now = [0.0]

    def second(sector: int) -> None:
        now[0] += 2.0

    target.before_read = second
    summary = engine(target, [], clock=lambda: now[0]).run()
    noted = [words for _, words in kernel.messages if words.startswith("scrub ")]
    assert noted == ["scrub 6144", "scrub 12288", "scrub 18432", "scrub 0"]
    assert [words for _, words in kernel.messages].count("sync") == 1
    assert summary.seconds == 22.0


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_every_sector_is_read_or_told(data: st.DataObject) -> None:
    block = data.draw(st.sampled_from([1, 8]))
    target = FakeTarget(3 * scrub.PIECE + 8 * block, block)
    numbers = st.integers(0, target.sectors // block - 1)

    def drawn() -> set[int]:
        blocks = data.draw(st.sets(numbers, max_size=12))
        return {sector for number in blocks for sector in range(number * block, (number + 1) * block)}

    target.bad, target.pending = drawn(), drawn()
    target.records = data.draw(st.booleans())
    before = set(target.pending)
    kernel = FakeKernel(status_line=HEALTHY, answer=target.answer)
    kernel.add("r0", "DMREMAP-1", (0, target.sectors, "dm-remap-v4", "8:0 8:16"))
    found: list[scrub.Finding] = []
    work = engine(target, found)
    work.control = Control(kernel)
    start = data.draw(numbers) * block
    summary = work.run(start)
    told = {s for finding in found for s in range(finding.sector, finding.sector + finding.sectors)}
    rest = set(range(start, target.sectors)) - before
    assert told == rest & target.bad
    assert target.read_well == rest - target.bad
    assert summary.found == len(told) and summary.pending == len(target.pending)
    assert [finding.sector for finding in found] == sorted(finding.sector for finding in found)


@pytest.mark.parametrize("readable", [False, True], ids=["error", "linear"])
def test_a_table_that_was_exchanged_under_it(target: FakeTarget, kernel: FakeKernel, readable: bool) -> None:
    """By dmsetup remove --force, or because the data moved to another disk meanwhile."""

    def refuse(words: str) -> str:
        raise OSError(errno.EINVAL, "Target type does not support messages")

    def exchange(sector: int) -> None:
        kernel.devices["r0"].live = [(0, SECTORS, "linear", "8:32 0")]
        kernel.answer = refuse
        if not readable:
            raise OSError(errno.EIO, "Input/output error")

    target.before_read = exchange
    with pytest.raises(WrongDevice, match="not a device of dm-remap any more"):
        engine(target, []).run()


def test_a_program_scrubs_by_name(target: FakeTarget) -> None:
    target.bad = {3000}
    told: list[scrub.Finding] = []
    places: list[int] = []
    begun: list[int] = []
    with Control() as control:
        first = pycontrol.scrub(
            control, "r0", rate=0, stop=lambda: len(places) == 1, begin=begun.append, tell=told.append,
            progress=lambda position, read, found: places.append(position),
        )  # fmt: skip
        assert (first.ending, first.position, told) == ("interrupted", scrub.PIECE, [])
        standing = pycontrol.scrub_standing(control, "r0")
        assert (standing.running, standing.position, standing.sectors) == (False, scrub.PIECE, SECTORS)
        assert standing.last is not None and standing.last.ending == "interrupted"
        rest = pycontrol.scrub(control, "r0", rate=0, resume=True, begin=begun.append, tell=told.append)
        assert (rest.ending, rest.start, rest.found, rest.pending) == ("finished", scrub.PIECE, 1, 1)
        assert begun == [0, scrub.PIECE]
        assert [(found.kind, found.sector, found.sectors) for found in told] == [("pending", 3000, 1)]
        asked = list(target.asked)
        nothing = pycontrol.scrub(control, "r0", rate=0, resume=True)
        assert (nothing.ending, nothing.read, nothing.pending) == ("nothing", 0, 1)
        assert target.asked == asked
        assert not pycontrol.pause_scrub(control, "r0")
