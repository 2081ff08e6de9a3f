"""Dump, restore and repair beside the kernel's own code: the same bytes, the same state."""

import random
from collections.abc import Callable, Iterator

import pytest

from pycontrol.metadata import BLOCK, Corrupt, Kind, Record, Snapshot
from pycontrol.metadata.check import Finding, Severity, check
from pycontrol.metadata.dump import read_dump, to_json, to_text
from pycontrol.metadata.repair import Step, mend, repair
from tests.test_metadata_format import golden
from tests.test_metadata_images import MAIN, SPARE, UUID_A, Sparse
from tests.user_metadata import Disk, Metadata, Refused

Form = Callable[[Snapshot], Iterator[str]]
SECTORS = 131072
TABLE = [Record(8 * at, 65536 + 16 * at, 8, Kind.REMAP, 1, 5) for at in range(3000)]
BLOCKS = {"header": 0, "info": 1, "first log block": 3, "log block behind the slots": -1}


def committed(*batches: int, copies: int = 5, spacing: int = 0) -> Disk:
    disk, begin = Disk(SECTORS), 0
    with Metadata(disk, copies=copies, spacing=spacing) as metadata:
        for count in batches:
            metadata.commit(TABLE[begin : begin + count])
            begin += count
        metadata.save_soft(1, 2, 3, 4, 5)
    return disk


def image_of(snapshot: Snapshot) -> Sparse:
    return Sparse([*snapshot.blocks(), *snapshot.headers()], snapshot.header.spare_sectors)


@pytest.mark.parametrize("form", [to_text, to_json])
@pytest.mark.parametrize("batches", [[], [1], [117, 1], [40] * 10, [118], [119, 700, 1], [2900]])
@pytest.mark.parametrize("copies", [1, 5])
def test_what_the_kernel_code_wrote_is_restored_byte_for_byte(
    form: Form, batches: list[int], copies: int
) -> None:
    disk = committed(*batches, copies=copies)
    dumped = "".join(form(Snapshot.of(disk.load())))
    assert image_of(read_dump(dumped.splitlines(keepends=True))).flat() == disk.image()


