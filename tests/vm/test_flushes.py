"""Flushes go down to both disks; and whoever has to know it hears of one that fails."""

import errno
import inspect
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Guest
from harness.guest import Job
from readahead import read_ahead, under_way
from target import SPARE_DATA, create, extents, mappings, message, pending, refused, remapped, status


def flushed(guest: Guest) -> tuple[int, int]:
    return guest.flushes(guest.main), guest.flushes(guest.spare)


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
    for disk, word in ((guest.machine.spare, "remap"), (guest.machine.main, "unmap")):
        disk.die(on=None)
        assert refused(guest, word, 2000)
        disk.revive()
        with pytest.raises(OSError, match="Input/output error"):
            guest.flush(device)
        guest.flush(device)
        assert message(guest, word, 2000) == f"{word.capitalize()}ped 1 sectors"

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


@pytest.mark.usefixtures("udev_again")
def test_what_is_written_synchronously_is_stable_though_main_has_no_cache(guest: Guest) -> None:
    """Then the kernel forgets that it was, when it is sent to main.  It fails, and is served when its
    block lives on the spare already, because of another write: no commit flushes that."""
    box = guest.machine
    disk = guest.run("lsblk", "-no", "KNAME", guest.main).out.strip()
    guest.sh(f"echo write through >/sys/class/block/{disk}/queue/write_cache")
    device, moving = half_moved(guest)
    box.main.fail(2000, on="write")
    bad = box.main.counters()["bad_writes"]
    first = guest.start(
        *("dd", "if=/dev/zero", f"of={device}", "bs=4096", "count=1", "seek=250"),
        *("oflag=direct", "conv=notrunc", "status=none"),
    )
    _until(lambda: box.main.counters()["bad_writes"] > bad)
    source = (
        f"{inspect.getsource(_write_synchronously)}\nassert _write_synchronously({device!r}, 2000, 4096) == 0"
    )
    second = guest.start("python3", "-c", source)
    _until(lambda: box.main.counters()["bad_writes"] > bad + 1)
    resume(guest, "tail")
    for job in (moving, first, second):
        job.wait()
    box.power_cut(seed=1, keep=0)
    guest = box.boot()
    create(guest)
    assert remapped(extents(guest)) == [*range(1000, 1008), 2000, *range(263144, 263152)]
    assert guest.read(device, 2000) == b"durable." * 64


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


@pytest.fixture
def udev_again(guest: Guest) -> Iterator[None]:
    """After :func:`stop_udev`."""
    yield
    _send_to_udev(guest, "CONT")


def stop_udev(guest: Guest) -> None:
    """A read of its of a device that is suspended in part would not end, and the worker waits for it."""
    guest.wait_for_udev()
    _send_to_udev(guest, "STOP")


def _send_to_udev(guest: Guest, signal: str) -> None:
    """Its own --stop-exec-queue leaves it, now and then, with a queue that never ends."""
    guest.sh(f"""
        set -e
        files=$(grep -lx systemd-udevd /proc/[0-9]*/comm)
        for file in $files; do kill -{signal} "$(basename "${{file%/comm}}")"; done
    """)


def resume(guest: Guest, name: str) -> None:
    """Without waiting for udev."""
    guest.run("dmsetup", "resume", "--noudevsync", name)


def half_moved(guest: Guest, before: Callable[[Guest], None] | None = None) -> tuple[str, Job]:
    """Two blocks of one commit are being moved.  Sector 1000 is on the spare, and held, but the other
    can't be read before the device `tail` is resumed."""
    size, half = int(guest.run("blockdev", "--getsz", guest.main).out), 262144
    guest.run("dmsetup", "create", "tail", "--table", f"0 {size - half} linear {guest.main} {half}")
    joined = f"0 {half} linear {guest.main} 0\n{half} {size - half} linear /dev/mapper/tail 0\n"
    guest.run("dmsetup", "create", "joined", stdin=joined)
    device = create(guest, main="/dev/mapper/joined")
    if before:
        before(guest)
    stop_udev(guest)
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


def failing_sync(guest: Guest, device: str, disk: str = "spare") -> Job:
    """A flush of a disk has failed, and those behind it go well; whose flush it was may not be told
    yet: the other disk's is not over."""
    failing = guest.machine.disks[disk]
    failed, ended = failing.counters()["bad_flushes"], guest.flushes(guest.devices[disk])
    failing.die(on=None)
    syncing = guest.start("sync", device)
    _until(lambda: failing.counters()["bad_flushes"] > failed)
    failing.revive()
    # That the disk has failed it does not mean that its kernel knows.
    _until(lambda: guest.flushes(guest.devices[disk]) > ended)
    return syncing


