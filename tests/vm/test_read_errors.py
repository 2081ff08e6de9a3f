"""Read errors: the bad blocks fail, now and later, until they are written; nothing is invented.

A direct read of a pending block fails with ENODATA, the errno of a medium error
(BLK_STS_MEDIUM); a read through the page cache, as of a file, with EIO.
"""

import errno
from collections.abc import Callable

import pytest
from harness import Guest, Machine
from patterns import pattern
from target import (
    SPARE_DATA,
    create,
    events,
    extents,
    message,
    pending,
    places,
    refused,
    remapped,
    remove,
    status,
)

INVENTED = b"INVENTED" * 64
MEDIUM_ERROR = errno.ENODATA


def poison_spare(guest: Guest) -> None:
    """Fill the start of the spare's data area with what must never be read again."""
    guest.python(
        """
        import base64
        from guest import directio
        directio.write(args[0], args[1], base64.b64encode(args[2].encode() * 2048).decode())
        """,
        *(guest.spare, SPARE_DATA, INVENTED.decode()),
    )


def error_of(guest: Guest, device: str, sector: int, count: int = 1) -> int | None:
    try:
        data = guest.read(device, sector, count)
    except OSError as e:
        return e.errno
    assert INVENTED not in data
    return None


def test_bad_blocks_fail_alone_even_after_a_power_cut_until_they_are_written(guest: Guest) -> None:
    box = guest.machine
    poison_spare(guest)
    device = create(guest)
    data = pattern(1, 400)
    guest.write(device, 1000, data)
    guest.flush(device)
    scattered = [1003, 1010, 1011, 1200, 1399]
    run = list(range(1100, 1140))
    bad = sorted(scattered + run)
    box.main.fail(bad, on="read")

    def good_ones_read_back() -> None:
        for first, last in ((1000, 1003), (1004, 1010), (1012, 1100), (1140, 1200), (1201, 1399)):
            part = data[(first - 1000) * 512 : (last - 1000) * 512]
            assert guest.read(device, first, last - first) == part

    # All in one request fails, and this alone finds every one of them.
    assert error_of(guest, device, 1000, 400) == MEDIUM_ERROR
    listed = extents(guest)
    assert pending(listed) == bad and remapped(listed) == []
    assert [(e.sector, e.sectors) for e in listed] == [(1003, 1), (1010, 2), (1100, 40), (1200, 1), (1399, 1)]
    seen = status(guest)
    assert (seen.remapped, seen.pending, seen.used, seen.lost) == (0, 5, 0, 45)
    assert seen.read_errors > 0 and seen.write_errors == 0
    assert message(guest, "health").startswith("damaged: 45 sectors")
    assert guest.failing(device, 990, 420) == bad
    good_ones_read_back()

    # The disk is not asked for them again, whatever it would say now.
    box.main.clear_counters()
    assert guest.failing(device, 1100, 40) == run
    assert box.main.counters()["bad_reads"] == 0
    box.main.heal()
    assert guest.failing(device, 1100, 40) == run

    box.power_cut(seed=1)
    guest = box.boot()
    create(guest)
    assert extents(guest) == listed
    assert guest.failing(device, 990, 420) == bad
    assert {error_of(guest, device, sector) for sector in bad} == {MEDIUM_ERROR}
    good_ones_read_back()

    # A write heals what it covers, on the spare; the rest of a pending extent stays lost.
    guest.write(device, 1110, pattern(2, 5))
    guest.write(device, 1198, pattern(3, 5))
    healed = [*range(1110, 1115), 1200]
    left = [sector for sector in bad if sector not in healed]
    healed_data = {1110: pattern(2, 5), 1198: pattern(3, 5)}
    for sector, content in healed_data.items():
        assert guest.read(device, sector, 5) == content
    assert remapped(extents(guest)) == healed and pending(extents(guest)) == left
    assert guest.failing(device, 990, 420) == left
    for first, count in ((1109, 2), (1114, 2), (1100, 40)):
        assert error_of(guest, device, first, count) == MEDIUM_ERROR
    listed = extents(guest)
    guest.flush(device)

    box.power_cut(seed=2)
    guest = box.boot()
    create(guest)
    assert extents(guest) == listed
    assert guest.failing(device, 990, 420) == left
    for sector, content in healed_data.items():
        assert guest.read(device, sector, 5) == content

    guest.write(device, 1000, pattern(4, 400))
    assert guest.read(device, 1000, 400) == pattern(4, 400)
    assert remapped(extents(guest)) == bad and status(guest).pending == 0


