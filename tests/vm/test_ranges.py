"""Messages with many ranges: checked as a whole, few commits, and what becomes of the blocks."""

from collections.abc import Callable

import pytest
from harness import Disk, Guest
from patterns import pattern
from target import SPARE_DATA, create, extents, message, pending, places, refused, remapped, remove, status

from pycontrol.metadata import load

AT_ONCE = 500  # Ranges in one message.
PER_COMMIT = 118  # Records that fit into a header; a commit may be made for each.


def commits(guest: Guest) -> int:
    lines = dict(line.split() for line in message(guest, "cache_stats").splitlines())
    return int(lines["commits"])


def ranges(starts: range, sectors: int) -> list[int]:
    return [word for start in starts for word in (start, sectors)]


def test_many_ranges_are_remapped_in_few_commits(guest: Guest) -> None:
    device = create(guest)
    starts = range(10_000, 10_000 + 8 * AT_ONCE, 8)
    data = [bytes([n % 251]) * 1024 for n in range(AT_ONCE)]
    for n in (0, 1, AT_ONCE - 1):
        guest.write(device, starts[n], data[n])
    guest.flush(device)
    box = guest.machine
    box.main.fail(starts[7], on="read")
    before = commits(guest)
    answer = message(guest, "remap", *ranges(starts, 2))
    assert answer == f"Remapped {2 * AT_ONCE - 1} sectors, 1 unreadable and pending"
    assert commits(guest) - before <= 2 * -(-AT_ONCE // PER_COMMIT)
    listed = extents(guest)
    assert pending(listed) == [starts[7]]
    wanted = [s for start in starts for s in (start, start + 1) if s != starts[7]]
    assert remapped(listed) == wanted
    assert len(set(places(listed))) == len(wanted) and min(places(listed)) >= SPARE_DATA
    for n in (0, 1, AT_ONCE - 1):
        assert guest.read(device, starts[n], 2) == data[n]
    # And back, all but the lost one.
    rest = [word for start in starts if start != starts[7] for word in (start, 2)]
    assert message(guest, "unmap", *rest) == f"Unmapped {2 * AT_ONCE - 2} sectors"
    assert remapped(extents(guest)) == [starts[7] + 1]


@pytest.mark.parametrize(
    "fall_ill", [lambda disk: disk.fail(703, on="read"), lambda disk: disk.lie([703])], ids=["fails", "lies"]
)
def test_unmap_believes_main_what_it_has_read_there(guest: Guest, fall_ill: Callable[[Disk], None]) -> None:
    device = create(guest)
    guest.write(device, 700, pattern(1, 8))
    message(guest, "remap", 700, 8)
    listed, main = extents(guest), guest.machine.main
    fall_ill(main)
    assert refused(guest, "unmap", 700, 8)
    said = guest.sh("dmesg | grep ': mapped: ' | tail -n 1").out
    assert said.endswith(": mapped: the main device still fails there\n")
    assert extents(guest) == listed and guest.read(device, 700, 8) == pattern(1, 8)
    main.heal()
    assert message(guest, "unmap", 700, 8) == "Unmapped 8 sectors"
    assert extents(guest) == [] and guest.read(device, 700, 8) == pattern(1, 8)


def test_a_wrong_range_anywhere_changes_nothing(guest: Guest) -> None:
    create(guest)
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    for words in (
        ["remap", 100, 1, 200],
        ["remap", 100, 1, 200, 0],
        ["remap", 100, 1, size, 1],
        ["pending", 100, 1, 200, size],
        ["pending", 100, 1, "x", 1],
        ["unmap"],
        ["pending"],
    ):
        assert refused(guest, *words)
    assert extents(guest) == []
    assert status(guest).used == 0


def test_blocks_known_to_be_bad_become_pending_unread(guest: Guest) -> None:
    device = create(guest)
    box = guest.machine
    starts = range(20_000, 20_000 + 8 * AT_ONCE, 8)
    bad = [s for start in starts for s in range(start, start + 4)]
    guest.write(device, starts[3], b"s" * 1024)
    message(guest, "remap", starts[3], 2)
    box.main.fail(bad, on="both")
    box.main.clear_counters()
    before = commits(guest)
    # What lives on the spare stays there and readable; the same range twice is the same.
    answer = message(guest, "pending", *ranges(starts, 4), starts[0], 4)
    assert answer == f"{4 * AT_ONCE - 2 + 4} sectors are pending"
    assert commits(guest) - before <= 2 * -(-AT_ONCE // PER_COMMIT)
    assert box.main.counters()["bad_reads"] == 0
    assert remapped(extents(guest)) == [starts[3], starts[3] + 1]
    assert guest.read(device, starts[3], 2) == b"s" * 1024
    lost = [s for s in bad if s not in (starts[3], starts[3] + 1)]
    assert pending(extents(guest)) == lost
    assert guest.failing(device, starts[0], 24) == [s for s in lost if s < starts[3]]
    # As after any loss: writing heals, and it is durable.
    guest.write(device, starts[0], b"h" * 2048)
    box.power_cut(seed=5, keep=0.0)
    guest = box.boot()
    device = create(guest)
    assert pending(extents(guest)) == [s for s in lost if s >= starts[1]]
    assert guest.read(device, starts[0], 4) == b"h" * 2048


def test_records_tell_what_failed_from_what_was_asked_for(guest: Guest) -> None:
    device = create(guest)
    box = guest.machine
    box.main.fail(1000, on="write")
    guest.write(device, 1000, b"f" * 512)
    box.main.fail(2001, on="read")
    message(guest, "remap", 2000, 2)
    message(guest, "test_remap", 3000, 9000)
    message(guest, "pending", 4000, 1)
    remove(guest)
    with box.spare.image.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        records = {
            record.main: record.errors for record in load(read, box.spare.image.stat().st_size).records
        }
    assert records == {1000: 1, 2000: 0, 2001: 1, 3000: 0, 4000: 0}


def test_the_place_of_a_scrub_is_kept_on_the_spare(guest: Guest) -> None:
    create(guest)
    assert message(guest, "scrub") == "0"
    assert message(guest, "scrub", 123_456) == "123456"
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    for wrong in ([size], ["x"], [1, 2]):
        assert refused(guest, "scrub", *wrong)
    assert message(guest, "scrub") == "123456"
    remove(guest)
    create(guest)
    assert message(guest, "scrub") == "123456"
    message(guest, "scrub", 777)
    message(guest, "sync")
    guest.machine.power_cut(seed=6, keep=0.0)
    guest = guest.machine.boot()
    create(guest)
    assert message(guest, "scrub") == "777"
