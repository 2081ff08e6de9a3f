"""Memory that cannot be had: every allocation of the module fails once, in all that it does.

The debug kernel fails the n-th allocation that has the module on its stack, until an operation
needs fewer: the first, second, fourth, eighth and so on.  With DM_REMAP_FAULTS=all it is every one
of the first two dozen, and longer strides behind them, where the same is done again.  Each time the
operation succeeds or fails as a whole, what was acknowledged before is as it was, and what could
not be done can be done afterwards.
"""

import os
import random
import re
from collections.abc import Callable, Iterator

import pytest
from harness import Guest, Machine
from target import extents, pending, remapped, status
from test_alarms import debug_kernel

# Of slabs, and of whole pages.
FAULTS = ("failslab", "fail_page_alloc")
DEVICE = "/dev/mapper/mapped"
EVERY = os.environ.get("DM_REMAP_FAULTS") == "all"


def _arm(fault: str, nth: int) -> None:
    """In the guest: fail the nth allocation from here on that has the module on its stack."""
    import subprocess
    from pathlib import Path

    control = Path("/sys/kernel/debug") / fault
    if not control.exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)
    modules = (line.split() for line in Path("/proc/modules").read_text().splitlines())
    module = next(words for words in modules if words[0] == "dm_remap_v4")
    settings: dict[str, object] = {
        "times": 0,
        "probability": 100,
        "interval": nth,
        "count": 0,
        "space": 0,
        "task-filter": "N",
        "ignore-gfp-wait": "N",
        "stacktrace-depth": 32,
        "require-start": module[5],
        "require-end": hex(int(module[5], 16) + int(module[1])),
        "verbose": 2,
        "verbose_ratelimit_interval_ms": 0,
    }
    if fault == "fail_page_alloc":
        settings |= {"ignore-gfp-highmem": "N", "min-order": 0}
    for name, value in settings.items():
        (control / name).write_text(str(value))
    (control / "times").write_text("1")


def _disarm(fault: str) -> bool:
    """In the guest: back to normal.  Was there an nth allocation?"""
    from pathlib import Path

    times = Path("/sys/kernel/debug") / fault / "times"
    fired = times.read_text().strip() == "0"
    times.write_text("0")
    return fired


# What a debug kernel writes for an injected fault, with the way that led there.
INJECTED = re.compile(r"FAULT_INJECTION: forcing a failure.*?</TASK>", re.DOTALL)
# The trace of another fault at the same moment on the other processor, whose heading went with that.
CROSSED = re.compile(r"CPU: \d+ PID: (?:(?!</TASK>|CPU: ).)*?should_fail_ex.*?</TASK>", re.DOTALL)
# What the kernel itself says, with a trace, when one of its functions gets no memory for us.
REFUSED = re.compile(
    r"(kmem_cache_create\w*\(\w+\) failed with error -12|: vmalloc error: size).*?</TASK>", re.DOTALL
)
SITE = re.compile(r"\]  (?P<function>\w+)\+(?P<offset>0x[0-9a-f]+)/\S+ \[dm_remap_v4\]")


def sites(console: str) -> set[str]:
    """Where in the module the allocations that failed were asked for."""
    found = (SITE.search(block) for block in INJECTED.findall(console))
    return {f"{site['function']}+{site['offset']}" for site in found if site}


SECTORS = 16 << 11  # 16 MiB of main, so that reading all extents is cheap
BAD = 8192  # here and onward blocks go bad
GOOD = 64  # here and onward blocks are moved by message


