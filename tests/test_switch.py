"""What goes wrong at the switch itself, and behind it: one side is the right one, and it is found."""

import errno
import os
import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.errors import CookieError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmFlags
from pycontrol.errors import DeviceIoError, RemapError
from pycontrol.metadata import Condition, Geometry, Mark
from pycontrol.service import activate
from pycontrol.service.directio import direct
from pycontrol.service.move import evacuate, replace, retire
from pycontrol.service.move.lostlist import lost_list
from pycontrol.service.move.settle import settle
from tests.conftest import MIB, Run
from tests.evacuation import Mapped
from tests.faults import Cut, Storage
from tests.moving import MAIN, MAPPED, UUID_, Device, MovingKernel, bad_sectors, loaded, put, store, valid
from tests.replacement import Replacement


def retired_for(other: str, time: int) -> list[tuple[int, bytes]]:
    """Blocks that retire a spare."""
    return metadata.marked(Mark(Condition.RETIRED, UUID_, time, other), Geometry(5, 256))


def arrived_from(spare: str, time: int) -> list[tuple[int, bytes]]:
    """The blocks of a spare on which everything of this one has arrived, data aside."""
    state = loaded(spare)
    snapshot = metadata.moved(
        state, [metadata.Record(*each) for each in state.extents], spare_sectors=8 * MIB // 512,
        block_size=512, end=state.header.cursor, lost=0, time=time,
    )  # fmt: skip
    return [*snapshot.blocks(), *snapshot.headers()]


def stand_still(moving: MovingKernel) -> None:
    """As a program leaves the device that is killed together with its guard."""
    moving.devices["data"].suspended = True
    moving.region = (65536, 128)


# One of the disks dies for good.


def test_the_new_spare_dies_at_any_step(replacement: Replacement) -> None:
    device, new = replacement.device, replacement.new
    replacement.go()
    steps = replacement.storage.steps
    told = 0
    for step in range(steps - 40, steps + 1, 3):
        try:
            replacement.go(dies=(new, step))
        except RemapError as error:
            assert replacement.in_use == device.spare, f"step {step}"
            device.check(device.spare)
            if valid(new) or replacement.arrived:
                assert "never use what" in str(error), f"step {step}: {error}"
                told += 1
        else:
            assert replacement.in_use == new, f"step {step}"
            device.check(new)
        assert not device.kernel.devices["data"].suspended, f"step {step}"
    assert told


def test_the_old_spare_takes_no_writes_from_any_step_on(replacement: Replacement) -> None:
    device, new = replacement.device, replacement.new
    replacement.go()
    steps = replacement.storage.steps
    told = 0
    for step in range(steps - 24, steps + 1, 3):
        warnings = replacement.go(dies=(device.spare, step))
        assert replacement.in_use == new and not device.kernel.devices["data"].suspended, f"step {step}"
        device.check(new)
        if valid(device.spare):
            assert "could not be marked" in warnings[0], f"step {step}"
            told += 1
    assert told


