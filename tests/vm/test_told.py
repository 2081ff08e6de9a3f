"""monitor and watch against the real kernel: nothing missed, and asleep when nothing happens."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
from harness import Guest
from listening import CALLS, OUT, PID, monitor, told, wait_for, wait_for_metric
from target import message, status

HOOK = "/tmp/told-hook"
MEMORY = 40 << 10  # KiB.
BURST = 10_000
AT_ONCE = 500  # Ranges in one message.
NULL = "/sys/devices/virtual/mem/null/uevent"


def create(guest: Guest) -> None:
    guest.dmremapctl("create", "mapped", guest.main, guest.spare, "--yes")


def figures(guest: Guest) -> dict[str, int]:
    """Of /proc/PID/status, and the processor time used, in ticks."""
    pid = guest.run("cat", PID).out.strip()
    lines = dict(line.split(":", 1) for line in guest.run("cat", f"/proc/{pid}/status").out.splitlines())
    times = guest.run("cat", f"/proc/{pid}/stat").out.rsplit(")", 1)[1].split()
    return {
        "switches": int(lines["voluntary_ctxt_switches"]),
        "peak": int(lines["VmHWM"].split()[0]),
        "threads": int(lines["Threads"]),
        "ticks": int(times[11]) + int(times[12]),
    }


def settle(guest: Guest) -> None:
    """Wait until it has not been woken for a while; one that wakes by itself never comes to that."""
    before = figures(guest)
    while True:
        for _ in range(20):
            guest.run("true")
        now = figures(guest)
        if now["switches"] == before["switches"]:
            return
        before = now


def gaps(events: list[Any]) -> list[Any]:
    """Numbers of the target's events that do not follow the one before."""
    numbers = [event["seqnum"] for event in events if event["sectors"] is not None]
    return [pair for pair in pairwise(numbers) if pair[1] != pair[0] + 1]


def test_a_burst_adds_up_and_a_device_that_comes_and_goes_is_followed(guest: Guest) -> None:
    """10 000 scattered blocks: the target merges the events, and no block is missing from the sums."""
    guest.push(f"#!/bin/sh\necho $1 $3 $DMREMAP_EXTENTS $DMREMAP_SECTORS >>{CALLS}\n", HOOK)
    guest.run("chmod", "755", HOOK)
    # A window that holds several events on a slow machine, too.
    with monitor(guest, f"--hook REMAP={HOOK} --window 10"):
        create(guest)
        wait_for(guest, "RESUMED")
        for first in range(0, BURST, AT_ONCE):
            ranges = [word for n in range(first, first + AT_ONCE) for word in (16 * n, 1 + n % 3)]
            message(guest, "remap", *ranges)
        # What was noted before goes out before this, or with it and in front of it.
        message(guest, "unmap", 16, 2)
        wait_for(guest, "UNMAP")
        events = told(guest)
        remaps = [event for event in events if event["action"] == "REMAP"]
        assert sum(event["extents"] for event in remaps) == BURST
        assert sum(event["sectors"] for event in remaps) == sum(1 + n % 3 for n in range(BURST))
        assert len(remaps) < BURST / 10
        assert next(event["seqnum"] for event in events if event["sectors"] is not None) == 1
        assert gaps(events) == []
        now = status(guest)
        assert events[-1]["state"]["remapped_extents"] == now.remapped == BURST - 1
        wait_for_metric(guest, 'dmremap_remapped_extents{device="mapped"}', BURST - 1)
        wait_for_metric(guest, 'dmremap_event_extents_total{device="mapped",action="REMAP"}', BURST)
        peak = figures(guest)["peak"]
        assert peak < MEMORY, f"{peak} KiB"

        # The device goes, the module, too; both come back, and the numbers begin anew.
        guest.dmremapctl("remove", "mapped")
        wait_for(guest, "REMOVED")
        guest.dmremapctl("module", "unload")
        guest.dmremapctl("module", "load", "--file", "/payload/dm-remap-v4.ko")
        create(guest)
        wait_for(guest, "RESUMED", 2)
        message(guest, "remap", 16, 2)
        wait_for(guest, "REMAP", len(remaps) + 1)
    events = told(guest)
    assert events[-1]["seqnum"] == 1
    assert [event["action"] for event in events if event["sectors"] is None] == [
        "RESUMED", "REMOVED", "RESUMED",
    ]  # fmt: skip
    # Few calls, and all of it in them; those of the last window came with the end.
    calls = [list(map(int, line.split()[1:])) for line in guest.run("cat", CALLS).out.splitlines()]
    assert [sum(column) for column in zip(*calls, strict=True)] == [
        len(remaps) + 1,
        BURST + 1,
        sum(1 + n % 3 for n in range(BURST)) + 2,
    ]
    assert len(calls) < len(remaps) or len(remaps) < 3


def flood(path: str, count: int) -> int:
    """Make the kernel send uevents of a device that concerns nobody."""
    import os

    fd = os.open(path, os.O_WRONLY)
    try:
        return sum(os.write(fd, b"change") > 0 for _ in range(count))
    finally:
        os.close(fd)


