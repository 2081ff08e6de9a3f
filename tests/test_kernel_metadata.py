"""The kernel's metadata code, in this process: what it writes, finds, mends and refuses."""

import os
import random
import re
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pycontrol.metadata import BLOCK, Kind, MetadataError, Record, crc, fresh
from tests.user_build import (
    MUTATIONS,
    SANITIZERS,
    built,
    caught_as,
    mutations,
    run,
    run_with_second_opinion,
)
from tests.user_metadata import Disk, Metadata, Refused

SLOT = 32  # blocks between copies, by default
CORPUS = [
    line.split()[0]
    for path in sorted((MUTATIONS.parent / "corpus").glob("*.txt"))
    for line in path.read_text().splitlines()
]
SELF = "DM_REMAP_USER_LIBRARY" in os.environ


def remaps(count: int, first: int = 0) -> list[Record]:
    return [Record(16 * at, 2048 + 8 * at, 8, Kind.REMAP, 1, 5) for at in range(first, first + count)]


def records_of(disk: Disk) -> list[Record]:
    with Metadata(disk, read_only=True) as metadata:
        return metadata.records


@pytest.mark.parametrize(("copies", "spacing"), [(1, 64), (2, 256), (3, 128), (5, 256), (8, 512)])
def test_both_codecs_format_alike(copies: int, spacing: int) -> None:
    disk, uuid = Disk(), UUID(int=0x1234)
    with Metadata(disk, copies=copies, spacing=spacing, uuid=uuid) as metadata:
        assert metadata.status.formatted and metadata.status.valid == copies
    loaded = disk.load()
    assert (loaded.copies, loaded.spacing, loaded.uuid, loaded.intact) == (copies, spacing, uuid, True)
    image = bytearray(disk.sectors * 512)
    for offset, block in fresh(
        uuid=uuid, main_sectors=65536, spare_sectors=disk.sectors, block_size=4096,
        copies=copies, spacing=spacing, time=loaded.time,
    ):  # fmt: skip
        image[offset : offset + BLOCK] = block
    assert disk.image() == image


@pytest.mark.parametrize("count", [1, 117, 118, 119, 1000])
def test_both_codecs_read_what_was_committed(count: int) -> None:
    disk, table = Disk(), remaps(count)
    with Metadata(disk, early=3, buffers=8) as metadata:
        metadata.commit(table)
        metadata.save_soft(1, 2, 3, 4, 5)
    assert records_of(disk) == table
    loaded = disk.load()
    assert list(loaded.records) == table and loaded.intact
    assert (loaded.info.read_errors, loaded.info.scrub) == (1, 5)
    with Metadata(disk) as metadata:
        assert metadata.soft == (1, 2, 3, 4, 5)
        assert metadata.mend() == 0, "nothing is to be mended"


def test_a_commit_costs_the_same_whatever_the_table_holds() -> None:
    sizes = [line for line in run("cost-plain").output.splitlines() if line]
    figures = [dict(re.findall(r"(\w+)=(\d+)", line)) for line in sizes]
    assert [each.pop("extents") for each in figures] == ["10", "10000", "1000000"]
    assert figures[0] == figures[1] == figures[2]
    # A header a copy; one of the 118 commits also writes a log block a copy.
    assert figures[0] == {
        "flushes": "3", "least_writes": "5", "most_writes": "10",
        "all_writes": str(118 * 5 + 5), "of_commits": "118",
    }  # fmt: skip


def test_every_kind_of_damage_to_every_subset_of_the_copies() -> None:
    told = run("damage-asan", "--count", 25).figures()
    # 30 subsets, 6 kinds of damage, 4 kinds of block and all of them; of five copies 64 bits and
    # the whole log; then of each kind of block its own subset.
    assert told["one_way"] == 30 * 6 * 5
    assert told["damaged"] == told["one_way"] + 5 * (64 + 1) + 1000


def test_both_codecs_name_the_same_damaged_copies() -> None:
    told = run_with_second_opinion("damage", "--count", 10).figures()
    assert told["both_codecs"] == 2 * told["damaged"] >= 2000