def test_a_spare_that_is_gone_may_come_back_as_it_was(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    with direct(device.spare, write=True) as opened:
        state = loaded(device.spare)

        def dead(*_: object) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            for call in ("preadv", "pwritev", "fsync"):
                patch.setattr(f"os.{call}", dead)
            assert "must never be used" in retire.retire(opened, state, "there", 5)
        assert retire.retire(opened, state, "there", 5) == "" and not valid(device.spare)


# The way back is as safe as the way there.


def test_a_power_cut_while_a_failed_switch_is_taken_back(
    replacement: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = replacement.device, replacement.new
    labels: list[str] = []
    real = replacement.storage.step

    def step(label: str = "") -> None:
        labels.append(label)
        real(label)

    monkeypatch.setattr(replacement.storage, "step", step)
    replacement.go()
    # The resume onto the new spare fails, when all has been written; the one that goes back does not.
    failing = max(at for at, label in enumerate(labels, 1) if label == "ioctl 6")
    labels.clear()
    with pytest.raises(RemapError):
        replacement.go(fail=failing)
    device.check(device.spare)
    assert len(labels) > failing + 10 and not valid(new) and not replacement.arrived
    outcomes = set()
    for cut in range(failing + 1, len(labels) + 1, 2):
        with pytest.raises(Cut):
            replacement.go(cut=cut, fail=failing)
        replacement.storage.lose(random.Random(cut))
        device.kernel.devices.clear()
        old_valid, new_valid = valid(device.spare), valid(new)
        assert not (old_valid and new_valid), f"cut {cut}"
        done = {path: run("activate", "data", device.main, path) for path in (device.spare, new)}
        assert (done[device.spare].exit_code == 0) is old_valid, f"cut {cut}"
        assert (done[new].exit_code == 0) is not old_valid, f"cut {cut}: {done[new].stderr}"
        device.check(device.spare if old_valid else new)
        outcomes.add(old_valid)
    assert outcomes == {True, False}


def test_what_fails_behind_the_switch_takes_nothing_back(replacement: Replacement) -> None:
    class Gone(Cookie):
        """Somebody has completed all cookies meanwhile."""

        def sent(self, flags: DmFlags) -> None:
            raise CookieError("cannot count what udev has to do: Invalid argument")

    with Control() as control:
        decided = replace.plan(control, "data", replacement.new)
        done = replace.carry_out(control, decided, cookie=Gone)
    assert replacement.in_use == replacement.new and "cannot count" in done.warnings[0]
    replacement.device.check(replacement.new)


def stands_still(device: Device) -> bool:
    return device.kernel.devices["data"].suspended


@pytest.fixture
def refusing(replacement: Replacement, monkeypatch: pytest.MonkeyPatch) -> Replacement:
    """Its kernel refuses the new spare, when the table is in place already, until it is ``accepting``."""
    device, real = replacement.device, MovingKernel._resume

    def resume(kernel: MovingKernel, name: str, *rest: object) -> object:
        found = kernel.devices["data"]
        if (
            not replacement.accepting
            and found.pending
            and found.pending[0][3] == device.table(replacement.new)
        ):
            found.live, found.pending, found.suspended = found.pending, None, True
            raise OSError(errno.EINVAL, "the metadata is refused")
        return real(kernel, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MovingKernel, "_resume", resume)
    return replacement


def not_written(monkeypatch: pytest.MonkeyPatch, path: str, which: Callable[[bytes, int], bool]) -> None:
    """Writes of these, by what they hold and the byte they go to, fail."""
    real, inode = os.pwritev, Path(path).stat().st_ino

    def pwritev(fd: int, buffers: list[memoryview], offset: int, *rest: int) -> int:
        if os.fstat(fd).st_ino == inode and which(bytes(buffers[0]), offset):
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, buffers, offset, *rest)

    monkeypatch.setattr(os, "pwritev", pwritev)


def not_flushed(monkeypatch: pytest.MonkeyPatch, path: str, when: Callable[[], bool] = lambda: True) -> None:
    """Flushes fail, though writes do not."""
    real, inode = os.fsync, Path(path).stat().st_ino

    def fsync(fd: int) -> None:
        if os.fstat(fd).st_ino == inode and when():
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)