def test_a_file_over_a_bad_sector_fails_with_eio_and_only_there(guest: Guest) -> None:
    box = guest.machine
    poison_spare(guest)
    device = create(guest)
    guest.sh(f"mkfs.ext4 -q -b 4096 {device}; mkdir -p /tmp/m; mount {device} /tmp/m")
    guest.sh("head -c 1M /dev/zero | tr '\\0' a >/tmp/m/file; sync; echo 3 >/proc/sys/vm/drop_caches")
    first = guest.call(_first_sector, "/tmp/m/file")
    box.main.fail(first + 8 * 100 + 3, on="read")
    read = "dd if=/tmp/m/file of=/tmp/out bs=4096"
    done = guest.sh(read, check=False)
    assert done.rc != 0 and "Input/output error" in done.err
    # Past the page cache: there, newer kernels keep ext4's files in folios of up to 64 KiB and more, and
    # have no use for half of one.
    read += " iflag=direct"
    assert guest.sh(f"{read} count=100; {read} skip=101; wc -c </tmp/out").out.strip() == str(155 * 4096)
    assert pending(extents(guest)) == [first + 8 * 100 + 3]
    guest.sh("head -c 4096 /dev/zero | tr '\\0' b | dd of=/tmp/m/file bs=4096 seek=100 conv=notrunc,fsync")
    guest.sh("echo 3 >/proc/sys/vm/drop_caches")
    assert guest.sh("tr -d a </tmp/m/file").out == "b" * 4096
    assert remapped(extents(guest)) == [first + 8 * 100 + 3]


def _first_sector(path: str) -> int:
    """In the guest: where a file begins on the device, by FIBMAP."""
    import fcntl
    import struct
    from pathlib import Path

    with Path(path).open("rb") as f:
        (block,) = struct.unpack("i", fcntl.ioctl(f, 1, struct.pack("i", 0)))
        return int(block) * 8


def test_a_block_that_fails_on_the_spare_is_pending_until_it_is_written(guest: Guest) -> None:
    box = guest.machine
    poison_spare(guest)
    device = create(guest)
    guest.write(device, 500, pattern(1, 8))
    message(guest, "remap", 500, 8)
    bad_place = places(extents(guest))[3]
    box.spare.fail(bad_place, on="read")
    assert guest.failing(device, 498, 12) == [503]
    assert guest.read(device, 504, 4) == pattern(1, 8)[4 * 512 :]
    assert pending(extents(guest)) == [503]
    box.spare.heal()
    remove(guest)
    create(guest)
    assert guest.failing(device, 498, 12) == [503]
    guest.write(device, 503, pattern(2, 1))
    assert guest.read(device, 503) == pattern(2, 1)
    assert bad_place not in places(extents(guest))


def test_moving_an_unreadable_block_invents_nothing(guest: Guest) -> None:
    box = guest.machine
    poison_spare(guest)
    device = create(guest)
    guest.write(device, 700, pattern(1, 16))
    box.main.fail([705, 706], on="read")
    assert message(guest, "remap", 700, 16) == "Remapped 14 sectors, 2 unreadable and pending"
    assert "pending" in message(guest, "test_remap", 706, SPARE_DATA + 100)
    assert guest.failing(device, 700, 16) == [705, 706]
    assert guest.read(device, 707, 9) == pattern(1, 16)[7 * 512 :]
    assert pending(extents(guest)) == [705, 706]
    box.main.heal()
    assert refused(guest, "unmap", 705, 2)
    assert guest.failing(device, 700, 16) == [705, 706]


def read_a_weak_sector(guest: Guest, device: str, sector: int, failures: int) -> bytes:
    """Read a sector of which the disk fails so many reads and then none.

    The third is the last before other places are asked, behind which it has a last chance.
    """
    disk = guest.machine.main
    disk.weaken([sector], reads=failures)
    disk.clear_counters()
    data = guest.read(device, sector)
    assert disk.counters()["bad_reads"] == failures
    return data


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_a_read_error_that_comes_back_on_retry_is_served(guest: Guest, failures: int) -> None:
    poison_spare(guest)
    guest.write(guest.main, 100_000, pattern(1, 1))
    device = create(guest)
    assert read_a_weak_sector(guest, device, 100_000, failures) == pattern(1, 1)
    assert extents(guest) == []
    seen = status(guest)
    assert (seen.read_errors, seen.salvaged, seen.lost, seen.used) == (1, 1, 0, 0)


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_relocate_weak_moves_a_block_that_came_back(guest: Guest, failures: int) -> None:
    box = guest.machine
    poison_spare(guest)
    guest.write(guest.main, 100_000, pattern(1, 1))
    device = create(guest, "relocate_weak")
    assert read_a_weak_sector(guest, device, 100_000, failures) == pattern(1, 1)
    assert remapped(extents(guest)) == [100_000]
    seen = status(guest)
    assert (seen.remapped, seen.pending, seen.read_errors, seen.salvaged) == (1, 0, 1, 1)
    assert seen.features == ("relocate_weak",)
    # It may die now.
    box.main.fail(100_000)
    assert guest.read(device, 100_000) == pattern(1, 1)
    remove(guest)
    create(guest, "relocate_weak")
    assert guest.read(device, 100_000) == pattern(1, 1)


