"""Commits that failed, and copies that come back: which state counts, and what is done about others."""

from contextlib import suppress

import pytest

from pycontrol.metadata import BLOCK, Record
from tests.user_metadata import SLOT, Disk, Metadata, alone, records_of, remaps


def slot(copy: int) -> tuple[int, int]:
    return copy * SLOT, copy * SLOT + SLOT - 1


def away(disk: Disk, *copies: int) -> None:
    disk.heal()
    for copy in copies:
        disk.fail("away", *slot(copy))


def test_a_minority_is_never_ahead_of_what_is_committed_without_it() -> None:
    disk, table = Disk(), remaps(60)
    with Metadata(disk) as metadata:
        metadata.commit(table[:50])
    for _ in range(4):
        away(disk, 2, 3, 4)
        with Metadata(disk) as metadata:
            before = metadata.status.sequence
            for needed in (True, False, True):
                with pytest.raises(OSError, match="ENODATA"):
                    metadata.mend()
                metadata.set_needs_check(needed)
            assert metadata.in_doubt() and metadata.status.sequence == before
    away(disk, 0, 1)
    with Metadata(disk) as metadata:
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert not metadata.in_doubt()
        metadata.commit(table[50:])
    disk.heal()
    assert records_of(disk) == list(disk.load().records) == table


def test_an_old_minority_does_not_overwrite_what_comes_back() -> None:
    disk, table = Disk(), remaps(60)
    with Metadata(disk) as metadata:
        metadata.commit(table[:50])
        away(disk, 0, 1)
        for at in range(50, 60):
            metadata.commit(table[at : at + 1])
    away(disk, 2, 3, 4)
    with Metadata(disk) as metadata:
        # What failed there may have been stored all the same.
        assert metadata.records in (table[:50], table[:51])
        with pytest.raises(OSError, match="ENODATA"):
            metadata.mend()
        disk.heal()
        metadata.check()
        with pytest.raises(OSError, match="ESTALE"):
            metadata.mend()
    assert records_of(disk) == table
    with Metadata(disk) as metadata:
        metadata.mend()
    assert disk.load().intact
    assert records_of(disk) == table


def tear(disk: Disk, copy: int) -> None:
    """Half of its header is what it was, or was to be."""
    header = disk.block(copy * SLOT)
    disk.poke(copy * SLOT, header[:2048] + b"\x55" * (BLOCK - 2048))


def stale(disk: Disk, without: list[int], table: list[Record], copies: int = 5) -> None:
    """All has been committed, and of that these copies have the first alone."""
    with Metadata(disk, copies=copies) as metadata:
        metadata.mend()
        metadata.commit(table[:1])
        away(disk, *without)
        for record in table[1:]:
            metadata.commit([record])
    disk.heal()


@pytest.mark.parametrize("later", [2, 30])
def test_old_copies_beside_torn_ones_are_no_majority(later: int) -> None:
    """A cut tears the first wave, of 1 and 3, and 2 is away at the next start, when 0 and 4 are back."""
    disk, table = Disk(), remaps(later)
    stale(disk, [0, 4], table)
    tear(disk, 1)
    tear(disk, 3)
    away(disk, 2)
    before = disk.counts().writes
    with Metadata(disk) as metadata:
        assert metadata.records == table[:1]
        with pytest.raises(OSError, match="ENODATA"):
            metadata.mend()
        assert metadata.in_doubt()
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(remaps(1, 50))
        disk.heal()
        with pytest.raises(OSError, match="ESTALE"):
            metadata.mend()
    assert disk.counts().writes == before
    with Metadata(disk) as metadata:
        assert metadata.records == table and metadata.mend() == 4


@pytest.mark.parametrize("reads", range(1, 7))
def test_headers_that_can_not_be_read_for_a_moment_are_not_overwritten(reads: int) -> None:
    disk, table = Disk(), remaps(20)
    stale(disk, [0], table, copies=3)
    for copy in (1, 2):
        disk.fail("read", copy * SLOT, copy * SLOT, times=reads)
    with Metadata(disk) as metadata:
        old = metadata.records != table
        with suppress(OSError):
            metadata.mend()
        assert metadata.in_doubt() == old
    disk.heal()
    with Metadata(disk) as metadata:
        metadata.mend()
    assert records_of(disk) == table and disk.load().intact


def test_what_only_an_unsure_copy_has_is_not_taken_for_stored() -> None:
    """Its log was mended and flushed in vain; then a block goes bad in the others."""
    seen = 0
    for seed in range(60):
        disk, table = Disk(seed=seed), remaps(300)
        with Metadata(disk, copies=3) as metadata:
            metadata.mend()
            away(disk, 0)
            metadata.commit(table)
            disk.heal()
            disk.fail("flush", times=2)
            with suppress(OSError):
                metadata.mend()
            disk.heal()
            if disk.counts().pending or disk.block(3)[0x130:] != disk.block(SLOT + 3)[0x130:]:
                continue  # The disk has kept it all the same, or shows that it has not.
            seen += 1
            disk.poke(SLOT + 3, bytes(BLOCK))
            disk.poke(2 * SLOT + 3, bytes(BLOCK))
            metadata.check()
            assert metadata.mend() == 3
        alone(disk.cut(seed), 0, table)
    assert seen > 2


