"""What a second processor adds, by the clock."""

import json
from dataclasses import dataclass
from itertools import product
from typing import Any

from harness import Guest

from . import stacks
from .nulldisk import null_disk, remove_null_disk
from .remaps import Remaps

ROUNDS = 12
SECONDS = 1
MAIN_SECTORS = 1 << 31
MiB_SECTORS = 2048


@dataclass(frozen=True)
class Processors:
    """Throughput of two processors over that of one."""

    linear: float
    target: float

    @property
    def ratio(self) -> float:
        """What ours gains over what dm-linear does."""
        return self.target / self.linear


def measure(guest: Guest) -> Processors:
    """Random reads of 4 KiB by one process on each processor.

    Of each the best of some rounds: what else the host does only takes away.
    """
    main = null_disk(guest, "main", MAIN_SECTORS // MiB_SECTORS, queues=2)
    spare = null_disk(guest, "spare", 1024, memory=True)
    remaps = Remaps(0, MAIN_SECTORS, 1024 * MiB_SECTORS)
    with (
        stacks.linear(guest, main, MAIN_SECTORS) as linear,
        stacks.remapped(guest, main, spare, remaps) as target,
    ):
        best = dict.fromkeys(product((linear, target), (1, 2)), 0.0)
        for _ in range(ROUNDS):
            for device, jobs in best:
                best[device, jobs] = max(best[device, jobs], _throughput(guest, device, jobs))
    remove_null_disk(guest, "main")
    remove_null_disk(guest, "spare")
    return Processors(*(best[device, 2] / best[device, 1] for device in (linear, target)))


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
