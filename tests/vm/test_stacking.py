"""The device among others: flushes go down to both disks, limits come up from both, and
dmsetup and dmremapctl say the same about it."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ok
from harness import Guest, Machine
from harness.guest import Job
from target import create, extents, mappings, message, pending, refused, remapped, remove, status

MiB = 1 << 20


def limits(guest: Guest, device: str) -> dict[str, str]:
    """The request queue's limits, as sysfs shows them."""
    real = guest.run("readlink", "-f", device).out.strip()
    # Some can't be read for a device without a queue of its own.
    shown = guest.run("grep", "-rs", ".", f"/sys/block/{Path(real).name}/queue", check=False)
    lines = shown.out.splitlines()
    return {name.rpartition("/")[2]: value for name, _, value in (line.partition(":") for line in lines)}


def flushed(guest: Guest) -> tuple[int, int]:
    return guest.flushes(guest.main), guest.flushes(guest.spare)


# Flushes.


def test_fsync_reaches_both_devices(guest: Guest) -> None:
    device = create(guest)
    message(guest, "remap", 1000, 8)
    for sector in (0, 1000):
        guest.write(device, sector, b"x" * 512)
        main, spare = flushed(guest)
        seen = [guest.machine.disks[name].counters()["flushes"] for name in ("main", "spare")]
        guest.flush(device)
        assert flushed(guest) == (main + 1, spare + 1)
        for name, before in zip(("main", "spare"), seen, strict=True):
            assert guest.machine.disks[name].counters()["flushes"] > before


def test_fsync_fails_if_either_device_cannot_flush(guest: Guest) -> None:
    device = create(guest)
    for disk in guest.machine.main, guest.machine.spare:
        guest.flush(device)
        # For flushes alone: what udev reads meanwhile shall not be taken for bad.
        disk.die(on=None)
        with pytest.raises(OSError, match="Input/output error"):
            guest.flush(device)
        disk.revive()
        guest.flush(device)
    assert " rw -" in guest.run("dmsetup", "status", "mapped").out


