"""Which state a reader finds, and what it says of each copy."""

from itertools import count

import pytest

from pycontrol.metadata import (
    BLOCK,
    Corrupt,
    Info,
    Legacy,
    MetadataError,
    NotOurs,
    Record,
    State,
    Unsupported,
    load,
)
from pycontrol.metadata.reader import Read
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, remaps, slots, spare

TABLE = remaps(3)


@pytest.mark.parametrize("copy", range(5))
@pytest.mark.parametrize("block", [0, BLOCK])
def test_one_damaged_block(copy: int, block: int) -> None:
    image = spare(TABLE)
    image.flip(slots()[copy] + block)
    loaded = image.load()
    assert list(loaded.records) == TABLE
    assert (loaded.valid_copies, loaded.intact) == (4, False)
    slot = loaded.slots[copy]
    state = slot.info if block else slot.header
    assert (state.state, state.reason) == (State.DAMAGED, "CRC does not match")
    assert state.crc_stored != state.crc_computed
    assert (state.sequence, state.time) == (1, 1_700_000_000)
    assert loaded.chosen == (1 if copy == block == 0 else 0)


@pytest.mark.parametrize("copy", range(5))
def test_one_good_header_is_enough(copy: int) -> None:
    image = spare(TABLE)
    for other in range(5):
        if other != copy:
            image.flip(slots()[other], at=0)
    loaded = image.load()
    assert (loaded.chosen, loaded.valid_copies, list(loaded.records)) == (copy, 1, TABLE)


def test_stale_copy() -> None:
    image = spare(TABLE, sequence=9)
    image.put(slots()[0], spare(TABLE[:2], sequence=8).blocks[slots()[0]])
    loaded = image.load()
    assert (loaded.sequence, loaded.chosen, loaded.valid_copies) == (9, 1, 4)
    assert (loaded.slots[0].header.state, loaded.slots[0].header.sequence) == (State.STALE, 8)
    assert len(loaded.records) == 3


def test_newest_wins_whatever_its_time() -> None:
    image = spare(TABLE, sequence=9, time=100)
    for copy in range(1, 5):
        image.put(slots()[copy], spare((), sequence=8, time=10**9).blocks[slots()[copy]])
    assert image.load().sequence == 9


def test_foreign_copy() -> None:
    image = spare(TABLE)
    image.put(slots()[2], spare((), uuid=UUID_B, sequence=999).blocks[slots()[2]])
    loaded = image.load()
    assert (loaded.uuid, loaded.valid_copies) == (UUID_A, 4)
    assert loaded.slots[2].header.reason == f"belongs to {UUID_B}"
    assert image.load(uuid=UUID_B).uuid == UUID_B


def test_as_many_of_either_is_refused_unless_one_is_named() -> None:
    image = spare(TABLE, copies=4)
    for place, block in spare((), copies=4, uuid=UUID_B).blocks.items():
        if place >= slots()[2]:
            image.put(place, block)
    with pytest.raises(Corrupt, match=str(UUID_A)):
        image.load()
    assert image.load(uuid=UUID_A).uuid == UUID_A
    assert image.load(uuid=UUID_B).uuid == UUID_B


def test_uuid_that_is_not_there() -> None:
    with pytest.raises(NotOurs, match=str(UUID_B)) as caught:
        spare(TABLE).load(uuid=UUID_B)
    assert not caught.value.all_zero


def test_swapped_copies() -> None:
    image = spare(TABLE)
    one, two = slots()[1], slots()[2]
    image.blocks[one], image.blocks[two] = image.blocks[two], image.blocks[one]
    loaded = image.load()
    assert [slot.header.state for slot in loaded.slots].count(State.VALID) == 3
    assert "wrong place" in loaded.slots[1].header.reason


def test_missing_copy_and_unreadable_copy() -> None:
    image = spare(TABLE)
    image.wipe(slots()[0])
    image.failing.add(slots()[1])
    loaded = image.load()
    assert loaded.slots[0].header.state is State.MISSING
    assert loaded.slots[0].header.sequence is loaded.slots[1].header.crc_stored is None
    assert "Input/output error" in loaded.slots[1].header.reason
    assert loaded.chosen == 2


