"""dmremapctl activate by /etc/dmremaptab: what it finds, waits for, refuses, and says."""

import errno
import json
import os
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber, DmName
from pycontrol.service.boot import bringup
from pycontrol.service.boot.bringup import bring_up_all
from pycontrol.service.boot.tab import Entry
from pycontrol.service.move.underway import underway
from tests import claims
from tests.boot_build import ONE, SECTORS, spare
from tests.conftest import Disks, Run
from tests.fakes import FakeKernel
from tests.uevents import overflow

OTHER = UUID(int=78)
RO = 1 << 0
"""DM_READONLY_FLAG."""


class Halves:
    """Disks at the paths that a table names, and the sysfs that has them."""

    def __init__(self, disks: Disks, top: Path) -> None:
        self.disks, self.top, self.tab = disks, top, top / "tab"
        self.minors = count(step=16)
        self.main = self.disk("sda", bytes(SECTORS * 512))
        self.spare = self.disk("sdb", bytes(spare(ONE)))
        self.tab.write_text(f"data /dev/sda UUID={ONE} timeout=5\n")

    def disk(self, name: str, content: bytes, **facts: object) -> str:
        path = self.disks.make(name, len(content), dev=DevNumber(8, next(self.minors)), **facts)
        Path(path).write_bytes(content)
        self.disks.known[f"/dev/{name}"] = self.disks.known[path]
        (self.top / f"sys/dev/block/{self.disks.number(path)}").mkdir(parents=True)
        return path

    def unplug(self, name: str) -> None:
        found = self.disks.known.pop(f"/dev/{name}")
        del self.disks.known[found.path]
        (self.top / f"sys/dev/block/{found.dev}").rmdir()


