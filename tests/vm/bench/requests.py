"""Direct requests in the guest, by a program of a few lines, and what they cost."""

import array
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Literal

from harness import Guest

SOURCE = Path(__file__).with_name("requests.c")
ROUNDS = 3

Operation = Literal["read", "write"]
OPERATIONS: tuple[Operation, ...] = ("read", "write")


@dataclass(frozen=True)
class Workload:
    """Requests of ``size`` bytes, ``depth`` of them at once."""

    operation: Operation
    size: int
    depth: int = 1


class Requester:
    """Issues requests in one guest.  ``directory`` is a place on the host for the program."""

    def __init__(self, guest: Guest, directory: Path) -> None:
        self._guest = guest
        self._directory = directory
        self._pushed: Sequence[int] = ()

    @cached_property
    def program(self) -> str:
        """Its path in the guest, which has the same C library as the host."""
        built = self._directory / "requests"
        subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", built, SOURCE], check=True)
        path = "/tmp/requests"
        self._guest.push(built, path)
        self._guest.run("chmod", "+x", path)
        return path

    def nanoseconds(self, device: str, workload: Workload, offsets: Sequence[int]) -> float:
        """Of one request: the median of some rounds over all ``offsets`` (bytes).

        On a machine that counts instructions, as many of those.
        """
        if offsets is not self._pushed:
            self._guest.push(array.array("Q", offsets).tobytes(), "/tmp/offsets")
            self._pushed = offsets
        w = workload
        done = self._guest.sh(
            f"{self.program} {device} {w.operation} {w.size} {w.depth} {ROUNDS} </tmp/offsets", timeout=600
        )
        requests = len(offsets) // w.depth * w.depth
        return median(map(int, done.out.split())) / requests
