"""The whole daemon through the command line: real sockets, signals, processes and files."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.service.tell import systemd
from tests.conftest import Run
from tests.daemon import Fifo, Service, hook, kernel, r0, service
from tests.fakes import Device, PolledKernel

__all__ = ["hook", "kernel", "r0", "service"]


def test_a_line_for_every_event(kernel: PolledKernel, r0: Device, service: Service) -> None:
    def script() -> None:
        kernel.tell(r0, "REMAP", 1, 1000, 16, 2)
        kernel.uevent("change", 9, ID_FS_TYPE="ext4")
        kernel.tell(r0, "SPARE_FULL", 2, 0, 0, 1)
        kernel.uevent("remove", 0)

    code, out, err = service(script=script)
    assert code == ExitCode.OK and err == "dmremapctl: monitoring\n"
    state = "; rw, 0 remapped, 0 pending, spare 0.0% used, 5/5 copies"
    lines = [line.split(" ", 1)[1] for line in out.splitlines()]
    assert lines[:2] == [f"r0: PRESENT{state}", f"r0: REMAP sector 1000 (16 sectors in 2 extents){state}"]
    assert lines[2] == f"r0: SPARE_FULL{state}" and lines[3] == "r0: REMOVED"


def test_json_has_the_documented_keys(kernel: PolledKernel, r0: Device, service: Service) -> None:
    kernel.status_line = "16/4096 2 1 4/5 77 3 9 8 24 0 1 degraded ro needs_check"
    _, out, _ = service("--json", script=lambda: kernel.tell(r0, "PENDING", 7, 1000, 8, 1))
    present, pending = map(json.loads, out.splitlines())
    assert present["action"] == "PRESENT" and present["level"] == 4, "it came up in need of attention"
    assert pending.pop("time") > 0
    assert pending == {
        "name": "r0", "uuid": "DMREMAP-1", "action": "PENDING", "device": "dm-0", "seqnum": 7,
        "sector": 1000, "sectors": 8, "extents": 1, "level": 3, "lost": None,
        "state": {
            "mode": "ro", "errors": ["degraded"], "needs_check": True, "healthy": False,
            "remapped_extents": 2, "pending_extents": 1, "used_sectors": 16, "total_sectors": 4096,
            "valid_copies": 4, "copies": 5, "read_errors": 3, "write_errors": 9, "sectors_salvaged": 8,
            "sectors_lost": 24,
        },
    }  # fmt: skip


def test_in_the_journal_lines_have_a_priority(
    kernel: PolledKernel, r0: Device, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    _, out, _ = service(script=lambda: kernel.tell(r0, "BREAKER", 1, 0, 0, 1))
    assert [line[:12] for line in out.splitlines()] == ["<6>r0: PRESE", "<2>r0: BREAK"]
    assert not systemd.in_journal(-1)


def test_a_burst_is_one_call_and_the_rest_comes_at_the_end(
    kernel: PolledKernel, r0: Device, service: Service, hook: tuple[str, Fifo]
) -> None:
    program, fifo = hook

    def script() -> None:
        for number in range(1, 41):
            kernel.tell(r0, "REMAP", number, 10_000 - number, number, 1)

    # The window is longer than the test: only the end lets the burst go.
    code, out, err = service("--hook", f"remap={program}", "--window", "1000", script=script)
    assert fifo.line() == "REMAP r0 40 820 9960", err
    assert code == 0 and out.count("REMAP sector") == 40


def test_the_window_ends_by_itself(
    kernel: PolledKernel, r0: Device, service: Service, hook: tuple[str, Fifo]
) -> None:
    program, fifo = hook
    said: list[str] = []

    def script() -> None:
        kernel.tell(r0, "UNMAP", 1, 1000, 8, 1)
        said.append(fifo.line())

    service("--hook", f"UNMAP={program}", "--window", "0.01", script=script)
    assert said == ["UNMAP r0 1 8 1000"]


def test_a_hook_never_holds_up_the_events(
    kernel: PolledKernel, r0: Device, service: Service, tmp_path: Path, hook: tuple[str, Fifo]
) -> None:
    """One that does not end, one place for programs: lines go on, and what waits is not lost."""
    program, fifo = hook
    release = Fifo(tmp_path / "release")
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho here >{fifo.path}\nread _ <{release.path}\nexit 5\n")
    slow.chmod(0o755)
    said: list[str] = []

    def script() -> None:
        kernel.tell(r0, "MODE", 1, 0, 0, 1)
        said.append(fifo.line())
        for number in range(2, 102):
            kernel.tell(r0, "REMAP", number, 1000, 8, 1)
        release.path.write_text("go\n")
        said.append(fifo.line())

    words = ("--hook", f"MODE={slow}", "--hook", f"REMAP={program}", "--hook-limit", "1")
    code, out, err = service(*words, "--window", "0", "--window-max", "0", script=script)
    assert code == 0 and out.count("REMAP sector") == 100
    # Some may have been called for before the last event came, but with every one counted once.
    assert said[0] == "here" and said[1].startswith("REMAP r0 ")
    assert f"the hook {slow} for MODE of r0 ended with code 5" in err


def test_a_second_signal_ends_the_waiting(
    kernel: PolledKernel, r0: Device, service: Service, tmp_path: Path
) -> None:
    fifo = Fifo(tmp_path / "fifo")
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho here >{fifo.path}\nexec sleep 1000\n")
    slow.chmod(0o755)

    def script() -> None:
        kernel.tell(r0, "MODE", 1, 0, 0, 1)
        fifo.line()
        os.kill(os.getpid(), signal.SIGTERM)
        # Two of one kind that come together are one.
        assert service.listener.recv(4096) == b"STOPPING=1"

    code, _, err = service("--hook", f"MODE={slow}", "--window", "0", script=script)
    assert code == 0 and "was killed, because the monitor ends" in err


def test_the_textfile_follows(
    kernel: PolledKernel, r0: Device, service: Service, tmp_path: Path, hook: tuple[str, Fifo]
) -> None:
    program, fifo = hook
    path = tmp_path / "dmremap.prom"
    seen: list[str] = []

    def script() -> None:
        seen.append(path.read_text())
        kernel.tell(r0, "REMAP", 1, 1000, 16, 2)
        # The second hook starts after the file was written for the first event.
        kernel.tell(r0, "PENDING", 2, 1000, 16, 2)
        fifo.line()

    words = ("--hook", f"PENDING={program}", "--window", "0", "--textfile", str(path))
    code, _, err = service(*words, script=script)
    assert 'dmremap_healthy{device="r0"} 1\n' in seen[0] and "monitor_up 1\n" in seen[0], "before it is ready"
    last = path.read_text()
    assert 'dmremap_event_bytes_total{device="r0",action="REMAP"} 8192\n' in last
    assert 'dmremap_hook_calls_total{result="ok"} 1\n' in last and "dmremap_monitor_up 0\n" in last
    assert code == 0 and err == "dmremapctl: monitoring\n"


def test_a_textfile_that_cannot_be_written_is_told_of_once(
    kernel: PolledKernel, r0: Device, service: Service, tmp_path: Path
) -> None:
    def script() -> None:
        for number in range(1, 5):
            kernel.tell(r0, "REMAP", number, 1000, 16, 2)

    path = tmp_path / "nowhere" / "dmremap.prom"
    code, out, err = service("--textfile", str(path), script=script)
    assert code == 0 and out.count("REMAP sector") == 4
    assert err.splitlines() == [
        f"dmremapctl: {path} cannot be written: No such file or directory",
        "dmremapctl: monitoring",
    ]


def test_hangup_writes_the_file_again(
    kernel: PolledKernel, r0: Device, service: Service, tmp_path: Path
) -> None:
    path = tmp_path / "dmremap.prom"
    texts: list[str] = []

    def script() -> None:
        texts.append(path.read_text())
        path.unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        # Without SIGHUP nothing would be written: nothing has changed.
        while not path.exists():
            os.sched_yield()
        texts.append(path.read_text())

    code, _, _ = service("--textfile", str(path), script=script)
    assert code == 0 and texts[0] == texts[1]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--hook", "DANCE=/bin/true"), ExitCode.USAGE),
        (("--mail", "root\nBcc: all"), ExitCode.USAGE),
        (("--textfile", "/tmp/x.txt"), ExitCode.USAGE),
        (("a/b",), ExitCode.USAGE),
        (("--hook-limit", "0"), ExitCode.USAGE),
        (("--hook-timeout", "0"), ExitCode.USAGE),
        (("--window", "nan"), ExitCode.USAGE),
        (("--window-max", "1e9"), ExitCode.USAGE),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    kernel: PolledKernel, run: Run, words: tuple[str, ...], code: ExitCode
) -> None:
    result = run("monitor", *words)
    assert result.exit_code == code and result.stdout == ""


def test_without_device_mapper_it_says_so(kernel: PolledKernel, run: Run) -> None:
    kernel.fail["DM_DEV_ARM_POLL"] = 13
    result = run("monitor")
    assert result.exit_code == ExitCode.ACCESS and "root" in result.stderr


def test_notifications_go_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    # An abstract address, as containers have it.
    name = f"dmremap-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert systemd.notify("READY=1") and listener.recv(100) == b"READY=1"
