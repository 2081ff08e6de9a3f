"""Freezing a file system for moments: thawed again whatever happens."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontrol.errors import Busy, DeviceIoError
from pycontrol.service.known.freeze import FIFREEZE, FITHAW, freezer

Ioctl = Callable[[int, int, int], object]


@pytest.fixture
def calls(tmp_path: Path) -> tuple[Path, Ioctl]:
    """A kernel that writes down what it is asked, also by another process."""
    path = tmp_path / "calls"
    path.touch()

    def ioctl(fd: int, number: int, argument: int) -> object:
        assert Path(f"/proc/self/fd/{fd}").readlink() == tmp_path and argument == 0
        with path.open("a") as file:
            file.write({FIFREEZE: "freeze ", FITHAW: "thaw "}[number])
        return 0

    return path, ioctl


def test_it_is_thawed_in_the_end_and_when_the_block_fails(calls: tuple[Path, Ioctl], tmp_path: Path) -> None:
    path, ioctl = calls
    with freezer(str(tmp_path), ioctl) as held:
        with held.frozen():
            assert path.read_text() == "freeze "
        with pytest.raises(ZeroDivisionError), held.frozen():
            raise ZeroDivisionError
        assert path.read_text() == "freeze thaw freeze thaw "
    # The guard had nothing to do.
    assert path.read_text() == "freeze thaw freeze thaw "


def test_a_signal_waits_until_it_is_thawed(calls: tuple[Path, Ioctl], tmp_path: Path) -> None:
    path, ioctl = calls
    seen: list[str] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(path.read_text()))
    try:
        with freezer(str(tmp_path), ioctl) as held, held.frozen():
            # To this thread: a process that runs tests for another has more.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert seen == []
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["freeze thaw "]


@pytest.mark.parametrize("frozen", [True, False])
def test_the_guard_thaws_when_the_program_is_killed(
    calls: tuple[Path, Ioctl], tmp_path: Path, frozen: bool
) -> None:
    path, ioctl = calls
    # Held by the victim and its guard: at its end both are gone.
    alive, line = os.pipe()
    victim = os.fork()
    if victim == 0:
        os.close(alive)
        with freezer(str(tmp_path), ioctl) as held:
            if frozen:
                with held.frozen():
                    os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(line)
    os.waitpid(victim, 0)
    assert os.read(alive, 1) == b""
    os.close(alive)
    assert path.read_text() == ("freeze thaw " if frozen else "")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [(errno.EBUSY, Busy, "is frozen already"), (errno.EOPNOTSUPP, DeviceIoError, "cannot be frozen")],
)
def test_what_cannot_be_frozen(tmp_path: Path, code: int, kind: type[Exception], words: str) -> None:
    asked: list[int] = []

    def ioctl(fd: int, number: int, argument: int) -> object:
        asked.append(number)
        raise OSError(code, os.strerror(code))

    with pytest.raises(kind, match=words), freezer(str(tmp_path), ioctl) as held, held.frozen():
        pytest.fail("it is not frozen")
    assert asked == [FIFREEZE]
