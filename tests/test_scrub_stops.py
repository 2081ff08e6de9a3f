"""``dmremapctl scrub`` stops, by a signal or because it was asked to, and goes on where it was."""

import errno
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import devices
from pycontrol.service.find import scrub, scrubrun
from tests.conftest import Disks, Run
from tests.fakes import FakeKernel
from tests.scrubbing import SECTORS, FakeTarget, files, lines, prepared
from tests.terminal import Terminal


@pytest.fixture
def target(kernel: FakeKernel, disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    return prepared(kernel, disks, tmp_path, monkeypatch)


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
