"""Write errors: the bad blocks, and no others, move to the spare, and nobody notices."""

import errno
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from harness import CommandFailed, Guest, Machine
from harness.disk import Kind, MiB
from patterns import pattern, write_pattern
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
KINDS: list[Kind] = ["write", "both"]


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


def test_that_nine_tenths_of_the_spare_are_taken_is_told_once_each_time(guest: Guest) -> None:
    create(guest, spare=small_spare(guest))
    with events(guest) as told:
        message(guest, "remap", 0, 1843)
        message(guest, "remap", 1843)
        assert told("SPARE_NEARLY_FULL")["DM_SECTORS"] == "204"
    with events(guest) as told:
        message(guest, "remap", 1844)
        message(guest, "unmap", 0, 8)
        message(guest, "remap", 5000, 9)
        assert told("SPARE_NEARLY_FULL")["DM_SECTORS"] == "202"


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


def test_messages_end_where_the_table_does(guest: Guest) -> None:
    """What is moved behind it somebody else may write to at the same time."""
    guest.run(*("dmsetup", "create", "mapped", "--table", f"0 40960 dm-remap-v4 {guest.main} {guest.spare}"))
    for words in (("remap", 40960), ("remap", 40952, 16), ("unmap", 40960), ("pending", 40960)):
        assert refused(guest, *words)
    assert refused(guest, "test_remap", 40960, SPARE_DATA)
    assert message(guest, "remap", 40952, 8) == "Remapped 8 sectors"
    assert remapped(extents(guest)) == [*range(40952, 40960)]


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
