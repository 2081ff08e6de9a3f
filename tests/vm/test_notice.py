"""Noticing: disks are seen for what they are, and a scrub finds what nobody has read yet."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from command import ctl, ok
from harness import Guest, Job, Machine
from target import extents, pending

MIB = 1 << 20
DAMAGED, WRONG_DEVICE, BUSY, ACCESS, CANCELLED = 1, 4, 5, 6, 10

SMARTCTL = """#!/bin/sh
for disk; do :; done
case $disk in
{main}) cat <<END
{{"smartctl": {{"exit_status": 0}}, "device": {{"protocol": "ATA"}}, "model_name": "Old Faithful",
 "serial_number": "OF-1", "smart_status": {{"passed": true}}, "ata_smart_attributes": {{"table": [
 {{"id": 197, "name": "Current_Pending_Sector", "raw": {{"value": 24, "string": "24"}}}}]}}}}
END
;;
*) echo '{{"smart_status": {{"passed": true}}}}' ;;
esac
"""


@contextmanager
def smartctl(guest: Guest) -> Iterator[None]:
    """A smartctl that has something to say about main."""
    guest.push(SMARTCTL.format(main=guest.main), "/usr/local/sbin/smartctl")
    guest.run("chmod", "+x", "/usr/local/sbin/smartctl")
    yield
    guest.run("rm", "/usr/local/sbin/smartctl")


def scan(guest: Guest, *options: str) -> dict[str, Any]:
    return {row["path"]: row for row in ok(guest, "scan", *options)}


def create(guest: Guest) -> None:
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")


def scrub(guest: Guest, *options: str) -> tuple[int, list[tuple[int, int]], dict[str, Any]]:
    """Exit code, what was found as sector and number, and the summary."""
    done = ctl(guest, "scrub", "mapped", "--rate", "0", "--json", *options)
    return done.rc, *told(done.out)


def told(out: str) -> tuple[list[tuple[int, int]], dict[str, Any]]:
    *findings, summary = map(json.loads, out.splitlines())
    assert summary["type"] == "summary"
    return [(finding["sector"], finding["sectors"]) for finding in findings], summary


def begin(guest: Guest) -> Job:
    """A scrub that has come some way, and will not come to its end for a minute."""
    job = guest.start("dmremapctl", "scrub", "mapped", "--rate", "1M", "--json", timeout=120)
    while not (state := ok(guest, "scrub", "mapped", "--status"))["running"] or not state["position"]:
        pass
    return job


def position(guest: Guest) -> int:
    return int(ok(guest, "message", "mapped", "scrub")["answer"])


def test_scan_tells_what_to_protect_and_what_with(guest: Guest) -> None:
    bare = ctl(guest, "scan", "--json")
    assert bare.rc == 0 and "smartctl is not installed" in bare.err
    with smartctl(guest):
        seen = scan(guest, "--main", guest.main)
        assert next(iter(seen)) == guest.spare
        main, spare = seen[guest.main], seen[guest.spare]
        assert (main["model"], main["serial"], main["need"]) == ("Old Faithful", "OF-1", "urgent")
        assert main["need_reasons"] == ["24 sectors pending: unreadable until written"]
        assert (spare["spare"], spare["content"], spare["need"]) == ("good", "blank", "none")
        # The disks this machine runs from are in use.
        others = [row for row in seen.values() if row["path"] not in (guest.main, guest.spare)]
        assert others and all(row["spare"] == "unfit" for row in others)

        guest.run("mkfs.ext4", "-q", "-F", guest.spare)
        guest.wait_for_udev(guest.spare)
        assert "ext4" in scan(guest)[guest.spare]["spare_reasons"][0]
        # Without udev it is the device itself that tells.
        guest.run("mv", "/run/udev/control", "/run/udev/away")
        assert "ext2/3/4" in scan(guest)[guest.spare]["spare_reasons"][0]
        guest.run("mv", "/run/udev/away", "/run/udev/control")
        guest.sh(f"wipefs -qa {guest.spare}; blkdiscard -f {guest.spare}")
        guest.wait_for_udev(guest.spare)

        # The proposals, accepted.
        guide = guest.sh("dmremapctl create --guide", stdin="\n\n\ny\n")
        assert "Old Faithful" in guide.err and guide.out.startswith("/dev/mapper/safe-")
        (device,) = ok(guest, "list")
        seen = scan(guest)
        for path, role in ((guest.main, "main"), (guest.spare, "spare")):
            assert seen[path]["remap"] == [{"name": device["name"], "role": role}]
            assert seen[path]["need"] == "protected" and seen[path]["spare"] == "unfit"
        assert f"main of {device['name']}" in ctl(guest, "scan").out


def test_scrub_finds_what_nobody_has_read(guest: Guest) -> None:
    create(guest)
    last = int(guest.run("blockdev", "--getsz", guest.main).out) - 1
    rc, found, summary = scrub(guest)
    assert (rc, found, summary["ending"], summary["read"]) == (0, [], "finished", last + 1)

    bad = [50_000, 80_000, 80_001, 99_999, *range(300_000, 300_020), 500_000]
    guest.machine.main.fail(bad, on="read")
    rc, found, summary = scrub(guest)
    assert rc == DAMAGED
    assert found == [(50_000, 1), (80_000, 2), (99_999, 1), (300_000, 20), (500_000, 1)]
    assert (summary["found"], summary["pending"], summary["position"]) == (25, 25, 0)
    assert pending(extents(guest)) == bad

    # What is known is not told again, and not asked of the disk again.
    guest.machine.main.clear_counters()
    rc, found, summary = scrub(guest)
    assert (rc, found, summary["found"], summary["pending"]) == (DAMAGED, [], 0, 25)
    assert summary["read"] == last + 1 - 25 and guest.machine.main.counters()["bad_reads"] == 0
    for sector in bad:
        guest.write("/dev/mapper/mapped", sector, b"new!" * 128)
    rc, found, summary = scrub(guest)
    assert (rc, found, summary["read"], summary["pending"]) == (0, [], last + 1, 0)


def test_a_scrub_pauses_and_goes_on_after_a_power_cut(machine: Callable[..., Machine]) -> None:
    box = machine(main=64 * MIB)
    guest = box.boot()
    create(guest)
    job = begin(guest)
    refused = ctl(guest, "scrub", "mapped")
    assert refused.rc == BUSY and "already by process" in refused.err and refused.err.count("\n") == 1
    paused = ok(guest, "scrub", "mapped", "--pause")
    done = job.wait()
    _, summary = told(done.out)
    assert (summary["ending"], summary["start"], done.rc) == ("paused", 0, 0)
    place = summary["position"]
    assert 0 < place < summary["sectors"]
    assert paused == {"name": "mapped", "paused": True, "position": place} and position(guest) == place
    assert ok(guest, "scrub", "mapped", "--pause")["paused"] is False

    ok(guest, "remove", "mapped")
    create(guest)
    assert position(guest) == place
    box.power_cut(seed=1)
    guest = box.boot()
    create(guest)
    assert f"stopped at sector {place}" in ctl(guest, "scrub", "mapped", "--status").out
    # One bad sector where it has been, one where it goes.
    box.main.fail([place - 1, place + 7], on="read")
    rc, found, summary = scrub(guest, "--resume")
    assert (rc, found) == (DAMAGED, [(place + 7, 1)])
    assert (summary["start"], summary["ending"], position(guest)) == (place, "finished", 0)
    assert scrub(guest)[1] == [(place - 1, 1)]


def test_a_scrub_that_is_interrupted_keeps_its_place(guest: Guest) -> None:
    create(guest)
    job = begin(guest)
    pid = ok(guest, "scrub", "mapped", "--status")["pid"]
    guest.sh(f"kill -INT {pid}")
    done = job.wait(check=False)
    _, summary = told(done.out)
    assert (done.rc, summary["ending"]) == (CANCELLED, "interrupted")
    assert position(guest) == summary["position"] > 0
    assert "stopped at sector" in ctl(guest, "scrub", "mapped", "--status").out

    # Killed, it leaves the place it noted last, and nothing that stands in the way.
    job = begin(guest)
    pid = ok(guest, "scrub", "mapped", "--status")["pid"]
    guest.sh(f"kill -KILL {pid}")
    assert job.wait(check=False).rc != 0
    assert ok(guest, "scrub", "mapped", "--status")["running"] is False
    assert position(guest) >= summary["position"]
    rc, _, summary = scrub(guest, "--restart")
    assert (rc, summary["start"], summary["ending"]) == (0, 0, "finished")


def test_a_scrub_tells_a_dead_disk_from_bad_sectors(guest: Guest) -> None:
    create(guest)
    guest.machine.main.die(on="read")
    done = ctl(guest, "scrub", "mapped", "--rate", "0")
    assert done.rc == ACCESS and "fails as a whole" in done.err and done.err.count("\n") == 1
    assert done.out == "" and pending(extents(guest)) == []
    guest.machine.main.revive()
    ok(guest, "message", "mapped", "rearm")
    assert scrub(guest)[0] == 0


def test_a_device_that_is_taken_away_under_a_scrub(guest: Guest) -> None:
    create(guest)
    job = begin(guest)
    guest.run("dmsetup", "remove", "--force", "mapped", check=False)
    done = job.wait(check=False)
    assert done.rc == WRONG_DEVICE and done.err.count("\n") == 1, done
    # The table of errors that --force leaves in place goes, now that nobody has it open.
    guest.run("dmsetup", "remove", "--retry", "mapped", check=False)
    gone = ctl(guest, "scrub", "mapped")
    assert gone.rc == WRONG_DEVICE and "no such device" in gone.err