def test_the_kernel_code_goes_on_with_what_was_restored() -> None:
    restored = Disk(SECTORS)
    # A full header, and its log block written ahead.
    for place, block in image_of(Snapshot.of(committed(236).load())).blocks.items():
        restored.poke(place // BLOCK, block)
    with Metadata(restored) as metadata:
        assert metadata.mend() == 0, "the kernel code finds nothing to mend"
        metadata.commit(TABLE[236:500])
    assert list(restored.load().records) == TABLE[:500]


def test_the_kernel_code_reads_the_bytes_written_by_hand() -> None:
    """One golden block for both: the only whole copy of a spare."""
    disk = Disk(SPARE)
    disk.poke(0x40000 // BLOCK, golden())
    with Metadata(disk, MAIN, block_size=512, uuid=UUID_A, read_only=True) as metadata:
        assert metadata.records == [Record(1000, 5000, 1, Kind.REMAP, 3, 1_700_000_010)]
        assert (metadata.status.sequence, metadata.status.chosen) == (2, 2)


# The damage matrix, through check and repair


def damage(disk: Disk, older: Disk, how: str, block: int, other: int, rng: random.Random) -> None:
    content = bytearray(disk.block(block))
    match how:
        case "zeros":
            content = bytearray(BLOCK)
        case "flips":
            for _ in range(rng.randint(1, 3)):
                content[rng.randrange(BLOCK)] ^= 1 << rng.randrange(8)
        case "random":
            content = bytearray(rng.randbytes(BLOCK))
        case "stale":
            content = bytearray(older.block(block))
        case "swapped":
            content = bytearray(disk.block(other))
    disk.poke(block, bytes(content))


def places(disk: Disk, what: int, copies: int) -> list[int]:
    loaded = disk.load()
    geometry = Snapshot.of(loaded).geometry
    if what >= 0:
        return [geometry.slot(copy) // BLOCK + what for copy in range(copies)]
    last = loaded.header.log_blocks - 1
    return [geometry.log_place(loaded.header.segments, copy, last) // BLOCK for copy in range(copies)]


def checked(disk: Disk) -> list[Finding]:
    return check(disk.read, SECTORS * 512).findings


def repaired(disk: Disk) -> Disk:
    after = disk.clone()
    for step in repair(disk.load()):
        for offset, block in step.blocks:
            after.poke(offset // BLOCK, block)
    return after


@pytest.mark.parametrize("what", BLOCKS)
@pytest.mark.parametrize("how", ["zeros", "flips", "random", "stale", "swapped"])
def test_after_repair_both_load_the_same_newest_state(what: str, how: str) -> None:
    rng = random.Random(f"{what} {how}")
    older = committed(*[0] * 10, 699, spacing=64)
    with Metadata(older, read_only=True) as metadata:
        uuid = metadata.status.uuid
    # A log block is written once; an older one is of a commit that was given up.
    given_up = Disk(SECTORS)
    with Metadata(given_up, copies=5, spacing=64, uuid=uuid) as metadata:
        metadata.commit(TABLE[1000:1699])
    newer = older.clone()
    with Metadata(newer, uuid=uuid) as metadata:
        metadata.mend()
        metadata.commit(TABLE[699:700])
        metadata.save_soft(9, 2, 3, 4, 5)
    where = places(newer, BLOCKS[what], 5)
    for subset in range(1, 31):
        hurt = newer.clone()
        for copy in range(5):
            if subset & 1 << copy:
                damage(
                    hurt, given_up if "log" in what else older, how, where[copy], where[(copy + 1) % 5], rng
                )
        found = checked(hurt)
        assert {finding.severity for finding in found} == {Severity.DAMAGE}
        assert {finding.offset // BLOCK for finding in found} == {
            where[copy] for copy in range(5) if subset & 1 << copy
        }
        after = repaired(hurt)
        loaded = after.load()
        assert loaded.intact and not checked(after)
        assert list(loaded.records) == TABLE[:700]
        with Metadata(after, uuid=uuid) as metadata:
            assert metadata.records == TABLE[:700]
            assert metadata.status.valid == 5
            assert metadata.status.sequence == loaded.sequence
            assert metadata.mend() == 0, "the kernel code finds nothing to mend"
            metadata.commit(TABLE[700:701])


@pytest.mark.parametrize(("copies", "damaged"), [(1, [0]), (1, [2]), (3, [8, 16]), (3, [0, 8]), (3, [0, 1])])
def test_a_cut_in_a_repair_harms_nothing(copies: int, damaged: list[int]) -> None:
    rng = random.Random(f"{copies} {damaged}")
    disk = committed(700, copies=copies, spacing=64)
    for block in damaged:
        disk.poke(block, rng.randbytes(BLOCK))
    steps = list(repair(disk.load()))
    header = [block for block in damaged if block in ({0, 2} if copies == 1 else {0, 8, 16})]
    # What a copy lacks, its header as it should be, and then every header once more.
    assert len(steps) == (header != damaged) + len(header) + max(2, copies)
    after = disk.clone()
    for step in steps:
        for _ in range(20):
            # Of a step, any block may be there, or not, or a part of it.
            torn = after.clone()
            for offset, content in step.blocks:
                keep = rng.choice([0, 16, 512, 2048, BLOCK])
                torn.poke(offset // BLOCK, content[:keep] + torn.block(offset // BLOCK)[keep:])
            assert list(torn.load().records) == TABLE[:700]
            with Metadata(torn, read_only=True) as metadata:
                assert metadata.records == TABLE[:700]
        for offset, content in step.blocks:
            after.poke(offset // BLOCK, content)
    assert after.load().intact


@pytest.mark.parametrize(("copies", "most"), [(1, 0), (2, 0), (3, 1), (5, 2)])
def test_copies_that_cannot_be_written_harm_nothing(copies: int, most: int) -> None:
    disk = committed(700, copies=copies, spacing=64)
    with Metadata(disk) as metadata:
        metadata.set_needs_check(True)
        metadata.mend()
    disk.poke(1, bytes(BLOCK))
    disk.poke(2 if copies == 1 else 8 * (copies - 1), bytes(BLOCK))
    loaded = disk.load()
    steps = list(repair(loaded))
    for first in range(len(steps)):
        after, left = disk.clone(), steps[first:]
        dead = {step.copy for step in left[::2]}
        begun: list[Step] = []

        def write(step: Step) -> None:
            bad = step in left and step.copy in dead  # noqa: B023
            for offset, content in step.blocks:
                after.poke(offset // BLOCK, bytes(BLOCK) if bad else content)  # noqa: B023
            begun.append(step)  # noqa: B023
            if bad:
                raise OSError(5, "Input/output error")

        failed = mend(steps, copies, write)
        assert failed and set(failed) <= dead
        assert list(after.load().records) == TABLE[:700]
        with Metadata(after, read_only=True) as metadata:
            assert metadata.records == TABLE[:700]
        if len(failed) <= most:
            others, done = ([step for step in each if step.copy not in failed] for each in (steps, begun))
            assert done == others
            with Metadata(after) as metadata:
                assert metadata.mend() == len(failed)


@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_the_only_newest_header_is_not_overwritten_first(copies: int) -> None:
    disk = committed(50, copies=copies)
    older = disk.clone()
    with Metadata(disk) as metadata:
        metadata.mend()
        metadata.commit(TABLE[50:51])
    for block in [2] if copies == 1 else [32 * copy for copy in range(1, copies)]:
        disk.poke(block, older.block(block))
    for step in repair(disk.load()):
        torn = disk.clone()
        for offset, content in step.blocks:
            torn.poke(offset // BLOCK, content[:512] + bytes(BLOCK - 512))
            disk.poke(offset // BLOCK, content)
        assert list(torn.load().records) == list(disk.load().records) == TABLE[:51]


def test_repairs_that_break_off_are_not_ahead_of_what_is_committed_without_them() -> None:
    disk = committed(50)
    for _ in range(2):
        for offset, content in next(iter(repair(disk.load()))).blocks:
            disk.poke(offset // BLOCK, content)
    # Two copies are away for a while.
    hidden = {block: disk.block(block) for block in (0, 32)}
    for block in hidden:
        disk.poke(block, bytes(BLOCK))
    with Metadata(disk) as metadata:
        metadata.mend()
        metadata.commit(TABLE[50:51])
    for block, content in hidden.items():
        disk.poke(block, content)
    assert list(disk.load().records) == TABLE[:51]


def test_what_is_lost_is_not_repaired() -> None:
    disk = committed(700)
    for place in places(disk, 3, 5):
        disk.poke(place, bytes(BLOCK))
    with pytest.raises(Corrupt):
        repaired(disk)
    with pytest.raises(Refused):
        Metadata(disk)


def test_a_state_that_cannot_be_read_does_not_come_true_later() -> None:
    disk = committed(50)
    with Metadata(disk) as metadata:
        metadata.mend()
        before = disk.clone()
        metadata.commit(TABLE[50:51])
    # A commit that only copy 0 has got, where it cannot be read.
    hidden = disk.block(0)
    before.poke(0, bytes(BLOCK))
    after = repaired(before)
    after.poke(0, hidden)
    assert list(after.load().records) == TABLE[:50]


def test_needs_check_is_cleared() -> None:
    disk = committed(5)
    with Metadata(disk) as metadata:
        metadata.set_needs_check(True)
        metadata.mend()
        metadata.commit(TABLE[5:6])
    assert disk.load().needs_check
    with Metadata(repaired(disk)) as metadata:
        assert not metadata.status.needs_check
        assert metadata.records == TABLE[:6]
