"""What a load finds and can't make durable: whether another load might find something else."""

from collections.abc import Sequence
from contextlib import suppress

import pytest

from pycontrol.metadata import BLOCK, Kind, Record
from tests.user_metadata import SLOT, Disk, Metadata, Unsure

TABLE = [Record(16 * at, 2048 + 8 * at, 8, Kind.REMAP, 1, 5) for at in range(2)]
OLD, NEW = TABLE[:1], TABLE


def put(disk: Disk, other: Disk, copies: Sequence[int]) -> None:
    """These copies are as they are on another disk."""
    for copy in copies:
        for block in range(copy * SLOT, copy * SLOT + 4):
            disk.poke(block, other.block(block))


def states(copies: int = 5) -> tuple[Disk, Disk, Disk]:
    """Disks of the old state, of the new one behind it, and of the old one under a number beyond both."""
    disk = Disk()
    with Metadata(disk, copies=copies) as metadata:
        metadata.commit(OLD)
    new, denied = disk.clone(), disk.clone()
    with Metadata(new) as metadata:
        metadata.mend()
        metadata.commit(NEW[1:])
    with Metadata(denied) as metadata:
        metadata.mend()
    with Metadata(denied) as metadata:
        metadata.mend()
        metadata.set_needs_check(True)
        metadata.mend()
    assert disk.load().sequence < new.load().sequence < denied.load().sequence
    return disk, new, denied


def load(disk: Disk, found: list[Record], unsure: Unsure | None = None) -> tuple[bool, Unsure]:
    """Load it and try to mend it: is it uncertain, and what is kept over a suspend?"""
    with Metadata(disk, unsure=unsure) as metadata:
        assert metadata.records == found
        with suppress(OSError):
            metadata.mend()
        return metadata.uncertain(), metadata.unsure()


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("copies", [[], [2], [0, 2], [0, 2, 4], [1, 2, 3, 4]], ids=str)
def test_only_what_a_majority_has_is_certain_if_nothing_can_be_written(
    copies: list[int], flush: bool
) -> None:
    disk, new, _ = states()
    put(disk, new, copies)
    disk.fail("refuse")
    if not flush:
        disk.fail("flush")
    expected = not flush or len(copies) in (1, 2)
    assert load(disk, NEW if copies else OLD)[0] is expected
    disk.heal()
    assert load(disk, NEW if copies else OLD)[0] is False


def test_a_number_between_two_of_the_same_state_counts() -> None:
    """Four of five say the same, but without the one that denies it the other one is newest."""
    disk, new, denied = states()
    put(disk, new, [0])
    put(disk, denied, [1])
    disk.fail("refuse")
    assert load(disk, OLD)[0] is True
    put(disk, denied, [2, 3])
    assert load(disk, OLD)[0] is False


def test_a_torn_header_may_be_missing_and_one_that_can_not_be_read_may_not() -> None:
    disk, _, _ = states()
    disk.poke(SLOT, disk.block(SLOT)[:2048] + b"\x55" * (BLOCK - 2048))
    disk.fail("refuse")
    assert load(disk, OLD)[0] is False
    disk.fail("read", 3 * SLOT, 3 * SLOT)
    with Metadata(disk) as metadata:
        for _ in range(2):
            with pytest.raises(OSError, match="EIO"):
                metadata.mend()
            assert metadata.uncertain()
        # The owner says that it is gone for good.
        metadata.believe()
        with pytest.raises(OSError, match="EIO"):
            metadata.mend()
        assert not metadata.uncertain()


def test_what_a_failed_flush_may_have_lost_is_remembered_till_it_is_written_again() -> None:
    disk, _, _ = states()
    disk.fail("refuse")
    disk.fail("flush")
    uncertain, unsure = load(disk, OLD)
    assert uncertain and unsure.headers == 0b11111
    disk.heal()
    disk.fail("refuse")
    # Other machines would have read it from the disk.
    assert load(disk.clone(), OLD)[0] is False
    uncertain, unsure = load(disk, OLD, unsure)
    assert uncertain and unsure.headers == 0b11111
    disk.heal()
    uncertain, unsure = load(disk, OLD, unsure)
    assert not uncertain and (unsure.copies, unsure.headers) == (0, 0)


def test_writes_that_were_refused_leave_what_was_there() -> None:
    disk, _, _ = states()
    disk.fail("refuse")
    unsure = None
    for _ in range(3):
        uncertain, unsure = load(disk, OLD, unsure)
        assert not uncertain and unsure.headers == 0


def test_a_commit_that_fails_changes_nothing_about_what_was_loaded() -> None:
    disk, _, _ = states()
    with Metadata(disk) as metadata:
        metadata.mend()
        disk.fail("refuse")
        with pytest.raises(OSError, match="EIO"):
            metadata.commit(NEW[1:])
        assert metadata.in_doubt() and not metadata.uncertain()


@pytest.mark.parametrize(("block", "expected"), [(None, False), (0, True), (2, True)])
def test_of_one_copy_the_header_and_its_shadow_have_to_agree(block: int | None, expected: bool) -> None:
    disk, new, _ = states(copies=1)
    if block is not None:
        disk.poke(block, new.block(block))
    disk.fail("refuse")
    assert load(disk, OLD if block is None else NEW)[0] is expected
    disk.heal()
    assert load(disk, OLD if block is None else NEW)[0] is False


def test_a_newer_state_that_was_seen_once_is_not_forgotten_with_the_copy_that_has_it() -> None:
    disk, new, _ = states()
    put(disk, new, [2])
    disk.fail("read", 2 * SLOT, 5 * SLOT)
    with Metadata(disk) as metadata:
        assert metadata.records == OLD
        with pytest.raises(OSError, match="ENODATA"):
            metadata.mend()
        metadata.believe()
        disk.heal()
        disk.fail("read", 3 * SLOT, 5 * SLOT)
        before = disk.read(0, 3 * SLOT * BLOCK)
        for _ in range(2):
            with pytest.raises(OSError, match="ESTALE"):
                metadata.mend()
            disk.fail("read", 2 * SLOT, 5 * SLOT)
        disk.heal()
        assert disk.read(0, 3 * SLOT * BLOCK) == before
    assert load(disk, NEW)[0] is False


def test_behind_a_minority_not_even_the_counters_are_written() -> None:
    """The others came back; what was loaded is still to be made the state."""
    disk, _, _ = states()
    disk.fail("read", 2 * SLOT, 5 * SLOT)
    with Metadata(disk) as metadata:
        with pytest.raises(OSError, match="ENODATA"):
            metadata.mend()
        disk.heal()
        assert metadata.check() == 5
        before = disk.image()
        with pytest.raises(OSError, match="EIO"):
            metadata.save_soft(1, 2, 3, 4, 5)
        assert disk.image() == before
        metadata.mend()
        metadata.save_soft(1, 2, 3, 4, 5)
        assert disk.image() != before
