"""Direct reads and writes on a device while something is done to it, checked against a model.

Runs in the guest as a thread of the agent: begin() starts it, end() stops it and gives what
went wrong.  Each block that is written carries a number that only grows, in each of its
sectors: one that came from an earlier time, or from elsewhere, is told from the right one.
"""

import mmap
import os
import random
import struct
import threading
from typing import Any

BLOCK = 4096
SECTOR = 512
STAMP = struct.Struct("<QQ")
FLUSH_EACH = 16  # Writes.
LEAST = 50  # Requests that are made, however soon the end comes.

_running: dict[str, "Shadow"] = {}


class Shadow:
    """``places`` are the blocks of 4 KiB it writes and reads; each begins with its last number."""

    def __init__(self, device: str, places: list[int], seed: int, numbers: dict[str, int]) -> None:
        self.device, self.places = device, places
        self.rng = random.Random(seed)
        self.numbers = {int(place): number for place, number in numbers.items()}
        self.durable = dict(self.numbers)
        self.next = max(self.numbers.values(), default=0) + 1
        self.wrong: list[str] = []
        self.failed: list[int] = []
        self.requests = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            fd = os.open(self.device, os.O_RDWR | os.O_DIRECT)
            with mmap.mmap(-1, BLOCK) as buffer:
                while self.requests < LEAST or not self.stop.is_set():
                    self._one(fd, buffer)
            os.fsync(fd)
            os.close(fd)
        except Exception as e:
            self.wrong.append(repr(e))

    def _one(self, fd: int, buffer: mmap.mmap) -> None:
        place = self.rng.choice(self.places)
        self.requests += 1
        if self.rng.random() < 0.6:
            buffer[:] = content(place, self.next)
            os.pwritev(fd, [buffer], place * BLOCK)
            self.numbers[place] = self.next
            self.next += 1
            if self.next % FLUSH_EACH == 0:
                written = dict(self.numbers)
                os.fsync(fd)
                self.durable = written
            return
        try:
            os.preadv(fd, [buffer], place * BLOCK)
        except OSError:
            self.failed.append(place)
            return
        if place in self.numbers and buffer[:] != content(place, self.numbers[place]):
            found = STAMP.unpack_from(buffer[:])
            self.wrong.append(f"block {place} is {found} instead of {self.numbers[place]}")


def content(place: int, number: int) -> bytes:
    return STAMP.pack(place, number) * (BLOCK // STAMP.size)


def begin(device: str, places: list[int], seed: int, numbers: dict[str, int]) -> None:
    _running[device] = Shadow(device, places, seed, numbers)
    _running[device].thread.start()


def durable(device: str) -> dict[str, int]:
    """The numbers that are on stable storage by now."""
    return {str(place): number for place, number in _running[device].durable.items()}


def end(device: str) -> dict[str, Any]:
    shadow = _running.pop(device)
    shadow.stop.set()
    shadow.thread.join(60)
    if shadow.thread.is_alive():
        shadow.wrong.append("a request does not end")
    return {
        "wrong": shadow.wrong[:20],
        "failed": sorted(set(shadow.failed)),
        "requests": shadow.requests,
        "numbers": {str(place): number for place, number in shadow.numbers.items()},
    }


def fill(device: str, places: list[int], first: int = 1) -> dict[str, int]:
    """Write every block once, with numbers from ``first`` on, and flush; the numbers."""
    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    numbers = {}
    with mmap.mmap(-1, BLOCK) as buffer:
        for number, place in enumerate(places, first):
            buffer[:] = content(place, number)
            os.pwritev(fd, [buffer], place * BLOCK)
            numbers[str(place)] = number
    os.fsync(fd)
    os.close(fd)
    return numbers


def check(device: str, numbers: dict[str, int]) -> dict[str, list[int]]:
    """Read every block: those that differ, and those that cannot be read."""
    differ, failed = [], []
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, BLOCK) as buffer:
        for word, number in numbers.items():
            place = int(word)
            try:
                os.preadv(fd, [buffer], place * BLOCK)
            except OSError:
                failed.append(place)
                continue
            if buffer[:] != content(place, number):
                differ.append(place)
    os.close(fd)
    return {"differ": differ, "failed": failed}


def check_cut(device: str, numbers: dict[str, int]) -> dict[str, Any]:
    """After a power cut: each sector has a number of its own, not older than this one.

    Gives what is wrong, and the highest number that was found.
    """
    wrong, highest = [], 0
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, BLOCK) as buffer:
        for word, number in numbers.items():
            os.preadv(fd, [buffer], int(word) * BLOCK)
            for at in range(0, BLOCK, SECTOR):
                place, found = STAMP.unpack_from(buffer, at)
                highest = max(highest, found)
                whole = buffer[at : at + SECTOR] == STAMP.pack(place, found) * (SECTOR // STAMP.size)
                if place != int(word) or found < number or not whole:
                    wrong.append(f"block {word} has {(place, found)} instead of {number} or later")
                    break
    os.close(fd)
    return {"wrong": wrong[:20], "highest": highest}