def test_who_syncs_next_hears_of_a_flush_of_ours_that_failed(guest: Guest) -> None:
    """What applications had written may be lost with it, though the next flush goes well."""
    device = create(guest)
    guest.flush(device)
    guest.machine.spare.die(on=None)
    assert refused(guest, "remap", 2000)
    guest.machine.spare.revive()
    with pytest.raises(OSError, match="Input/output error"):
        guest.flush(device)
    guest.flush(device)
    assert message(guest, "remap", 2000) == "Remapped 1 sectors"

    guest.machine.main.die(on=None)
    assert refused(guest, "unmap", 2000)
    guest.machine.main.revive()
    with pytest.raises(OSError, match="Input/output error"):
        guest.flush(device)
    guest.flush(device)
    assert message(guest, "unmap", 2000) == "Unmapped 1 sectors"

    # A block that can't be written is no flush that failed.
    guest.machine.spare.fail(0x20000 // 512, on="write")
    message(guest, "remap", 3000)
    assert status(guest).valid == 4
    guest.flush(device)


@pytest.mark.parametrize("flushes", range(3))
def test_a_flush_of_a_commit_that_fails_once_is_told(guest: Guest, flushes: int) -> None:
    """Of the data, of the one copy's shadow, or of its header: that it goes well when it is tried
    again says nothing of what others had written."""
    device = create(guest, "copies", 1)
    guest.flush(device)
    guest.machine.spare.fail_flushes(after=flushes)
    assert refused(guest, "remap", 2000) == (flushes == 0)
    with pytest.raises(OSError, match="Input/output error"):
        guest.flush(device)
    guest.flush(device)
    assert message(guest, "remap", 3000) == "Remapped 1 sectors"
    guest.flush(device)


@pytest.mark.parametrize("block", [0, 2])
def test_a_bad_block_of_the_only_copy_is_no_flush_that_failed(guest: Guest, block: int) -> None:
    """Its header, or the shadow of that; also when nothing else is left to try."""
    device = create(guest, "copies", 1)
    guest.machine.spare.fail(8 * block, on="write")
    assert refused(guest, "remap", 2000)
    guest.flush(device)
    assert refused(guest, "repair")
    guest.flush(device)
    guest.machine.spare.heal()
    message(guest, "repair")
    guest.flush(device)


def _write_synchronously(device: str, sector: int, size: int) -> int:
    """In the guest: one asynchronous write of "durable.", direct and O_DSYNC, which the kernel sends as
    REQ_FUA and without a flush of its own behind it.  0 or the error."""
    import ctypes
    import mmap
    import os
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    setup, getevents, submit, rwf_dsync = 206, 208, 209, 2
    context = ctypes.c_ulong(0)
    assert libc.syscall(setup, 1, ctypes.byref(context)) == 0
    fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as buffer:
            buffer[:] = b"durable." * (size // 8)
            here = ctypes.c_char.from_buffer(buffer)
            # struct iocb: data, key, flags, opcode PWRITE, priority, fd, buffer, bytes, offset.
            words = (0, 0, rwf_dsync, 1, 0, fd, ctypes.addressof(here), size, sector * 512, 0, 0, 0)
            iocb = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", *words))
            queue = (ctypes.c_void_p * 1)(ctypes.addressof(iocb))
            assert libc.syscall(submit, context, 1, queue) == 1
            event = ctypes.create_string_buffer(32)
            assert libc.syscall(getevents, context, 1, 1, event, None) == 1
            del here
            written: int = struct.unpack("<QQqq", event.raw)[2]
            return 0 if written == size else -written
    finally:
        os.close(fd)
        libc.syscall(207, context)


def test_a_flush_behind_a_write_that_fails_is_told(guest: Guest) -> None:
    """These disks don't know REQ_FUA: the kernel sends a flush behind the write, and has one error
    for both.  The write goes well when it is tried again; what others had written may be lost."""
    device = create(guest)
    message(guest, "remap", 1000, 8)
    guest.flush(device)
    for sector, disk in ((0, guest.machine.main), (1000, guest.machine.spare)):
        guest.write(device, sector, b"dirty..." * 64)
        failed = disk.counters()["bad_flushes"]
        disk.fail_flushes()
        assert guest.call(_write_synchronously, device, sector, 4096) == 0
        assert disk.counters()["bad_flushes"] == failed + 1
        with pytest.raises(OSError, match="Input/output error"):
            guest.flush(device)
        # Once more, in place of one whose preflush that may have been.
        assert guest.call(_write_synchronously, device, sector, 4096) == errno.EIO
        assert guest.call(_write_synchronously, device, sector, 4096) == 0
        guest.flush(device)
    assert mappings(guest) == 8 and pending(extents(guest)) == []


def test_a_bad_block_is_no_flush_that_failed(guest: Guest) -> None:
    device = create(guest)
    guest.flush(device)
    guest.machine.main.fail(2003, on="write")
    assert guest.call(_write_synchronously, device, 2000, 4096) == 0
    guest.flush(device)
    assert remapped(extents(guest)) == [2003]


def test_what_is_written_synchronously_over_a_bad_block_is_stable(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    guest.write(device, 2000, b"old....." * 64 * 8)
    guest.flush(device)
    box.main.fail(2003, on="write")
    assert guest.call(_write_synchronously, device, 2000, 4096) == 0
    box.power_cut(seed=1, keep=0)
    guest = box.boot()
    create(guest)
    assert guest.read(device, 2000, 8) == b"durable." * 64 * 8
    assert remapped(extents(guest)) == [2003]


def test_a_journal_hears_of_a_flush_that_failed(guest: Guest) -> None:
    """Of the flush before a commit block, in one request with it, core hears only how that of the
    block ended."""
    device = create(guest)
    guest.sh(
        f"""
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 {device}
        mkdir -p /tmp/here
        mount -o errors=remount-ro {device} /tmp/here
        echo first >/tmp/here/file
        sync /tmp/here/file
        """
    )
    guest.machine.spare.fail_flushes()
    assert refused(guest, "remap", 2000)
    assert guest.sh("echo second >/tmp/here/other; sync /tmp/here/other", check=False).rc != 0
    guest.run("umount", "/tmp/here")


def _until(happened: Callable[[], bool]) -> None:
    while not happened():
        time.sleep(0.01)


def half_moved(guest: Guest, before: Callable[[Guest], None] | None = None) -> tuple[str, Job]:
    """Two blocks of one commit are being moved.  Sector 1000 is on the spare, and held, but the other
    can't be read before the device `tail` is resumed."""
    size, half = int(guest.run("blockdev", "--getsz", guest.main).out), 262144
    guest.run("dmsetup", "create", "tail", "--table", f"0 {size - half} linear {guest.main} {half}")
    joined = f"0 {half} linear {guest.main} 0\n{half} {size - half} linear /dev/mapper/tail 0\n"
    guest.run("dmsetup", "create", "joined", stdin=joined)
    device = create(guest, main="/dev/mapper/joined")
    guest.wait_for_udev()
    if before:
        before(guest)
    spare = guest.machine.spare
    writes = spare.counters()["writes"]
    guest.run("dmsetup", "suspend", "tail")
    moving = guest.start("dmsetup", "message", "mapped", 0, "remap", 1000, 8, half + 1000, 8)
    _until(lambda: spare.counters()["writes"] > writes)
    return device, moving


def restored(guest: Guest) -> None:
    """A majority of the copies is taken for damaged, and none is."""
    guest.machine.spare.fail([0, 256, 512], on="read")
    assert message(guest, "restore").startswith("2 of 5")
    guest.machine.spare.heal()


@pytest.mark.parametrize("unread", [False, True])
def test_data_is_not_relied_on_behind_a_flush_that_failed(guest: Guest, unread: bool) -> None:
    """An application's, between our write to the spare and our own flush, which goes well; also if
    copies have to be mended first, which are flushed as well."""
    spare = guest.machine.spare
    device, moving = half_moved(guest, before=restored if unread else None)
    failed = spare.counters()["bad_flushes"]
    spare.die(on=None)
    syncing = guest.start("sync", device)
    _until(lambda: spare.counters()["bad_flushes"] > failed)
    spare.revive()
    guest.run("dmsetup", "resume", "tail")
    assert moving.wait(check=False).rc != 0
    assert syncing.wait(check=False).rc != 0
    assert extents(guest) == [] and status(guest).mode == "rw"
    assert message(guest, "remap", 1000, 16) == "Remapped 16 sectors"
    guest.flush(device)


def test_what_was_written_before_a_flush_failed_is_written_again(guest: Guest) -> None:
    """By the worker, which has not answered yet: it tells nobody else that an application's failed."""
    size, half = int(guest.run("blockdev", "--getsz", guest.main).out), 262144
    lines = [f"0 {half} linear {guest.main} 0"]
    for name, start, end in (("first", half, half + 8192), ("second", half + 8192, size)):
        guest.run("dmsetup", "create", name, "--table", f"0 {end - start} linear {guest.main} {start}")
        lines.append(f"{start} {end - start} linear /dev/mapper/{name} 0")
    guest.run("dmsetup", "create", "joined", stdin="\n".join(lines) + "\n")
    device = create(guest, main="/dev/mapper/joined")
    guest.wait_for_udev()
    main, spare = guest.machine.main, guest.machine.spare

    # The worker waits for the first; behind that come a write, which will go well now, and a move
    # that waits for the second.
    guest.run("dmsetup", "suspend", "first")
    guest.run("dmsetup", "suspend", "second")
    moves = [guest.start("dmsetup", "message", "mapped", 0, "remap", half + 1000, 8)]
    asking = "until [ $(grep -ls dmr_ask /proc/[0-9]*/stack | wc -l) = {} ]; do sleep 0.1; done"
    guest.sh(asking.format(1))
    main.fail(2000, on="write")
    bad = main.counters()["bad_writes"]
    writing = guest.start(
        *("dd", "if=/dev/zero", f"of={device}", "bs=4096", "count=1", "seek=250"),
        *("oflag=direct", "conv=notrunc"),
    )
    _until(lambda: main.counters()["bad_writes"] > bad)
    main.heal()
    moves.append(guest.start("dmsetup", "message", "mapped", 0, "remap", half + 9000, 8))
    guest.sh(asking.format(2))
    writes = main.counters()["writes"]
    guest.run("dmsetup", "resume", "first")
    moves[0].wait()
    _until(lambda: main.counters()["writes"] == writes + 1)

    failed = spare.counters()["bad_flushes"]
    spare.die(on=None)
    syncing = guest.start("sync", device)
    _until(lambda: spare.counters()["bad_flushes"] > failed)
    spare.revive()
    guest.run("dmsetup", "resume", "second")
    writing.wait()
    assert moves[1].wait(check=False).rc != 0 and syncing.wait(check=False).rc != 0
    assert main.counters()["writes"] == writes + 2
    guest.flush(device)


def _read_ahead(path: str, offset: int, size: int) -> None:
    """In the guest: ask for read-ahead, which is under way, or over, behind this."""
    import os
    from pathlib import Path

    with Path(path).open("rb") as f:
        os.posix_fadvise(f.fileno(), offset, size, os.POSIX_FADV_WILLNEED)


def test_read_ahead_does_not_wait_for_the_worker(guest: Guest) -> None:
    guest.write(guest.main, 1000, b"read me." * 64 * 8)
    device, moving = half_moved(guest)
    dm = Path(guest.run("readlink", "-f", device).out.strip()).name
    guest.call(_read_ahead, device, 1000 * 512, 4096)
    assert guest.run("cat", f"/sys/class/block/{dm}/inflight").out.split() == ["0", "0"]
    guest.run("dmsetup", "resume", "tail")
    moving.wait()
    assert guest.read(device, 1000, 8) == b"read me." * 64 * 8
    assert pending(extents(guest)) == []


def test_syncs_and_remaps_go_on_beside_each_other(guest: Guest) -> None:
    device = create(guest)
    syncing = [
        guest.start_sh(f"for i in {{1..40}}; do dd if=/dev/zero of={device} count=1 conv=notrunc,{how}; done")
        for how in 2 * ("fsync", "notrunc oflag=direct,dsync seek=8002")
    ]
    for sector in range(8000, 8800, 40):
        assert message(guest, "remap", sector, 8, sector + 16, 8) == "Remapped 16 sectors"
    assert message(guest, "unmap", 8000, 800) == "Unmapped 320 sectors"
    for job in syncing:
        job.wait()
    guest.flush(device)


def test_a_synchronous_write_is_stable_where_it_went(guest: Guest) -> None:
    device = create(guest)
    message(guest, "remap", 1000, 8)
    for sector, disk in ((0, guest.main), (1000, guest.spare)):
        guest.write(device, sector, b"dirty..." * 64)
        before = guest.flushes(disk)
        guest.run(
            *("dd", "if=/dev/zero", f"of={device}", "bs=512", "count=1", f"seek={sector}"),
            *("oflag=direct,dsync", "conv=notrunc", "status=none"),
        )
        assert guest.flushes(disk) > before
        assert guest.read(device, sector) == bytes(512)


def test_a_file_system_syncs_through_it(guest: Guest) -> None:
    device = create(guest)
    guest.sh(f"mkfs.ext4 -q -F {device} && mkdir -p /tmp/here && mount {device} /tmp/here")
    guest.machine.main.fail(range(150000, 160000), on="write")
    main, spare = flushed(guest)
    guest.sh("dd if=/dev/urandom of=/tmp/here/file bs=1M count=4 conv=fsync status=none")
    after = flushed(guest)
    assert after[0] > main and after[1] > spare
    guest.run("umount", "/tmp/here")


# Limits.


def test_the_limits_are_those_of_linear_over_the_same_disk(guest: Guest) -> None:
    size = guest.run("blockdev", "--getsz", guest.main).out.strip()
    guest.run("dmsetup", "create", "plain", "--table", f"0 {size} linear {guest.main} 0")
    plain = limits(guest, "/dev/mapper/plain")
    remove(guest, "plain")
    assert limits(guest, create(guest)) == plain


def test_discards_reach_main_but_not_what_was_remapped(guest: Guest) -> None:
    device = create(guest)
    guest.write(device, 1000, b"remapped" * 64 * 8)
    message(guest, "remap", 1000, 8)
    guest.write(device, 2000, b"linear.." * 64 * 8)
    before = guest.machine.main.counters()["trims"]
    guest.run("blkdiscard", "-f", "-o", 2000 * 512, "-l", 8 * 512, device)
    assert guest.machine.main.counters()["trims"] > before
    assert guest.read(device, 2000, 8) == bytes(4096)
    guest.run("blkdiscard", "-f", "-o", 1000 * 512, "-l", 8 * 512, device)
    assert guest.read(device, 1000, 8) in (b"remapped" * 64 * 8, bytes(4096))
    assert mappings(guest) == 8
    # Zeroes must be zeroes, wherever the block lives.
    guest.write(device, 1000, b"remapped" * 64 * 8)
    guest.run("fallocate", "--zero-range", "-o", 996 * 512, "-l", 16 * 512, device)
    assert guest.read(device, 996, 16) == bytes(16 * 512)
    assert mappings(guest) == 8


def test_zeroes_are_written_where_nobody_else_would_write_them(machine: Callable[..., Machine]) -> None:
    """Punching a hole into a block device asks for zeroes and has no other way."""
    box = machine(power_cuts=False)
    guest = box.boot()
    device = create(guest)
    guest.write(device, 1000, b"original" * 64 * 40)
    message(guest, "remap", 1010, 4)
    box.main.fail(1030, on="read")
    assert guest.failing(device, 1000, 40) == [1030]
    box.main.fail(1020, on="write")
    guest.run("fallocate", "--punch-hole", "-o", 1004 * 512, "-l", 32 * 512, device)
    box.main.heal()
    old = b"original" * 64 * 4
    assert guest.read(device, 1000, 40) == old + bytes(32 * 512) + old
    assert remapped(extents(guest)) == [*range(1010, 1014), 1020, 1030]
    assert pending(extents(guest)) == []


@pytest.mark.parametrize("whose", ["main", "third"])
def test_zeroes_cut_off_within_a_block_remap_whole_blocks_only(
    machine: Callable[..., Machine], whose: str
) -> None:
    """Some disks take 65535 sectors at once: that is no number of whole blocks of a 4Kn spare."""
    most = dict.fromkeys(("main", "spare", "third"), 1 << 20) | {whose: 65535}
    box = machine(spare_block_size=4096, power_cuts=False, extra={"third": 8 * MiB}, most_zeroes=most)
    guest = box.boot()
    assert limits(guest, guest.devices[whose])["write_zeroes_max_bytes"] == str(65535 * 512)
    # Its other target brings a limit to the table that ours can't know of.
    lines = (
        f"0 131072 dm-remap-v4 {guest.main} {guest.spare}",
        f"131072 16384 linear {guest.devices['third']} 0",
    )
    table = "\n".join(lines)
    guest.run("dmsetup", "create", "mapped", stdin=table)
    device = "/dev/mapper/mapped"
    guest.write(device, 65504, b"original" * 64 * 48)
    box.main.fail(65535, on="write")
    box.main.fail(70000, on="write")
    guest.run("fallocate", "--zero-range", "-l", 131072 * 512, device)
    whole = [*range(65528, 65536), *range(70000, 70008)]
    assert remapped(extents(guest)) == whole
    remove(guest)
    guest.run("dmsetup", "create", "mapped", stdin=table)
    assert remapped(extents(guest)) == whole
    # And once more, where what is cut off there has its end on the spare.
    guest.write(device, 65504, b"original" * 64 * 48)
    guest.run("fallocate", "--zero-range", "-l", 65536 * 512, device)
    assert guest.read(device, 65504, 48) == bytes(32 * 512) + b"original" * 64 * 16
    most_bytes = "0" if whose == "main" else str(65535 * 512)
    assert limits(guest, device)["write_zeroes_max_bytes"] == most_bytes
    remove(guest)


def test_a_part_of_a_block_at_the_end_of_main_is_left_alone(machine: Callable[..., Machine]) -> None:
    box = machine(spare_block_size=4096)
    guest = box.boot()
    guest.run("dmsetup", "create", "odd", "--table", f"0 80007 linear {guest.main} 0")
    table = f"0 80000 dm-remap-v4 /dev/mapper/odd {guest.spare}"
    guest.run("dmsetup", "create", "mapped", "--table", table)
    for words in (("remap", 80000), ("unmap", 80000), ("test_remap", 80000, 4096)):
        assert refused(guest, *words)
    assert message(guest, "remap", 79992) == "Remapped 8 sectors"
    remove(guest)
    guest.run("dmsetup", "create", "mapped", "--table", table)
    assert remapped(extents(guest)) == list(range(79992, 80000))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A 4Kn main disk, a spare with blocks of 512 bytes, and a third disk like the spare."""
    machine = Machine(tmp_path_factory.mktemp("mixed"), main_block_size=4096, extra={"third": 64 * MiB})
    yield machine.boot()
    machine.close()


@pytest.mark.parametrize(("main", "spare"), [("main", "spare"), ("third", "main")])
def test_the_larger_block_counts_on_either_side(mixed: Guest, main: str, spare: str) -> None:
    guest = mixed
    for name in (main, spare):
        guest.run("blkdiscard", "-f", guest.devices[name])
    device = create(guest, main=guest.devices[main], spare=guest.devices[spare])
    found = limits(guest, device)
    assert (found["logical_block_size"], found["physical_block_size"]) == ("4096", "4096")
    assert found["minimum_io_size"] == "4096"
    with pytest.raises(OSError, match="Invalid argument"):
        guest.write(device, 0, b"x" * 512)
    guest.machine.disks[main].fail(16 + 3, on="write")
    guest.write(device, 8, b"16 kilobytes ok." * 1024)
    assert guest.read(device, 8, 32) == b"16 kilobytes ok." * 1024
    assert mappings(guest) == 1
    start, sectors, place, _ = message(guest, "list").split()
    assert (start, sectors) == ("16", "8") and int(place) % 8 == 0
    # Saved for blocks of 4096 bytes, and found again.
    remove(guest)
    create(guest, main=guest.devices[main], spare=guest.devices[spare])
    assert guest.read(device, 8, 32) == b"16 kilobytes ok." * 1024
    guest.machine.disks[main].heal()
    remove(guest)
    guest.machine.check_console()


def test_a_part_of_a_block_at_the_end_of_the_spare_is_left_alone(mixed: Guest) -> None:
    guest = mixed
    for name in ("main", "spare"):
        guest.run("blkdiscard", "-f", guest.devices[name])
    guest.run("dmsetup", "create", "small", "--table", f"0 4103 linear {guest.spare} 0")
    device = create(guest, spare="/dev/mapper/small")
    assert message(guest, "remap", 0, 2048) == "Remapped 2048 sectors"
    assert refused(guest, "remap", 4096, 8)
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert guest.read(device, 2040, 8) == bytes(4096)
    remove(guest)
    remove(guest, "small")


# dmsetup and dmremapctl.


def by_dmsetup(guest: Guest, name: str = "mapped") -> dict[str, Any]:
    """All that dmsetup tells about a device, under the names that dmremapctl gives it."""
    columns = "name,uuid,major,minor,open,events,attr"
    line = guest.run(*("dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", columns, name)).out
    shown, uuid, major, minor, opened, events, attributes = line.split()
    info = guest.run("dmsetup", "info", name).out
    targets = []
    tables = guest.run("dmsetup", "table", name).out.splitlines()
    # dmsetup asks the target to commit before it answers; dmremapctl does not.
    states = guest.run("dmsetup", "status", "--noflush", name).out.splitlines()
    for table, state in zip(tables, states, strict=True):
        start, length, kind, main, spare, *features = table.split()
        assert kind == "dm-remap-v4" and state.split()[:3] == [start, length, kind]
        words = state.split()[3:]
        (used, total), (valid, copies) = words[0].split("/"), words[3].split("/")
        options = words[10 : 10 + int(words[9])]
        assert options == features[1:]
        rest = words[10 + int(words[9]) :]
        errors, (mode, check) = rest[1 : 1 + int(rest[0])], rest[1 + int(rest[0]) :]
        targets.append(
            {
                "start": int(start),
                "length": int(length),
                "main": main,
                "spare": spare,
                "features": options,
                "used_sectors": int(used),
                "total_sectors": int(total),
                "remapped_extents": int(words[1]),
                "pending_extents": int(words[2]),
                "valid_copies": int(valid),
                "copies": int(copies),
                "sequence": int(words[4]),
                "read_errors": int(words[5]),
                "write_errors": int(words[6]),
                "sectors_salvaged": int(words[7]),
                "sectors_lost": int(words[8]),
                "errors": errors,
                "mode": mode,
                "needs_check": check == "needs_check",
            }
        )
    return {
        "name": shown,
        "path": f"/dev/mapper/{shown}",
        "uuid": uuid,
        "dev": f"{major}:{minor}",
        "open": int(opened),
        "event_nr": int(events),
        "suspended": attributes[2] == "s",
        "readonly": attributes[3] == "r",
        "deferred_remove": "DEFERRED REMOVE" in info,
        "targets": targets,
    }


def agree(guest: Guest) -> dict[str, Any]:
    """Ask both, compare, and give what they agree on."""
    # Events, and udev with them, come a moment after what they tell: ask until nothing changes, and
    # udev has not had it open for one of the two alone.
    mine: dict[str, Any] = {}
    opened: set[int] = set()
    while mine != (now := by_dmsetup(guest)) or len(opened) > 1:
        mine = now
        guest.wait_for_udev()
        (theirs,) = ok(guest, "status", "mapped")
        (listed,) = ok(guest, "list")
        opened = {each["open"] for each in (mine, theirs, listed)}
    for target in theirs["targets"]:
        target.pop("healthy")
    assert theirs.pop("doing") == ""  # dmsetup knows of no long change.
    assert theirs == mine
    first = mine["targets"][0] if mine["targets"] else {"main": None, "spare": None, "mode": "no table"}
    for key in ("name", "path", "uuid", "dev", "open"):
        assert listed[key] == mine[key]
    for key in ("main", "spare", "mode"):
        assert listed[key] == first[key]
    deps = guest.run("dmsetup", "deps", "-o", "devno", "mapped").out
    numbers = {
        f"({target[key].replace(':', ', ')})" for target in mine["targets"] for key in ("main", "spare")
    }
    assert all(number in deps for number in numbers)
    assert int(deps.split()[0]) == len(numbers)
    assert guest.run("dmsetup", "ls", "--target", "dm-remap-v4").out.split()[0] == mine["name"]
    return mine


def test_dmsetup_and_dmremapctl_agree(guest: Guest) -> None:
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    fresh = agree(guest)
    assert fresh["targets"][0]["features"] == ["copies", "5", "spacing", "256"]

    message(guest, "remap", 1000, 8)
    guest.machine.main.fail([5000, 6001])
    assert guest.failing("/dev/mapper/mapped", 5000, 1) == [5000]
    guest.write("/dev/mapper/mapped", 6000, b"x" * 1024)
    (target,) = agree(guest)["targets"]
    assert (target["remapped_extents"], target["pending_extents"], target["used_sectors"]) == (2, 1, 9)
    assert target["read_errors"] > 0 and target["write_errors"] > 0 and target["sectors_lost"] == 1

    # The sysfs folder is a third witness.
    def counter(name: str) -> int:
        return int(guest.run("cat", f"/sys/kernel/dm_remap/mapped/{name}").out)

    for file, key in (
        ("remapped_extents", "remapped_extents"),
        ("spare_sectors_used", "used_sectors"),
        ("spare_sectors_total", "total_sectors"),
        ("read_errors", "read_errors"),
        ("write_errors", "write_errors"),
        ("sectors_salvaged", "sectors_salvaged"),
        ("sectors_lost", "sectors_lost"),
        ("sequence", "sequence"),
    ):
        assert counter(file) == target[key], file
    assert message(guest, "status").split() == by_status(guest)

    guest.run("dmsetup", "suspend", "mapped")
    assert agree(guest)["suspended"]
    guest.run("dmsetup", "resume", "mapped")

    table = guest.run("dmsetup", "table", "mapped").out.strip()
    guest.run("dmsetup", "load", "mapped", "--table", table.replace(" 4 copies", " 5 relocate_weak copies"))
    guest.run("dmsetup", "resume", "mapped")
    assert "relocate_weak" in agree(guest)["targets"][0]["features"]

    # Degraded: two copies lost, the breaker not.
    guest.machine.spare.fail([0, 256], on="write")
    message(guest, "remap", 9000)
    (target,) = agree(guest)["targets"]
    assert (target["valid_copies"], target["errors"]) == (3, ["degraded"])
    guest.machine.spare.heal()
    message(guest, "repair")
    assert agree(guest)["targets"][0]["valid_copies"] == 5

    # Opened by the shell: the process in the background may come to that later.
    guest.sh(
        """
        exec 3</dev/mapper/mapped
        sleep 600 >/dev/null 2>&1 &
        echo $! >/tmp/pid
        dmsetup remove --deferred mapped
        """
    )
    state = agree(guest)
    assert state["deferred_remove"] and state["open"] == 1
    # It goes when the dead process has closed it, and then by a work item of the kernel's.
    guest.sh("kill $(cat /tmp/pid); until dmsetup ls | grep -q '^No devices'; do sleep 0.1; done")
    guest.wait_for_udev()
    assert ok(guest, "list") == []


def by_status(guest: Guest) -> list[str]:
    return guest.run("dmsetup", "status", "mapped").out.split()[3:]


def test_they_agree_on_a_read_only_table_and_on_none(guest: Guest) -> None:
    create(guest)
    message(guest, "remap", 1000)
    remove(guest)
    size = guest.run("blockdev", "--getsz", guest.main).out.strip()
    line = f"0 {size} dm-remap-v4 {guest.main} {guest.spare}"
    writes = guest.machine.spare.counters()["writes"]
    guest.run("dmsetup", "create", "mapped", "--readonly", "--uuid", "LOCAL-1", "--table", line)
    state = agree(guest)
    assert state["readonly"] and state["targets"][0]["mode"] == "ro"
    remove(guest)
    assert guest.machine.spare.counters()["writes"] == writes

    # A device of ours whose table is gone is listed all the same.
    uuid = f"DMREMAP-{ok(guest, 'inspect', guest.spare)['uuid']}"
    guest.run("dmsetup", "create", "mapped", "--notable", "--uuid", uuid)
    (listed,) = ok(guest, "list")
    assert (listed["mode"], listed["main"]) == ("no table", None)
    assert ok(guest, "status", "mapped")[0]["targets"] == []
