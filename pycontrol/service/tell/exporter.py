"""The metrics by HTTP, for a Prometheus that asks the monitor itself.

A part of the monitor's loop: nothing here waits, and nothing wakes an idle monitor.  Whoever
connects can read one page, slowly or not at all, and can hold up nobody.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from pycontrol.errors import AccessDenied, Busy, UsageError
from pycontrol.text import plain

PATH: Final = "/metrics"
LOOPBACK: Final = "127.0.0.1"
CLIENTS: Final = 16
"""So many at a time; the next ones wait in the kernel."""

PATIENCE: Final = 5.0
"""Seconds for all of a request and its answer."""

REQUEST: Final = 8192
"""Bytes a request may have."""

PAUSE: Final = 1.0
"""Seconds in which nobody is let in after that failed, for want of descriptors."""

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    deadline: float
    """By the monotonic clock."""
    request: bytes = b""
    answer: memoryview | None = None
    """What is still to be sent; empty once it is, and then only the end is waited for."""

    @property
    def sending(self) -> bool:
        return bool(self.answer)


class Exporter:
    """Listens from the start.  ``PATH`` is the page, anything else is an error of HTTP."""

    def __init__(self, listening: socket.socket, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._listening = listening
        self._clock = clock
        self._clients: dict[int, _Client] = {}
        self._quiet_until = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """``[ADDRESS:]PORT``, the address numeric, IPv6 in brackets, by default only this machine's.

        UsageError if it is none, Busy if somebody listens there, AccessDenied if it may not be had.
        """
        host, colon, port = text.rpartition(":")
        address = host.removeprefix("[").removesuffix("]") if colon else LOOPBACK
        shown = f"{plain(text)} is no [ADDRESS:]PORT, like 9811, 192.0.2.1:9811 or [::1]:9811"
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536 and address):
            raise UsageError(shown)
        try:
            found = socket.getaddrinfo(
                address, int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except (OSError, UnicodeError) as error:
            raise UsageError(shown) from error
        family, _, _, _, place = found[0]
        try:
            return cls(socket.create_server(place[:2], family=family, backlog=CLIENTS))
        except OSError as error:
            kind = AccessDenied if isinstance(error, PermissionError) else Busy
            raise kind(f"nobody can listen on {plain(text)}: {error.strerror}") from error

    @property
    def interest(self) -> Iterator[tuple[int, int]]:
        """Descriptors, and what to wait for by poll()."""
        if len(self._clients) < CLIENTS and self._quiet_until <= self._clock():
            yield self._listening.fileno(), select.POLLIN
        for descriptor, client in self._clients.items():
            yield descriptor, select.POLLOUT if client.sending else select.POLLIN

    @property
    def deadline(self) -> float | None:
        """When, by the monotonic clock, somebody's patience ends; None if nobody is there."""
        deadlines = [client.deadline for client in self._clients.values()]
        if self._quiet_until > self._clock():
            deadlines.append(self._quiet_until)
        return min(deadlines, default=None)

    def attend(self, page: Callable[[], str]) -> None:
        """Do what can be done at once; ``page`` is asked for the text when somebody wants it."""
        self._listening.setblocking(False)
        while len(self._clients) < CLIENTS and self._quiet_until <= self._clock():
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError:
                self._quiet_until = self._clock() + PAUSE
                break
            accepted.setblocking(False)
            self._clients[accepted.fileno()] = _Client(accepted, self._clock() + PATIENCE)
        for descriptor, client in list(self._clients.items()):
            if client.deadline <= self._clock() or not self._serve(client, page):
                del self._clients[descriptor]
                client.socket.close()

    def close(self) -> None:
        """Listen no more: who asks then knows that nobody is there."""
        self._listening.close()
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()

    def _serve(self, client: _Client, page: Callable[[], str]) -> bool:
        """Go on with one client; whether it is to stay."""
        try:
            if not client.sending:
                got = client.socket.recv(REQUEST)
                if not got:
                    return False
                if client.answer is not None:
                    # More than it was asked for; closing now would destroy what it has not read yet.
                    return True
                client.request += got
                client.answer = _answer(client.request, page)
            if client.answer:
                client.answer = client.answer[client.socket.send(client.answer, socket.MSG_NOSIGNAL) :]
                if not client.answer:
                    client.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _answer(request: bytes, page: Callable[[], str]) -> memoryview | None:
    """The whole answer; None if the request has not come in full."""
    if b"\r\n\r\n" not in request:
        return _response("431 Request Header Fields Too Large") if len(request) >= REQUEST else None
    words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _response("400 Bad Request")
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        return _response("405 Method Not Allowed", "Allow: GET, HEAD")
    if target.partition("?")[0] != PATH:
        return _response("404 Not Found", body=f"The metrics are at {PATH}\n")
    return _response("200 OK", body=page(), head=method == "HEAD")


def _response(status: str, *fields: str, body: str = "", head: bool = False) -> memoryview:
    data = (body or f"{status}\n").encode()
    lines = (
        f"HTTP/1.1 {status}", f"Content-Type: {TEXT}", f"Content-Length: {len(data)}", *fields,
        "X-Content-Type-Options: nosniff", "Connection: close", "", "",
    )  # fmt: skip
    return memoryview("\r\n".join(lines).encode() + (b"" if head else data))
