"""A disk that takes its time over each bad block: who else waits for a long move, and for how long."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import Guest, Job
from patterns import pattern
from target import create, extents, message, pending, remapped, status

# So many bad sectors take a quarter of an hour at least, with three reads of each.
BAD = range(16384, 16384 + 2048)
DELAY = 300  # Milliseconds a read.


@contextmanager
def moving_slowly(guest: Guest) -> Iterator[tuple[str, Job]]:
    """The target is asked to move what can't be read, and has found the first of these blocks."""
    guest.run("modprobe", "dm-delay")
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    lines = (
        f"0 {BAD.start} linear {guest.main} 0",
        f"{BAD.start} {len(BAD)} delay {guest.main} {BAD.start} {DELAY} {guest.main} {BAD.start} 0",
        f"{BAD.stop} {size - BAD.stop} linear {guest.main} {BAD.stop}",
    )
    guest.run("dmsetup", "create", "slow", stdin="\n".join(lines))
    guest.machine.main.fail(BAD, on="read")
    device = create(guest, main="/dev/mapper/slow")
    moving = guest.start("dmsetup", "message", "mapped", 0, "remap", BAD.start, len(BAD), timeout=600)
    wait_for_more(guest, 0)
    yield device, moving


def wait_for_more(guest: Guest, before: int) -> int:
    """Until more blocks are pending than so many; also that can be asked meanwhile."""
    while (found := len(pending(extents(guest)))) <= before:
        guest.python("import time; time.sleep(0.1)")
    return found


def is_moving(guest: Guest) -> bool:
    return guest.sh("grep -ls dmr_ask /proc/[0-9]*/stack", check=False).out != ""


def test_a_write_that_fails_meanwhile_is_answered_first(guest: Guest) -> None:
    with moving_slowly(guest) as (device, moving):
        guest.machine.main.fail([1000, BAD.stop + 5000], on="write")
        for sector in (1000, BAD.stop + 5000):
            guest.write(device, sector, pattern(sector, 8))
        assert is_moving(guest)
        assert remapped(extents(guest)) == [1000, BAD.stop + 5000]
        # And one that is in the way itself.
        guest.write(device, BAD.start, pattern(7, 1))
        assert guest.read(device, BAD.start) == pattern(7, 1)
        assert is_moving(guest)
        moving.kill()
        assert moving.wait(check=False).rc != 0


def test_another_request_is_not_kept_waiting(guest: Guest) -> None:
    with moving_slowly(guest) as (_, moving):
        # Also one of the same kind, and one that has to wait for the blocks, and is killed.
        for word, sector in (("remap", 1000), ("pending", 2000), ("unmap", 1000)):
            message(guest, word, sector, 8)
        waiting = guest.start("dmsetup", "message", "mapped", 0, "remap", BAD.stop - 8, 8)
        assert message(guest, "sync").startswith("Saved")
        waiting.kill()
        assert waiting.wait(check=False).rc != 0
        assert is_moving(guest)
        assert [*range(2000, 2008)] == pending(extents(guest))[:8]
        moving.kill()
        assert moving.wait(check=False).rc != 0


def test_who_asked_for_it_can_be_killed_and_what_was_found_stays(guest: Guest) -> None:
    with moving_slowly(guest) as (_, moving):
        moving.kill()
        assert moving.wait(check=False).rc != 0
        found = pending(extents(guest))
        assert found == list(BAD[: len(found)]) and 0 < len(found) < len(BAD)
        assert status(guest).lost == len(found)
        # Nothing goes on behind it.
        assert message(guest, "sync").startswith("Saved")
        assert pending(extents(guest)) == found


@pytest.mark.parametrize("flags", [[], ["--noflush", "--nolockfs"]], ids=" ".join)
def test_a_suspend_ends_it(guest: Guest, flags: list[str]) -> None:
    with moving_slowly(guest) as (device, moving):
        guest.run("dmsetup", "suspend", *flags, "mapped")
        done = moving.wait(check=False)
        assert done.rc != 0 and "Device or resource busy" in done.err
        guest.run("dmsetup", "resume", "mapped")
        found = pending(extents(guest))
        assert found == list(BAD[: len(found)]) and 0 < len(found) < len(BAD)
        # It may be asked for again, and goes on where it was.
        moving = guest.start("dmsetup", "message", "mapped", 0, "remap", BAD.start, len(BAD), timeout=600)
        wait_for_more(guest, len(found))
        moving.kill()
        assert moving.wait(check=False).rc != 0
        guest.write(device, BAD.start, pattern(1, 1))
        assert guest.read(device, BAD.start) == pattern(1, 1)
