"""A command that is killed between any two of its steps: one side is right, and it can be run again."""

import ctypes
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.service.move import evacuate, replace
from pycontrol.service.move.standstill import Standstill
from tests.conftest import MIB, Disks, Run
from tests.evacuation import Mapped
from tests.fakes import FakeKernel
from tests.faults import Cut, Storage
from tests.moving import MAIN, Device, MovingKernel, put, store, valid
from tests.replacement import Replacement

PR_SET_CHILD_SUBREAPER = 36
BACKUP = b"EFI PART"
"""At the very end of a disk: the second table of a GPT."""


@pytest.fixture
def guardians() -> Iterator[None]:
    """A guard that outlives its program becomes a child of the test."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Victim:
    """A program that is killed at one of its steps: a write, a flush, an ioctl."""

    def __init__(self, kernel: MovingKernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self._kernel, self._patch = kernel, monkeypatch

    def run(self, program: Callable[[], object], at: int = 0) -> list[str]:
        """Up to step ``at``, or to its end, and until its guard is gone; the steps, if it was not killed."""
        steps: list[str] = []
        heard, line = os.pipe()
        victim = os.fork()
        if victim == 0:
            itself = os.getpid()

            def step(label: str) -> None:
                if os.getpid() != itself:
                    return
                steps.append(label)
                if len(steps) == at:
                    os.kill(itself, signal.SIGKILL)

            self._kernel.step = step
            for call in ("pwritev", "fsync"):
                self._count(call, step)
            program()
            os.write(line, "\n".join(steps).encode())
            os._exit(0)
        os.close(line)
        with os.fdopen(heard) as file:
            told = file.read().splitlines()
        while True:
            try:
                os.wait()
            except ChildProcessError:
                return told

    def _count(self, call: str, step: Callable[[str], None]) -> None:
        real = getattr(os, call)

        def counted(*arguments: object) -> object:
            step(call)
            return real(*arguments)

        self._patch.setattr(os, call, counted)


@pytest.fixture
def victim(guardians: None, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch) -> Victim:
    return Victim(moving, monkeypatch)


def standing_still(steps: list[str]) -> range:
    """The steps from the suspend to the resume, both ioctl 6."""
    ends = [at for at, label in enumerate(steps, 1) if label == "ioctl 6"]
    return range(ends[0], ends[-1] + 1)


def test_a_replacement_leaves_one_spare_that_can_be_used(replacement: Replacement, victim: Victim) -> None:
    device, new = replacement.device, replacement.new
    outcomes = set()

    def program() -> None:
        with Control() as control:
            replace.carry_out(control, replace.plan(control, "data", new), now=1000)

    steps = victim.run(program)
    for at in standing_still(steps):
        for path, data in replacement.before.items():
            store(path, data)
        replacement.boot()
        assert victim.run(program, at) == []
        there = valid(new) or replacement.arrived
        assert valid(device.spare) is not there, f"{steps[at - 1]}, step {at}"
        if not there:
            device.check(device.spare)
        outcomes.add(there)
    assert outcomes == {True, False}


def test_the_guard_goes_on_with_the_new_spare_only_once_that_can_be_used(
    replacement: Replacement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the kernel would refuse it, and have forgotten the table of the old one."""
    told: list[tuple[bool, bool]] = []
    real = Standstill.decided

    def decided(still: Standstill, on: bool) -> None:
        told.append((on, valid(replacement.new)))
        real(still, on)

    monkeypatch.setattr(Standstill, "decided", decided)
    replacement.go()
    assert told and set(told) == {(True, True)}


def test_an_evacuation_leaves_no_second_copy_that_grows_old(device: Device, victim: Victim) -> None:
    put(device.main, [(0x438, b"\x53\xef")])
    mapped = Mapped(device)
    before = Path(device.spare).read_bytes()
    outcomes = set()

    def program() -> None:
        with Control() as control:
            decided = evacuate.plan(control, "data", mapped.new, overwrite=True)
            evacuate.carry_out(control, decided, now=1000)

    mapped.boot()
    steps = victim.run(program)
    for at in standing_still(steps):
        Path(device.spare).write_bytes(before)
        mapped.boot()
        assert victim.run(program, at) == []
        with Path(mapped.new).open("rb") as file:
            marked = file.read(4096).startswith(b"dm-remap: ")
        assert marked is valid(device.spare), f"{steps[at - 1]}, step {at}"
        if not marked:
            mapped.check()
        outcomes.add(marked)
    assert outcomes == {True, False}


# Run again.


