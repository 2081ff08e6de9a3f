"""Metrics by HTTP, out of the monitor's own loop: real sockets, and clients that behave badly."""

import errno
import fcntl
import http.client
import os
import select
import socket
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontrol.errors import AccessDenied, Busy, UsageError
from pycontrol.service.tell.exporter import CLIENTS, PATIENCE, PAUSE, REQUEST, Exporter
from tests.daemon import Service, kernel, r0, service
from tests.fakes import Device, PolledKernel

__all__ = ["kernel", "r0", "service"]
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PAGE = "dmremap_monitor_up 1\n"


class Loop:
    """An exporter in a loop of its own, with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=CLIENTS)
        self.exporter = Exporter(self.listening, clock=lambda: self.now)
        self.text = PAGE
        self.asked = 0

    def page(self) -> str:
        self.asked += 1
        return self.text

    def connect(self, request: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listening.getsockname(), timeout=30)
        self.send(client, request)
        return client

    def send(self, client: socket.socket, data: bytes) -> None:
        """Send it, and wait until it is there: on a busy host that is later."""
        client.sendall(data)
        while fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)) != bytes(4):
            os.sched_yield()

    def step(self, client: socket.socket | None = None) -> None:
        """Wait for whatever it waits for, or for something that a client can read, and let it."""
        poll = select.poll()
        if client:
            poll.register(client, select.POLLIN)
        for descriptor, events in self.exporter.interest:
            poll.register(descriptor, events)
        assert poll.poll(30_000), "nothing came"
        self.exporter.attend(self.page)

    def answer(self, client: socket.socket) -> bytes:
        """What a client is told, to the end."""
        got = b""
        client.setblocking(False)
        while True:
            try:
                data = client.recv(1 << 20)
            except BlockingIOError:
                self.step(client)
                continue
            if not data:
                return got
            got += data


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.exporter.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
    return port


def scrape(port: int, method: str = "GET", path: str = "/metrics") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text, response.headers["Content-Type"]


def test_the_monitor_answers_with_what_holds_now(kernel: PolledKernel, r0: Device, service: Service) -> None:
    port = free_port()
    seen: list[tuple[int, str, str]] = []

    def script() -> None:
        seen.append(scrape(port))
        # No event tells of a read that came back on a retry.
        kernel.status_line = "0/1000 0 0 5/5 1 7 0 0 0 0 0 rw -"
        seen.append(scrape(port))

    code, _, err = service("--listen", str(port), script=script)
    assert code == 0 and err == "dmremapctl: monitoring\n"
    assert [status for status, _, _ in seen] == [200, 200]
    assert seen[0][2] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'dmremap_read_errors_total{device="r0"} 0\n' in seen[0][1]
    assert 'dmremap_read_errors_total{device="r0"} 7\n' in seen[1][1]
    with pytest.raises(ConnectionRefusedError):
        scrape(port)


def test_who_says_nothing_holds_up_nobody(kernel: PolledKernel, r0: Device, service: Service) -> None:
    port = free_port()
    idle: list[socket.socket] = []

    def script() -> None:
        idle.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS - 1))
        assert scrape(port)[0] == 200
        kernel.tell(r0, "REMAP", 1, 1000, 8, 1)
        while 'action="REMAP"} 1\n' not in scrape(port)[1]:
            pass

    code, out, _ = service("--listen", str(port), script=script)
    assert code == 0 and "r0: REMAP" in out
    for client in idle:
        client.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET, b"200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nx=1", b"405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics SPDY/3\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * REQUEST, b"431 Request Header Fields Too Large"),
    ],
)
def test_every_request_has_its_answer(loop: Loop, request_: bytes, status: bytes) -> None:
    answer = loop.answer(loop.connect(request_))
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.splitlines()[0] == b"HTTP/1.1 " + status
    assert f"Content-Length: {len(body)}".encode() in head
    assert (body == PAGE.encode()) is (status == b"200 OK") is (loop.asked == 1)
    assert b"passwd" not in answer


def test_head_has_no_body(loop: Loop) -> None:
    answer = loop.answer(loop.connect(GET.replace(b"GET", b"HEAD")))
    assert answer.endswith(b"\r\n\r\n") and f"Content-Length: {len(PAGE)}".encode() in answer


def test_a_request_in_pieces_and_an_answer_that_is_read_slowly(loop: Loop) -> None:
    loop.text = "x" * (16 << 20)
    client = loop.connect(GET[:10])
    loop.step()
    loop.send(client, GET[10:])
    loop.step()
    assert loop.asked == 1
    # More than a socket holds: the rest goes as the client takes it.
    assert loop.answer(client).endswith(b"\r\n\r\n" + loop.text.encode())


def test_patience_ends(loop: Loop) -> None:
    before = loop.exporter.deadline
    slow = loop.connect(GET[:10])
    loop.step()
    assert loop.exporter.deadline == loop.now + PATIENCE
    loop.now += PATIENCE
    loop.exporter.attend(loop.page)
    assert slow.recv(1) == b"" and loop.asked == 0
    assert before is loop.exporter.deadline is None, "nobody is there, nothing is waited for"


def test_only_so_many_at_a_time_and_the_next_one_waits(loop: Loop) -> None:
    first = [loop.connect(GET[:1]) for _ in range(CLIENTS)]
    for _ in first:
        loop.exporter.attend(loop.page)
    assert len(list(loop.exporter.interest)) == CLIENTS, "it does not listen"
    late = loop.connect(GET)
    loop.exporter.attend(loop.page)
    assert loop.asked == 0
    first[0].close()
    assert b"200 OK" in loop.answer(late)


def test_without_descriptors_it_pauses_and_does_not_spin(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, real: socket.socket) -> None:
            self.real = real

        def accept(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def setblocking(self, flag: bool) -> None: ...

        def fileno(self) -> int:
            return self.real.fileno()

    client = loop.connect(GET)
    with monkeypatch.context() as patch:
        patch.setattr(loop.exporter, "_listening", Full(loop.listening))
        loop.step()
        assert list(loop.exporter.interest) == [] and loop.exporter.deadline == loop.now + PAUSE
    loop.now += PAUSE
    assert b"200 OK" in loop.answer(client)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "65536",
        "-1",
        ":9811",
        "host:9811",
        "127.0.0.1:",
        "1 2:3",
        "[::1]",
        "²",
        "\x1b:1",
        "a\0:1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match=r"\[ADDRESS:\]PORT") as caught:
        Exporter.parse(text)
    assert "\x1b" not in str(caught.value)


def test_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    places = [(f"{port}", socket.AF_INET, "127.0.0.1"), (f"0.0.0.0:{port}", socket.AF_INET, "0.0.0.0")]
    if Path("/proc/net/if_inet6").exists():
        places.append((f"[::1]:{port}", socket.AF_INET6, "::1"))
    for text, family, address in places:
        exporter = Exporter.parse(text)
        (descriptor, _), *_ = exporter.interest
        with socket.socket(fileno=os.dup(descriptor)) as listening:
            assert listening.family == family and listening.getsockname()[:2] == (address, port)
        with pytest.raises(Busy, match=r"can listen on .*: Address already in use"):
            Exporter.parse(text)
        exporter.close()

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(AccessDenied, match="Permission denied"):
        Exporter.parse("80")