def test_it_goes_back_though_a_header_of_the_old_spare_cannot_be_written(
    refusing: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = refusing.device, refusing.new
    not_written(monkeypatch, device.spare, lambda data, at: data.startswith(metadata.HEADED) and at == 0)
    done = run("spare", "replace", "data", new, "--yes")
    assert done.exit_code == 9 and "stands still" not in done.stderr, done.stderr
    assert refusing.in_use == device.spare and not stands_still(device)
    device.check(device.spare)
    assert not valid(new) and not refusing.arrived


def test_what_could_not_go_back_is_finished_when_it_is_run_again(
    refusing: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = refusing.device, refusing.new
    with monkeypatch.context() as patch:
        not_written(patch, device.spare, lambda data, _: data.startswith(metadata.HEADED))
        done = run("spare", "replace", "data", new, "--yes")
    assert done.exit_code == 6 and "data stands still; run the command again" in done.stderr, done.stderr
    assert stands_still(device) and not valid(device.spare)
    assert refusing.arrived, "the only one that has everything"
    refusing.accepting = True
    again = run("spare", "replace", "data", new, "--yes")
    assert again.exit_code == 0 and "finished" in again.stdout + again.stderr, again
    assert refusing.in_use == new and not stands_still(device)
    device.check(new)


def test_headers_that_may_be_in_a_cache_alone_leave_the_new_spare_as_it_is(
    refusing: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = refusing.device, refusing.new
    not_flushed(monkeypatch, device.spare, lambda: valid(device.spare))
    done = run("spare", "replace", "data", new, "--yes")
    assert done.exit_code == 6 and f"keep {new}, which has everything" in done.stderr, done.stderr
    assert refusing.in_use == device.spare and not stands_still(device) and device.kernel.region is None
    device.check(device.spare)
    assert refusing.arrived and not valid(new)


def test_what_went_wrong_is_told_whoever_interrupts_meanwhile(
    refusing: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = refusing.device, refusing.new

    def which(data: bytes, _: int) -> bool:
        if data.startswith(metadata.HEADED):
            signal.raise_signal(signal.SIGINT)
        return data.startswith(metadata.HEADED)

    not_written(monkeypatch, device.spare, which)
    done = run("spare", "replace", "data", new, "--yes")
    assert done.exit_code == 6 and "stands still; run the command again" in done.stderr, done.stderr


# Somebody else suspends it, or lets it go on.


def test_what_another_program_has_suspended_is_left_to_it(
    device: Device, moving: MovingKernel, run: Run
) -> None:
    new = device.disk("new", 8 * MIB)

    def suspend(number: int) -> None:
        moving.devices["data"].suspended = True
        if number > 1:
            raise KeyboardInterrupt

    moving.at_count = suspend
    assert run("spare", "replace", "data", new, "--yes").exit_code == 10
    assert stands_still(device) and moving.region is None
    again = run("spare", "replace", "data", new, "--yes")
    assert again.exit_code == 5 and "suspended by another program" in again.stderr
    moving.devices["data"].suspended = False

    def suspend_at_last(number: int) -> None:
        moving.devices["data"].suspended = number > 2

    moving.told, moving.at_count = 0, suspend_at_last
    late = run("spare", "replace", "data", new, "--yes")
    assert late.exit_code == 5 and "suspended by another program" in late.stderr, late
    assert stands_still(device) and valid(device.spare) and not valid(new)


def test_what_another_program_lets_go_on_is_not_switched(
    replacement: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, real = replacement.device, MovingKernel._DM_TABLE_LOAD

    def load(kernel: MovingKernel, *arguments: object) -> object:
        answer = real(kernel, *arguments)  # type: ignore[arg-type]
        device.kernel.devices["data"].suspended = False
        return answer

    monkeypatch.setattr(MovingKernel, "_DM_TABLE_LOAD", load)
    done = run("spare", "replace", "data", replacement.new, "--yes")
    assert done.exit_code == 5 and "another program has let data go on" in done.stderr, done
    assert replacement.in_use == device.spare and valid(device.spare) and not valid(replacement.new)


def test_a_mark_that_may_be_in_a_cache_alone_is_told(
    replacement: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = replacement.device
    not_flushed(monkeypatch, device.spare)
    done = run("spare", "replace", "data", replacement.new, "--yes")
    assert done.exit_code == 0 and "could not be marked as retired" in done.stderr
    device.check(replacement.new)


# ^C.


def test_interrupted_as_the_resume_returns_it_is_done(
    replacement: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, real = replacement.device, MovingKernel._resume

    def resume(kernel: MovingKernel, *arguments: object) -> object:
        answer = real(kernel, *arguments)  # type: ignore[arg-type]
        if device.live[3] == device.table(replacement.new):
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(MovingKernel, "_resume", resume)
    done = run("spare", "replace", "data", replacement.new, "--yes")
    assert done.exit_code == 0 and "interrupted when the switch had been made" in done.stderr, done.stderr
    assert replacement.in_use == replacement.new and not valid(device.spare)
    device.check(replacement.new)


def test_interrupted_at_any_step_it_is_done_or_it_is_not(
    replacement: Replacement, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new, storage = replacement.device, replacement.new, replacement.storage
    moment = 0

    def step(label: str = "") -> None:
        storage.steps += 1
        if storage.steps == moment:
            signal.raise_signal(signal.SIGINT)

    def interrupted(at: int) -> str:
        """What is said of it."""
        nonlocal moment
        moment = at
        for path, data in replacement.before.items():
            store(path, data)
        replacement.boot()
        storage.steps, device.kernel.step = 0, step
        done = run("spare", "replace", "data", new, "--yes")
        device.kernel.step = lambda label: None
        if replacement.in_use == new:
            assert done.exit_code == 0 and f"live on {new}" in done.stdout, f"step {at}: {done.stderr}"
        else:
            assert done.exit_code == 10 and "interrupted" in done.stderr, f"step {at}"
        assert not device.kernel.devices["data"].suspended and device.kernel.region is None
        device.check(replacement.in_use)
        return done.stderr

    monkeypatch.setattr(storage, "step", step)
    interrupted(0)
    steps = storage.steps
    said = ""
    for at in [*range(1, steps - 40, 20), *range(steps - 40, steps, 3), steps]:
        said = interrupted(at)
    assert "interrupted when the switch had been made" in said


# A program that was killed, together with its guard or not.


def test_of_two_valid_spares_the_later_one_is_in_use(device: Device, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, arrived_from(device.spare, 5))
    with direct(new, write=True) as opened:
        blocks, _ = retire.arrived(opened.bytes_at, 8 * MIB)
        retire.admit(opened, blocks)
    # The old spare could not be marked.
    assert valid(device.spare) and valid(new)
    stand_still(moving)
    with Control() as control:
        settled = settle(control, "data", new)
    assert settled is not None and settled.on == new and device.live[3] == device.table(new)


def test_what_arrived_at_another_time_is_not_taken(device: Device, moving: MovingKernel) -> None:
    stale, new = device.disk("stale", 8 * MIB), device.disk("new", 8 * MIB)
    put(stale, arrived_from(device.spare, 4))
    put(new, arrived_from(device.spare, 5))
    put(device.spare, retired_for(new, 5))
    stand_still(moving)
    with Control() as control:
        with pytest.raises(RemapError, match="no spare of it can be used"):
            settle(control, "data", stale)
        settled = settle(control, "data", new)
    assert settled is not None and settled.on == new and valid(new) and not valid(stale)


def test_the_new_disk_is_taken_though_the_guard_has_put_the_old_table_back(
    device: Device, moving: MovingKernel
) -> None:
    disk = device.disk("disk", 32 * MIB)
    put(device.spare, retired_for(disk, 5))
    stand_still(moving)
    with Control() as control:
        settled = settle(control, "data", disk)
    assert settled is not None and settled.on == disk
    assert device.live == (0, 65536, "linear", f"{device.disks.number(disk)} 0")
    assert not moving.devices["data"].suspended


def test_a_spare_that_was_retired_earlier_is_no_proof(
    device: Device, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, new = device.disk("first", 8 * MIB), device.disk("new", 8 * MIB)
    put(new, arrived_from(device.spare, 5))
    put(first, retired_for(device.spare, 3))
    device.kernel.devices.clear()
    # The one that is replaced is not connected, and may still be valid.
    monkeypatch.setattr(activate, "every_device", lambda: [device.main, first, new])
    result = run("activate", "data", device.main, new)
    assert result.exit_code == 5 and "--alone" in result.stderr and not valid(new)


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({"size": 16 * MIB}, 4, "belongs to a main device of"),
        ({"size": MAIN, "mounts": ("/mnt",)}, 5, "mounted on /mnt"),
        ({"size": MAIN, "readonly": True}, 4, "is read-only"),
    ],
    ids=["another", "in use", "read-only"],
)
def test_a_new_spare_is_not_put_in_service_for_a_main_device_that_is_refused(
    device: Device, run: Run, facts: dict[str, object], code: int, words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    new = device.disk("new", 8 * MIB)
    put(new, arrived_from(device.spare, 5))
    put(device.spare, retired_for(new, 5))
    device.kernel.devices.clear()
    monkeypatch.setattr(activate, "every_device", lambda: [device.main, device.spare, new])
    before = Path(new).read_bytes()
    result = run("activate", "data", device.disk("wrong", **facts), new)  # type: ignore[arg-type]
    assert result.exit_code == code and words in result.stderr
    assert Path(new).read_bytes() == before and not device.kernel.devices
    done = run("activate", "data", device.main, new)
    assert done.exit_code == 0 and "is the spare now" in done.stdout, done.stderr


def test_a_copy_is_spoiled_though_nobody_is_left_to_do_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(device.main, [(0x438, b"\x53\xef")])
    mapped = Mapped(device)
    storage = Storage(monkeypatch, [device.spare, mapped.new])
    before = Path(device.spare).read_bytes()
    copies = 0

    def go(cut: int | None) -> None:
        store(device.spare, before)
        mapped.boot()
        with Control() as control:
            decided = evacuate.plan(control, "data", mapped.new, overwrite=True)
            storage.steps, storage.cut, device.kernel.step = 0, cut, storage.step
            try:
                evacuate.carry_out(control, decided)
            finally:
                device.kernel.step, storage.cut = lambda label: None, None

    go(None)
    for cut in range(storage.steps, storage.steps - 30, -1):
        with pytest.raises(Cut):
            go(cut)
        if not device.kernel.devices["data"].suspended:
            continue
        whole = Path(mapped.new).read_bytes()[0x438:0x43A] == b"\x53\xef"
        with Control() as control:
            settled = settle(control, "data", mapped.new)
        assert settled is not None
        if settled.on == device.spare:
            copies += whole
            assert Path(mapped.new).read_bytes()[:MIB].startswith(b"dm-remap: "), f"cut {cut}"
        else:
            mapped.check()
    assert copies


# What is given up is written down before it is.


def test_what_fails_during_the_standstill_is_written_down_first(
    device: Device, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = Mapped(device)
    written: list[tuple[list[tuple[int, int]], bool]] = []

    def fail(number: int) -> None:
        # At the last look at the counts, when I/O stands still.
        if moving.devices["data"].suspended and not written[-1][0]:
            moving.wrote(20_000)
            bad_sectors(monkeypatch, device.main, {20_001})

    moving.at_count = fail
    with Control() as control:
        decided = evacuate.plan(control, "data", mapped.new)
        done = evacuate.carry_out(
            control, decided, give_up=True, write_down=lambda lost, given: written.append((list(lost), given))
        )
    lost = [(20_001, 20_002)]
    assert written == [([], False), (lost, False), (lost, True)] and done.lost == tuple(lost)
    mapped.check()


def test_half_a_copy_is_not_taken_for_the_disk(
    device: Device, moving: MovingKernel, run: Run, tmp_path: Path
) -> None:
    put(device.main, [(0x438, b"\x53\xef"), (20 * MIB, b"contents")])
    mapped = Mapped(device)

    def interrupt(_number: int) -> None:
        if Path(mapped.new).read_bytes()[20 * MIB :].startswith(b"contents"):
            raise KeyboardInterrupt

    moving.at_count = interrupt
    assert run("evacuate", "data", mapped.new, "--yes").exit_code == 10
    # Neither blkid nor a kernel finds anything there; and it needs no word to begin again.
    with Path(mapped.new).open("rb") as file:
        assert file.read(4096).startswith(b"dm-remap: ") and not any(file.read(MIB - 4096))
    moving.at_count = lambda number: None
    # Nor is it taken if the switch fails, when all was there.
    moving.fail = {"DM_TABLE_LOAD": 22}
    assert run("evacuate", "data", mapped.new, "--yes").exit_code == 9
    assert Path(mapped.new).read_bytes()[:4096].startswith(b"dm-remap: ")
    moving.fail = {}
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 0, result.stderr
    mapped.check()


def test_a_list_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "lost"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    many = [(at, at + 1) for at in range(0, 4000, 2)]
    try:
        with lost_list(str(path)) as write_down:
            write_down([(7, 8)], False)
            # Some of it fits.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(DeviceIoError, match="cannot be written"):
                write_down(many, True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_text() == "7 1\n" and list(tmp_path.iterdir()) == [path]


# A disk that takes seconds for each block that it cannot read.


@pytest.mark.parametrize(("longest", "lost"), [(5.0, []), (0.0, [MAPPED[3] + 1])])
def test_what_failed_is_tried_again_if_the_standstill_has_time_for_it(
    device: Device, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch, longest: float, lost: list[int]
) -> None:
    new = device.disk("new", 8 * MIB)

    def heal(_number: int) -> None:
        if moving.devices["data"].suspended:
            patch.undo()

    with monkeypatch.context() as patch, Control() as control:
        bad_sectors(patch, device.spare, {metadata.data_start() + 8 * 3 + 1})
        moving.at_count = heal
        done = replace.carry_out(control, replace.plan(control, "data", new), longest=longest)
    assert [start for start, _ in done.lost] == lost
    device.check(new, lost)