def numbers() -> Iterator[int]:
    """Which allocations are to fail."""
    n = 1
    while True:
        yield n
        n += max(1, n // 12) if EVERY else n


class Box:
    """A device that is made, used and removed, and what is known of its content."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.content: dict[int, bytes] = {}  # by sector
        self.fresh = 0  # operations so far: each has sectors of its own

        # It would look at every change, which takes longer than all the rest.
        guest.run("udevadm", "control", "--stop-exec-queue")

    def dmsetup(self, *words: str | int) -> bool:
        return self.guest.run("env", "DM_DISABLE_UDEV=1", "dmsetup", *words, check=False).rc == 0

    def make(self) -> bool:
        table = f"0 {SECTORS} dm-remap-v4 {self.guest.main} {self.guest.spare}"
        return self.dmsetup("create", "mapped", "--table", table)

    def remove(self) -> bool:
        return self.dmsetup("remove", "mapped")

    def send(self, *words: str | int) -> bool:
        return self.dmsetup("message", "mapped", 0, *words)

    def reload(self) -> bool:
        table = f"0 {SECTORS} dm-remap-v4 {self.guest.main} {self.guest.spare} 1 relocate_weak"
        return self.dmsetup("reload", "mapped", "--table", table) and self.dmsetup("resume", "mapped")

    def write(self, sector: int, sectors: int = 1) -> bool:
        data = {s: random.randbytes(512) for s in range(sector, sector + sectors)}
        try:
            self.guest.write(DEVICE, sector, b"".join(data.values()))
        except OSError:
            return False
        self.content |= data
        return True

    def check(self, count: int) -> None:
        """Of what was written, is the newest there, and as much again of the rest?"""
        sectors = list(self.content)
        rest = sectors[:-count]
        for sector in sectors[-count:] + random.sample(rest, min(count, len(rest))):
            assert self.guest.read(DEVICE, sector) == self.content[sector], f"sector {sector}"


class Operation:
    """What is done under a fault.  `act` tells whether it worked; `settle` mends and checks."""

    def prepare(self, box: Box, sector: int) -> None: ...

    def act(self, box: Box, sector: int) -> bool:
        raise NotImplementedError

    def settle(self, box: Box, sector: int, done: bool) -> None:
        """Without the fault it works, if it did not before."""
        assert done or self.act(box, sector)


class Create(Operation):
    def prepare(self, box: Box, sector: int) -> None:
        assert box.remove()

    def act(self, box: Box, sector: int) -> bool:
        return box.make()


class Format(Create):
    def prepare(self, box: Box, sector: int) -> None:
        assert box.remove()
        box.guest.run("blkdiscard", "-f", "-z", "-l", 1 << 20, box.guest.spare)
        box.content.clear()


class Remove(Operation):
    def act(self, box: Box, sector: int) -> bool:
        return box.remove()

    def settle(self, box: Box, sector: int, done: bool) -> None:
        assert done, "nothing may keep a device from being removed"
        assert box.make()


class Reload(Operation):
    def act(self, box: Box, sector: int) -> bool:
        return box.reload()


class Remap(Operation):
    def prepare(self, box: Box, sector: int) -> None:
        assert box.write(GOOD + sector)

    def act(self, box: Box, sector: int) -> bool:
        return box.send("remap", GOOD + sector)

    def settle(self, box: Box, sector: int, done: bool) -> None:
        assert (GOOD + sector in remapped(extents(box.guest))) == done
        super().settle(box, sector, done)


class Unmap(Remap):
    def prepare(self, box: Box, sector: int) -> None:
        super().prepare(box, sector)
        assert box.send("remap", GOOD + sector)

    def act(self, box: Box, sector: int) -> bool:
        return box.send("unmap", GOOD + sector)

    def settle(self, box: Box, sector: int, done: bool) -> None:
        assert (GOOD + sector in remapped(extents(box.guest))) != done
        Operation.settle(self, box, sector, done)


class WriteError(Operation):
    """One bad block, and a good one at each side."""

    def prepare(self, box: Box, sector: int) -> None:
        box.guest.machine.main.fail(BAD + 4 * sector + 1, on="write")

    def act(self, box: Box, sector: int) -> bool:
        return box.write(BAD + 4 * sector, 3)

    def settle(self, box: Box, sector: int, done: bool) -> None:
        assert (BAD + 4 * sector + 1 in remapped(extents(box.guest))) == done
        super().settle(box, sector, done)


class ReadError(Operation):
    def prepare(self, box: Box, sector: int) -> None:
        box.guest.machine.main.fail(BAD + 4 * sector, on="read")

    def act(self, box: Box, sector: int) -> bool:
        """It worked if the loss was noted; the read itself fails."""
        with pytest.raises(OSError):
            box.guest.read(DEVICE, BAD + 4 * sector)
        return BAD + 4 * sector in pending(extents(box.guest))

    def settle(self, box: Box, sector: int, done: bool) -> None:
        super().settle(box, sector, done)
        assert box.write(BAD + 4 * sector)


class Sync(Operation):
    def act(self, box: Box, sector: int) -> bool:
        return box.send("sync")


OPERATIONS = [Format, Create, Remap, Unmap, WriteError, ReadError, Sync, Reload, Remove]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_allocation_is_needed_to_keep_what_was_acknowledged(
    machine: Callable[..., Machine], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    debug_kernel("kasan")
    box = Box(machine(kernel="kasan", power_cuts=False, memory=512).boot())
    assert box.make()
    survived = 0
    for kind in OPERATIONS:
        operation = kind()
        for nth in numbers():
            box.fresh += 1
            operation.prepare(box, box.fresh)
            box.guest.call(_arm, fault, nth)
            done = operation.act(box, box.fresh)
            fired = box.guest.call(_disarm, fault)
            if not fired:
                assert done, f"{kind.__name__} fails without a fault"
            operation.settle(box, box.fresh, done)
            box.check(6)
            if not fired:
                break
            survived += 1
    box.check(len(box.content))
    now = status(box.guest)
    assert (now.mode, now.check, now.valid, now.errors) == ("rw", "-", 5, ())
    reached = sites(box.guest.machine.console.text())
    box.guest.machine.console.ignore(INJECTED)
    box.guest.machine.console.ignore(CROSSED)
    box.guest.machine.console.ignore(REFUSED)
    # A kernel that has seen one allocation without warnings says no more where later faults are.
    assert survived >= max(20, len(reached))
    with capsys.disabled():
        print(f"\n{fault}: {survived} faults survived, among them at {' '.join(sorted(reached))}")
