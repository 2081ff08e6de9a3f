"""Write errors: the bad blocks, and no others, move to the spare, and nobody notices."""

import errno
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from harness import CommandFailed, Guest, Machine
from harness.disk import Kind, MiB
from target import (
    SPARE_DATA,
    create,
    events,
    extents,
    mappings,
    message,
    pending,
    places,
    refused,
    remapped,
    remove,
    status,
)

FILE = 4 * MiB
SLOT = 256  # Sectors of the spare from one copy of the metadata to the next.
KINDS: list[Kind] = ["write", "both"]


def pattern(seed: int, sectors: int) -> bytes:
    return random.Random(seed).randbytes(sectors * 512)


def _write_file(path: str, size: int, seed: int) -> str:
    """In the guest: write over a file in place, to stable storage, and give its hash."""
    import hashlib
    import os
    import random
    from pathlib import Path

    file = Path(path)
    file.touch()
    data = random.Random(seed).randbytes(size)
    with file.open("r+b") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    return hashlib.sha256(data).hexdigest()


def _hash_file(path: str) -> str:
    """In the guest: read a file from the disk, not from the cache, and give its hash."""
    import hashlib
    import os
    from pathlib import Path

    with Path(path).open("rb") as f:
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return hashlib.sha256(f.read()).hexdigest()


