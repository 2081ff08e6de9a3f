"""``dmremapctl scrub`` over a target whose disk has bad sectors: found, told, resumed, refused."""

import errno
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycontrol
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import devices
from pycontrol.service.find import scrub, scrubrun
from pycontrol.service.find.pace import Pace
from tests.conftest import Disks, Run
from tests.fakes import FakeKernel
from tests.terminal import Terminal

SECTORS = 10 * scrub.PIECE + 24
HEALTHY = "0/1000 0 0 5/5 1 0 0 0 0 0 0 rw -"


class FakeTarget:
    """What the target does to reads, and its answers: bad blocks become pending when they are read."""

    def __init__(self, sectors: int, block: int = 1) -> None:
        self.sectors, self.block = sectors, block
        self.bad: set[int] = set()
        self.pending: set[int] = set()
        self.records = True
        self.position = self.durable = 0
        self.came_back: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []
        self.before_read: Callable[[int], None] = lambda sector: None

    def read(self, sector: int, sectors: int) -> None:
        self.before_read(sector)
        self.asked.append((sector, sectors))
        assert sector % self.block == sectors % self.block == 0
        wanted = set(range(sector, sector + sectors))
        lost = wanted & (self.pending | self.bad)
        if self.records:
            self.pending |= wanted & self.bad
        if lost:
            raise OSError(errno.ENODATA, "No data available")
        self.came_back.append((sector, sectors))

    def preadv(self, fd: int, buffers: list[memoryview], offset: int) -> int:
        length = sum(map(len, buffers))
        self.read(offset // 512, length // 512)
        return length

    def answer(self, words: str) -> str | None:
        match words.split():
            case ["scrub", sector]:
                self.position = int(sector)
                return sector
            case ["scrub"]:
                return str(self.position)
            case ["sync"]:
                self.durable = self.position
                return "Saved, sequence 2"
            case ["list", start, most]:
                later = sorted(sector for sector in self.pending if sector >= int(start))
                lines = [f"{sector} 1 - pending" for sector in later[: int(most)]]
                more = [f"next {later[int(most)]}"] if len(later) > int(most) else []
                return "\n".join([*lines, *more]) or "none"
        raise AssertionError(words)

    @property
    def read_well(self) -> set[int]:
        return {sector for start, count in self.came_back for sector in range(start, start + count)}


@pytest.fixture
def target(kernel: FakeKernel, disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    """r0 of dm-remap, its node a file, and /run/dm-remap a directory of the test's."""
    made = FakeTarget(SECTORS)
    kernel.add("r0", "DMREMAP-1", (0, SECTORS, "dm-remap-v4", "8:0 8:16"))
    kernel.answer = made.answer
    disks.make("r0", SECTORS * 512, dev=DevNumber(253, 0))
    monkeypatch.setattr("pycontrol.service.devices.MAPPER_DIR", tmp_path)
    monkeypatch.setattr(os, "preadv", made.preadv)
    # Not every file system a test may run on knows direct I/O.
    monkeypatch.setattr(os, "O_DIRECT", 0)
    return made


def files(of: str = "DMREMAP-1") -> scrubrun.Files:
    return scrubrun.Files(scrub.Subject("r0", "/dev/mapper/r0", of, 0, SECTORS, 1))


def lines(output: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Findings, and the summary behind them."""
    *findings, summary = map(json.loads, output.splitlines())
    assert all(finding.pop("type") == "finding" for finding in findings)
    assert summary.pop("type") == "summary"
    return findings, summary


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


# Stopping, and going on


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_after_the_piece_and_the_next_goes_on_there(
    target: FakeTarget, run: Run, number: signal.Signals
) -> None:
    def interrupt(sector: int) -> None:
        if sector == 3 * scrub.PIECE:
            os.kill(os.getpid(), number)

    target.before_read = interrupt
    before = signal.getsignal(number)
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 10
    assert f"stopped at sector {4 * scrub.PIECE}" in result.stdout
    assert target.position == target.durable == 4 * scrub.PIECE
    assert signal.getsignal(number) is before

    target.before_read = lambda sector: None
    target.asked.clear()
    findings, summary = lines(run("scrub", "r0", "--rate", "0", "--json").stdout)
    assert target.asked[0][0] == summary["start"] == 4 * scrub.PIECE
    assert len(target.read_well) == SECTORS and findings == []
    assert target.position == target.durable == 0


def test_resume_goes_on_or_does_nothing(target: FakeTarget, run: Run) -> None:
    result = run("scrub", "r0", "--resume")
    assert result.exit_code == 0 and "nothing to resume" in result.stdout and target.asked == []
    assert json.loads(run("scrub", "r0", "--resume", "--json").stdout)["type"] == "nothing"
    target.position = 5 * scrub.PIECE
    assert run("scrub", "r0", "--resume", "--rate", "0").exit_code == 0
    assert target.asked[0][0] == 5 * scrub.PIECE


def test_resume_with_nothing_to_resume_leaves_the_last_result_as_it_is(target: FakeTarget, run: Run) -> None:
    target.bad = {5000}
    assert run("scrub", "r0", "--rate", "0").exit_code == 1
    before = run("scrub", "r0", "--status", "--json").stdout
    assert json.loads(before)["ending"] == "finished" and json.loads(before)["found"] == 1
    target.asked.clear()
    result = run("scrub", "r0", "--resume")
    assert result.exit_code == 1 and target.asked == []
    assert "nothing to resume" in result.stdout and "1 sector pending in all" in result.stdout
    result = run("scrub", "r0", "--resume", "--json")
    nothing = {"type": "nothing", "name": "r0", "path": json.loads(before)["path"], "pending": 1}
    assert result.exit_code == 1 and json.loads(result.stdout) == nothing
    assert run("scrub", "r0", "--status", "--json").stdout == before


def test_a_scrub_that_was_resumed_tells_where_it_began(target: FakeTarget, run: Run) -> None:
    target.position = 5 * scrub.PIECE
    seen: list[tuple[int, int]] = []

    def look(sector: int) -> None:
        state = files().read()
        assert state
        seen.append((state.start, state.position))

    target.before_read = look
    assert run("scrub", "r0", "--resume", "--rate", "0").exit_code == 0
    assert seen[0] == (5 * scrub.PIECE, 5 * scrub.PIECE)
    told = json.loads(run("scrub", "r0", "--status", "--json").stdout)
    assert (told["start"], told["position"], told["ending"]) == (5 * scrub.PIECE, 0, "finished")


def test_a_scrub_that_cannot_begin_leaves_the_last_result_as_it_is(
    target: FakeTarget, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("scrub", "r0", "--rate", "0").exit_code == 0
    before = run("scrub", "r0", "--status", "--json").stdout

    def gone(path: str, flags: int) -> int:
        raise WrongDevice(f"{path} does not exist")

    with monkeypatch.context() as patch:
        patch.setattr("pycontrol.service.blockdev.open_device", gone)
        assert run("scrub", "r0", "--rate", "0").exit_code == 4
    assert run("scrub", "r0", "--status", "--json").stdout == before


def test_restart_begins_anew(target: FakeTarget, run: Run) -> None:
    target.position = 5 * scrub.PIECE
    assert run("scrub", "r0", "--restart", "--rate", "0").exit_code == 0
    assert target.asked[0][0] == 0


def test_a_position_between_pieces_and_blocks(target: FakeTarget, run: Run, disks: Disks) -> None:
    disks.make("r0", SECTORS * 512, dev=DevNumber(253, 0), logical_block=4096)
    target.block = 8
    target.position = scrub.PIECE + 13
    assert run("scrub", "r0", "--rate", "0").exit_code == 0
    assert target.asked[:2] == [(scrub.PIECE + 8, scrub.PIECE - 8), (2 * scrub.PIECE, scrub.PIECE)]


def test_a_pause_that_was_asked_for(target: FakeTarget, run: Run) -> None:
    def ask(sector: int) -> None:
        if sector == 2 * scrub.PIECE:
            state = files().read()
            assert state and files().running() and state.pid == os.getpid()
            files().request.write_text(state.token)

    target.before_read = ask
    result = run("scrub", "r0", "--rate", "0", "--json")
    assert result.exit_code == 0
    _, summary = lines(result.stdout)
    assert (summary["ending"], summary["position"]) == ("paused", 3 * scrub.PIECE)
    assert target.durable == 3 * scrub.PIECE
    # The request was for that run: it does not stop the next.
    assert lines(run("scrub", "r0", "--rate", "0", "--json").stdout)[1]["ending"] == "finished"


def test_pause_waits_until_the_scrub_has_stopped(target: FakeTarget, run: Run) -> None:
    """The command, with the scrub in a process of its own."""
    ready, child = _holding()
    try:
        assert os.read(ready, 1) == b"r"
        busy = run("scrub", "r0", "--rate", "0")
        assert busy.exit_code == 5 and f"already by process {child}" in busy.stderr
        target.position = 77
        told = json.loads(run("scrub", "r0", "--status", "--json").stdout)
        assert (told["running"], told["pid"], told["ending"], told["position"]) == (True, child, None, 42)
        assert f"process {child}" in run("scrub", "r0", "--status").stdout
        paused = json.loads(run("scrub", "r0", "--pause", "--json").stdout)
        assert paused == {"name": "r0", "paused": True, "position": 77}
    finally:
        assert os.waitpid(child, 0)[1] == 0
        os.close(ready)
    assert not files().running() and not files().request.exists()


def _holding() -> tuple[int, int]:
    """A process that holds the lock until it is asked to pause: the pipe it tells by, and its number."""
    end, ready = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with scrubrun.only_one(files()):
                held = scrubrun.Run(files(), 42)
                os.write(ready, b"r")
                deadline = time.monotonic() + 60
                while not held.asked_to_pause() and time.monotonic() < deadline:
                    pass
                code = 0 if held.asked_to_pause() else 2
        finally:
            os._exit(code)
    os.close(ready)
    return end, child


def test_pause_and_status_where_none_runs(target: FakeTarget, run: Run) -> None:
    result = run("scrub", "r0", "--pause")
    assert result.exit_code == 0 and result.stdout == "no scrub of r0 runs\n"
    assert "none was stopped" in run("scrub", "r0", "--status").stdout
    target.position = 2 * scrub.PIECE
    assert "stopped at sector 4096, 19 %" in run("scrub", "r0", "--status").stdout
    target.bad = {5000}
    assert run("scrub", "r0", "--rate", "0").exit_code == 1
    shown = run("scrub", "r0", "--status").stdout
    assert "the last one came to the end" in shown and "1 sector found" in shown
    told = json.loads(run("scrub", "r0", "--status", "--json").stdout)
    assert (told["running"], told["pid"], told["ending"], told["found"]) == (False, None, "finished", 1)
    assert told["begun"] <= told["updated"] <= time.time()


def test_one_that_was_killed_leaves_nothing_stale(target: FakeTarget, run: Run) -> None:
    """Its state says it runs, and the number of its process may be anybody's by now."""
    with scrubrun.only_one(files()):
        scrubrun.Run(files(), 0)
    state = files().read()
    assert state and state.ending == "" and not files().running()
    told = json.loads(run("scrub", "r0", "--status", "--json").stdout)
    assert (told["running"], told["ending"]) == (False, None)
    assert run("scrub", "r0", "--pause").stdout == "no scrub of r0 runs\n"
    assert run("scrub", "r0", "--rate", "0").exit_code == 0


def test_a_scrub_that_does_not_stop_is_told(target: FakeTarget) -> None:
    now = [0.0]
    with scrubrun.only_one(files()), pytest.raises(Busy, match=f"process {os.getpid()}"):
        scrubrun.Run(files(), 0)
        scrubrun.pause(files(), clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s * 10))
    assert now[0] >= scrubrun.PATIENCE


def test_a_state_file_of_another_version_is_no_state(target: FakeTarget) -> None:
    devices.LOCKS.mkdir()
    for text in ("", "[]", "{}", '{"token": "a", "pid": 1, "colour": 3}', "\xff"):
        files().state.write_bytes(text.encode("latin-1"))
        assert files().read() is None


def test_no_place_for_the_lock(target: FakeTarget, run: Run) -> None:
    devices.LOCKS.write_text("a file")
    result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 6 and "cannot be opened" in result.stderr and target.asked == []


def test_the_state_has_no_room(target: FakeTarget, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """/run is full: a scrub that could not be paused does not begin, one that runs goes on."""
    real = Path.write_text

    def full(path: Path, *rest: Any, **more: Any) -> int:
        if "scrub-" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        result = run("scrub", "r0", "--rate", "0")
    assert result.exit_code == 6 and "No space left" in result.stderr and target.asked == []
    target.before_read = lambda sector: monkeypatch.setattr(Path, "write_text", full)
    assert run("scrub", "r0", "--rate", "0").exit_code == 0


def test_devices_without_a_proper_uuid_are_told_apart_by_name() -> None:
    assert files("../../etc").lock.name == files("").lock.name == "scrub-r0.lock"


def test_on_a_terminal_of_40_columns(target: FakeTarget, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pycontrol.cli.main import cli

    target.bad, target.position = {9000}, scrub.PIECE
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stdout", terminal.screen)
        with pytest.raises(SystemExit) as ended:
            cli(["scrub", "r0", "--rate", "0"])
        shown = terminal.shown()
    assert ended.value.code == 1
    assert "from sector 2048 on" in shown and "sector 9000" in shown and "%" in shown
    plain_text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert max(map(len, re.split(r"[\r\n]+", plain_text))) <= 40


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