def test_what_an_evacuation_has_copied_already_is_no_obstacle(
    device: Device, moving: MovingKernel, run: Run
) -> None:
    put(device.main, [(MAIN - 512, BACKUP)])
    mapped = Mapped(device)

    def interrupt(_number: int) -> None:
        if Path(mapped.new).read_bytes()[MAIN - 512 :].startswith(BACKUP):
            raise KeyboardInterrupt

    moving.at_count = interrupt
    assert run("evacuate", "data", mapped.new, "--yes").exit_code == 10
    moving.at_count = lambda number: None
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 0, result.stderr
    mapped.check()


def test_another_evacuations_disk_is_one(device: Device, run: Run) -> None:
    mapped = Mapped(device)
    other = metadata.Mark(metadata.Condition.UNFINISHED, UUID(int=5), 5, "elsewhere")
    put(mapped.new, [(0, metadata.encode_mark(other))])
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 5 and "another, unfinished replacement" in result.stderr


def test_an_evacuation_that_was_killed_with_its_guard_is_done_anew(
    device: Device, moving: MovingKernel, run: Run
) -> None:
    put(device.main, [(0x438, b"\x53\xef")])
    mapped = Mapped(device)
    # All is there, and the new table loaded; but the old spare is not retired.
    Path(mapped.new).write_bytes(mapped.path.read_bytes())
    moving.devices["data"].suspended = True
    moving.devices["data"].pending = [(0, MAIN // 512, "linear", f"{device.disks.number(mapped.new)} 0")]
    moving.region = (65536, 128)
    seen = []

    def look(_number: int) -> None:
        with Path(mapped.new).open("rb") as file:
            seen.append(file.read(10))

    moving.at_count = look
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 0, result.stderr
    assert seen[0] == b"dm-remap: " and device.live[2] == "linear"
    mapped.check()


def test_what_stands_still_goes_back_though_the_new_disk_is_dead(
    device: Device, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    mapped = Mapped(device)
    moving.devices["data"].suspended = True
    moving.devices["data"].pending = [(0, MAIN // 512, "linear", f"{device.disks.number(mapped.new)} 0")]
    moving.region = (65536, 128)
    inode = Path(mapped.new).stat().st_ino
    real = os.pwritev

    def dead(fd: int, *rest: object) -> int:
        if os.fstat(fd).st_ino == inode:
            raise OSError(5, "Input/output error")
        return real(fd, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "pwritev", dead)
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 6 and "never use what is on it" in result.stderr
    assert not moving.devices["data"].suspended and device.live[2] == "dm-remap-v4"


# Creating: the spare is formatted, then the device made, its table loaded, and made live.


@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
@pytest.mark.parametrize("options", [(), ("--copies", "1"), ("--spacing", "64K")], ids=" ".join)
def test_creating_goes_on_from_where_it_was(
    kernel: FakeKernel, disks: Disks, run: Run, monkeypatch: pytest.MonkeyPatch, power: bool,
    options: tuple[str, ...],
) -> None:  # fmt: skip
    main, spare = disks.make("main", 64 * MIB), disks.make("spare", 8 * MIB)
    storage = Storage(monkeypatch, [spare])
    words = ("create", "r0", main, spare, "--yes", *options)
    cut = 0
    while True:
        cut += 1
        Path(spare).write_bytes(bytes(8 * MIB))
        kernel.devices.clear()
        storage.steps, storage.cut = 0, cut
        try:
            assert run(*words).exit_code == 0
            break
        except Cut:
            pass
        storage.cut = None
        if power:
            storage.lose(random.Random(cut))
        result = run(*words)
        assert result.exit_code == 0, f"step {cut}: {result.stderr}"
        assert valid(spare) and kernel.devices["r0"].live
    assert cut > 10


def test_what_is_made_for_another_main_device_is_left_alone(
    kernel: FakeKernel, disks: Disks, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, spare, other = disks.make("main", 64 * MIB), disks.make("spare", 8 * MIB), disks.make("other", MAIN)
    storage = Storage(monkeypatch, [spare])
    storage.cut = 6
    with pytest.raises(Cut):
        run("create", "r0", main, spare, "--yes")
    storage.cut = None
    before = Path(spare).read_bytes()
    result = run("create", "r0", other, spare, "--yes")
    assert result.exit_code == 4 and "not finished" in result.stderr and "--format" in result.stderr
    # Nor what was there and was to be overwritten.
    put(spare, [(0x10040, b"_BHRfS_M")])
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 4 and "--format" in result.stderr
    assert Path(spare).read_bytes().replace(b"_BHRfS_M", bytes(8)) == before and not kernel.devices
    assert run("create", "r0", other, spare, "--yes", "--format").exit_code == 0
