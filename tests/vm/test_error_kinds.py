"""What may be the medium's fault is acted upon; every other error goes to the caller, and no more."""

import time

import pytest
from harness import Guest
from patterns import pattern
from readahead import read_ahead, under_way
from simulated import simulated
from target import create, extents, message, pending, remapped, remove, status


def linear(guest: Guest, name: str, disk: str, start: int, sectors: int) -> str:
    guest.run("dmsetup", "create", name, "--table", f"0 {sectors} linear {disk} {start}")
    return f"/dev/mapper/{name}"


def untouched(guest: Guest) -> None:
    """Nothing was looked into, and nothing has changed."""
    seen = status(guest)
    assert extents(guest) == []
    assert (seen.used, seen.read_errors, seen.write_errors, seen.lost) == (0, 0, 0, 0)
    assert (seen.errors, seen.mode, seen.check) == ((), "rw", "-")


def test_what_is_pending_below_is_pending_above_until_it_is_written(guest: Guest) -> None:
    """One of these devices over another: it is told of a medium error."""
    half = 65536
    lower = create(guest, spare=linear(guest, "first", guest.spare, 0, half), name="lower")
    device = create(guest, main=lower, spare=linear(guest, "second", guest.spare, half, half))
    guest.write(device, 1000, pattern(1, 24))
    message(guest, "pending", 1008, 8, name="lower")
    below = extents(guest, "lower")
    with pytest.raises(OSError, match="No data available"):
        guest.read(device, 1000, 24)
    assert pending(extents(guest)) == [*range(1008, 1016)] and remapped(extents(guest)) == []
    guest.write(device, 1010, pattern(2, 4))
    assert guest.failing(device, 1000, 24) == [1008, 1009, 1014, 1015]
    assert guest.read(device, 1010, 4) == pattern(2, 4)
    assert remapped(extents(guest)) == [*range(1010, 1014)]
    guest.write(device, 1000, pattern(3, 24))
    assert guest.read(device, 1000, 24) == pattern(3, 24)
    assert remapped(extents(guest)) == [*range(1008, 1016)] and pending(extents(guest)) == []
    assert extents(guest, "lower") == below


def test_a_full_pool_below_has_no_bad_blocks(guest: Guest) -> None:
    """Of a pool with room for sixteen blocks the seventeenth is wanted."""
    blocks = range(0, 16 * 128, 128)
    parts = linear(guest, "records", guest.main, 0, 8192), linear(guest, "blocks", guest.main, 8192, 2048)
    pool = f"0 2048 thin-pool {' '.join(parts)} 128 0 1 error_if_no_space"
    guest.run("dmsetup", "create", "pool", "--table", pool)
    guest.run("dmsetup", "message", "pool", 0, "create_thin 0")
    guest.run("dmsetup", "create", "thin", "--table", "0 8192 thin /dev/mapper/pool 0")
    device = create(guest, main="/dev/mapper/thin")
    for sector in blocks:
        guest.write(device, sector, pattern(sector, 8))
    with pytest.raises(OSError, match="No space left on device"):
        guest.write(device, 2048, pattern(1, 8))
    untouched(guest)
    assert [guest.read(device, sector, 8) for sector in blocks] == [pattern(sector, 8) for sector in blocks]


def test_target_errors_of_writes_are_acted_upon_and_those_of_reads_are_not(guest: Guest) -> None:
    """A disk says so of sectors behind its end, since it has become smaller."""
    with simulated(guest, "scsi_debug", "virtual_gb=1") as disk:
        device = create(guest, main=linear(guest, "larger", disk, 0, 16400))
        guest.sh("echo 0 >/sys/bus/pseudo/drivers/scsi_debug/virtual_gb")
        with pytest.raises(OSError, match="Remote I/O error"):
            guest.read(device, 16376, 16)
        untouched(guest)
        guest.write(device, 16376, pattern(1, 16))
        assert guest.read(device, 16376, 16) == pattern(1, 16)
        assert remapped(extents(guest)) == [*range(16384, 16392)] and status(guest).write_errors == 1
        remove(guest)
        remove(guest, "larger")


def test_read_ahead_that_fails_leaves_nothing_pending(guest: Guest) -> None:
    main = guest.machine.main
    device = create(guest)
    main.fail([1003, 1030], on="read")
    read_ahead(guest, device, 1000, 64)
    while not main.counters()["bad_reads"] or under_way(guest, device):
        time.sleep(0.01)
    untouched(guest)
    # But who wants them is told, and so is the target.
    assert guest.failing(device, 1000, 64) == [1003, 1030]
    assert pending(extents(guest)) == [1003, 1030] and status(guest).read_errors == 2


def test_a_discard_that_fails_remaps_nothing(guest: Guest) -> None:
    """Of one block below whatever changes it fails, as an I/O error."""
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    lines = (
        f"0 1000 linear {guest.main} 0",
        f"1000 8 flakey {guest.main} 1000 0 1 1 error_writes",
        f"1008 {size - 1008} linear {guest.main} 1008",
    )
    guest.run("dmsetup", "create", "joined", stdin="\n".join(lines) + "\n")
    device = create(guest, main="/dev/mapper/joined")
    done = guest.run("blkdiscard", "-f", "-o", 1000 * 512, "-l", 8 * 512, device, check=False)
    assert done.rc != 0 and done.err.endswith("Input/output error\n")
    untouched(guest)
    guest.write(device, 996, pattern(1, 16))
    assert guest.read(device, 996, 16) == pattern(1, 16)
    assert remapped(extents(guest)) == [*range(1000, 1008)] and status(guest).write_errors == 1
