"""A monitor and what is around it: a kernel that tells, a service manager, hooks that can be waited for."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontrol.dm import ioctl
from pycontrol.service.tell import uevents
from tests.conftest import Run
from tests.fakes import Device, PolledKernel

OURS = (0, 1000, "dm-remap-v4", "8:0 8:16")
Script = Callable[[], None]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[PolledKernel]:
    """A kernel of device-mapper whose events can be waited for, behind every Control and uevent socket."""
    fake = PolledKernel()
    real = ioctl.Control.__init__
    monkeypatch.setattr(ioctl.Control, "__init__", lambda self: real(self, fake))
    monkeypatch.setattr(ioctl.Control, "fileno", lambda self: fake.control)
    monkeypatch.setattr(uevents, "_open_netlink", lambda: fake.socket)
    yield fake
    fake.close()


@pytest.fixture
def r0(kernel: PolledKernel) -> Device:
    return kernel.add("r0", "DMREMAP-1", OURS)


class Service:
    """What a service manager sees of the daemon: its notifications, and that it can be told to end."""

    def __init__(self, run: Run, listener: socket.socket) -> None:
        self._run = run
        self.listener = listener

    def __call__(self, *arguments: str, script: Script) -> tuple[int, str, str]:
        """Run it while ``script`` plays in a thread, from readiness to SIGTERM; code, stdout, stderr."""
        failure: list[BaseException] = []

        def play() -> None:
            try:
                assert self.listener.recv(4096) == b"READY=1"
                script()
            except BaseException as error:
                failure.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        player = threading.Thread(target=play, daemon=True)
        player.start()
        result = self._run("monitor", *arguments)
        player.join()
        if failure:
            raise failure[0]
        return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def service(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(path))
        yield Service(run, listener)


class Fifo:
    """Waiting for what a hook does, without a clock; a writer never waits, for we hold both ends."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def line(self) -> str:
        return self._file.readline().rstrip("\n")


@pytest.fixture
def hook(tmp_path: Path) -> tuple[str, Fifo]:
    """A program that writes its class, name, count and sectors to the pipe."""
    fifo = Fifo(tmp_path / "fifo")
    program = tmp_path / "hook"
    program.write_text(f'#!/bin/sh\necho "$@ $DMREMAP_SECTORS $DMREMAP_SECTOR" >{fifo.path}\n')
    program.chmod(0o755)
    return str(program), fifo
