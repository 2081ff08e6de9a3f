"""The breaker: is it a block that fails, or the disk?  And what its probes by writing may spoil."""

import errno

import pytest
from harness import CommandFailed, Guest
from patterns import pattern, write_pattern
from target import (
    SPARE_DATA,
    create,
    events,
    extents,
    message,
    pending,
    refused,
    remapped,
    remove,
    status,
)

SLOT = 256  # Sectors of the spare from one copy of the metadata to the next.


def test_a_disk_that_refuses_every_write_is_not_taken_for_one_with_bad_sectors(guest: Guest) -> None:
    """A few blocks move before the breaker asks elsewhere; a long run elsewhere moves none."""
    box = guest.machine
    device = create(guest)
    write_pattern(guest, device, 0, 1, 2048)
    box.main.die(on="write", flush=False)
    with pytest.raises(CommandFailed, match="Input/output error"):
        write_pattern(guest, device, 16_384, 2, 2048)
    assert status(guest).errors == ("breaker",) and extents(guest) == []

    message(guest, "rearm")
    refusals = 0
    for sector in range(100, 2000, 100):
        try:
            guest.write(device, sector, pattern(sector, 1))
        except OSError as failure:
            assert failure.errno == errno.EIO
            refusals += 1
    now = status(guest)
    assert now.errors == ("breaker",) and now.mode == "rw"
    assert 0 < now.remapped < 10 and now.remapped + refusals == 19
    expected = bytearray(pattern(1, 2048))
    for sector in remapped(extents(guest)):
        expected[sector * 512 : (sector + 1) * 512] = pattern(sector, 1)
    assert guest.read(device, 0, 2048) == expected

    box.main.revive()
    message(guest, "rearm")
    guest.write(device, 16_384, pattern(3, 16))
    assert guest.read(device, 16_384, 16) == pattern(3, 16)


def test_the_breaker_asks_the_device_and_nothing_beside_it(guest: Guest) -> None:
    """Of a disk of which the table has a part, what lies behind it is somebody else's."""
    box = guest.machine
    guest.run(*("dmsetup", "create", "mapped", "--table", f"0 40960 dm-remap-v4 {guest.main} {guest.spare}"))
    box.main.fail(range(40960), on="write")
    with pytest.raises(CommandFailed, match="Input/output error"):
        write_pattern(guest, "/dev/mapper/mapped", 16_384, 2, 64)
    assert status(guest).errors == ("breaker",) and extents(guest) == []


def test_a_block_that_a_probe_spoils_is_kept_on_the_spare(guest: Guest) -> None:
    """The breaker writes good blocks back to see whether the disk can still be written."""
    box = guest.machine
    device = create(guest)
    probed = what_is_probed(guest)
    for i, sector in enumerate(probed):
        guest.write(device, sector, pattern(i, 1))
    box.main.die(on="write", flush=False)
    box.main.spoil(probed)
    with pytest.raises(CommandFailed, match="Input/output error"):
        write_pattern(guest, device, 16_384, 2, 2048)
    assert status(guest).errors == ("breaker",)
    assert remapped(extents(guest)) == probed
    for i, sector in enumerate(probed):
        assert guest.read(device, sector) == pattern(i, 1)