def _first_sectors(path: str) -> list[int]:
    """In the guest: where each 4 KiB block of a file begins on the device, by FIBMAP."""
    import fcntl
    import os
    import struct
    from pathlib import Path

    with Path(path).open("rb") as f:
        blocks = range(os.fstat(f.fileno()).st_size // 4096)
        return [struct.unpack("i", fcntl.ioctl(f, 1, struct.pack("i", block)))[0] * 8 for block in blocks]


def write_pattern(guest: Guest, device: str, sector: int, seed: int, sectors: int) -> None:
    """One direct write of pattern(seed, sectors), made inside: the line to the guest is slow."""
    guest.python(
        """
        import base64, random
        from guest import directio
        device, sector, seed, size = args
        directio.write(device, sector, base64.b64encode(random.Random(seed).randbytes(size)).decode())
        """,
        *(device, sector, seed, sectors * 512),
    )


@pytest.mark.parametrize("count", [1, 7, 300])
def test_a_file_over_scattered_bad_sectors_reads_back_even_after_a_power_cut(
    guest: Guest, count: int
) -> None:
    """One file over sectors that are bad for writing, one over sectors that are bad for both."""
    box = guest.machine
    device = create(guest)
    guest.sh(f"mkfs.ext4 -q -b 4096 -E lazy_itable_init=0 {device}; mkdir -p /tmp/m; mount {device} /tmp/m")
    bad: dict[str, list[int]] = {}
    for kind in KINDS:
        guest.call(_write_file, f"/tmp/m/{kind}", FILE, 1)
        own = [s for first in guest.call(_first_sectors, f"/tmp/m/{kind}") for s in range(first, first + 8)]
        bad[kind] = random.Random(count).sample(own, count)
        box.main.fail(bad[kind], on=kind)
    assert extents(guest) == []

    hashes = {kind: guest.call(_write_file, f"/tmp/m/{kind}", FILE, 2) for kind in KINDS}
    listed = extents(guest)
    assert remapped(listed) == sorted(bad["write"] + bad["both"])
    assert pending(listed) == []
    for kind in KINDS:
        assert guest.call(_hash_file, f"/tmp/m/{kind}") == hashes[kind]
    seen = status(guest)
    assert (seen.remapped, seen.pending, seen.used) == (len(listed), 0, 2 * count)
    assert seen.write_errors > 0 and seen.read_errors == 0 and seen.lost == 0
    assert mappings(guest) == 2 * count
    assert message(guest, "health") == f"remapped: {2 * count} sectors live on the spare"

    box.power_cut(seed=count)
    guest = box.boot()
    create(guest)
    assert extents(guest) == listed
    guest.sh(f"mkdir -p /tmp/m; mount {device} /tmp/m")
    for kind in KINDS:
        assert guest.call(_hash_file, f"/tmp/m/{kind}") == hashes[kind]
    # Written once more they stay where they are.
    hashes = {kind: guest.call(_write_file, f"/tmp/m/{kind}", FILE, 3) for kind in KINDS}
    assert extents(guest) == listed
    for kind in KINDS:
        assert guest.call(_hash_file, f"/tmp/m/{kind}") == hashes[kind]
    guest.sh(f"umount /tmp/m; e2fsck -fn {device}")


def test_a_bad_run_in_the_middle_of_a_direct_write_even_after_a_power_cut(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    runs = {"write": range(8192 + 701, 8192 + 801), "both": range(16384 + 3, 16384 + 40)}
    data = {}
    for seed, (kind, run) in enumerate(runs.items()):
        start = run[0] // 2048 * 2048
        write_pattern(guest, device, start - 8, 9, 8 + 2048 + 8)
        box.main.fail(run, on="write" if kind == "write" else "both")
        write_pattern(guest, device, start, seed, 2048)
        data[start - 8] = pattern(9, 2064)[:4096] + pattern(seed, 2048) + pattern(9, 2064)[-4096:]
    listed = extents(guest)
    assert [(e.sector, e.sectors) for e in listed] == [(run[0], len(run)) for run in runs.values()]
    for start, content in data.items():
        assert guest.read(device, start, 2064) == content
    # A remap is durable when it is acknowledged; the rest of the write needs its flush.
    guest.flush(device)

    box.power_cut(seed=4, keep=0.0)
    guest = box.boot()
    create(guest)
    assert extents(guest) == listed
    for start, content in data.items():
        assert guest.read(device, start, 2064) == content


def small_spare(guest: Guest) -> str:
    """2 MiB of the spare: room for 1 MiB."""
    guest.run("dmsetup", "create", "small", "--table", f"0 4096 linear {guest.spare} 0")
    return "/dev/mapper/small"


def test_a_bad_spare_is_survived(guest: Guest) -> None:
    """Bad places of the spare are skipped, and not used again."""
    box = guest.machine
    device = create(guest, spare=small_spare(guest))
    rng = random.Random(5)
    bad_places = {SPARE_DATA, SPARE_DATA + 1, *rng.sample(range(SPARE_DATA, SPARE_DATA + 200), 60)}
    box.spare.fail(bad_places, on="write")
    box.main.fail(range(1000, 1100), on="write")
    guest.write(device, 900, pattern(1, 400))
    assert guest.read(device, 900, 400) == pattern(1, 400)
    listed = extents(guest)
    assert remapped(listed) == list(range(1000, 1100))
    assert not bad_places & set(places(listed))
    assert status(guest).errors == ()

    # A place that goes bad later is left for another.
    later = places(listed)[10:20]
    box.spare.fail(later, on="both")
    guest.write(device, 900, pattern(2, 400))
    assert guest.read(device, 900, 400) == pattern(2, 400)
    assert not (bad_places | set(later)) & set(places(extents(guest)))

    # Also when the spare claims to be well again, and after a new start.
    box.spare.heal()
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    used_badly = {place for place in bad_places if place < max(places(listed))} | set(later)
    assert guest.read(device, 900, 400) == pattern(2, 400)
    room = status(guest).total - status(guest).used
    message(guest, "remap", 100_000, room)
    assert status(guest).errors == ("spare_full",)
    assert not used_badly & set(places(extents(guest)))
    assert guest.read(device, 900, 400) == pattern(2, 400)


def test_a_bad_sector_in_the_metadata_is_survived(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    box.spare.fail(0x20000 // 512, on="write")
    box.main.fail(1000, on="write")
    guest.write(device, 999, pattern(1, 3))
    assert guest.read(device, 999, 3) == pattern(1, 3)
    seen = status(guest)
    assert (seen.valid, seen.copies, seen.errors, seen.mode) == (4, 5, ("degraded",), "rw")
    listed = extents(guest)
    remove(guest)
    create(guest)
    assert extents(guest) == listed and status(guest).valid == 4
    box.spare.heal()
    message(guest, "repair")
    assert (status(guest).valid, status(guest).errors) == (5, ())


def test_an_exhausted_spare_gives_the_original_error_and_changes_nothing(guest: Guest) -> None:
    box = guest.machine
    device = create(guest, spare=small_spare(guest))
    guest.write(device, 5000, pattern(1, 100))
    assert message(guest, "remap", 0, 2046) == "Remapped 2046 sectors"
    box.main.fail([5001, 5010, 5011, 5012, 5020], on="write")
    listed, seen = extents(guest), status(guest)
    assert (seen.used, seen.total, seen.errors) == (2046, 2048, ())

    # Three do not fit where two would.
    with pytest.raises(OSError) as failure:
        guest.write(device, 5010, pattern(2, 3))
    assert failure.value.errno == errno.EIO
    now = status(guest)
    assert extents(guest) == listed
    assert (now.used, now.remapped, now.sequence) == (2046, seen.remapped, seen.sequence)
    assert (now.mode, now.check, now.write_errors) == ("rw", "-", 1)
    assert guest.read(device, 5000, 100) == pattern(1, 100)

    # Two fit, and then nothing more.
    guest.write(device, 5011, pattern(3, 2))
    expected = pattern(1, 100)[: 11 * 512] + pattern(3, 2) + pattern(1, 100)[13 * 512 :]
    listed, seen = extents(guest), status(guest)
    assert remapped(listed)[-2:] == [5011, 5012] and seen.errors == ("spare_full",)
    for bad in 5001, 5020:
        with pytest.raises(OSError) as failure:
            guest.write(device, bad, pattern(4, 1))
        assert failure.value.errno == errno.EIO
    now = status(guest)
    assert extents(guest) == listed
    assert (now.used, now.remapped, now.sequence, now.mode) == (2048, seen.remapped, seen.sequence, "rw")
    assert guest.read(device, 5000, 100) == expected
    # What has moved before works on, and so do good sectors.
    guest.write(device, 5011, pattern(5, 1))
    guest.write(device, 5002, pattern(5, 1))
    assert guest.read(device, 5011) == guest.read(device, 5002) == pattern(5, 1)
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert extents(guest) == listed


def test_that_the_last_place_is_taken_is_told_before_a_bad_block_needs_one(guest: Guest) -> None:
    create(guest, spare=small_spare(guest))
    with events(guest) as told:
        assert message(guest, "remap", 0, 2048) == "Remapped 2048 sectors"
        told("SPARE_FULL")
    assert status(guest).errors == ("spare_full",)
    # And each time anew.
    message(guest, "unmap", 8, 8)
    with events(guest) as told:
        message(guest, "remap", 5000, 8)
        told("SPARE_FULL")
    # Or when there are too few, as whoever asked is told.
    message(guest, "unmap", 16, 8)
    with events(guest) as told:
        assert refused(guest, "remap", 6000, 16)
        told("SPARE_FULL")
    assert status(guest).errors == ()


def test_a_spare_exhausted_by_its_own_bad_sectors_loads_again(guest: Guest) -> None:
    """However many records one write makes, what they say is true whenever it is on the spare."""
    box = guest.machine
    device = create(guest, spare=small_spare(guest))
    message(guest, "remap", 10_000, 1700)
    # Every other place goes bad: one write asks for 512 new ones, and 348 are left.
    placed = places(extents(guest))
    box.spare.fail(placed[:1024:2], on="write")
    with pytest.raises(OSError) as failure:
        guest.write(device, 10_000, pattern(1, 1024))
    assert failure.value.errno == errno.EIO
    listed = extents(guest)
    assert remapped(listed) == list(range(10_000, 11_700))

    box.power_cut(seed=3)
    guest = box.boot()
    create(guest, spare=small_spare(guest))
    assert extents(guest) == listed


def test_one_write_is_one_change_however_many_records_it_needs(guest: Guest) -> None:
    """More than one transaction has room for at first, and then the spare is full."""
    box = guest.machine
    device = create(guest, spare=small_spare(guest))
    message(guest, "remap", 20_000, 1048)
    write_pattern(guest, device, 4096, 1, 2048)
    bad = list(range(4096, 6144, 2))
    box.main.fail(bad, on="write")
    listed, seen = extents(guest), status(guest)
    assert seen.total - seen.used == 1000 < len(bad)
    with pytest.raises(CommandFailed, match="Input/output error"):
        write_pattern(guest, device, 4096, 2, 2048)
    now = status(guest)
    assert extents(guest) == listed
    assert (now.used, now.sequence, now.mode) == (seen.used, seen.sequence, "rw")

    box.main.heal(bad[1000:])
    write_pattern(guest, device, 4096, 3, 2048)
    assert guest.read(device, 4096, 2048) == pattern(3, 2048)
    listed = extents(guest)
    assert remapped(listed) == bad[:1000] + list(range(20_000, 21_048))
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert extents(guest) == listed
    assert guest.read(device, 4096, 2048) == pattern(3, 2048)


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


def test_messages_end_where_the_table_does(guest: Guest) -> None:
    """What is moved behind it somebody else may write to at the same time."""
    guest.run(*("dmsetup", "create", "mapped", "--table", f"0 40960 dm-remap-v4 {guest.main} {guest.spare}"))
    for words in (("remap", 40960), ("remap", 40952, 16), ("unmap", 40960), ("pending", 40960)):
        assert refused(guest, *words)
    assert refused(guest, "test_remap", 40960, SPARE_DATA)
    assert message(guest, "remap", 40952, 8) == "Remapped 8 sectors"
    assert remapped(extents(guest)) == [*range(40952, 40960)]


def test_a_block_that_a_probe_spoils_is_kept_on_the_spare(guest: Guest) -> None:
    """The breaker writes good blocks back to see whether the disk can still be written."""
    box = guest.machine
    device = create(guest)
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    probed = [(size - 1) // 4 * i for i in range(5)]
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
    return [(size - 1) // 4 * i for i in range(5)]


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
    probed = what_is_probed(guest)[1]
    guest.write(device, probed, pattern(7, 1))
    # Sector 1 is the first that is probed; the third one takes a write.
    box.main.fail([1, *range(10_000, 10_045), probed], on="write")
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


def test_more_writes_may_fail_at_once_than_a_round_holds(guest: Guest) -> None:
    """The worker takes 128 of them at a time; nothing else comes to wake it for the rest."""
    box = guest.machine
    device = create(guest)
    blocks = range(8192, 8192 + 512 * 8, 8)
    box.main.fail([block + 3 for block in blocks], on="write")
    guest.run(
        *("fio", "--name=x", f"--filename={device}", "--ioengine=libaio", "--direct=1", "--iodepth=512"),
        *("--rw=write", "--bs=4k", "--offset=4m", "--size=2m", "--verify=crc32c", "--do_verify=1"),
        timeout=100,
    )
    assert remapped(extents(guest)) == [block + 3 for block in blocks]


def test_a_long_bad_run_does_not_trip_the_breaker(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    box.main.fail(range(4096), on="write")
    write_pattern(guest, device, 0, 1, 2048)
    write_pattern(guest, device, 2048, 2, 2048)
    assert guest.read(device, 0, 4096) == pattern(1, 2048) + pattern(2, 2048)
    assert status(guest).errors == () and remapped(extents(guest)) == list(range(4096))


def test_a_dead_spare_gives_the_original_error_and_changes_nothing(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    guest.write(device, 1000, pattern(1, 8))
    box.main.fail(1003, on="write")
    before = status(guest)
    box.spare.die()
    # Whoever tries again and again uses nothing up.
    for _ in range(3):
        with pytest.raises(OSError) as failure:
            guest.write(device, 1003, pattern(2, 1))
        assert failure.value.errno == errno.EIO
    now = status(guest)
    assert extents(guest) == [] and (now.remapped, now.used) == (0, before.used)
    assert guest.read(device, 1000, 8) == pattern(1, 8)
    guest.write(device, 1004, pattern(3, 1))
    box.spare.revive()
    if status(guest).mode == "ro":
        message(guest, "repair")
    guest.write(device, 1003, pattern(4, 1))
    assert guest.read(device, 1003, 2) == pattern(4, 1) + pattern(3, 1)
    assert remapped(extents(guest)) == [1003]


def test_writes_to_4k_native_disks_move_whole_logical_blocks(machine: Callable[..., Machine]) -> None:
    box = machine(main_block_size=4096, power_cuts=False)
    guest = box.boot()
    device = create(guest)
    assert guest.run("blockdev", "--getss", device).out.strip() == "4096"
    # One bad sector of 512 bytes, or two, make one bad block of 4096.
    box.main.fail([8 * 20 + 3, 8 * 30, 8 * 30 + 7, 8 * 40], on="both")
    guest.write(device, 0, pattern(1, 512))
    assert guest.read(device, 0, 512) == pattern(1, 512)
    listed = extents(guest)
    assert [(e.sector, e.sectors) for e in listed] == [(160, 8), (240, 8), (320, 8)]
    assert all(place % 8 == 0 for place in places(listed)[::8])
    assert (status(guest).used, mappings(guest)) == (24, 3)
    assert refused(guest, "remap", 3, 8) and refused(guest, "remap", 8, 3)

    # Zeroes that the disk itself is told to write meet bad sectors as well.
    box.main.fail(8 * 50, on="write")
    guest.run("fallocate", "--zero-range", "--offset", 0, "--length", 256 << 10, device)
    assert guest.read(device, 0, 512) == bytes(512 * 512)
    assert remapped(extents(guest))[-8:] == list(range(400, 408))
    remove(guest)
    create(guest)
    assert guest.read(device, 0, 512) == bytes(512 * 512)
    assert len(extents(guest)) == 4
    assert all(a.sector < b.sector for a, b in pairwise(extents(guest)))