def test_a_single_copy_whose_shadow_could_not_be_written_is_mended_later() -> None:
    disk, table = Disk(), remaps(1)
    with Metadata(disk, copies=1) as metadata:
        metadata.mend()
        metadata.commit(table)
        disk.fail("write", 2, 2)
        metadata.set_needs_check(True)
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert metadata.status.good == 0
        disk.heal()
        assert metadata.mend() == 1
    for lost in (0, 2):
        left = disk.clone()
        left.poke(lost, bytes(BLOCK))
        with Metadata(left, read_only=True) as metadata:
            assert metadata.records == table and metadata.status.needs_check


def test_a_shadow_whose_flush_failed_is_written_again() -> None:
    """Or what was denied is in it, should the header be lost."""
    for seed in range(60):
        disk, table = Disk(seed=seed), remaps(2)
        with Metadata(disk, copies=1) as metadata:
            metadata.mend()
            metadata.commit(table[:1])
            disk.fail("write", 2, 2)
            with pytest.raises(OSError, match="EIO"):
                metadata.commit(table[1:])
            disk.heal()
            disk.fail("flush", times=1)
            with suppress(OSError):
                metadata.mend()
            disk.heal()
            metadata.check()
            metadata.mend()
            assert not metadata.in_doubt()
        left = disk.cut(seed)
        left.poke(0, bytes(BLOCK))
        assert records_of(left) == table[:1]


def test_a_copy_is_what_it_was_until_its_new_log_is_whole() -> None:
    """Copy 0 can't follow a compaction, of which it knows nothing: then the others are gone."""
    disk, table, half = Disk(), remaps(400), 3 + 14
    with Metadata(disk, copies=3) as metadata:
        metadata.commit(table)
        disk.fail("write", half + 1, half + 1)
        metadata.compact(table[-1].main + 8)
        assert metadata.status.good == 0b110 and metadata.status.log_blocks == 3
    disk.poke(half + 1, bytes(BLOCK))
    with Metadata(disk) as metadata:
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert not metadata.in_doubt() and metadata.status.good == 0b110
    # Later this place can be written: whenever the power fails there is the old log, or the new.
    disk.heal()
    for seed in range(40):
        after, broken = disk.clone(), 1 + seed % 20
        after.fail("write", after=broken)
        with Metadata(after, seed=seed) as metadata, suppress(OSError):
            metadata.mend()
        left = after.cut(seed)
        for copy in (1, 2):
            for block in range(*slot(copy)):
                left.poke(block, bytes(BLOCK))
        assert records_of(left) == table


def test_a_commit_is_denied_by_a_majority_only() -> None:
    """Copy 2 has stored what it said it had not, and is away when that is denied."""
    disk, table = Disk(), remaps(2)
    with Metadata(disk, copies=3) as metadata:
        metadata.commit(table[:1])
        # The header of copy 0 is written; copy 2 has it too.
        disk.fail("write", *slot(1))
        disk.fail("write", *slot(2))
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[1:])
        away(disk, 0, 2)
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert metadata.in_doubt()
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[1:])
        # Copy 1 has it by now.
        away(disk, 1)
        metadata.mend()
        assert not metadata.in_doubt()
    away(disk, 1)
    assert records_of(disk) == table[:1]


def test_numbers_beyond_what_a_majority_has_are_few() -> None:
    """However often somebody tries to repair a minority."""
    disk, table = Disk(), remaps(3)
    with Metadata(disk, copies=3) as metadata:
        metadata.mend()
        metadata.commit(table[:1])
        away(disk, 1, 2)
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[1:2])
        for at in range(60):
            metadata.set_needs_check(at % 2 == 0)
            with pytest.raises(OSError, match="EIO"):
                metadata.mend()
    away(disk, 0)
    with Metadata(disk) as metadata:
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        metadata.commit(table[1:])
    disk.heal()
    assert records_of(disk) == table


@pytest.mark.parametrize("lost", [0, 2])
def test_a_single_copy_denies_in_its_shadow_too(lost: int) -> None:
    disk, table = Disk(), remaps(2)
    with Metadata(disk, copies=1) as metadata:
        metadata.mend()
        metadata.commit(table[:1])
        disk.fail("write", 0, 0)
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[1:])
        disk.heal()
        metadata.mend()
        assert not metadata.in_doubt()
    assert disk.load().intact
    disk.poke(lost, bytes(BLOCK))
    assert records_of(disk) == list(disk.load().records) == table[:1]


def test_after_a_load_the_shadow_is_no_older_than_its_header() -> None:
    disk = Disk()
    with Metadata(disk, copies=1) as metadata:
        metadata.commit(remaps(1))
    for _ in range(2):
        with Metadata(disk) as metadata:
            metadata.mend()
        assert all(slot.intact for slot in disk.load().slots)


def test_a_flush_that_fails_does_not_hide_that_a_commit_is_in_doubt() -> None:
    disk, table = Disk(), remaps(2)
    with Metadata(disk) as metadata:
        metadata.commit(table[:1])
        disk.fail("write")
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(table[1:])
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        disk.fail("flush")
        with pytest.raises(OSError, match=r"\] EIO"):  # not EREMOTEIO
            metadata.commit(table[1:])
        assert metadata.in_doubt()
