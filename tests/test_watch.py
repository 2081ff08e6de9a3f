"""Which uevents are ours, what is made of them, and how they are shown."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from pycontrol.cli import watch_table
from pycontrol.cli.main import cli
from pycontrol.dm.ioctl import Control
from pycontrol.service.tell import uevents, watch
from pycontrol.service.tell.follow import follow
from pycontrol.service.tell.sequence import Sequences
from tests.conftest import Run
from tests.daemon import OURS, kernel
from tests.fakes import PolledKernel
from tests.uevents import overflow

__all__ = ["kernel"]

BASE = {"ACTION": "change", "SUBSYSTEM": "block", "DEVNAME": "dm-1", "DM_NAME": "r0", "DM_UUID": "DMREMAP-1"}


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"DM_TARGET": "dm-remap-v4", "DM_ACTION": "PENDING"}, "PENDING"),
        ({"DM_COOKIE": "4194400"}, "RESUMED"),
        ({"ACTION": "remove"}, "REMOVED"),
        ({}, None),
        ({"DM_TARGET": "multipath", "DM_ACTION": "PATH_FAILED", "DM_UUID": "mpath-1"}, None),
        ({"DM_UUID": "LVM-1", "ACTION": "remove"}, None),
        ({"ACTION": "remove", "SUBSYSTEM": "bdi"}, None),
    ],
)
def test_which_events_are_ours(changes: dict[str, str], action: str | None) -> None:
    event = watch.parse(BASE | changes, 5.0)
    assert (event.action if event else None) == action


@pytest.mark.parametrize("word", ["", "-1", "1e3", "٣", "9" * 21, "0x10"])
def test_numbers_that_are_none_become_none(word: str) -> None:
    event = watch.parse(BASE | {"DM_TARGET": "dm-remap-v4", "DM_ACTION": "REMAP", "DM_SECTOR": word}, 5.0)
    assert event is not None and event.sector is None


def test_a_device_that_goes_and_comes_back_stays_watched() -> None:
    stream = [
        BASE | {"ACTION": "remove"},
        BASE | {"DM_NAME": "r1", "ACTION": "remove"},
        BASE | {"DM_COOKIE": "1", "DEVNAME": "/dev/dm-9"},
    ]
    seen = list(watch.events(stream, "r0", clock=lambda: 1.5))
    assert [(event.action, event.device, event.time) for event in seen] == [
        ("REMOVED", "dm-1", 1.5),
        ("RESUMED", "dm-9", 1.5),
    ]


def test_count_ends_the_stream_without_reading_on() -> None:
    source = iter([BASE | {"ACTION": "remove"}] * 5)
    assert len(list(watch.events(source, count=2))) == 2
    assert len(list(source)) == 3


def test_an_overflow_is_said_where_it_happened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    stream: list[uevents.Properties | None] = [None, BASE | {"ACTION": "remove"}]
    monkeypatch.setattr(watch, "open_source", lambda: ("fake", stream))
    result = run("watch", "--count", "1")
    assert "events were lost" in result.stderr and "REMOVED" in result.stdout


def test_the_kernel_is_listened_to_where_no_udev_runs(kernel: PolledKernel, tmp_path: Path) -> None:
    origin, stream = watch.open_source(tmp_path / "control")
    assert origin == "kernel"
    kernel.tell(kernel.add("r0", "DMREMAP-1", OURS), "PENDING", 5, 1000, 8, 1)
    (event,) = watch.events(stream, "r0", count=1)
    assert (event.action, event.device, event.seqnum, event.sector) == ("PENDING", "dm-0", 5, 1000)


def test_a_program_gets_every_event_with_the_state_after_it(kernel: PolledKernel) -> None:
    r0 = kernel.add("r0", "DMREMAP-1", OURS)
    kernel.add("r1", "DMREMAP-2", OURS)
    with Control() as control:
        notices = follow(control, "/dev/mapper/r0")
        first = next(notices)
        assert (first.event.name, first.event.action) == ("r0", "PRESENT")
        kernel.status_line = "8/1000 0 1 5/5 2 0 0 0 0 0 0 rw -"
        kernel.tell(r0, "PENDING", 1, 1000, 8, 1)
        kernel.dm_event(r0)
        told = next(notices)
        assert (told.event.action, told.event.sector, told.event.sectors) == ("PENDING", 1000, 8)
        assert told.state is not None and told.state.pending_extents == 1
        del kernel.devices["r0"]
        kernel.dm_event()
        gone = next(notices)
        assert (gone.event.action, gone.state) == ("REMOVED", None)
        notices.close()
    assert kernel.socket.fileno() == -1, "nobody listens any more"


class Netlink:
    """Messages from a port of our choice, as netlink's recvfrom() gives them."""

    family = socket.AF_NETLINK

    def __init__(self, *messages: tuple[bytes, int] | int) -> None:
        self.messages = list(messages)

    def setblocking(self, flag: bool) -> None:
        return

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.messages:
            raise BlockingIOError
        message = self.messages.pop(0)
        if isinstance(message, int):
            raise OSError(message, os.strerror(message))
        return message[0], (message[1], 1)


