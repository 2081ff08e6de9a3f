"""The host's end of the line to the agent in the guest."""

import contextlib
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Reply = dict[str, Any]


class LineCut(Exception):
    """The other end is gone."""


class Line:
    """Requests and replies over QEMU's socket; any thread may use it."""

    def __init__(self, path: Path, alive: Callable[[], bool]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not alive() or time.monotonic() > deadline:
                    raise LineCut from None
                time.sleep(0.01)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._replies: dict[int, queue.SimpleQueue[Reply | None]] = {0: queue.SimpleQueue()}
        self._at_once: dict[int, Callable[[], None]] = {}
        self._cut = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, what: str, at_once: Callable[[], None] | None = None, **request: Any) -> int:
        """Send a request and return its number.

        `at_once` is called in the reading thread, the moment the reply is there.
        """
        with self._lock:
            if self._cut:
                raise LineCut
            number = next(self._numbers)
            self._replies[number] = queue.SimpleQueue()
            if at_once:
                self._at_once[number] = at_once
            try:
                self._socket.sendall(json.dumps({"id": number, "what": what, **request}).encode() + b"\n")
            except OSError:
                raise LineCut from None
        return number

    def reply(self, number: int, timeout: float) -> Reply:
        """Wait for the reply to a request.  Raises TimeoutError, or LineCut."""
        replies = self._replies[number]
        try:
            reply = replies.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        if reply is None:
            replies.put(None)
            raise LineCut
        return reply

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        try:
            for text in self._socket.makefile("rb"):
                reply: Reply = json.loads(text)
                number = reply["id"]
                if at_once := self._at_once.pop(number, None):
                    at_once()
                self._replies[number].put(reply)
        except (OSError, ValueError):
            pass
        with self._lock:
            self._cut = True
            for replies in self._replies.values():
                replies.put(None)
