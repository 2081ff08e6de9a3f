"""The codec where it is seldom: the last number, a full header, fields that do not fit."""

from dataclasses import replace
from uuid import UUID

import pytest

from pycontrol.metadata import (
    BLOCK,
    BlockError,
    Corrupt,
    Info,
    LogBlock,
    Record,
    Records,
    Snapshot,
    check,
    decode_header,
    decode_info,
    encode_header,
    encode_image,
    encode_info,
    encode_log,
    pack,
)
from pycontrol.metadata.convert import convert
from pycontrol.metadata.diff import fields
from pycontrol.metadata.layout import MAX_SEQUENCE
from pycontrol.metadata.legacy import Entry, Old
from pycontrol.metadata.repair import mended, repair
from pycontrol.metadata.search import search
from tests.test_metadata_images import UUID_A, Sparse, remaps, slots, spare

SECTORS = 5120


# Repair


def written(image: Sparse) -> Sparse:
    """The image after a repair."""
    for step in repair(image.load()):
        for place, block in step.blocks:
            image.put(place, block)
    return image


def test_a_full_header_keeps_the_log_block_ahead_of_it() -> None:
    """It is written with every header, and so mended with it."""
    image = spare(remaps(118, 2560), spare_sectors=SECTORS)
    ahead = image.blocks[slots()[1] + 3 * BLOCK]
    image.wipe(slots()[1] + 3 * BLOCK)
    image.flip(slots()[1])
    after = written(image)
    assert after.load().intact
    made = after.blocks[slots()[1] + 3 * BLOCK]
    assert made[0x130:] == ahead[0x130:] and made[0x1C] == 1


def test_no_number_comes_after_the_last_one() -> None:
    image = spare((), spare_sectors=SECTORS, sequence=MAX_SEQUENCE - 16)
    image.flip(slots()[1])
    with pytest.raises(Corrupt, match="the last there can be"):
        mended(image.load())
    assert mended(spare((), spare_sectors=SECTORS, sequence=MAX_SEQUENCE - 17).load())


def test_an_info_block_that_is_lost_is_empty_afterwards() -> None:
    image = spare(remaps(3, 2560), spare_sectors=SECTORS)
    for slot in slots():
        image.flip(slot + BLOCK)
    loaded = written(image).load()
    assert (loaded.intact, loaded.info.sequence, loaded.name, loaded.main_id) == (True, 1, "", "")


# Fields that do not fit


def test_a_block_that_cannot_be_made() -> None:
    header = spare((), spare_sectors=SECTORS).load().header
    with pytest.raises(ValueError, match="whole records"):
        encode_header(replace(header, records=bytes(32)))
    with pytest.raises(ValueError, match="12 segments"):
        encode_header(replace(header, segments=(24,)))
    log = LogBlock(uuid=UUID_A, sequence=1, time=0, copy=0, generation=1, number=0, records=b"")
    with pytest.raises(ValueError, match="exactly 118"):
        encode_log(log)
    info = Info(uuid=UUID_A, sequence=1, time=0, copy=0, name="a\0b")
    with pytest.raises(ValueError, match="the name must be"):
        encode_info(info)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (0x1C, b"\5", "number 5 of only 5"),
        (0x1D, b"\0", "0 copies"),
        (8, bytes(8), "sequence number 0"),
        (8, (MAX_SEQUENCE + 1).to_bytes(8, "little"), f"sequence number {MAX_SEQUENCE + 1}"),
    ],
)
def test_a_header_that_is_whole_and_cannot_be(at: int, value: bytes, words: str) -> None:
    image = spare((), spare_sectors=SECTORS)
    image.reseal(0, at, value)
    with pytest.raises(BlockError, match=words):
        decode_header(image.blocks[0])


def test_half_a_block() -> None:
    with pytest.raises(BlockError, match="cannot be read whole"):
        decode_info(bytes(100))


def test_an_info_block_without_a_number_is_none() -> None:
    image = spare((), spare_sectors=SECTORS)
    image.reseal(BLOCK, 8, bytes(8))
    image.reseal(slots()[1] + BLOCK, 0x1C, b"\3")
    reasons = [slot.info.reason for slot in image.load().slots]
    assert reasons == ["sequence number 0", "is copy 3, at the wrong place", "", "", ""]


def test_more_records_than_there_is_room_for() -> None:
    with pytest.raises(ValueError, match="no room for 600 records"):
        encode_image(
            remaps(600, 2560), uuid=UUID_A, main_sectors=1 << 21, spare_sectors=2049 + 8, time=0, spacing=64
        )
    with pytest.raises(ValueError, match="a spare device of"):
        encode_image((), uuid=UUID_A, main_sectors=1 << 21, spare_sectors=1 << 55, time=0)


def test_records_are_a_sequence() -> None:
    records = Records(pack(remaps(3)))
    assert records[-1] == remaps(3)[2] and records[1:] == remaps(3)[1:]
    with pytest.raises(IndexError):
        records[3]


# diff and search


def test_bad_places_are_compared() -> None:
    one = spare((), spare_sectors=SECTORS).load()
    other = spare([Record(0, 4000, 2, 8)], spare_sectors=SECTORS).load()
    assert ("bad_spare", [], [(4000, 2)]) in list(fields(one, other))


def test_a_hit_that_can_no_longer_be_read() -> None:
    """The device fails between the search and the second look."""
    image = spare((), spare_sectors=SECTORS)
    seen: list[int] = []

    def read(offset: int, length: int) -> bytes:
        if length == BLOCK and offset == 0:
            seen.append(offset)
            raise OSError(5, "Input/output error")
        return image.read(offset, length)

    found = [hit.offset for hit in search(read, image.size) if hit.kind == "header"]
    assert seen and found == slots()[1:]


def test_a_hit_at_the_end_is_cut_off() -> None:
    image = Sparse([(0, b"4RMD".ljust(BLOCK, b"\0"))], 4)
    assert list(search(image.read, image.size)) == []


# An old table that cannot be


def converted(*entries: Entry, spare_sectors: int = SECTORS, block_size: int = 512) -> Snapshot:
    old = Old("4.2", 1 << 20, 1 << 20, 1, 1, entries, (), 0, 1189)
    return convert(
        old, lambda sector: True, uuid=UUID(int=1), spare_sectors=spare_sectors, copies=5, spacing=256,
        block_size=block_size, time=1,
    ).snapshot  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(1 << 20, 5000, 0, 1, True), "names main sector"),
        (Entry(8, 1 << 20, 0, 1, True), "names spare sector"),
    ],
)
def test_an_old_table_that_cannot_be(entry: Entry, words: str) -> None:
    with pytest.raises(Corrupt, match=words):
        converted(entry)


def test_an_old_table_that_the_new_spare_cannot_take() -> None:
    with pytest.raises(ValueError, match="not whole logical blocks"):
        converted(Entry(9, 5000, 0, 1, True), block_size=4096)
    entries = [Entry(at, 5000 + at, 0, 1, True) for at in range(64)]
    assert len(converted(*entries).header.records) == 32, "neighbours are one record"
    with pytest.raises(ValueError, match="no room for 64 sectors"):
        converted(*entries, spare_sectors=2048 + 63)


def test_what_was_checked_is_clean() -> None:
    snapshot = converted(Entry(8, 5000, 0, 1, True))
    image = Sparse([*snapshot.blocks(), *snapshot.headers()], SECTORS)
    assert check(image.read, image.size).findings == []