def test_a_dead_disk_trips_the_breaker_and_rearm_goes_on(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    guest.write(device, 0, pattern(1, 600))
    message(guest, "remap", 100, 8)
    listed, seen = extents(guest), status(guest)
    number = int(guest.run("dmsetup", "info", "-c", "--noheadings", "-o", "events", "mapped").out)

    with events(guest) as told:
        box.main.die()
        for sector in (10, 200, 598):
            with pytest.raises(OSError, match="Input/output error"):
                guest.write(device, sector, pattern(2, 2))
            assert error_of(guest, device, sector, 2) == errno.EIO
        told("BREAKER")
    now = status(guest)
    assert (now.errors, now.mode, now.check) == (("breaker",), "rw", "-")
    assert (now.used, now.remapped, now.pending, now.lost) == (8, 1, 0, 0)
    assert (now.sequence, extents(guest)) == (seen.sequence, listed)
    guest.run("dmsetup", "wait", "mapped", number)
    assert message(guest, "health").startswith("failing")
    assert refused(guest, "remap", 300, 8)
    # What lives on the spare is served as ever.
    assert guest.read(device, 100, 8) == pattern(1, 600)[100 * 512 : 108 * 512]

    # It comes back, but with two bad sectors: no remapping before somebody says so.
    box.main.revive()
    box.main.fail([300, 400])
    with pytest.raises(OSError, match="Input/output error"):
        guest.write(device, 300, pattern(3, 1))
    assert extents(guest) == listed
    assert message(guest, "rearm") == "Armed"
    assert status(guest).errors == ()
    guest.write(device, 300, pattern(3, 1))
    assert guest.read(device, 300) == pattern(3, 1)
    assert error_of(guest, device, 400) == MEDIUM_ERROR
    assert (remapped(extents(guest)), pending(extents(guest))) == ([*range(100, 108), 300], [400])
    assert guest.read(device, 500, 98) == pattern(1, 600)[500 * 512 : 598 * 512]


def test_a_disk_that_dies_behind_a_bad_block_loses_nothing_more(guest: Guest) -> None:
    """Whether it is the block or the disk is asked for each block, not only for the first of a run."""
    box = guest.machine
    device = create(guest)
    guest.write(device, 0, pattern(1, 64))
    guest.flush(device)
    box.main.fail(7, on="read")
    assert error_of(guest, device, 7) == MEDIUM_ERROR
    box.main.die(on="read")
    assert [error_of(guest, device, sector) for sector in (8, 9, 20)] == [errno.EIO] * 3
    assert pending(extents(guest)) == [7] and status(guest).errors == ("breaker",)
    box.main.revive()
    assert guest.read(device, 8, 56) == pattern(1, 64)[8 * 512 :]


def test_a_bad_block_is_no_dead_disk_though_the_usual_places_live_elsewhere(guest: Guest) -> None:
    """Where main has no say at a place that the breaker asks, the next one is asked at which it has."""
    box = guest.machine
    device = create(guest)
    last = int(guest.run("blockdev", "--getsz", device).out) - 1
    usual = [last // 4 * at for at in range(5)]
    message(guest, "remap", *(word for sector in usual[:3] for word in (sector, 8)))
    message(guest, "pending", usual[3], 1, usual[4], 1)
    box.main.fail(50_000)
    assert error_of(guest, device, 50_000) == MEDIUM_ERROR
    assert pending(extents(guest)) == [50_000, *usual[3:]] and status(guest).errors == ()
    # But one that is dead is known all the same.
    box.main.die()
    with pytest.raises(OSError, match="Input/output error"):
        guest.write(device, 51_000, pattern(1, 1))
    assert status(guest).errors == ("breaker",)


def test_the_last_block_that_main_answers_for_may_be_bad(guest: Guest) -> None:
    """There is no other one to ask, so nothing tells that the disk is dead."""
    guest.run(*("dmsetup", "create", "mapped", "--table", f"0 8 dm-remap-v4 {guest.main} {guest.spare}"))
    assert message(guest, "remap", 0, 7) == "Remapped 7 sectors"
    guest.machine.main.fail(7)
    assert error_of(guest, "/dev/mapper/mapped", 7) == MEDIUM_ERROR
    assert pending(extents(guest)) == [7] and status(guest).errors == ()


def test_a_spare_that_is_gone_for_a_moment_loses_nothing(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    # Nothing that udev reads: one that begins while it is gone and is looked into afterwards is bad.
    guest.write(device, 50_000, pattern(1, 8))
    message(guest, "remap", 50_000, 8)
    listed = extents(guest)
    box.spare.die(on="read")
    assert error_of(guest, device, 50_000, 8) == errno.EIO
    box.spare.revive()
    assert guest.read(device, 50_000, 8) == pattern(1, 8)
    assert extents(guest) == listed and status(guest).errors == ()


def test_reads_of_4k_native_disks_lose_whole_logical_blocks(machine: Callable[..., Machine]) -> None:
    box = machine(main_block_size=4096, power_cuts=False)
    guest = box.boot()
    poison_spare(guest)
    device = create(guest)
    guest.write(device, 0, pattern(1, 256))
    box.main.fail([83, 164], on="read")
    assert guest.failing(device, 0, 256, step=8) == [80, 160]
    assert [(e.sector, e.sectors, e.spare) for e in extents(guest)] == [(80, 8, None), (160, 8, None)]
    guest.write(device, 72, pattern(2, 24))
    assert guest.read(device, 72, 24) == pattern(2, 24)
    assert guest.failing(device, 0, 256, step=8) == [160]
