"""Locks of commands, and others who look at them at that moment."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pycontrol.dm.types import DmName
from pycontrol.errors import Busy
from pycontrol.service import devices
from pycontrol.service.find import scrubrun
from pycontrol.service.find.scrub import Subject
from pycontrol.service.move.underway import said, underway
from tests.conftest import MIB, Run
from tests.moving import Device

NAME = DmName("data")


@contextmanager
def looked_at(path: Path, monkeypatch: pytest.MonkeyPatch, *, until: int) -> Iterator[list[float]]:
    """Somebody has the file locked as ``status`` does, until others have slept so often; their sleeps."""
    path.parent.mkdir(exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_SH)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == until:
            fcntl.flock(fd, fcntl.LOCK_UN)

    monkeypatch.setattr(time, "sleep", sleep)
    yield slept
    os.close(fd)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "LOCKS", tmp_path)
    return tmp_path


def test_who_only_looks_keeps_no_change_from_beginning(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with looked_at(top / "data.lock", monkeypatch, until=1) as slept, underway(NAME, "create"):
        assert slept and said("data").startswith("create (process ")
    assert said("data") == ""


def test_who_only_looks_keeps_no_scrub_from_beginning(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = scrubrun.Files(Subject("data", "/dev/mapper/data", "", 0, 8, 1))
    with looked_at(files.lock, monkeypatch, until=1) as slept, scrubrun.only_one(files):
        assert slept and files.running()


def test_a_change_that_lasts_is_told_within_seconds(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        looked_at(top / "data.lock", monkeypatch, until=1000) as slept,
        pytest.raises(Busy, match="busy with another command"),
        underway(NAME, "create"),
    ):
        pass
    assert 0 < sum(slept) < 2


def test_status_at_that_moment_does_not_refuse_a_command(
    device: Device, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = device.disk("new", 8 * MIB)
    with looked_at(devices.LOCKS / "data.lock", monkeypatch, until=1):
        result = run("spare", "replace", "data", new, "--yes")
    assert result.exit_code == 0, result.stderr