def source(*messages: tuple[bytes, int] | int) -> uevents.KernelUevents:
    return uevents.KernelUevents(cast(socket.socket, Netlink(*messages)))


def test_only_the_kernel_is_believed() -> None:
    found = source((b"change@/x\0A=1\0", 0), (b"change@/x\0A=2\0", 4711)).read()
    assert found == [{"A": "1"}]


def test_what_is_no_pair_and_no_text_does_no_harm() -> None:
    found = source((b"change@/x\0A\0=\0B=x=y\0\0C=\xff\n", 0), (b"", 0), (b"\0\0", 0)).read()
    assert found == [{"": "", "B": "x=y", "C": "\udcff\n"}, {}, {}]


def test_an_overflow_stands_where_it_happened_and_other_errors_are_raised() -> None:
    assert source((b"a\0A=1", 0), errno.ENOBUFS, (b"a\0A=2", 0)).read() == [{"A": "1"}, None, {"A": "2"}]
    with pytest.raises(OSError, match="Bad file descriptor"):
        source(errno.EBADF).read()


def test_a_read_takes_no_more_than_a_batch() -> None:
    many = source(*[(b"a\0A=1", 0)] * (uevents.BATCH + 1))
    assert [len(many.read()) for _ in range(3)] == [uevents.BATCH, 1, 0]


def test_udev_is_listened_to_where_it_runs(tmp_path: Path) -> None:
    """libudev's monitor on a real netlink socket; whether anything comes is not up to us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.bind(str(tmp_path / "control"))
        control.listen()
        origin, stream = watch.open_source(tmp_path / "control")
    assert origin == "udev"
    del stream
    listener = uevents.UdevUevents()
    assert listener.fileno() >= 0 and listener.read() == []
    listener.close()


def test_udevs_overflow_is_told_and_more_is_listened_to() -> None:
    listener = uevents.UdevUevents()
    for _ in range(2):
        overflow(listener)
        assert listener.read() == [None]
        assert listener.read() == []
    listener.close()


def test_a_watch_by_udev_goes_on_after_an_overflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = uevents.UdevUevents()
    overflow(listener)

    def stream() -> Iterator[uevents.Properties | None]:
        yield next(uevents.stream(listener))
        yield BASE | {"ACTION": "remove"}

    monkeypatch.setattr(watch, "open_source", lambda: ("udev", stream()))
    result = run("watch", "--count", "1")
    assert "events were lost" in result.stderr and "REMOVED" in result.stdout


def test_other_errors_of_udevs_socket_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = uevents.UdevUevents()

    def poll(timeout: float) -> None:
        raise OSError("Error while polling fd: 3")

    monkeypatch.setattr(listener._monitor, "poll", poll)
    with pytest.raises(OSError, match="Error while polling"):
        listener.read()
    listener.close()


def test_the_kernels_socket_has_a_large_buffer() -> None:
    """A real netlink socket; without root the administrator's limit holds."""
    with uevents._open_netlink() as opened:
        size = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
        # The kernel keeps twice what was asked for, for its own accounting.
        assert size >= 2 * (
            uevents.RECEIVE_BUFFER if os.geteuid() == 0 else min(limit, uevents.RECEIVE_BUFFER)
        )


@pytest.mark.parametrize(
    ("numbers", "missed"),
    [
        ([5, 6, 7], [0, 0, 0]),
        ([5, 9, 10], [0, 3, 0]),
        ([5, 1, 2], [0, 0, 0]),
        ([5, 3], [0, 2]),
        ([5, 5], [0, 4]),
        ([5, None, 6], [0, 0, 0]),
    ],
)
def test_gaps(numbers: list[int | None], missed: list[int]) -> None:
    sequences = Sequences()
    assert [sequences.missed("dm-0", number) for number in numbers] == missed


def test_a_device_seen_from_the_beginning_starts_at_one() -> None:
    sequences = Sequences()
    sequences.begin("dm-0")
    assert sequences.missed("dm-0", 3) == 2
    sequences.forget("dm-0")
    assert sequences.missed("dm-0", 3) == 0