def change(guest: Guest, *words: str | int) -> None:
    """Send a message, and wait until its uevent has been sent."""
    number = guest.sh("dmsetup info -c --noheadings -o events mapped").out.strip()
    message(guest, *words)
    guest.run("dmsetup", "wait", "mapped", number)


@contextmanager
def asleep(guest: Guest) -> Iterator[None]:
    """Nobody reads events: the monitor is stopped, and udev has ended; behind it both are back."""
    guest.run("udevadm", "control", "--exit")
    # It leaves its socket behind.
    guest.sh("while busybox pidof systemd-udevd; do sleep 0.1; done; rm -f /run/udev/control")
    guest.sh(f"kill -STOP $(cat {PID})")
    yield
    guest.sh(f"kill -CONT $(cat {PID})")
    guest.sh("/lib/systemd/systemd-udevd --daemon; udevadm settle")


def test_ten_thousand_events_wait_for_a_slow_reader(guest: Guest) -> None:
    with monitor(guest):
        create(guest)
        message(guest, "remap", 0, 8)
        wait_for(guest, "REMAP")
        with asleep(guest):
            for round_ in range(10):
                change(guest, "remap", 100 + 10 * round_, 8)
                assert guest.call(flood, NULL, BURST // 10) == BURST // 10
            change(guest, "unmap", 0, 8)
        wait_for(guest, "UNMAP")
        events = told(guest)
        assert [event["action"] for event in events] == ["RESUMED", *["REMAP"] * 11, "UNMAP"]
        assert gaps(events) == []
        # udev came back meanwhile: nothing is different.
        message(guest, "remap", 5000, 8)
        wait_for(guest, "REMAP", 12)
        assert figures(guest)["peak"] < MEMORY


def test_a_buffer_that_overflows_is_told_and_counted(guest: Guest) -> None:
    """Without the right to a large buffer: the truth is read, and the gap is known to the event."""
    # What the kernel of Debian 12 allows everybody; newer ones allow megabytes.
    guest.sh("echo 212992 >/proc/sys/net/core/rmem_max")
    with monitor(guest, under="setpriv --bounding-set -net_admin"):
        create(guest)
        message(guest, "remap", 0, 8)
        wait_for(guest, "REMAP")
        with asleep(guest):
            assert guest.call(flood, NULL, 3000) == 3000
            for sector in (100, 200, 300):
                change(guest, "remap", sector, 8)
        wait_for(guest, "EVENTS_LOST")
        wait_for_metric(guest, 'dmremap_remapped_extents{device="mapped"}', 4)
        (lost,) = [event for event in told(guest) if event["action"] == "EVENTS_LOST"]
        assert lost["lost"] is None
        message(guest, "remap", 400, 8)
        wait_for(guest, "REMAP", 2)
        first, counted, last = [event for event in told(guest)[1:] if event["seqnum"] is not None]
        assert (counted["action"], counted["seqnum"]) == ("EVENTS_LOST", last["seqnum"])
        assert counted["lost"] == last["seqnum"] - first["seqnum"] - 1 == 3
        assert last["state"]["remapped_extents"] == 5
        wait_for_metric(guest, 'dmremap_events_lost_total{device="mapped"}', 3)
        wait_for_metric(guest, "dmremap_event_overflows_total", 1)


def reads(device: str, count: int) -> int:
    """Read a device with O_DIRECT, one block after the other, from its agent's process."""
    from guest import directio

    return sum(len(directio.read(device, 8 * n, 8)) > 0 for n in range(count))


@contextmanager
def table(guest: Guest) -> Iterator[None]:
    """watch's table on a pseudo-terminal that `script` keeps, drawn once when the block begins."""
    guest.run("rm", "-f", OUT, PID)
    command = f"echo $$ >{PID}; stty cols 120 rows 24; exec dmremapctl watch"
    job = guest.start_sh(f"exec script -qfc '{command}' {OUT}", timeout=120)
    guest.sh(f"until grep -qs PRESENT {OUT}; do sleep 0.1; done")
    yield
    guest.sh(f"kill -INT $(cat {PID})")
    assert job.wait().rc == 0


@pytest.mark.parametrize("command", ["monitor", "watch"])
def test_idle_is_asleep(guest: Guest, command: str) -> None:
    """Not once woken while the device works and other programs run, and small."""
    create(guest)
    guest.wait_for_udev()
    with monitor(guest) if command == "monitor" else table(guest):
        message(guest, "remap", 1000, 8)
        guest.sh(f"until grep -q REMAP {OUT}; do sleep 0.1; done")
        settle(guest)
        before = figures(guest)
        for _ in range(50):
            guest.run("true")
        assert guest.call(reads, "/dev/mapper/mapped", 500) == 500
        after = figures(guest)
        assert after["switches"] == before["switches"] and after["ticks"] == before["ticks"]
        assert after["threads"] == 1 and after["peak"] < MEMORY, after
        # It is alive, for all that.
        message(guest, "unmap", 1000, 8)
        guest.sh(f"until grep -q UNMAP {OUT}; do sleep 0.1; done")
        assert figures(guest)["switches"] > before["switches"]
