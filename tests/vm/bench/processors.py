"""What a second processor adds, by the clock."""

import json
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness import Guest

from . import stacks
from .nulldisk import null_disk, remove_null_disk
from .remaps import Remaps

PAIRS = 5
SECONDS = 2
MAIN_SECTORS = 1 << 31
MiB_SECTORS = 2048


@dataclass(frozen=True)
class Processors:
    """Throughput of two processors over that of one; the median of pairs."""

    linear: float
    target: float
    ratio: float


def measure(guest: Guest) -> Processors:
    """Random reads of 4 KiB by one process on each processor."""
    main = null_disk(guest, "main", MAIN_SECTORS // MiB_SECTORS, queues=2)
    spare = null_disk(guest, "spare", 1024, memory=True)
    remaps = Remaps(0, MAIN_SECTORS, 1024 * MiB_SECTORS)
    with (
        stacks.linear(guest, main, MAIN_SECTORS) as linear,
        stacks.remapped(guest, main, spare, remaps) as target,
    ):
        pairs = [(_scaling(guest, linear), _scaling(guest, target)) for _ in range(PAIRS)]
    remove_null_disk(guest, "main")
    remove_null_disk(guest, "spare")
    return Processors(
        median(one for one, _ in pairs), median(other for _, other in pairs),
        median(other / one for one, other in pairs),
    )  # fmt: skip


def _scaling(guest: Guest, device: str) -> float:
    return _throughput(guest, device, 2) / _throughput(guest, device, 1)


def _throughput(guest: Guest, device: str, jobs: int) -> float:
    """Requests a second."""
    done = guest.run(
        *("fio", "--name=cpus", f"--filename={device}", "--ioengine=psync", "--direct=1", "--rw=randread"),
        *("--bs=4k", "--norandommap", f"--numjobs={jobs}", "--thread", "--group_reporting", "--time_based"),
        *(f"--runtime={SECONDS}", "--cpus_allowed=0-1", "--cpus_allowed_policy=split"),
        "--output-format=json",
    )
    report: dict[str, Any] = json.loads(done.out)
    throughput: float = report["jobs"][0]["read"]["iops"]
    return throughput