@pytest.mark.usefixtures("udev_again")
@pytest.mark.parametrize("unread", [False, True])
def test_data_is_not_relied_on_behind_a_flush_that_failed(guest: Guest, unread: bool) -> None:
    """An application's, between our write to the spare and our own flush, which goes well; also if
    copies have to be mended first, which are flushed as well."""
    device, moving = half_moved(guest, before=restored if unread else None)
    syncing = failing_sync(guest, device)
    resume(guest, "tail")
    assert moving.wait(check=False).rc != 0
    assert syncing.wait(check=False).rc != 0
    assert extents(guest) == [] and status(guest).mode == "rw"
    assert message(guest, "remap", 1000, 16) == "Remapped 16 sectors"
    guest.flush(device)


def block_written(guest: Guest, device: str, sector: int) -> Job:
    """A write of zeroes to four sectors that main has refused; it waits for the worker."""
    main = guest.machine.main
    main.fail(range(sector, sector + 4), on="write")
    bad = main.counters()["bad_writes"]
    writing = guest.start(
        *("dd", "if=/dev/zero", f"of={device}", "bs=2048", "count=1", f"seek={sector // 4}"),
        *("oflag=direct", "conv=notrunc"),
    )
    _until(lambda: main.counters()["bad_writes"] > bad)
    return writing


def stored(guest: Guest) -> int:
    """Writes that main has taken."""
    counters = guest.machine.main.counters()
    return counters["writes"] - counters["bad_writes"]


FIRST, SECOND = range(2000, 2004), range(4000, 4004)  # Sectors of main.


def two_writes(guest: Guest, *, healed: list[range], stalled: tuple[str, int]) -> tuple[str, list[Job]]:
    """Of two writes that failed on main the worker has served the first; the second, of the same round,
    does not go on at this sector of a disk.  Those that are healed go well on main now."""
    main, spare = guest.machine.main, guest.machine.spare
    device = create(guest)
    stop_udev(guest)
    # The worker is kept busy, and what fails meanwhile makes the next round.
    spare.stall([SPARE_DATA])
    ahead = guest.start("dmsetup", "message", "mapped", 0, "remap", 1000, 8)
    _until(lambda: spare.counters()["stalls"] > 0)
    writes = [block_written(guest, device, sectors.start) for sectors in (FIRST, SECOND)]
    main.heal([sector for sectors in healed for sector in sectors])
    disk = guest.machine.disks[stalled[0]]
    before = disk.counters()["stalls"]
    disk.stall([stalled[1]])
    if disk is main:
        spare.stall([])
    ahead.wait()
    _until(lambda: disk.counters()["stalls"] > before)
    return device, writes


def both_are_well(writes: list[Job], syncing: Job) -> None:
    """And who flushed is told that it failed."""
    for writing in writes:
        writing.wait()
    assert syncing.wait(check=False).rc != 0


@pytest.mark.usefixtures("udev_again")
def test_what_was_written_before_a_flush_failed_is_written_again(guest: Guest) -> None:
    """By the worker, which has not answered yet: it tells nobody else that an application's failed."""
    spare = guest.machine.spare
    device, writes = two_writes(guest, healed=[FIRST], stalled=("spare", SPARE_DATA + 8))
    before = stored(guest)
    syncing = failing_sync(guest, device, "main")
    spare.stall([])
    both_are_well(writes, syncing)
    assert remapped(extents(guest)) == [*range(1000, 1008), *SECOND]
    assert stored(guest) == before + 1
    guest.flush(device)


@pytest.mark.usefixtures("udev_again")
def test_a_flush_that_failed_is_nothing_to_what_was_written_to_the_other_disk(guest: Guest) -> None:
    main = guest.machine.main
    device, writes = two_writes(guest, healed=[FIRST, SECOND], stalled=("main", SECOND.start))
    before = stored(guest)
    syncing = failing_sync(guest, device, "spare")
    main.stall([])
    both_are_well(writes, syncing)
    # The second alone.
    assert stored(guest) == before + 1
    guest.flush(device)


@pytest.mark.usefixtures("udev_again")
def test_what_could_not_be_committed_behind_a_flush_that_failed_is_served_again(guest: Guest) -> None:
    """An application's: a block that could be moved all the same is no error of whoever wrote it."""
    device, writes = two_writes(guest, healed=[], stalled=("main", SECOND.start))
    syncing = failing_sync(guest, device, "spare")
    guest.machine.main.stall([])
    both_are_well(writes, syncing)
    assert remapped(extents(guest)) == [*range(1000, 1008), *FIRST, *SECOND]
    guest.flush(device)
    assert guest.read(device, FIRST.start, 4) == bytes(2048)


@pytest.mark.usefixtures("udev_again")
def test_read_ahead_does_not_wait_for_the_worker(guest: Guest) -> None:
    guest.write(guest.main, 1000, b"read me." * 64 * 8)
    device, moving = half_moved(guest)
    read_ahead(guest, device, 1000, 8)
    assert not under_way(guest, device)
    resume(guest, "tail")
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
