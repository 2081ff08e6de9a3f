"""A target whose disk has bad sectors, for the tests of ``dmremapctl scrub``."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.service.find import scrub, scrubrun
from tests.conftest import Disks
from tests.fakes import FakeKernel

SECTORS = 10 * scrub.PIECE + 24
HEALTHY = "0/1000 0 0 5/5 1 0 0 0 0 0 0 rw -"


class FakeTarget:
    """What the target does to reads, and its answers: bad blocks become pending when they are read."""

    def __init__(self, sectors: int, block: int = 1) -> None:
        self.sectors, self.block = sectors, block
        self.bad: set[int] = set()
        self.pending: set[int] = set()
        self.records = True
        self.position = self.durable = 0
        self.came_back: list[tuple[int, int]] = []
        self.asked: list[tuple[int, int]] = []
        self.before_read: Callable[[int], None] = lambda sector: None

    def read(self, sector: int, sectors: int) -> None:
        self.before_read(sector)
        self.asked.append((sector, sectors))
        assert sector % self.block == sectors % self.block == 0
        wanted = set(range(sector, sector + sectors))
        lost = wanted & (self.pending | self.bad)
        if self.records:
            self.pending |= wanted & self.bad
        if lost:
            raise OSError(errno.ENODATA, "No data available")
        self.came_back.append((sector, sectors))

    def preadv(self, fd: int, buffers: list[memoryview], offset: int) -> int:
        length = sum(map(len, buffers))
        self.read(offset // 512, length // 512)
        return length

    def answer(self, words: str) -> str | None:
        match words.split():
            case ["scrub", sector]:
                self.position = int(sector)
                return sector
            case ["scrub"]:
                return str(self.position)
            case ["sync"]:
                self.durable = self.position
                return "Saved, sequence 2"
            case ["list", start, most]:
                later = sorted(sector for sector in self.pending if sector >= int(start))
                lines = [f"{sector} 1 - pending" for sector in later[: int(most)]]
                more = [f"next {later[int(most)]}"] if len(later) > int(most) else []
                return "\n".join([*lines, *more]) or "none"
        raise AssertionError(words)

    @property
    def read_well(self) -> set[int]:
        return {sector for start, count in self.came_back for sector in range(start, start + count)}


def prepared(kernel: FakeKernel, disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    """r0 of dm-remap, its node a file, and /run/dm-remap a directory of the test's."""
    made = FakeTarget(SECTORS)
    kernel.add("r0", "DMREMAP-1", (0, SECTORS, "dm-remap-v4", "8:0 8:16"))
    kernel.answer = made.answer
    disks.make("r0", SECTORS * 512, dev=DevNumber(253, 0))
    monkeypatch.setattr("pycontrol.service.devices.MAPPER_DIR", tmp_path)
    monkeypatch.setattr(os, "preadv", made.preadv)
    # Not every file system a test may run on knows direct I/O.
    monkeypatch.setattr(os, "O_DIRECT", 0)
    return made


def files(of: str = "DMREMAP-1") -> scrubrun.Files:
    return scrubrun.Files(scrub.Subject("r0", "/dev/mapper/r0", of, 0, SECTORS, 1))


def lines(output: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Findings, and the summary behind them."""
    *findings, summary = map(json.loads, output.splitlines())
    assert all(finding.pop("type") == "finding" for finding in findings)
    assert summary.pop("type") == "summary"
    return findings, summary
