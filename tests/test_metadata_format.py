"""Golden vectors: bytes written by hand from docs/on-disk-format.md, not by the code under test."""

import struct

import crcmod.predefined  # type: ignore[import-untyped,unused-ignore]
import pytest

from pycontrol import metadata
from pycontrol.metadata import BLOCK, BlockError, Info, LogBlock, Record, pack
from tests.test_metadata_images import UUID_A, Sparse, spare

# Copy 2 of 5 of a table with one remap, 1000 -> 5000; the rest of the block is zero.
HEAD = bytes.fromhex(
    "34524d44 04000000 0200000000000000"  # 00 magic, version, sequence 2
    "00f1536500000000"  # 10 time 1700000000
    "00000000"  # 18 CRC, see below
    "02 05 0000"  # 1c copy, copies
    "00100000 00010000"  # 20 block size 4096, spacing 256
    "00112233445566778899aabbccddeeff"  # 28 uuid
    "0000200000000000 0000100000000000"  # 38 main, spare size
    "00000000 00000000 00000000 00000000"  # 48 features, flags
    "0100000000000000 8913000000000000"  # 58 generation, cursor 5001
    "01000000 00000000 00020000 00000000"  # 68 records, log blocks, block size 512, CRC of log
    "1800000000000000"  # 78 segment 0 begins at sector 24
)
RECORD = bytes.fromhex("e803000000000000 8813000000000000 01000000 0100 0300 0af1536500000000")
CRC = "eb5e98ef"


def golden() -> bytes:
    block = bytearray(BLOCK)
    block[: len(HEAD)] = HEAD
    block[0x130 : 0x130 + 32] = RECORD
    block[0x18:0x1C] = bytes.fromhex(CRC)
    return bytes(block)


def made() -> Sparse:
    return spare([Record(1000, 5000, 1, 1, 3, 1_700_000_010)], sequence=2, cursor=5001)


def test_header_is_byte_for_byte_what_the_page_says() -> None:
    assert made().blocks[0x40000].hex() == golden().hex()


def test_heritage_offsets() -> None:
    block = made().blocks[0x40000]
    assert block[:4] == b"\x34\x52\x4d\x44"
    assert struct.unpack_from("<IIQQI", block) == (
        0x444D5234,
        4,
        2,
        1_700_000_000,
        int.from_bytes(bytes.fromhex(CRC), "little"),
    )
    assert struct.unpack_from("<QQ", block, 0x130) == (1000, 5000)
    assert sorted(made().blocks) == [
        slot + at for slot in (0, 0x20000, 0x40000, 0x60000, 0x80000) for at in (0, BLOCK)
    ]


def test_golden_header_decodes() -> None:
    header = metadata.decode_header(golden())
    assert (header.sequence, header.copy, header.copies, header.spacing) == (2, 2, 5, 256)
    assert (header.uuid, header.main_sectors, header.spare_sectors) == (UUID_A, 1 << 21, 1 << 20)
    assert (header.generation, header.cursor, header.segments[0]) == (1, 5001, 24)
    assert header.records == RECORD
    image = Sparse([(0x40000, golden())])
    loaded = image.load()
    assert list(loaded.records) == [Record(1000, 5000, 1, 1, 3, 1_700_000_010)]
    assert loaded.valid_copies == 0  # Neither info blocks nor other copies.
    assert loaded.chosen == 2


@pytest.mark.parametrize("kind", ["header", "info", "log"])
def test_crc_is_the_one_crcmod_knows(kind: str) -> None:
    blocks = {
        "header": made().blocks[0],
        "info": made().blocks[BLOCK],
        "log": metadata.encode_log(
            LogBlock(uuid=UUID_A, sequence=9, time=3, copy=1, generation=2, number=4, records=bytes(3776))
        ),
    }
    block = blocks[kind]
    reference = crcmod.predefined.mkCrcFun("crc-32")
    assert reference(block[:0x18] + bytes(4) + block[0x1C:]) == metadata.crc(block)
    assert struct.unpack_from("<I", block, 0x18)[0] == metadata.crc(block)


def test_log_and_info_offsets() -> None:
    records = pack(Record(index * 8, 0, 8, 2) for index in range(118))
    log = metadata.encode_log(
        LogBlock(uuid=UUID_A, sequence=9, time=3, copy=1, generation=2, number=4, records=records)
    )
    assert log[:8] == b"4RML\4\0\0\0"
    assert (log[0x1C], log[0x28:0x38]) == (1, UUID_A.bytes)
    assert struct.unpack_from("<QI", log, 0x38) == (2, 4)
    assert log[0x130:0xFF0] == records
    assert log[0xFF0:] == bytes(16)
    assert metadata.decode_log(log).records == records
    info = Info(
        uuid=UUID_A, sequence=9, time=3, copy=1, main_id="serial:ä", name="n",
        read_errors=1, write_errors=2, salvaged=3, lost=4, scrub=5,
    )  # fmt: skip
    block = metadata.encode_info(info)
    assert block[:8] == b"4RMI\4\0\0\0"
    assert block[0x38:0xB8] == "serial:ä".encode().ljust(128, b"\0")
    assert block[0xB8:0x138] == b"n".ljust(128, b"\0")
    assert struct.unpack_from("<5Q", block, 0x138) == (1, 2, 3, 4, 5)
    assert metadata.decode_info(block) == info


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"x", "no header"),
        (4, b"\5", "version 5"),
        (0x20, b"\0\x20", "block size 8192"),
        (0x200, b"\1", "CRC"),
    ],
)
def test_each_check_of_a_block_has_its_own_words(at: int, value: bytes, reason: str) -> None:
    block = bytearray(golden())
    block[at : at + len(value)] = value
    with pytest.raises(BlockError, match=reason):
        metadata.decode_header(bytes(block))