def test_equal_numbers_with_different_content_are_refused() -> None:
    image = spare(TABLE, sequence=9)
    image.put(slots()[3], spare((), sequence=9).blocks[slots()[3]])
    with pytest.raises(Corrupt, match="same sequence number 9"):
        image.load()


def test_no_info_block_means_soft_state_of_zero() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.wipe(slot + BLOCK)
    loaded = image.load()
    assert (loaded.main_id, loaded.name, loaded.read_errors, loaded.valid_copies) == ("", "", 0, 0)
    assert len(loaded.extents) == 3


def test_newest_info_block_counts() -> None:
    image = spare(TABLE)
    newer = Info(uuid=UUID_A, sequence=7, time=5, copy=0, name="new", read_errors=11, write_errors=12,
                 salvaged=13, lost=14, scrub=15)  # fmt: skip
    image.put(slots()[4] + BLOCK, spare(TABLE, info=newer).blocks[slots()[4] + BLOCK])
    loaded = image.load()
    assert loaded.name == "new"
    counters = (loaded.read_errors, loaded.write_errors, loaded.salvaged, loaded.lost, loaded.scrub)
    assert counters == (11, 12, 13, 14, 15)
    assert [slot.info.state for slot in loaded.slots] == [*[State.STALE] * 4, State.VALID]


# One copy


def test_one_copy_has_a_shadow() -> None:
    image = spare(TABLE, copies=1)
    assert image.blocks[0] == image.blocks[2 * BLOCK]
    assert image.load().intact
    image.flip(0)
    loaded = image.load()
    assert (list(loaded.records), loaded.valid_copies, loaded.intact) == (TABLE, 1, False)


def test_newer_shadow_wins() -> None:
    image = spare(TABLE, copies=1, sequence=4)
    image.put(2 * BLOCK, spare((), copies=1, sequence=5).blocks[2 * BLOCK])
    loaded = image.load()
    assert (loaded.sequence, len(loaded.records)) == (5, 0)
    assert loaded.slots[0].header.state is State.STALE
    assert loaded.slots[0].shadow is not None
    assert loaded.slots[0].shadow.state is State.VALID


def test_shadow_of_several_copies_is_ignored() -> None:
    image = spare(TABLE)
    image.put(2 * BLOCK, spare((), copies=1, sequence=99, uuid=UUID_A).blocks[0])
    image.reseal(2 * BLOCK, 0x1D, b"\5")
    assert image.load().sequence == 1


# Geometry


@pytest.mark.parametrize("copies", [1, 2, 5, 8])
@pytest.mark.parametrize("spacing", [64, 256, 32768])
def test_geometry_is_found(copies: int, spacing: int) -> None:
    image = spare(TABLE, copies=copies, spacing=spacing)
    image.wipe(0)
    loaded = image.load()
    assert (loaded.copies, loaded.spacing, list(loaded.records)) == (copies, spacing, TABLE)
    assert loaded.valid_copies == (1 if copies == 1 else copies - 1)
    again = image.load(copies=copies, spacing=spacing)
    assert list(again.records) == TABLE


def test_geometry_that_was_asked_for_must_be_the_one() -> None:
    with pytest.raises(MetadataError):
        spare(TABLE).load(copies=3)
    with pytest.raises(MetadataError):
        spare(TABLE).load(spacing=512)
    with pytest.raises(ValueError, match="copies"):
        spare(TABLE).load(copies=0)


def test_headers_of_an_earlier_larger_geometry_do_not_outvote_the_new_one() -> None:
    image = spare((), uuid=UUID_B, spacing=32768)
    for place, block in spare(TABLE, copies=2).blocks.items():
        image.put(place, block)
    assert image.load().uuid == UUID_A


# What is not ours


def test_all_zero() -> None:
    with pytest.raises(NotOurs) as caught:
        Sparse().load()
    assert caught.value.all_zero
    with pytest.raises(NotOurs) as caught:
        Sparse([(0x90000, b"x" * BLOCK)]).load()
    assert not caught.value.all_zero
    with pytest.raises(NotOurs) as caught:
        Sparse([(0xA0000, b"x" * BLOCK)]).load()
    assert caught.value.all_zero
    with pytest.raises(NotOurs):
        Sparse(sectors=0).load()