def what_is_probed(guest: Guest) -> list[int]:
    """The sectors that are written to see whether main takes any write at all."""
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    return [(size - 1) * i // 10 for i in range(1, 10, 2)]


def spoil_by_probes(guest: Guest, device: str) -> list[int]:
    """Main refuses each write for a while, and each probe spoils its block; these sectors."""
    main = guest.machine.main
    probed = what_is_probed(guest)
    main.die(on="write", flush=False)
    main.spoil(probed)
    with pytest.raises(OSError, match="Input/output error"):
        guest.write(device, 16_384, pattern(2, 8))
    main.revive()
    main.spoil([])
    return probed


def test_a_block_that_a_probe_spoils_and_nobody_can_keep_is_pending(guest: Guest) -> None:
    """The spare has room for the failed blocks alone, and these go back to main."""
    guest.run("dmsetup", "create", "small", "--table", f"0 {SPARE_DATA + 8} linear {guest.spare} 0")
    device = create(guest, spare="/dev/mapper/small")
    probed = spoil_by_probes(guest, device)
    assert status(guest).errors == ("breaker",)
    # Main would give them again now, and not what was written there.
    assert pending(extents(guest)) == probed and remapped(extents(guest)) == []
    assert guest.failing(device, probed[1], 1) == [probed[1]]


def test_a_block_that_a_probe_spoils_is_kept_though_what_it_was_probed_for_is_not(guest: Guest) -> None:
    """The log has room for its record, but not for those of the write that fails, and can't grow."""
    box = guest.machine
    # The slots hold two blocks of 118 records, the header as many; a further segment does not fit.
    guest.run("dmsetup", "create", "small", "--table", f"0 {SPARE_DATA + 384} linear {guest.spare} 0")
    device = create(guest, "spacing", 64, spare="/dev/mapper/small")
    # Of the last hundred places every other one, so that each further block makes a record.
    message(guest, "remap", *(word for sector in range(0, 2 * 280, 2) for word in (sector, 1)))
    for number in range(50):
        message(guest, "test_remap", 1000 + 2 * number, SPARE_DATA + 281 + 2 * number)
    moved = [*range(0, 2 * 280, 2), *range(1000, 1100, 2)]
    first, probed, *_ = what_is_probed(guest)
    guest.write(device, probed, pattern(7, 1))
    # The third one takes a write.
    box.main.fail([first, *range(10_000, 10_045), probed], on="write")
    box.main.spoil([probed])
    with pytest.raises(OSError, match="Input/output error"):
        guest.write(device, 10_000, pattern(2, 45))
    assert status(guest).errors == ()
    for _ in range(2):
        assert pending(extents(guest)) == [] and remapped(extents(guest)) == [*moved, probed]
        assert guest.read(device, probed) == pattern(7, 1)
        remove(guest)
        create(guest, "spacing", 64, spare="/dev/mapper/small")


def test_what_a_probe_spoilt_is_not_forgotten_with_a_commit_that_fails(guest: Guest) -> None:
    """Main gives something there, perhaps without an error, that nobody has written."""
    box = guest.machine
    device = create(guest)
    box.spare.fail_flushes()
    probed = spoil_by_probes(guest, device)
    assert pending(extents(guest)) == probed and remapped(extents(guest)) == []
    remove(guest)
    create(guest)
    assert pending(extents(guest)) == probed


@pytest.mark.parametrize("then", ["commit", "suspend", "resume", "repair"])
def test_what_a_probe_spoilt_is_recorded_as_soon_as_that_can_be(guest: Guest, then: str) -> None:
    box = guest.machine
    device = create(guest)
    box.spare.die(on=None)
    with events(guest) as told:
        probed = spoil_by_probes(guest, device)
        told("PENDING")
    assert pending(extents(guest)) == probed
    if then in ("resume", "repair"):
        guest.run("dmsetup", "suspend", "mapped")
        assert refused(guest, "remap", 5000)
        box.spare.revive()
        box.spare.die(on="write" if then == "repair" else None, flush=False)
        guest.run("dmsetup", "resume", "mapped")
        assert pending(extents(guest)) == probed
        assert status(guest).mode == ("ro" if then == "repair" else "rw")
        box.spare.revive()
    if then == "repair":
        message(guest, "repair")
    if then == "commit":
        message(guest, "rearm")
        assert refused(guest, "pending", probed[1])
        assert refused(guest, "test_remap", probed[1], SPARE_DATA + 512)
    box.spare.revive()
    if then == "suspend":
        guest.run("dmsetup", "suspend", "mapped")
    if then == "commit":
        if status(guest).mode == "ro":
            message(guest, "repair")
        message(guest, "remap", 5000)
        assert status(guest).lost == len(probed)
    box.power_cut(seed=1)
    guest = box.boot()
    create(guest)
    assert pending(extents(guest)) == probed


def test_what_a_probe_spoilt_is_not_forgotten_with_a_commit_that_one_resume_finds(guest: Guest) -> None:
    """And the next one does not: it was in one copy alone, could not be flushed, and is lost."""
    box = guest.machine
    create(guest)
    remove(guest)
    before = box.spare.read(0, 5 * SLOT)
    device = create(guest)
    probed = what_is_probed(guest)
    message(guest, "remap", probed[1])
    remove(guest)
    after = box.spare.read(0, 5 * SLOT)
    box.spare.write(0, before)

    create(guest)
    box.spare.die(on=None)
    assert spoil_by_probes(guest, device) == probed
    guest.run("dmsetup", "suspend", "mapped")
    box.spare.write(0, before)
    box.spare.write(2 * SLOT, after[2 * SLOT * 512 : 3 * SLOT * 512])
    guest.run("dmsetup", "resume", "mapped")
    assert remapped(extents(guest)) == [probed[1]]
    assert pending(extents(guest)) == [probed[0], *probed[2:]]
    guest.run("dmsetup", "suspend", "mapped")
    box.spare.write(0, before)
    box.spare.revive()
    guest.run("dmsetup", "resume", "mapped")
    for _ in range(2):
        assert pending(extents(guest)) == probed and remapped(extents(guest)) == []
        remove(guest)
        create(guest)


def test_a_long_bad_run_does_not_trip_the_breaker(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    box.main.fail(range(4096), on="write")
    write_pattern(guest, device, 0, 1, 2048)
    write_pattern(guest, device, 2048, 2, 2048)
    assert guest.read(device, 0, 4096) == pattern(1, 2048) + pattern(2, 2048)
    assert status(guest).errors == () and remapped(extents(guest)) == list(range(4096))
