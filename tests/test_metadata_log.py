"""The log: blocks, halves and segments, and what is left when some of them are damaged."""

import pytest

from pycontrol.metadata import BLOCK, Corrupt, Geometry, State
from tests.test_metadata_images import Sparse, remaps, slots, spare

GEOMETRY = Geometry(5, 256)


def place(image: Sparse, copy: int, number: int) -> int:
    return GEOMETRY.log_place(image.load().header.segments, copy, number)


@pytest.mark.parametrize(
    "count", [117, 118, 119, 236, 237, 118 * 14, 118 * 15 + 1, 118 * 30 + 1, 118 * 33, 5000]
)
@pytest.mark.parametrize("second_half", [False, True])
def test_any_number_of_records(count: int, second_half: bool) -> None:
    table = remaps(count)
    image = spare(table, second_half=second_half, sequence=77)
    loaded = image.load()
    assert list(loaded.records) == table
    assert loaded.valid_copies == 5
    assert loaded.header.log_blocks == (count - 1) // 118
    assert [extent[:3] for extent in loaded.extents] == [record[:3] for record in table]


def test_segments_lie_one_behind_the_other() -> None:
    image = spare(remaps(5000))
    segments = image.load().header.segments
    assert segments[:4] == (24, 2048, 2048 + 16 * 5 * 8, 0)
    # Blocks 0-13 in the slot, 14-29 in segment 1, from 30 on in segment 2.
    assert place(image, 3, 13) == slots()[3] + (3 + 13) * BLOCK
    assert place(image, 3, 14) == 2048 * 512 + 3 * 16 * BLOCK
    assert place(image, 3, 30) == segments[2] * 512 + 3 * 32 * BLOCK


def test_mixed_damage_leaves_the_whole_table() -> None:
    table = remaps(5000)
    image = spare(table)
    places = {number: [place(image, copy, number) for copy in range(5)] for number in range(42)}
    for number, each in places.items():
        for copy in range(5):
            if copy != number % 5:
                image.flip(each[copy]) if copy % 2 else image.wipe(each[copy])
    for copy in range(4):
        image.flip(slots()[copy])
    loaded = image.load()
    assert list(loaded.records) == table
    assert (loaded.valid_copies, loaded.chosen) == (0, 4)
    assert {slot.log.state for slot in loaded.slots} == {State.DAMAGED, State.MISSING}
    image.wipe(places[20][0])
    with pytest.raises(Corrupt, match="log block 20 is lost") as caught:
        image.load()
    assert len(caught.value.slots) == 5


def test_old_version_of_a_log_block() -> None:
    table = remaps(400)
    image, older = spare(table, sequence=50), spare(remaps(400, 1 << 18), sequence=40)
    at = [place(image, copy, 1) for copy in range(5)]
    for copy in (0, 1, 2):
        image.put(at[copy], older.blocks[at[copy]])
    loaded = image.load()
    assert list(loaded.records) == table
    assert [slot.log.state for slot in loaded.slots] == [State.STALE] * 3 + [State.VALID] * 2
    for copy in (3, 4):
        image.flip(at[copy])
    with pytest.raises(Corrupt, match="CRC over the log"):
        image.load()


def test_equally_new_versions_are_counted() -> None:
    table = remaps(400)
    image, other = spare(table, sequence=50), spare(remaps(400, 1 << 18), sequence=50)
    at = [place(image, copy, 0) for copy in range(5)]
    image.put(at[0], other.blocks[at[0]])
    loaded = image.load()
    assert list(loaded.records) == table
    assert loaded.slots[0].log.damaged == 1


@pytest.mark.parametrize(("at", "value"), [(0x38, b"\7"), (0x40, b"\7"), (0x1C, b"\7"), (0x28, b"\7")])
def test_log_block_of_another_life(at: int, value: bytes) -> None:
    image = spare(remaps(400))
    image.reseal(place(image, 0, 2), at, value)
    loaded = image.load()
    assert loaded.slots[0].log.state is State.DAMAGED
    assert loaded.valid_copies == 4


def test_unreadable_log_block() -> None:
    table = remaps(400)
    image = spare(table)
    image.failing.update(place(image, copy, 1) for copy in range(4))
    loaded = image.load()
    assert list(loaded.records) == table
    assert [slot.log.damaged for slot in loaded.slots] == [1, 1, 1, 1, 0]
    assert "Input/output error" in loaded.slots[0].log.reason


def test_truncated_image() -> None:
    image = spare(remaps(5000))
    image.size = 1 << 20
    with pytest.raises(Corrupt, match="log block 14"):
        image.load()


def test_one_copy_with_a_log() -> None:
    table = remaps(3000)
    loaded = spare(table, copies=1, spacing=64).load()
    assert list(loaded.records) == table
    assert loaded.header.segments[0] == 24
    assert loaded.intact