def v42() -> bytes:
    block = bytearray(BLOCK)
    block[:0x28] = bytes.fromhex(
        "34524d44 04000000 0200000000000000 00f1536500000000 deadbeef 00000000 40490100 00000000"
    )
    return bytes(block)


@pytest.mark.parametrize("lost", [0, 4])
def test_v42(lost: int) -> None:
    image = Sparse((slot, v42()) for slot in slots()[lost:])
    with pytest.raises(Legacy) as caught:
        image.load()
    assert caught.value.version == "4.2"


def test_v3() -> None:
    image = Sparse([(0, (b"DMREMAP3" + bytes([1, 0, 0, 0])).ljust(BLOCK, b"\0"))])
    with pytest.raises(Legacy) as caught:
        image.load()
    assert caught.value.version == "3.0"


def test_every_header_damaged() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.flip(slot)
    with pytest.raises(Corrupt, match="every copy"):
        image.load()
    for slot in slots():
        image.wipe(slot)
    with pytest.raises(Corrupt, match="every copy"):
        image.load()


def test_unreadable_everywhere_is_an_io_error() -> None:
    image = spare(TABLE)
    image.failing.update(image.blocks)
    with pytest.raises(OSError, match="Input/output"):
        image.load()


@pytest.mark.parametrize(
    ("at", "value", "kind"),
    [
        (0x50, b"\1", Unsupported),
        (0x38, bytes(8), Corrupt),
        (0x38, b"\xff" * 8, Corrupt),
        (0x40, bytes(8), Corrupt),
        (0x68, b"\x77", Corrupt),
        (0x6C, b"\x0f", Corrupt),
        (0x6C, b"\xff\xff\xff\xff", Corrupt),
        (0x70, b"\0\0", Corrupt),
        (0x70, b"\0\x03", Corrupt),
        (0x74, b"\1", Corrupt),
        (0x78, bytes(8), Corrupt),
        (0x80, (2040).to_bytes(8, "little"), Corrupt),
        (0x80, (2052).to_bytes(8, "little"), Corrupt),
        (0x80, b"\xf8" + b"\xff" * 7, Corrupt),
        (0x80, (2048).to_bytes(8, "little") * 2, Corrupt),
        (0x130 + 20, b"\x03", Corrupt),
        (0x130 + 20, b"\0", Corrupt),
        (0x130 + 16, bytes(4), Corrupt),
        (0x130 + 16, b"\xff\xff\xff\xff", Corrupt),
        (0x130, b"\xff" * 8, Corrupt),
        (0x130 + 8, b"\xff" * 8, Corrupt),
        (0x130 + 8, bytes(8), Corrupt),
    ],
)
def test_sealed_nonsense_is_refused(at: int, value: bytes, kind: type[MetadataError]) -> None:
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot, at, value)
    with pytest.raises(kind) as caught:
        image.load()
    assert type(caught.value) is kind


def test_newer_version() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot, 4, b"\5")
    with pytest.raises(Unsupported, match="version 5"):
        image.load()


def test_features_that_may_be_ignored() -> None:
    image = spare(TABLE, needs_check=True)
    for slot in slots():
        image.reseal(slot, 0x48, b"\1\0\0\0\2")
    loaded = image.load()
    assert loaded.read_only
    assert loaded.needs_check
    assert Record(*TABLE[0]) in loaded.records


def test_a_spare_that_is_formatted_meanwhile() -> None:
    """As by another process, before any of the reads: one state, or the other, or a reason."""
    before, after = spare(TABLE, time=1), spare(uuid=UUID_B, time=2)

    def changing(moment: int) -> Read:
        reads = count()
        return lambda *place: (before if next(reads) < moment else after).read(*place)

    found = set()
    for moment in range(200):
        try:
            found.add(str(load(changing(moment), before.size).uuid))
        except Corrupt as error:
            found.add(str(error))
    assert {str(UUID_A), str(UUID_B)} < found
    assert "the header was overwritten while the metadata was being read" in found