def test_images_with_random_changes() -> None:
    told = run("mutate-asan").figures()
    assert told["loaded"] > 500 and told["refused"] > 500


def test_both_codecs_agree_on_images_with_random_changes() -> None:
    told = run_with_second_opinion("mutate", "--count", 4000, "--seed", 2).figures()
    assert told["both_codecs"] == told["loaded"] + told["refused"] == 4000


def test_the_kept_corpus_of_the_fuzzer() -> None:
    told = run("mutate-asan", "corpus", given="\n".join(CORPUS)).figures()
    assert told["loaded"] + told["refused"] == len(CORPUS) > 100
    told = run_with_second_opinion("mutate", "corpus", given="\n".join(CORPUS)).figures()
    assert told["both_codecs"] == len(CORPUS)


def test_without_memory_nothing_is_written() -> None:
    told = run("alloc-asan").figures()
    assert told["failed_allocations"] > 300 and told["errors"] > 50


@pytest.mark.parametrize("mutation", mutations("damage-asan", "mutate-asan", "alloc-asan"))
def test_a_planted_bug_is_found(mutation: str) -> None:
    corpus = mutation.startswith("mutate")
    ran = run(f"mutants/{mutation}", *["corpus"] * corpus, given="\n".join(CORPUS))
    assert ran.status != 0, f"not found: {ran.output}"
    assert re.search(caught_as(mutation), ran.output), ran.output


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


def alone(disk: Disk, copy: int, table: list[Record]) -> None:
    """One copy has it all, if nothing else is left of the others."""
    for other in {0, 1, 2, 3, 4} - {copy}:
        for block in range(other * SLOT, (other + 1) * SLOT):
            disk.poke(block, bytes(BLOCK))
    assert records_of(disk) == table


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


def test_refused_is_left_alone() -> None:
    disk = Disk()
    with Metadata(disk) as metadata:
        metadata.commit(remaps(3))
    rubbish = Disk()
    rubbish.poke(0, b"\x55" * BLOCK)
    attempts: list[tuple[Disk, dict[str, Any]]] = [
        (disk, {"main_sectors": 4096}),
        (disk, {"uuid": UUID(int=7)}),
        (disk, {"block_size": 512}),
        (disk, {"copies": 3}),
        (rubbish, {}),
    ]
    for refused, options in attempts:
        before = refused.image()
        with pytest.raises(Refused, match=r"^[A-Z].*[^.]$"):
            Metadata(refused, **options)
        assert refused.image() == before and refused.counts().pending == 0


@pytest.mark.parametrize("seed", range(6))
def test_both_codecs_agree_on_whatever_is_left(seed: int) -> None:
    """Commits to a disk that lies about flushes: also states that are beyond help."""
    disk, rng, table = Disk(seed=seed), random.Random(seed), remaps(240)
    loaded = 0
    with Metadata(disk, copies=3 if seed % 2 else 5, early=4, buffers=8, seed=seed) as metadata:
        metadata.commit(table[:100])
        disk.lie()
        for start, end in pairwise((100, 101, 118, 119, 240)):
            metadata.commit(table[start:end])
            for _ in range(30):
                after = disk.cut(rng.getrandbits(32))
                try:
                    theirs = records_of(after)
                except Refused:
                    with pytest.raises(MetadataError):
                        after.load()
                else:
                    loaded += 1
                    assert list(after.load().records) == theirs == table[: len(theirs)]
    assert loaded > 60


@pytest.mark.skipif(SELF, reason="this is the run under AddressSanitizer")
def test_all_of_this_under_address_sanitizer() -> None:
    """In a process of its own: the sanitizer must be loaded before Python."""
    asan = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", __file__]
    done = subprocess.run(
        [*command, "-k", "not (damage or images or corpus or memory or planted or costs)"],  # programs
        cwd=Path(__file__).resolve().parents[1],
        env=os.environ
        | SANITIZERS
        | {
            "LD_PRELOAD": asan,
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "DM_REMAP_USER_LIBRARY": "libdmr-metadata-asan",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert built()