@pytest.fixture
def halves(disks: Disks, kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Halves:
    made = Halves(disks, tmp_path)
    for name in ("activate", "boot.halves"):
        monkeypatch.setattr(f"pycontrol.service.{name}.every_device", lambda: [*disks.known])
    # Not every file system a test may run on knows direct I/O.
    monkeypatch.setattr(os, "O_DIRECT", 0)
    defaults = bring_up_all.__kwdefaults__ or {}
    monkeypatch.setattr(bring_up_all, "__kwdefaults__", {**defaults, "sysfs": tmp_path / "sys"})
    return made


def activate(run: Run, halves: Halves, *words: str) -> tuple[int, str, str]:
    done = run("activate", *(words or ("--all",)), "--tab", str(halves.tab), "--no-wait")
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("how", [f"UUID={ONE}", "/dev/sdb"])
def test_what_is_listed_comes_up_once(halves: Halves, kernel: FakeKernel, run: Run, how: str) -> None:
    halves.tab.write_text(f"data /dev/sda {how} relocate-weak\n")
    assert activate(run, halves) == (0, "/dev/mapper/data: activated\n", "")
    [line] = kernel.devices["data"].live or []
    assert line[2:] == ("dm-remap-v4", "8:0 8:16 5 copies 5 spacing 256 relocate_weak")
    assert kernel.devices["data"].uuid == f"DMREMAP-{ONE}"
    assert activate(run, halves) == (0, "/dev/mapper/data: active already\n", "")
    assert activate(run, halves, "data", "--json")[0] == 0


def test_json(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    halves.tab.write_text(f"data /dev/sda UUID={ONE}\ngone /dev/sdx /dev/sdy nofail\n")
    code, out, _ = activate(run, halves, "--all", "--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "name": "data", "path": "/dev/mapper/data", "uuid": f"DMREMAP-{ONE}", "dev": "253:0",
            "changed": True, "error": None, "warnings": [],
        },
        {
            "name": "gone", "path": "/dev/mapper/gone", "uuid": None, "dev": None, "changed": False,
            "error": "/dev/sdx does not exist", "warnings": [],
        },
    ]  # fmt: skip


def test_only_what_is_wanted(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    halves.tab.write_text(f"data /dev/sda UUID={ONE} noauto\n")
    assert activate(run, halves) == (0, "", "")
    assert activate(run, halves, "data")[0] == 0 and "data" in kernel.devices
    code, _, err = activate(run, halves, "other")
    assert code == 2 and "has no device other" in err


@pytest.mark.parametrize(
    "line",
    [
        "", "data /dev/sda", "--all data", "--all data /dev/sda /dev/sdb", "--all --alone",
        "data --relocate-weak", "data /dev/sda /dev/sdb --no-wait",
    ],
)  # fmt: skip
def test_wrong_usage(halves: Halves, run: Run, line: str) -> None:
    assert run("activate", *line.split()).exit_code == 2


def test_a_wrong_line_does_not_stop_the_others(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    halves.tab.write_text(f"wrong\ndata /dev/sda UUID={ONE}\n")
    code, out, err = activate(run, halves)
    assert (code, out) == (2, "/dev/mapper/data: activated\n")
    assert err.startswith(f"dmremapctl: {halves.tab}:1: it has 1 fields")
    halves.tab.unlink()
    assert activate(run, halves) == (0, "", "")


def test_what_is_missing_is_named(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    halves.unplug("sdb")
    code, _, err = activate(run, halves)
    assert (code, err) == (4, f"dmremapctl: data: no spare with the metadata uuid {ONE} is there\n")
    halves.unplug("sda")
    assert "data: /dev/sda does not exist" in activate(run, halves)[2]
    assert kernel.devices == {}


@pytest.mark.parametrize("how", [f"UUID={ONE}", "/dev/sdb"])
def test_a_copy_of_the_spare_is_refused(halves: Halves, kernel: FakeKernel, run: Run, how: str) -> None:
    halves.tab.write_text(f"data /dev/sda {how}\n")
    halves.disk("sdc", bytes(spare(OTHER)))
    copied = spare(ONE)
    copied[100] ^= 1
    copy = halves.disk("sdd", bytes(copied))
    code, _, err = activate(run, halves)
    assert code == 5 and f"{halves.spare} and {copy} have one metadata uuid" in err
    by_hand = run("activate", "data", halves.main, copy)
    assert by_hand.exit_code == 5 and "have one metadata uuid" in by_hand.stderr
    assert kernel.devices == {}


def test_a_spare_that_was_put_to_other_use_is_named(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    image = spare(ONE)
    image[:4096] = b"XFSB".ljust(4096, b"\0")
    Path(halves.spare).write_bytes(image)
    code, _, err = activate(run, halves)
    assert code == 5 and f"{halves.spare} carries xfs" in err and "meta repair --in-place" in err
    assert kernel.devices == {}


def test_what_is_part_of_something_else_is_no_copy(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    halves.disk("sdc", bytes(spare(ONE)), holders=("md0",))
    assert activate(run, halves)[0] == 0


def test_another_device_of_the_name(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    kernel.add("data", f"DMREMAP-{OTHER}", (0, SECTORS, "dm-remap-v4", "8:0 8:16 0"))
    code, _, err = activate(run, halves)
    assert code == 5 and "another device named data" in err


@pytest.mark.parametrize("how", [f"UUID={ONE}", "/dev/sdb", f"UUID={ONE} ro", "/dev/sdb ro"])
@pytest.mark.parametrize("loaded", [False, True])
def test_what_a_killed_activation_has_left_is_no_obstacle(
    halves: Halves, kernel: FakeKernel, disks: Disks, run: Run, monkeypatch: pytest.MonkeyPatch, how: str,
    loaded: bool,
) -> None:  # fmt: skip
    claims.install(kernel, disks, monkeypatch)
    halves.tab.write_text(f"data /dev/sda {how}\n")
    left = kernel.add("data", f"DMREMAP-{ONE}")
    left.pending = [(0, SECTORS, "dm-remap-v4", "8:0 8:16 4 copies 5 spacing 256")] if loaded else None
    assert activate(run, halves) == (0, "/dev/mapper/data: activated\n", "")
    assert kernel.devices["data"] is not left and kernel.devices["data"].live


def test_what_another_command_brings_up_at_this_moment_is_left_alone(
    halves: Halves, kernel: FakeKernel, run: Run
) -> None:
    left = kernel.add("data", f"DMREMAP-{ONE}")
    with underway(DmName("data"), "create"):
        code, _, err = activate(run, halves)
    assert code == 5 and "busy with create" in err and kernel.devices == {"data": left}


def test_a_copy_is_seen_though_a_killed_activation_holds_the_spare(
    halves: Halves, kernel: FakeKernel, disks: Disks, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims.install(kernel, disks, monkeypatch)
    copy = halves.disk("sdd", bytes(spare(ONE)))
    left = kernel.add("data", f"DMREMAP-{ONE}")
    left.pending = [(0, SECTORS, "dm-remap-v4", "8:0 8:16 4 copies 5 spacing 256")]
    by_hand = run("activate", "data", halves.main, halves.spare)
    assert by_hand.exit_code == 5 and f"{halves.spare} and {copy} have one metadata uuid" in by_hand.stderr
    assert not kernel.devices["data"].live


def test_a_device_whose_half_was_unplugged(
    halves: Halves, kernel: FakeKernel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert activate(run, halves)[0] == 0
    halves.unplug("sda")
    halves.disk("sda", bytes(SECTORS * 512))
    kernel.devices["data"].open_count = 1
    code, _, err = activate(run, halves)
    assert code == 5 and "unplugged, and still open; release it first" in err
    # Whoever has it open for a moment only, as udev does, is waited for.
    monkeypatch.setattr(time, "sleep", lambda _: setattr(kernel.devices["data"], "open_count", 0))
    assert activate(run, halves) == (0, "/dev/mapper/data: activated\n", "")
    [line] = kernel.devices["data"].live or []
    assert line[3].startswith("8:32 8:16 ")


def loads_of(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each table was loaded read-only."""
    loaded: list[bool] = []
    before = type(kernel)._DM_TABLE_LOAD

    def load(self: FakeKernel, name: str, uuid: str, flags: int, *rest: object) -> object:
        loaded.append(bool(flags & RO))
        return before(self, name, uuid, flags, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(kernel), "_DM_TABLE_LOAD", load)
    return loaded


def test_read_only(halves: Halves, kernel: FakeKernel, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = loads_of(kernel, monkeypatch)
    halves.tab.write_text(f"data /dev/sda UUID={ONE} ro\n")
    assert activate(run, halves)[0] == 0 and loaded == [True]


def protect(halves: Halves, name: str) -> None:
    path = halves.disks.known[f"/dev/{name}"].path
    for each in (path, f"/dev/{name}"):
        halves.disks.known[each] = replace(halves.disks.known[each], readonly=True)


@pytest.mark.parametrize(
    ("half", "option", "sentence"),
    [
        ("sda", "", "option ro starts it"), ("sda", "degraded", "option ro starts it"), ("sda", "ro", ""),
        ("sdb", "", "option degraded or ro starts it"), ("sdb", "ro", ""),
        ("sdb", "degraded", "data is read-only: /dev/sdb is write-protected"),
    ],
)  # fmt: skip
def test_a_half_that_is_write_protected(
    halves: Halves,
    kernel: FakeKernel,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    half: str,
    option: str,
    sentence: str,
) -> None:
    """A dying disk behind a write blocker: it is readable still."""
    loaded = loads_of(kernel, monkeypatch)
    protect(halves, half)
    halves.tab.write_text(f"data /dev/sda /dev/sdb {option}\n")
    code, _, err = activate(run, halves)
    assert sentence in err.replace(halves.main, "/dev/sda").replace(halves.spare, "/dev/sdb")
    if "option" in sentence:
        assert (code, loaded) == (4, [])
    else:
        assert (code, loaded) == (0, [True])


def test_a_device_that_can_record_nothing(
    halves: Halves, kernel: FakeKernel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loads_of(kernel, monkeypatch)
    kernel.status_line = "0/1000 0 0 1/5 1 0 0 0 0 0 2 degraded metadata ro -"
    code, _, err = activate(run, halves)
    assert code == 9 and "the option degraded starts it read-only" in err and kernel.devices == {}
    halves.tab.write_text(f"data /dev/sda UUID={ONE} degraded\n")
    code, _, err = activate(run, halves)
    assert code == 0 and "data is degraded and read-only" in err
    assert loaded == [False, False, True] and "data" in kernel.devices


def test_a_copy_that_cannot_be_mended_is_told(halves: Halves, kernel: FakeKernel, run: Run) -> None:
    kernel.status_line = "0/1000 0 0 4/5 1 0 0 0 0 0 1 degraded rw -"
    code, out, err = activate(run, halves)
    assert (code, out) == (0, "/dev/mapper/data: activated\n")
    assert "some copies of the metadata cannot be written" in err


@pytest.mark.parametrize("options", ["", "ro"])
def test_what_the_kernel_refuses(halves: Halves, kernel: FakeKernel, run: Run, options: str) -> None:
    halves.tab.write_text(f"data /dev/sda UUID={ONE} {options}\nmore /dev/sdx /dev/sdy\n")
    kernel.fail["resume"] = errno.EIO
    code, _, err = activate(run, halves)
    assert code == 9 and len(err.splitlines()) == 2 and kernel.devices == {}


class Arrivals:
    """Events: at each wait something happens, or nothing more comes."""

    def __init__(self, *happenings: object) -> None:
        self.happenings = list(happenings)
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        if self.happenings:
            happening = self.happenings.pop(0)
            assert callable(happening)
            happening()
        else:
            self.now += seconds


def entry(**facts: object) -> Entry:
    return Entry(1, "data", "/dev/sda", f"UUID={ONE}", **facts)  # type: ignore[arg-type]


def test_a_half_that_comes_late(halves: Halves, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    halves.unplug("sda")
    halves.unplug("sdb")
    arrivals = Arrivals(
        lambda: None,
        lambda: halves.disk("sdb", bytes(spare(ONE))),
        lambda: halves.disk("sda", bytes(SECTORS * 512)),
    )
    monkeypatch.setattr(bringup, "monotonic", lambda: arrivals.now)
    with Control() as control:
        [outcome] = bring_up_all(control, [entry()], events=lambda: arrivals)
    assert outcome.changed and "data" in kernel.devices and arrivals.happenings == []


def test_each_line_has_its_own_patience(
    halves: Halves, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves.unplug("sdb")
    arrivals = Arrivals()
    monkeypatch.setattr(bringup, "monotonic", lambda: arrivals.now)
    entries = [entry(timeout=60), Entry(2, "more", "/dev/sdx", "/dev/sdy", nofail=True, timeout=3)]
    told = []
    with Control() as control:
        for outcome in bring_up_all(control, entries, events=lambda: arrivals):
            told.append((outcome.entry.name, arrivals.now, outcome.failed))
    assert told == [("more", 3, False), ("data", 60, True)]


def test_somebody_elses_error_is_no_wait(halves: Halves, kernel: FakeKernel) -> None:
    """What is wrong does not become right by waiting."""
    Path(halves.main).write_bytes(bytes(512))
    halves.disk("sdc", bytes(spare(ONE)))
    arrivals = Arrivals()
    with Control() as control:
        [outcome] = bring_up_all(control, [entry()], events=lambda: arrivals)
    assert outcome.failed and arrivals.now == 0


def test_events_of_the_kernel_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    from pycontrol.service.tell import uevents
    from tests.fakes import PolledKernel

    kernel = PolledKernel()
    monkeypatch.setattr(uevents, "_open_netlink", lambda: kernel.socket)
    monkeypatch.setattr("pycontrol.dm.cookie.udev_listens", lambda: False)
    events = bringup.Uevents()
    kernel.uevent("add", 3)
    events.wait(60)
    # It was taken: nothing is there any more.
    events.wait(0)
    kernel.close()


@pytest.mark.parametrize("udev", [True, False])
def test_events_that_are_lost_wake_too(monkeypatch: pytest.MonkeyPatch, udev: bool) -> None:
    """More devices came than could be held: those that are waited for may be among them."""
    monkeypatch.setattr("pycontrol.dm.cookie.udev_listens", lambda: udev)
    events = bringup.Uevents()
    overflow(events._source)
    begun = time.monotonic()
    events.wait(600)
    assert time.monotonic() < begun + 300
    events.wait(0)
