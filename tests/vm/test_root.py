"""A Debian installed from the packages, whose root file system has bad sectors under it.

It boots, has disks pulled out and put back, loses power while it boots its newer kernel, waits for
its spare, and goes off in order.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from rootfs import PAIRS, Debian, Ext4

pytestmark = pytest.mark.timeout(2700)

HOTPLUG = Path(__file__).with_name("hotplug.sh")
PLUGGED = [
    "mounted at boot",
    "data was pulled out",
    "data was put back, and everything is there",
    "dataspare was pulled out",
    "dataspare was put back, and everything is there",
    "up with data first",
    "up with dataspare first",
    "a copy of its spare does not take the device away",
    "without the copy it is up again",
]
"""What :data:`HOTPLUG` tells, one after the other."""
LATE = 120
"""Seconds after which the late spare comes, once it is waited for."""
COMPLAINTS = ("EXT4-fs error", "Failed unmounting", "Failed with result", "imed out", "Killing process")
"""What a machine that goes off in order does not say.  The last two are said of what hangs."""
ORDER = (
    *("Unmounted srv.mount", "Stopped dm-remap@data.service", "Reached target umount.target"),
    *("Remounting '/' read-only", "All filesystems unmounted", "Power down"),
)
"""What it says one after the other."""


@contextmanager
def installed(directory: Path, *, power_cuts: bool = False) -> Iterator[Debian]:
    debian = Debian(directory, power_cuts=power_cuts)
    try:
        yield debian
        debian.console.check()
    finally:
        # Shown if the test has failed.
        print(debian.console.tail(200))
        debian.close()


@dataclass
class Late:
    debian: Debian
    plugged: Future[None]
    """Done when the spare was plugged in."""


@pytest.fixture(scope="module", autouse=True)
def late(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Late | None]:
    """A machine that waits for its spare while the other tests run."""
    if not any(item.name == test_the_spare_comes_two_minutes_late.__name__ for item in request.session.items):
        yield None
        return
    over = Event()

    def plug_late(debian: Debian) -> None:
        uuid = debian.uuids["root"]
        debian.wait_for(f"no spare with the metadata uuid {uuid} is there; waiting for it, 180 s at most")
        if not over.wait(LATE):  # Lateness is the subject here.
            debian.plug_spare()

    with ThreadPoolExecutor(1) as pool, installed(tmp_path_factory.mktemp("late")) as debian:
        debian.start(spare=False)
        try:
            yield Late(debian, pool.submit(plug_late, debian))
        finally:
            over.set()


def check_report(debian: Debian, told: dict[str, str], said: str, boots: int) -> None:
    """It was up on dm-remap, as the packages have made it, wrote to bad sectors, and went off in order."""
    assert told["packages"].split() == [
        f"{package}:installed" for package in ("dm-remap-boot", "dm-remap-dkms", "dmremapctl")
    ]
    module = f"/lib/modules/{told['kernel']}/updates/dkms/dm-remap-v4.ko"
    assert told["module"].startswith(module) and told["loaded"] == "the same", told
    assert told["root"].startswith("/dev/mapper/root rw"), told
    assert told["data"].startswith("/dev/mapper/data rw"), told
    assert told["ballast"] == "good good" and told["failed"] == "", told
    assert told["boots"] == str(boots), told
    assert " dm-remap-v4 " in told["table"], told
    status = told["status"].split()
    assert int(status[4]) > 0 and status[5] == "0" and status[-2:] == ["rw", "-"], told
    assert [words for words in COMPLAINTS if words in said] == []
    places = [said.rfind(words) for words in ORDER]
    assert places[0] > -1 and places == sorted(places), dict(zip(ORDER, places, strict=True))
    # It is under the root file system to the end.
    assert "Stopping dm-remap@root.service" not in said
    for name in PAIRS:
        loaded = debian.loaded(name)
        assert loaded.uuid == debian.uuids[name] and loaded.intact
        assert debian.remaps(name)
        debian.check_clean(name)
    assert len(debian.loaded().extents) >= int(status[4])


def test_a_newer_kernel_and_a_power_cut_leave_what_was_remapped(tmp_path: Path) -> None:
    with installed(tmp_path, power_cuts=True) as debian:
        old, new = debian.kernels
        debian.before_its_report(HOTPLUG)
        debian.start(old)
        told = debian.wait_for_its_end()
        assert told["kernel"] == old
        plugged, _, since = debian.said().partition("told: end ")
        lines = [line.strip() for line in plugged.splitlines()]
        assert [line.removeprefix("told: ") for line in lines if line.startswith("told: ")] == PLUGGED
        assert since.startswith("0")
        check_report(debian, told, since, boots=0)
        before = {name: debian.remaps(name) for name in PAIRS}

        # While the first boot of the newer kernel remaps what has gone bad since.
        debian.wear()
        debian.start(new)
        debian.wait_for("I/O error, dev vda")
        debian.cut(seed=5)

        debian.start(new, monitor=True)
        told = debian.wait_for_its_end()
        assert told["kernel"] == new
        check_report(debian, told, debian.said(), boots=1)
        for name, remaps in before.items():
            assert remaps.items() <= debian.remaps(name).items()


def test_the_bare_disk_is_never_mounted_in_place_of_the_device(tmp_path: Path) -> None:
    """The device cannot come up, and the root file system is named by what is on the bare disk, too."""
    with installed(tmp_path) as debian:
        main = debian.disks[PAIRS["root"][0]]
        before = hashlib.sha256(main.image.read_bytes()).digest()
        debian.start(root=f"UUID={Ext4.on(main.image).uuid}", module=False)
        debian.wait_until_off()
        assert "does not exist.  Dropping to a shell!" in debian.said()
        assert hashlib.sha256(main.image.read_bytes()).digest() == before
        # With the module it is found by the same name.
        name = f"UUID={Ext4.on(main.image).uuid}"
        debian.start(root=name)
        told = debian.wait_for_its_end()
        assert told["root"].startswith("/dev/mapper/root rw") and " dm-remap-v4 " in told["table"], told
        assert told["ballast"] == "good good" and debian.remaps("root")
        debian.check_clean("root")


def test_the_spare_comes_two_minutes_late(late: Late) -> None:
    try:
        late.plugged.result()
        told = late.debian.wait_for_its_end()
    finally:
        print(late.debian.console.tail(200))
    # By its own clock, too.
    assert int(told["uptime"]) > LATE
    check_report(late.debian, told, late.debian.said(), boots=0)