# The table.


class Screen:
    """A terminal of a pseudo-terminal's kind that remembers what was drawn."""

    def __init__(self, width: int, monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> None:
        self.reader, writer = os.openpty()
        self._drawn = bytearray()
        # A stream of its own keeps the encoding that a locale would give it.
        file = open(writer, "w", encoding=encoding, errors="backslashreplace")  # noqa: SIM115, PTH123
        self.console = Console(file=file, force_terminal=True, width=width, height=30, color_system=None)
        monkeypatch.setattr(watch_table, "clock_time", lambda seconds: "02:11:45")

    def until(self, *words: str) -> str:
        """Read until all of these words have been drawn."""
        while not all(word in self.text for word in words):
            self._drawn += os.read(self.reader, 4096)
        return self.text

    @property
    def text(self) -> str:
        # What was read may end amid a character.
        return self._drawn.decode(errors="replace")


def play(screen: Screen, name: str | None, *steps: Any) -> None:
    """Show the table while the steps are played; SIGTERM ends it."""
    failure: list[BaseException] = []

    def script() -> None:
        try:
            for step in steps:
                step()
        except BaseException as error:
            failure.append(error)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    player = threading.Thread(target=script, daemon=True)
    player.start()
    watch_table.show(screen.console, name)
    player.join()
    if failure:
        raise failure[0]


def test_the_table_follows_what_happens(kernel: PolledKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(140, monkeypatch)
    r0 = kernel.add("r0", "DMREMAP-1", OURS)

    def pending() -> None:
        kernel.status_line = "1024/4096 2 3 4/5 77 3 9 8 24 0 1 degraded ro needs_check"
        kernel.tell(r0, "PENDING", 1, 123456, 8, 1)

    def come() -> None:
        kernel.add("later", "DMREMAP-2", OURS)
        kernel.dm_event()

    def go() -> None:
        del kernel.devices["r0"]
        kernel.dm_event()

    play(
        screen, None,
        lambda: screen.until("remapped", "r0", "rw", "0.0%", "5/5"),
        pending,
        lambda: screen.until("ro degraded needs_check", "25.0%", "4/5"),
        lambda: screen.until("02:11:45 PENDING sector 123456 (8 sectors)"),
        come,
        lambda: screen.until("later", "RESUMED"),
        lambda: kernel.tell(r0, "REMAP", 5, 0, 8, 1),
        lambda: screen.until("REMAP sector 0"),
        go,
        lambda: screen.until("removed", "REMOVED"),
    )  # fmt: skip


def test_the_table_at_forty_columns_and_in_ascii(
    kernel: PolledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(40, monkeypatch, "ascii")
    kernel.status_line = "1024/4096 2 3 4/5 77 3 9 8 24 0 1 degraded ro needs_check"
    kernel.add("a-name-that-is-rather-long", "DMREMAP-1", OURS)
    play(screen, None, lambda: screen.until("pending", "PRESENT"))
    lines = [line.rstrip() for line in screen.text.replace("\r", "").split("\n")]
    rows = [line for line in lines if "\x1b" not in line]
    assert rows and max(map(len, rows)) <= 40 and screen.text.isascii()
    assert "remapped" not in screen.text and "02:11:45" not in screen.text


def test_the_table_without_devices_and_of_one_that_is_not_there(
    kernel: PolledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.add("other", "DMREMAP-1", OURS)
    screen = Screen(80, monkeypatch)
    play(screen, "r0", lambda: screen.until("no devices"))
    assert "other" not in screen.text


def test_the_table_is_drawn_again_when_the_terminal_changes(
    kernel: PolledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.add("r0", "DMREMAP-1", OURS)
    screen = Screen(40, monkeypatch)

    def widen() -> None:
        screen.until("PRESENT")
        screen.console.width = 100
        os.kill(os.getpid(), signal.SIGWINCH)

    play(screen, None, widen, lambda: screen.until("remapped"))


def test_on_a_terminal_the_table_is_shown_unless_lines_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str | None] = []
    monkeypatch.setattr(watch_table, "show", lambda screen, name: shown.append(name))
    monkeypatch.setattr(watch, "open_source", lambda: ("fake", []))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for words in ([], ["r0"], ["--lines"], ["--count", "1"], ["--json"]):
        cli(["watch", *words], standalone_mode=False)
    monkeypatch.setenv("TERM", "dumb")
    cli(["watch"], standalone_mode=False)
    assert shown == [None, "r0"]
