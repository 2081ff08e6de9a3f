"""Suspend, resume, reload, removal, partitions, offsets and several targets, all under load.

The load checks itself: each of its writers owns a part of the device, knows what it wrote
there last, reads it back now and then and everything at the end.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import CommandFailed, Guest, Job, Machine
from shared import SharedMachine, lent, shared
from target import EVENTS, events, mappings

BAD = [64 + 40 * i for i in range(20)]  # some of the sectors that the load writes to
LOADED = 4096  # sectors from the start of a device


def table(guest: Guest, main: str, spare: str, *features: str | int, start: int = 0) -> str:
    size = guest.run("blockdev", "--getsz", main).out.strip()
    tail = " ".join(map(str, (len(features), *features))) if features else ""
    return f"{start} {size} dm-remap-v4 {main} {spare} {tail}".strip()


def create(guest: Guest, *lines: str, name: str = "mapped") -> str:
    guest.run("dmsetup", "create", name, stdin="\n".join(lines or [table(guest, guest.main, guest.spare)]))
    return f"/dev/mapper/{name}"


def message(guest: Guest, *words: str | int, sector: int = 0, name: str = "mapped") -> str:
    return guest.run("dmsetup", "message", name, sector, *words).out.strip()


def extents(guest: Guest, sector: int = 0, name: str = "mapped") -> dict[int, tuple[int, str]]:
    """Remapped blocks: what each extent covers, by its first sector."""
    found = {}
    for line in message(guest, "list", 0, 10000, sector=sector, name=name).splitlines():
        if line != "none":
            main, sectors, spare, _ = line.split()
            found[int(main)] = (int(sectors), spare)
    return found


def remapped(guest: Guest, sector: int = 0, name: str = "mapped") -> dict[int, int]:
    """Every remapped sector and where it lives."""
    return {
        main + i: int(spare) + i
        for main, (sectors, spare) in extents(guest, sector, name).items()
        for i in range(sectors)
    }


def folder(guest: Guest) -> list[str]:
    return guest.run("ls", "/sys/kernel/dm_remap").out.split()


def _load(device: str, first: int, sectors: int, block: int, writer: int, stop: str, progress: str) -> None:
    """One writer: runs in the guest until `stop` exists, and exits with 1 if a byte is wrong.

    `progress` has the number of its rounds.
    """
    import mmap
    import os
    import random
    import sys

    dice = random.Random(writer)
    blocks = sectors // block
    versions = [0] * blocks
    device_fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, 64 * block * 512)

    def content(number: int) -> bytes:
        if not versions[number]:
            return bytes(block * 512)
        words = (writer << 56 | (number * block + i) << 24 | versions[number] for i in range(block))
        return b"".join(word.to_bytes(8, "big") * 64 for word in words)

    def check(start: int, count: int) -> None:
        view = memoryview(buffer)[: count * block * 512]
        os.preadv(device_fd, [view], (first + start * block) * 512)
        for i in range(count):
            have = bytes(view[i * block * 512 : (i + 1) * block * 512])
            if have != content(start + i):
                sys.exit(f"{device}: wrong data at sector {first + (start + i) * block}: {have[:16].hex()}")

    rounds = 0
    progress_fd = os.open(progress, os.O_WRONLY | os.O_CREAT)
    while not os.path.exists(stop):  # noqa: PTH110  (a hundred times cheaper, in a tight loop)
        rounds += 1
        os.pwrite(progress_fd, b"%012d" % rounds, 0)
        count = min(dice.choice((1, 1, 1, 2, 5, 16, 64)), blocks)
        start = dice.randrange(blocks - count + 1)
        if dice.random() < 0.2:
            check(start, count)
            continue
        for number in range(start, start + count):
            versions[number] += 1
        data = b"".join(map(content, range(start, start + count)))
        buffer[: len(data)] = data
        os.pwritev(device_fd, [memoryview(buffer)[: len(data)]], (first + start * block) * 512)
        if rounds % 50 == 0:
            os.fsync(device_fd)
    for again in range(2):
        for start in range(0, blocks, 64):
            count = min(64, blocks - start)
            check(start, count)
            if again:
                continue
            # Every block, so that every bad sector is met.
            for number in range(start, start + count):
                versions[number] += 1
            buffer[: count * block * 512] = b"".join(map(content, range(start, start + count)))
            written = memoryview(buffer)[: count * block * 512]
            os.pwritev(device_fd, [written], (first + start * block) * 512)


@contextmanager
def load(guest: Guest, device: str, first: int = 0, block: int = 1) -> Iterator[None]:
    """Keep a blank device busy from sector `first` on; leaving checks that nothing was lost."""
    source = textwrap.dedent(inspect.getsource(_load))
    guest.push(
        f"import sys\n{source}\n_load(sys.argv[1], *map(int, sys.argv[2:6]), *sys.argv[6:])\n", "/tmp/load.py"
    )
    guest.sh("rm -f /tmp/stop /tmp/progress*")
    share = LOADED // 2
    jobs: list[Job] = [
        guest.start(
            *("python3", "/tmp/load.py", device, first + i * share, share, block, i + 1),
            *("/tmp/stop", f"/tmp/progress{i}"),
            timeout=280,
        )
        for i in range(2)
    ]
    try:
        # Both: on a busy host one may begin when the other has long been at work.
        busy(guest)
        yield
        busy(guest)
    finally:
        guest.run("touch", "/tmp/stop")
        # A writer that found something wrong has ended, and says what.
        for job in jobs:
            job.wait()


def busy(guest: Guest) -> None:
    """Wait until each writer has written for a while."""
    guest.call(_progress, [f"/tmp/progress{i}" for i in range(2)], 20, timeout=200)


def _progress(files: list[str], rounds: int) -> None:
    import time
    from pathlib import Path

    def now() -> list[int]:
        return [int(Path(file).read_text() or 0) if Path(file).exists() else 0 for file in files]

    goal = [number + rounds for number in now()]
    while any(number < wanted for number, wanted in zip(now(), goal, strict=True)):
        time.sleep(0.01)


# One device.


def test_suspend_and_resume_under_load(guest: Guest) -> None:
    device = create(guest)
    guest.machine.main.fail(BAD[:10], on="write")
    with load(guest, device):
        message(guest, "remap", 100000, 8)
        busy(guest)
        for options in ([], ["--noflush"], ["--nolockfs"], ["--noflush", "--nolockfs"]):
            before = remapped(guest)
            guest.run("dmsetup", "suspend", *options, "mapped")
            assert folder(guest) == []
            with pytest.raises(CommandFailed):
                message(guest, "remap", 200000)
            guest.run("dmsetup", "resume", "mapped")
            assert folder(guest) == ["mapped"]
            assert before.items() <= remapped(guest).items()
            busy(guest)
        guest.machine.main.fail(BAD[10:], on="write")
    there = remapped(guest)
    assert set(there) == {*BAD, *range(100000, 100008)}
    assert len(set(there.values())) == len(there)
    assert mappings(guest) == len(there)


def test_reload_under_load(guest: Guest) -> None:
    device = create(guest)
    guest.machine.main.fail(BAD, on="write")
    same = table(guest, guest.main, guest.spare)
    other = table(guest, guest.main, guest.spare, "relocate_weak")
    with load(guest, device):
        for new in (same, other, same):
            guest.run("dmsetup", "load", "mapped", "--table", new)
            # The old table still serves, and what it moves now the new one must know.
            message(guest, "remap", 100000 + 8 * len(extents(guest)))
            busy(guest)
            before = remapped(guest)
            guest.run("dmsetup", "suspend", "mapped")
            guest.run("dmsetup", "resume", "mapped")
            assert before.items() <= remapped(guest).items()
            assert folder(guest) == ["mapped"]
            assert ("relocate_weak" in guest.run("dmsetup", "table", "mapped").out) == (new == other)
            assert ("relocate_weak" in guest.run("dmsetup", "status", "mapped").out) == (new == other)
        # Without an explicit suspend: resume does it.
        guest.run("dmsetup", "load", "mapped", "--table", other)
        guest.run("dmsetup", "resume", "mapped")
        busy(guest)
    there = remapped(guest)
    assert len([sector for sector in there if sector >= LOADED]) == 3
    assert {sector for sector in there if sector < LOADED} == set(BAD)
    assert mappings(guest) == len(there)


def test_a_refused_reload_leaves_everything_as_it_was(guest: Guest) -> None:
    device = create(guest)
    message(guest, "remap", 100000, 8)
    good = table(guest, guest.main, guest.spare)
    with load(guest, device):
        # Refused when it is loaded: the old table never notices.
        for bad in (
            table(guest, guest.main, guest.spare, "dance"),
            table(guest, guest.main, guest.main),
            table(guest, guest.main, guest.spare, "copies", "9"),
            f"0 9999999 dm-remap-v4 {guest.main} {guest.spare}",
        ):
            assert guest.run("dmsetup", "load", "mapped", "--table", bad, check=False).rc != 0
        assert "unknown feature argument 'dance'" in guest.run("dmesg").out
        busy(guest)
        # Refused when it is activated: the device stays suspended, and the good table mends that.
        guest.run(
            "dmsetup", "load", "mapped", "--table", table(guest, guest.main, guest.spare, "copies", "3")
        )
        assert guest.run("dmsetup", "resume", "mapped", check=False).rc != 0
        assert folder(guest) == []
        assert "SUSPENDED" in guest.run("dmsetup", "info", "mapped").out
        guest.run("dmsetup", "load", "mapped", "--table", good)
        guest.run("dmsetup", "resume", "mapped")
        assert folder(guest) == ["mapped"]
        # A table that is loaded and dropped again.
        guest.run("dmsetup", "load", "mapped", "--table", good)
        guest.run("dmsetup", "clear", "mapped")
        busy(guest)
    assert set(remapped(guest)) == set(range(100000, 100008))


def test_a_spare_refused_at_resume_leaves_mode_fail_until_it_is_put_right(guest: Guest) -> None:
    guest.write(guest.spare, 0, b"not ours" * 64)
    guest.run("dmsetup", "create", "mapped", "--notable")
    guest.run("dmsetup", "load", "mapped", "--table", table(guest, guest.main, guest.spare))
    assert guest.run("dmsetup", "resume", "mapped", check=False).rc != 0
    words = guest.run("dmsetup", "status", "mapped").out.split()
    assert words[-2:] == ["Fail", "-"]
    assert guest.run("dmsetup", "message", "mapped", "0", "remap 8", check=False).rc != 0
    assert guest.run("dmsetup", "message", "mapped", "0", "health").out.startswith("failing:")
    assert guest.read(guest.spare, 0) == b"not ours" * 64

    guest.write(guest.spare, 0, bytes(512))
    guest.run("dmsetup", "resume", "mapped")
    assert guest.run("dmsetup", "status", "mapped").out.split()[-2:] == ["rw", "-"]
    guest.write("/dev/mapper/mapped", 0, b"y" * 512)
    assert guest.read(guest.main, 0) == b"y" * 512


def test_what_happens_just_before_a_removal_is_told_or_logged(guest: Guest) -> None:
    """The second of two events in half a second is held back, and then nobody can be told."""
    create(guest)
    tell = "dmsetup message mapped 0"
    logged = "mapped: removed before this was told: PENDING of 1 sectors, from 2000 on"
    with events(guest):
        guest.sh(f"{tell} remap 1000; {tell} pending 2000; dmsetup remove mapped")
        guest.sh(
            f"until grep -q DM_ACTION=PENDING$ {EVENTS} || dmesg | grep -q '{logged}'; do sleep 0.1; done"
        )


def test_a_suspended_device_tells_no_tale_of_an_empty_map(guest: Guest) -> None:
    create(guest)
    message(guest, "remap", 1000, 8)
    guest.run("dmsetup", "suspend", "mapped")
    for words in (("list",), ("health",), ("remap", 8)):
        refused = guest.run("dmsetup", "message", "mapped", 0, *words, check=False)
        assert refused.rc != 0 and "busy" in refused.err and refused.out == "", refused
        # Of what the kernel says, ours: KCSAN has a word about its own pipes between.
        said = guest.sh("dmesg | grep ': mapped: ' | tail -n 1").out
        assert "the device is suspended, resume it first" in said
    guest.run("dmsetup", "resume", "mapped")
    assert message(guest, "health") == "remapped: 8 sectors live on the spare"
    assert set(remapped(guest)) == set(range(1000, 1008))


def test_a_deferred_removal_waits_for_the_last_user(guest: Guest) -> None:
    device = create(guest)
    guest.machine.main.fail(BAD, on="write")
    with load(guest, device):
        assert guest.run("dmsetup", "remove", "mapped", check=False).rc != 0
        guest.run("dmsetup", "remove", "--deferred", "mapped")
        busy(guest)
        assert folder(guest) == ["mapped"]
        assert "DEFERRED REMOVE" in guest.run("dmsetup", "info", "mapped").out
        before = remapped(guest)
    # udev may be the last user; and the kernel removes it in the background.
    guest.sh("while ls -d /sys/block/dm-*; do sleep 0.1; done")
    assert "mapped" not in guest.run("dmsetup", "ls").out
    assert folder(guest) == []
    create(guest)
    assert before.items() <= remapped(guest).items()
    assert set(remapped(guest)) == set(BAD)


def test_removal_while_a_counter_is_being_read(guest: Guest) -> None:
    readers = guest.start_sh(
        "until [ -e /tmp/enough ]; do cat /sys/kernel/dm_remap/*/* >/dev/null 2>&1 || :; done"
    )
    for _ in range(4):
        create(guest)
        guest.run("dmsetup", "remove", "--retry", "mapped")
    guest.run("touch", "/tmp/enough")
    readers.wait()
    assert folder(guest) == []


# Main and spare are partitions; the device has partitions.


def test_main_and_spare_are_partitions(guest: Guest) -> None:
    for disk in guest.main, guest.spare:
        guest.run("sfdisk", "--quiet", disk, stdin="label: gpt\nstart=2048, size=40960\n\n")
    guest.wait_for_udev()
    main, spare = guest.main + "1", guest.spare + "1"
    device = create(guest, table(guest, main, spare))
    # The disks' own sectors: those of the partition lie 2048 further on.
    guest.machine.main.fail([2048 + sector for sector in BAD], on="write")
    guest.machine.spare.fail(2048 + 2048 + 3)
    with load(guest, device):
        busy(guest)
        before = remapped(guest)
        guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
        assert before.items() <= remapped(guest).items()
    there = remapped(guest)
    assert set(there) == set(BAD)
    assert 2048 + 3 not in there.values()
    # Reads fail and heal there, too.
    guest.machine.main.fail(2048 + 20000)
    assert guest.failing(device, 19998, 5) == [20000]
    guest.write(device, 20000, b"healed.." * 64)
    assert guest.read(device, 20000) == b"healed.." * 64
    # Nothing outside the partitions was touched.
    for disk in guest.main, guest.spare:
        guest.run("sfdisk", "--quiet", "--verify", disk)
        size = int(guest.run("blockdev", "--getsz", disk).out)
        assert guest.read(disk, 34, 2014) == bytes(2014 * 512)
        assert guest.read(disk, 2048 + 40960, 8192) == bytes(8192 * 512)
        assert size > 2048 + 40960 + 8192


def test_partitions_on_the_device(guest: Guest) -> None:
    device = create(guest)
    guest.machine.main.fail([4096 + 64, 100000 + 64], on="write")
    guest.run("sfdisk", "--quiet", device, stdin="label: gpt\nstart=4096, size=40960\nstart=100000\n")
    places = [line.split() for line in guest.run("partx", "-gbo", "START,SECTORS", device).out.splitlines()]
    assert [int(start) for start, _ in places] == [4096, 100000]
    for number, (start, sectors) in enumerate(places):
        line = f"0 {sectors} linear {device} {start}"
        guest.run("dmsetup", "create", f"mapped{number}", "--table", line)
        guest.write(f"/dev/mapper/mapped{number}", 60, bytes([65 + number]) * 512 * 10)
    assert set(remapped(guest)) == {4096 + 64, 100000 + 64}
    # Suspending what lies below holds back those above, and loses nothing.
    guest.run("dmsetup", "suspend", "mapped")
    late = guest.start("dd", "if=/dev/urandom", "of=/dev/mapper/mapped0", "bs=64k", "count=4", "oflag=direct")
    stuck = "grep -qs 'State:.D' $(grep -lsx dd /proc/[0-9]*/comm | sed s/comm/status/)"
    guest.sh(f"until {stuck}; do sleep 0.1; done")
    guest.run("dmsetup", "resume", "mapped")
    late.wait()
    assert guest.read("/dev/mapper/mapped1", 60, 10) == b"B" * 512 * 10
    assert guest.read(device, 100060, 10) == b"B" * 512 * 10


# Where in the table, and how many.


def test_a_table_offset(guest: Guest) -> None:
    device = create(guest, "0 4096 error", table(guest, guest.main, guest.spare, start=4096))
    guest.machine.main.fail(BAD, on="write")
    message(guest, "remap", 100000, 8, sector=4096)
    with load(guest, device, first=4096):
        busy(guest)
        guest.run("dmsetup", "suspend", "mapped")
        assert folder(guest) == []
        guest.run("dmsetup", "resume", "mapped")
        assert folder(guest) == ["mapped@4096"]
    # Sectors of messages count on main, whatever the place in the table.
    assert set(remapped(guest, sector=4096)) == {*BAD, *range(100000, 100008)}
    assert mappings(guest, "mapped@4096") == len(BAD) + 8
    guest.machine.main.heal()
    guest.write(device, 4096 + 100000, b"at place" * 64)
    message(guest, "unmap", 100000, 8, sector=4096)
    assert guest.read(guest.main, 100000) == b"at place" * 64


def test_a_target_shorter_than_main(guest: Guest) -> None:
    device = create(guest, f"0 16384 dm-remap-v4 {guest.main} {guest.spare}")
    assert guest.run("blockdev", "--getsz", device).out == "16384\n"
    guest.machine.main.fail(16383, on="write")
    guest.write(device, 16380, b"the end." * 64 * 4)
    assert set(remapped(guest)) == {16383}
    # Longer again: the spare is bound to the size of main, not of the table.
    guest.run("dmsetup", "load", "mapped", "--table", table(guest, guest.main, guest.spare))
    guest.run("dmsetup", "resume", "mapped")
    assert set(remapped(guest)) == {16383}
    assert guest.read(device, 16380, 4) == b"the end." * 64 * 4
    assert guest.read(device, 16384) == bytes(512)


def test_two_devices_on_one_spare_are_refused(guest: Guest) -> None:
    guest.run("sfdisk", "--quiet", guest.main, stdin="label: gpt\nsize=40960\nsize=40960\n")
    guest.wait_for_udev()
    device = create(guest, table(guest, guest.main + "1", guest.spare))
    with load(guest, device):
        for line in (
            table(guest, guest.main + "2", guest.spare),  # another main
            table(guest, guest.main + "1", guest.spare),  # even the same pair
        ):
            second = guest.run("dmsetup", "create", "second", "--table", line, check=False)
            assert second.rc != 0 and "busy" in second.err, second
        assert "second" not in guest.run("dmsetup", "ls").out
        assert folder(guest) == ["mapped"]
        busy(guest)


def test_a_table_whose_second_target_is_refused_leaves_nothing_behind(guest: Guest) -> None:
    guest.run("sfdisk", "--quiet", guest.main, stdin="label: gpt\nsize=40960\nsize=40960\n")
    guest.wait_for_udev()
    # The first is live by the time the second finds its spare taken.
    halves = [f"{i * 2048} 2048 dm-remap-v4 {guest.main}{i + 1} {guest.spare}" for i in range(2)]
    both = guest.run("dmsetup", "create", "both", stdin="\n".join(halves), check=False)
    assert both.rc != 0 and "busy" in both.err, both
    assert folder(guest) == []
    assert "both" not in guest.run("dmsetup", "ls").out
    # The same by a reload, where the device stays, suspended, and is mended by a good table.
    good = table(guest, guest.main + "1", guest.spare)
    device = create(guest, good)
    message(guest, "remap", 1000, 8)
    with load(guest, device):
        guest.run("dmsetup", "load", "mapped", stdin="\n".join(halves))
        assert guest.run("dmsetup", "resume", "mapped", check=False).rc != 0
        assert "SUSPENDED" in guest.run("dmsetup", "info", "mapped").out
        guest.run("dmsetup", "load", "mapped", "--table", good)
        guest.run("dmsetup", "resume", "mapped")
        assert folder(guest) == ["mapped"]
        busy(guest)
    assert set(remapped(guest)) == set(range(1000, 1008))


@pytest.fixture(scope="module")
def four_disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMachine]:
    """A 4Kn main with a spare of 512-byte blocks, and a second pair."""
    MiB = 1 << 20
    extra = {"second": 128 * MiB, "second_spare": 16 * MiB}

    def make() -> Machine:
        return Machine(tmp_path_factory.mktemp("four"), main_block_size=4096, extra=extra)

    with shared(make) as machine:
        yield machine


@pytest.fixture
def pairs(four_disks: SharedMachine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    with lent(four_disks, request) as guest:
        yield guest


def test_a_renamed_device_tells_its_new_name(pairs: Guest) -> None:
    guest = pairs
    create(guest)
    guest.run("dmsetup", "rename", "mapped", "renamed")
    with events(guest) as told:
        message(guest, "remap", 8000, name="renamed")
        told("REMAP")
        assert "DM_NAME=mapped\n" not in guest.run("cat", EVENTS).out
    # The old name is free, though its folder is there until the next resume.
    create(guest, table(guest, guest.devices["second"], guest.devices["second_spare"]))
    number = guest.run("dmsetup", "info", "-c", "--noheadings", "-o", "devno", "mapped").out.strip()
    assert folder(guest) == ["mapped", f"mapped@{number}"]
    guest.sh("dmsetup suspend renamed; dmsetup resume renamed; dmsetup suspend mapped; dmsetup resume mapped")
    assert folder(guest) == ["mapped", "renamed"]


def test_events_of_the_last_moment_before_a_reload_are_told(guest: Guest) -> None:
    create(guest)
    with events(guest) as told:
        message(guest, "remap", 1000)
        told("REMAP")
        message(guest, "remap", 3000)
        guest.run("dmsetup", "reload", "mapped", stdin=table(guest, guest.main, guest.spare))
        guest.run("dmsetup", "resume", "mapped")
        guest.sh(f"until grep -q DM_SECTOR=3000 {EVENTS}; do sleep 0.1; done")


def test_a_long_request_passes_over_what_is_not_concerned_and_can_be_killed(guest: Guest) -> None:
    device = create(guest)
    sectors = int(guest.run("blockdev", "--getsz", device).out)

    def rounds() -> int:
        return int(message(guest, "stats").split("rounds ")[1].split()[0])

    message(guest, "remap", 50000)
    before = rounds()
    assert message(guest, "unmap", 0, sectors) == "Unmapped 1 sectors"
    assert rounds() - before == 2
    job = guest.start_sh(f"exec dmsetup message mapped 0 remap 0 {sectors}")
    guest.sh("until [ $(cat /sys/kernel/dm_remap/mapped/active_mappings) != 0 ]; do sleep 0.01; done")
    job.kill()
    guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
    assert 0 < mappings(guest) < sectors
    assert message(guest, "health").startswith("remapped")


def test_a_4k_native_main_under_load(pairs: Guest) -> None:
    guest = pairs
    device = create(guest)
    assert guest.run("blockdev", "--getss", device).out == "4096\n"
    guest.machine.main.fail([8 * 5 + 3, 8 * 100, 8 * 300 + 7], on="write")
    for sector, count in ((4, 8), (8, 4)):
        with pytest.raises(CommandFailed):
            message(guest, "remap", sector, count)
    message(guest, "remap", 100000, 16)
    with load(guest, device, block=8):
        busy(guest)
        before = remapped(guest)
        guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
        assert before.items() <= remapped(guest).items()
    whole = {8 * block + i for block in (5, 100, 300) for i in range(8)}
    assert set(remapped(guest)) == whole | set(range(100000, 100016))
    assert all(int(spare) % 8 == 0 for _, spare in extents(guest).values())
    assert mappings(guest) == 5  # logical blocks, not sectors
    # One unreadable sector takes its block with it, and no more.
    guest.machine.main.fail(50000 + 5)
    assert guest.failing(device, 49992, 24, step=8) == [50000]
    guest.write(device, 50000, b"healed.." * 512)
    assert guest.read(device, 50000, 8) == b"healed.." * 512
    assert mappings(guest) == 6


def test_two_targets_in_one_table(pairs: Guest) -> None:
    guest = pairs
    second = guest.devices["second"]
    first = table(guest, guest.main, guest.spare)
    offset = int(first.split()[1])
    lines = (first, table(guest, second, guest.devices["second_spare"], start=offset))
    device = create(guest, *lines)
    assert folder(guest) == ["mapped", f"mapped@{offset}"]
    guest.machine.main.fail(range(800, 808), on="write")
    guest.machine.disks["second"].fail(range(16, 24), on="write")
    with load(guest, device, first=0, block=8):
        # Across the seam, each target to its own spare; the stack's logical block is 4096.
        guest.write(device, offset - 8, b"seamless" * 64 * 32)
        guest.write(device, offset + 16, b"moved..." * 64 * 8)
        busy(guest)
        for _ in range(2):
            guest.run("dmsetup", "load", "mapped", stdin="\n".join(lines))
            guest.run("dmsetup", "suspend", "mapped")
            assert folder(guest) == []
            guest.run("dmsetup", "resume", "mapped")
            assert folder(guest) == ["mapped", f"mapped@{offset}"]
    assert set(remapped(guest)) == set(range(800, 808))
    assert set(remapped(guest, sector=offset)) == set(range(16, 24))
    assert guest.read(device, offset - 8, 24) == b"seamless" * 64 * 24
    assert guest.read(device, offset + 16, 8) == b"moved..." * 64 * 8
    assert guest.read(second, 0, 16) == b"seamless" * 64 * 16
    assert len(guest.run("dmsetup", "status", "mapped").out.splitlines()) == 2
