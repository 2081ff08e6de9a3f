"""Copies of the metadata that fail: what is written, mended and compacted without them."""

import random
from contextlib import suppress

import pytest

from pycontrol.metadata import BLOCK, crc
from tests.user_metadata import SLOT, Disk, Metadata, alone, records_of, remaps


@pytest.mark.parametrize("failing", [[0], [1, 3], [0, 2]])
def test_a_majority_is_enough(failing: list[int]) -> None:
    disk, table = Disk(), remaps(200)
    with Metadata(disk) as metadata:
        metadata.commit(table[:50])
        for copy in failing:
            disk.fail("write", copy * SLOT, copy * SLOT + SLOT - 1)
        metadata.commit(table[50:])
        assert metadata.status.good == 0x1F & ~sum(1 << copy for copy in failing)
        assert records_of(disk) == table
        disk.heal()
        assert metadata.mend() == len(failing)
    assert disk.load().intact


@pytest.mark.parametrize("failing", [[0, 1, 2], [1, 3, 4], [0, 1, 2, 3, 4]])
def test_without_a_majority_nothing_is_lost(failing: list[int]) -> None:
    disk, table = Disk(), remaps(60)
    with Metadata(disk) as metadata:
        metadata.commit(table[:50])
        for copy in failing:
            disk.fail("write", copy * SLOT, copy * SLOT + SLOT - 1)
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[50:])
        assert metadata.done == 0
        # In doubt: the failed commit may be found, but as a whole.
        assert records_of(disk) in (table[:50], table)
        disk.heal()
        metadata.mend()
        assert not metadata.in_doubt() and metadata.status.valid == 5
        assert records_of(disk) == table[:50]
        metadata.commit(table[50:])
    assert records_of(disk) == table and disk.load().intact


@pytest.mark.parametrize("unread", [False, True])
def test_the_last_whole_header_is_not_tried(unread: bool) -> None:
    """Four copies fail; a cut while the fifth is rewritten in place would leave none.  Nor if it
    could not be read for once."""
    disk, table, rng = Disk(), remaps(100), random.Random(1)
    with Metadata(disk) as metadata:
        metadata.commit(table[:50])
        disk.fail("write", SLOT, 5 * SLOT)
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[50:])
        if unread:
            disk.fail("read", 0, 0, times=1)
            metadata.check()
        disk.lie()
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        for _ in range(100):
            assert records_of(disk.cut(rng.getrandbits(32))) in (table[:50], table)


@pytest.mark.parametrize("copy", range(5))
def test_the_only_good_copy_outlives_a_failed_mend(copy: int) -> None:
    disk, table = Disk(), remaps(150)
    with Metadata(disk) as metadata:
        metadata.commit(table)
    for other in {0, 1, 2, 3, 4} - {copy}:
        disk.poke(other * SLOT, bytes(BLOCK))
    with Metadata(disk) as metadata:
        disk.fail("write")
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
    assert records_of(disk) == table


@pytest.mark.parametrize("copy", range(5))
@pytest.mark.parametrize("offset", [0x00, 0x08, 0x18, 0x1B, 0x1C, 0x1D, 0x40, 0x130, 0xFFF])
def test_a_bit_of_one_copy_of_the_log_is_wrong(copy: int, offset: int) -> None:
    disk, table, log = Disk(), remaps(300), 3
    with Metadata(disk) as metadata:
        metadata.commit(table)
    block = bytearray(disk.block(copy * SLOT + log))
    block[offset] ^= 1
    disk.poke(copy * SLOT + log, bytes(block))
    with Metadata(disk, read_only=True) as metadata:
        assert metadata.records == table
        assert metadata.status.good == 0b11111 & ~(1 << copy)


def test_what_could_not_be_written_is_not_copied() -> None:
    """dm-bufio still has the whole of a block of which the disk has only a part."""
    disk, table, log = Disk(), remaps(120), 3
    with Metadata(disk) as metadata:
        disk.fail("write", log, log)
        metadata.commit(table)
        disk.poke(log, disk.block(log)[:1024] + bytes(BLOCK - 1024))
        disk.poke(SLOT + log, bytes(BLOCK))
        metadata.check()
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
    assert disk.block(SLOT + log)[0x130:] == disk.block(2 * SLOT + log)[0x130:]


@pytest.mark.parametrize("failing", [[0], [1, 3], [2, 4]])
def test_a_place_that_can_not_be_written_does_not_end_compaction(failing: list[int]) -> None:
    """In the half of the slots that no commit writes to."""
    disk, table, half = Disk(), remaps(400), 3 + 14
    with Metadata(disk) as metadata:
        metadata.commit(table)
        for copy in failing:
            disk.fail("write", copy * SLOT + half + 1, copy * SLOT + half + 1)
        metadata.compact(table[300].main)
        assert metadata.status.log_blocks == 2
        assert metadata.status.good == 0x1F & ~sum(1 << copy for copy in failing)
        for seed in range(20):
            assert records_of(disk.cut(seed)) == table[:300]
        metadata.commit(table[300:])
        disk.heal()
        assert metadata.mend() == len(failing)
    assert records_of(disk) == table and disk.load().intact


