"""A device is opened as what it was when it was looked at, whatever its name means by then."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import devices
from pycontrol.service.blockdev import Seen
from pycontrol.service.find.scrub import subject
from pycontrol.service.known import knownbad
from pycontrol.service.known.knownbad import Listed
from pycontrol.service.move.settle import settle
from pycontrol.service.soleuse import sole_use
from tests.conftest import MIB, Run
from tests.evacuation import Mapped
from tests.moving import MAIN, Device, MovingKernel, put
from tests.test_switch import arrived_from, retired_for, stand_still


def exchanged(device: Device, *paths: str) -> dict[str, bytes]:
    """What is opened at these paths is another disk than was looked at; what it holds."""
    known = device.disks.known
    for path in paths:
        found = Path(path).stat()
        elsewhere = Seen(stat.S_IFREG, found.st_dev, found.st_ino + 1)
        known.update({at: replace(was, seen=elsewhere) for at, was in known.items() if was.path == path})
    return {path: Path(path).read_bytes() for path in paths}


@pytest.mark.parametrize("which", ["spare", "new"])
def test_what_was_interrupted_is_not_finished_on_another_disk(
    device: Device, moving: MovingKernel, which: str
) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, arrived_from(device.spare, 5))
    put(device.spare, retired_for(new, 5))
    stand_still(moving)
    before = exchanged(device, new if which == "new" else device.spare)
    with Control() as control, pytest.raises(WrongDevice, match="not what it was"):
        settle(control, "data", new)
    assert moving.devices["data"].suspended
    assert all(Path(path).read_bytes() == data for path, data in before.items())


def test_another_disk_is_not_put_in_service_as_the_new_spare(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, arrived_from(device.spare, 5))
    device.kernel.devices.clear()
    before = exchanged(device, new)
    result = run("activate", "data", device.main, new, "--alone")
    assert result.exit_code == 4 and "not what it was" in result.stderr
    assert Path(new).read_bytes() == before[new]


@pytest.mark.parametrize("which", ["main", "spare"])
def test_a_link_by_number_that_leads_elsewhere_is_not_followed(device: Device, run: Run, which: str) -> None:
    new, victim = device.disk("new", MAIN), device.disk("victim", MAIN)
    Mapped(device)
    number = device.disks.number(device.main if which == "main" else device.spare)
    link = device.top / "dev/block" / str(number)
    link.unlink()
    link.symlink_to(victim)
    for words in (("spare", "replace"), ("evacuate",)):
        result = run(*words, "data", new, "--yes")
        assert result.exit_code == 4 and f"another device, {device.disks.number(victim)}" in result.stderr
    assert not any(Path(new).read_bytes())


def test_a_node_that_is_another_devices_is_not_taken_for_the_mapped_device(
    device: Device, moving: MovingKernel, run: Run
) -> None:
    mapped = Mapped(device)
    with Control() as control:
        data = devices.status(control, "data")
        with sole_use(control, data, freeze=False):
            pass
        known = device.disks.known
        known[str(mapped.path)] = replace(known[str(mapped.path)], dev=DevNumber(253, 9))
        with pytest.raises(WrongDevice, match="another device"), sole_use(control, data, freeze=False):
            pytest.fail("it is opened")
        for looking in (
            lambda: subject(control, "data"),
            lambda: knownbad.plan(control, "data", Listed([(0, 512)], 512)),
        ):
            with pytest.raises(WrongDevice, match="another device"):
                looking()
    result = run("evacuate", "data", mapped.new, "--yes")
    assert result.exit_code == 4 and "another device, 253:9" in result.stderr
    assert not any(Path(mapped.new).read_bytes())
