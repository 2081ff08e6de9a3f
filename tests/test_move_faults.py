"""Replacing a spare, and evacuating, with each step the last one, and each failing in turn.

The disks are files whose writes since the last flush may be lost or torn.
"""

import itertools
import random
from pathlib import Path

import pytest

from pycontrol.dm.ioctl import Control
from pycontrol.errors import RemapError
from pycontrol.service.move import evacuate
from tests.conftest import MIB, Run
from tests.evacuation import Mapped
from tests.faults import Cut, Storage
from tests.moving import Device, put, valid
from tests.replacement import Replacement


def test_a_power_cut_at_every_step(replacement: Replacement, run: Run) -> None:
    device, new = replacement.device, replacement.new
    replacement.go()
    steps = replacement.storage.steps
    assert steps > 40
    outcomes: dict[str, int] = {"old": 0, "new": 0, "arrived": 0}
    # The steps of the switch twice, once with everything torn.
    for cut in [*range(1, steps + 1), *range(-steps, 30 - steps)]:
        with pytest.raises(Cut):
            replacement.go(cut=abs(cut))
        (replacement.storage.lose if cut > 0 else replacement.storage.tear)(random.Random(cut))
        device.kernel.devices.clear()
        # Never both; and where neither is, the new one only waits to be used.
        old_valid, new_valid = valid(device.spare), valid(new)
        assert not (old_valid and new_valid), f"cut {cut}"
        outcome = "old" if old_valid else "new" if new_valid else "arrived"
        outcomes[outcome] += 1
        first = run("activate", "data", device.main, device.spare)
        assert (first.exit_code == 0) is old_valid, f"cut {cut}: {first.stderr}"
        second = run("activate", "data", device.main, new)
        assert (second.exit_code == 0) is not old_valid, f"cut {cut}: {second.stderr}"
        device.check(device.spare if old_valid else new)
        assert valid(device.spare) is old_valid and valid(new) is not old_valid, f"cut {cut}"
        if old_valid and cut % 5 == 0:
            # It can be begun again, over what the cut has left.
            result = run("spare", "replace", "data", new, "--yes")
            assert result.exit_code == 0, f"cut {cut}: {result.stderr}"
            device.check(new)
            assert not valid(device.spare)
    assert all(outcomes.values()), outcomes


def test_each_step_fails_in_turn(replacement: Replacement) -> None:
    device, new = replacement.device, replacement.new
    replacement.go()
    went_back = 0
    for fail in range(1, replacement.storage.steps + 1):
        try:
            replacement.go(fail=fail)
        except (RemapError, OSError):
            went_back += 1
            assert replacement.in_use == device.spare, f"step {fail}"
            other = new
        else:
            # A last look, the end of the statistics, or an old spare that cannot be marked any more.
            assert replacement.in_use == new, f"step {fail}"
            other = device.spare
        assert not device.kernel.devices["data"].suspended, f"step {fail}"
        device.check(replacement.in_use)
        if replacement.in_use == device.spare:
            # Nor may it be taken for one on which everything has arrived.
            assert not valid(other) and not replacement.arrived, f"step {fail}"
        if replacement.in_use == device.spare and fail % 5 == 0:
            replacement.again()
            device.check(new)
    assert went_back > 30


def test_the_new_spare_says_what_it_waits_for(replacement: Replacement, run: Run) -> None:
    device, new = replacement.device, replacement.new
    replacement.go()
    steps = replacement.storage.steps
    for cut in range(steps, 0, -1):
        with pytest.raises(Cut):
            replacement.go(cut=cut)
        if replacement.arrived and valid(device.spare):
            break
    else:
        pytest.fail("there is no such moment")
    # All has arrived, but the old spare is still the right one.
    device.kernel.devices.clear()
    result = run("activate", "data", device.main, new)
    assert result.exit_code == 5 and f"activate with {device.spare}" in result.stderr
    result = run("create", "data", device.main, new, "--yes")
    assert result.exit_code == 4 and "was not finished" in result.stderr
    # Without the old one it takes a word.
    Path(device.spare).write_bytes(bytes(8 * MIB))
    result = run("activate", "data", device.main, new)
    assert result.exit_code == 5 and "--alone" in result.stderr
    result = run("activate", "data", device.main, new, "--alone")
    assert result.exit_code == 0 and "is the spare now" in result.stdout, result.stderr
    device.check(new)


def test_an_evacuation_is_cut_and_fails_at_every_step(
    device: Device, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    put(device.main, [(0x438, b"\x53\xef")])
    mapped = Mapped(device)
    storage = Storage(monkeypatch, [device.spare, mapped.new])
    before = Path(device.spare).read_bytes()
    versions, stood_still = itertools.count(), []

    def written(_number: int) -> None:
        # The last write ends just before I/O stands still.
        if device.kernel.devices["data"].suspended:
            mapped.write_main(50_001, str(next(versions)).encode().rjust(512))
            stood_still.append(storage.steps)

    device.kernel.at_count = written

    def go(*, cut: int | None = None, fail: int | None = None) -> None:
        Path(device.spare).write_bytes(before)
        mapped.boot()
        storage.steps, storage.cut, storage.fail = 0, cut, fail
        with Control() as control:
            decided = evacuate.plan(control, "data", mapped.new, overwrite=True)
            device.kernel.step = storage.step
            try:
                evacuate.carry_out(control, decided, now=1000)
            finally:
                device.kernel.step = lambda label: None
                storage.cut = storage.fail = None

    go()
    steps = storage.steps
    mapped.check()
    retired = 0
    for cut in [*range(1, stood_still[0], 3), *range(stood_still[0], steps + 1)]:
        with pytest.raises(Cut):
            go(cut=cut)
        storage.lose(random.Random(cut))
        if valid(device.spare):
            # The old pair is whole, and nothing else that is not is taken for it.
            device.check(device.spare)
            there, wanted = (Path(path).read_bytes() for path in (mapped.new, mapped.path))
            assert there[4096:] == wanted[4096:] or there[0x438:0x43A] != b"\x53\xef", f"cut {cut}"
        else:
            retired += 1
            mapped.check()
    assert retired
    for fail in range(2, steps + 1, 3):
        try:
            go(fail=fail)
        except (RemapError, OSError):
            assert device.live[2] == "dm-remap-v4", f"step {fail}"
            device.check(device.spare)
        else:
            assert device.live[2] == "linear", f"step {fail}"
            mapped.check()
        assert not device.kernel.devices["data"].suspended, f"step {fail}"
