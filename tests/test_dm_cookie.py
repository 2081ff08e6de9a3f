"""udev cookies and the nodes under /dev/mapper."""

import ctypes
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from pycontrol.dm import cookie as subject
from pycontrol.dm.cookie import Cookie, SystemSemaphores
from pycontrol.dm.errors import CookieError
from pycontrol.dm.types import DevNumber, DmFlags
from tests.fakes import FakeSemaphores


def test_waits_until_udev_took_every_count() -> None:
    semaphores = FakeSemaphores()
    naps: list[float] = []
    with Cookie(enabled=True, semaphores=semaphores, sleep=naps.append) as cookie:
        cookie.arm()
        cookie.arm()
        cookie.sent(DmFlags.UEVENT_GENERATED)
    assert len(naps) == 2 and semaphores.destroyed == [1]


def test_an_error_cancels_instead_of_waiting() -> None:
    semaphores = FakeSemaphores(udev=False)
    with pytest.raises(KeyError), Cookie(enabled=True, semaphores=semaphores) as cookie:
        cookie.arm()
        raise KeyError
    assert semaphores.destroyed == [1] and semaphores.values == {}


def test_a_udev_that_never_answers_is_an_error_with_nothing_left_behind() -> None:
    semaphores = FakeSemaphores(udev=False)
    now = iter(range(0, 100000, 60))
    with (
        pytest.raises(CookieError, match="udev did not finish"),
        Cookie(
            enabled=True,
            semaphores=semaphores,
            clock=lambda: next(now),
            sleep=lambda s: None,
            listens=lambda: True,
        ) as cookie,
    ):
        cookie.arm()
    assert semaphores.destroyed == [1]


@pytest.mark.parametrize(("back_at", "outcome"), [(4, "udev did not finish"), (10_000, "udev ended before")])
def test_a_udev_that_ends_is_not_waited_for(back_at: int, outcome: str) -> None:
    semaphores = FakeSemaphores(udev=False)
    now = 0

    def sleep(_seconds: float) -> None:
        nonlocal now
        now += 1

    with (
        pytest.raises(CookieError, match=outcome),
        Cookie(
            enabled=True,
            semaphores=semaphores,
            clock=lambda: now,
            sleep=sleep,
            listens=lambda: now < 2 or now >= back_at,
        ) as cookie,
    ):
        cookie.arm()
    assert (now < 10) is (back_at > now) and semaphores.destroyed == [1]


def test_a_key_in_use_is_not_used_twice() -> None:
    semaphores = FakeSemaphores(clash=2)
    with Cookie(enabled=True, semaphores=semaphores) as cookie:
        base = cookie.arm() & 0xFFFF
        cookie.sent(DmFlags.NONE)
    assert len(semaphores.keys) == 3 and base == semaphores.keys[-1] & 0xFFFF


def test_a_semaphore_removed_by_somebody_counts_as_complete() -> None:
    class Gone(FakeSemaphores):
        def is_zero(self, semid: int) -> bool:
            raise OSError(errno.EIDRM, "removed")

    with Cookie(enabled=True, semaphores=Gone()) as cookie:
        assert cookie.arm() & 0xFFFF


def test_real_semaphores_count() -> None:
    real = SystemSemaphores()
    key = 0x0D4D << 16 | os.getpid() & 0xFFFF
    try:
        semid = real.create(key)
    except OSError as error:
        pytest.skip(f"no System V semaphores here: {error}")
    try:
        with pytest.raises(FileExistsError):
            real.create(key)
        real.add(semid, 1)
        assert not real.is_zero(semid)
        real.add(semid, -1)
        assert not real.is_zero(semid)
        real.add(semid, -1)
        assert real.is_zero(semid)
    finally:
        real.destroy(semid)
    with pytest.raises(OSError):
        real.is_zero(semid)


class BigEndian:
    """The C library of s390x: the int for semctl() is the upper half of what is passed."""

    value = 0

    def semget(self, *_: object) -> int:
        return 7

    def semctl(self, _semid: int, _number: int, command: int, argument: ctypes.c_long) -> int:
        if command == 16:
            self.value = argument.value >> 32
        return 0

    def semop(self, _semid: int, operation: Any, _count: ctypes.c_size_t) -> int:
        self.value += operation._obj.sem_op
        return 0


def test_a_semaphore_begins_at_1_whatever_the_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    library = BigEndian()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    SystemSemaphores().create(0x0D4D << 16 | 1)
    assert library.value == 1


def test_udev_is_asked_only_where_it_can_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DM_DISABLE_UDEV", raising=False)
    control, rules = tmp_path / "control", tmp_path / "rules.d"
    rules.mkdir()
    assert not subject.udev_answers(control, (rules,)), "no udev runs"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as udev:
        udev.bind(str(control))
        udev.listen()
        assert not subject.udev_answers(control, (rules,)), "nobody would complete the cookie"
        (rules / "95-dm-notify.rules").touch()
        assert subject.udev_answers(control, (rules,))
        monkeypatch.setenv("DM_DISABLE_UDEV", "1")
        assert not subject.udev_answers(control, (rules,))
        monkeypatch.delenv("DM_DISABLE_UDEV")
    assert control.exists() and not subject.udev_answers(control, (rules,)), "it was killed"


def test_the_node_is_made_and_a_stale_one_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(os, "mknod", lambda path, mode, device: made.append((path, mode, device)))
    (tmp_path / "r0").symlink_to("../dm-gone")
    subject.ensure_node("r0", DevNumber(253, 7), tmp_path)
    assert not (tmp_path / "r0").is_symlink()
    (tmp_path / "r0").touch()
    subject.ensure_node("r0", DevNumber(253, 7), tmp_path)
    assert made == [(tmp_path / "r0", 0o600 | stat.S_IFBLK, os.makedev(253, 7))] * 2
    (tmp_path / "r0").touch()
    subject.drop_node("r0", tmp_path)
    subject.drop_node("r0", tmp_path)
    assert not (tmp_path / "r0").exists()