def test_no_compaction_where_a_majority_can_not_follow() -> None:
    disk, table, half = Disk(), remaps(400), 3 + 14
    with Metadata(disk) as metadata:
        metadata.commit(table)
        for copy in (0, 1, 4):
            disk.fail("write", copy * SLOT + half, copy * SLOT + half)
        with pytest.raises(OSError, match="ENOSPC"):
            metadata.compact(table[300].main)
        assert metadata.status.good == 0x1F and not metadata.in_doubt()
        metadata.commit(remaps(10, 400))
    assert records_of(disk) == remaps(410) and disk.load().intact


def test_a_flush_that_fails_in_a_compaction() -> None:
    for seed in range(12):
        disk, table = Disk(seed=seed), remaps(400)
        with Metadata(disk) as metadata:
            metadata.commit(table)
            disk.fail("flush", times=1, after=1)  # the first is of data
            metadata.compact(table[300].main)
            assert metadata.status.good == 0x1F
        for copy in range(5):
            alone(disk.cut(seed), copy, table[:300])


def test_a_compaction_writes_no_more_than_it_counted() -> None:
    """There is no place for it: a log block would go to the begin of the spare."""
    disk, table = Disk(), remaps(400)
    with Metadata(disk, spacing=64) as metadata:
        metadata.commit(table)
        before = disk.block(0)
        with pytest.raises(OSError, match="ENODATA"):
            metadata.compact(table[250].main, then=table[-1].main + 8)
        assert disk.block(0) == before
    assert records_of(disk) == table


def test_what_is_copied_is_what_was_checked() -> None:
    """The only new version can be read once, an old one again and again."""
    disk, table, log = Disk(), remaps(150), 3
    with Metadata(disk, copies=3) as metadata:
        metadata.commit(table)
    old = bytearray(disk.block(SLOT + log))
    old[0x08:0x10] = (int.from_bytes(old[0x08:0x10], "little") - 1).to_bytes(8, "little")
    old[0x130] ^= 8
    old[0x18:0x1C] = crc(bytes(old)).to_bytes(4, "little")
    disk.poke(SLOT + log, bytes(old))
    disk.poke(2 * SLOT + log, bytes(BLOCK))
    with Metadata(disk) as metadata:
        assert metadata.status.good == 0b001
        disk.fail("read", log, log, after=1)
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert metadata.status.good == 0b001
    disk.heal()
    with Metadata(disk) as metadata:
        assert metadata.records == table and metadata.mend() == 2


@pytest.mark.parametrize("failures", [1, 2, 4])
def test_what_a_failed_flush_left_to_be_read_does_not_count(failures: int) -> None:
    """Some disks then give what they never store."""
    for seed in range(12):
        disk, table = Disk(seed=seed), remaps(300)
        with Metadata(disk) as metadata:
            metadata.commit(table)
        for block in range(3, 6):
            disk.poke(block, bytes(BLOCK))
        with Metadata(disk) as metadata:
            disk.fail("flush", times=failures)
            for _ in range(failures):
                with suppress(OSError):
                    metadata.mend()
                metadata.check()
            metadata.mend()
            assert metadata.status.good == 0x1F
        alone(disk.cut(seed), 0, table)


def test_a_header_that_commits_left_behind_does_not_stand_in_for_the_last_whole_one() -> None:
    """A copy drops out with its info block, others commit, and then another one fails: the last
    header that has it all is not rewritten in place, whatever the first one still says."""
    disk, table = Disk(), remaps(60)
    with Metadata(disk, copies=3) as metadata:
        metadata.commit(table[:10])
        disk.fail("write", 2 * SLOT + 1, 2 * SLOT + 1)
        metadata.save_soft(1, 2, 3, 4, 5)
        assert metadata.status.good == 0b011
        disk.heal()
        metadata.commit(table[10:50])
        disk.fail("write", 0, 0)
        disk.fail("write", 2 * SLOT, 2 * SLOT)
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[50:])
        before = disk.block(SLOT)
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert disk.block(SLOT) == before
        disk.heal()
        assert metadata.mend() == 2
    assert records_of(disk) == table[:50] and disk.load().intact


def test_a_log_that_is_another_one_when_it_is_compacted() -> None:
    """What the load has checked is read again, from a device that need not give the same."""
    disk, table = Disk(), remaps(300)
    with Metadata(disk) as metadata:
        metadata.commit(table)
        for copy in range(5):
            block = bytearray(disk.block(copy * SLOT + 3))
            block[0x130:0x138] = (1 << 60).to_bytes(8, "little")
            block[0x18:0x1C] = bytes(4)
            block[0x18:0x1C] = crc(bytes(block)).to_bytes(4, "little")
            disk.poke(copy * SLOT + 3, bytes(block))
        metadata.check()
        with pytest.raises(OSError, match="ENODATA"):
            metadata.compact(table[200].main)
