"""Spares in memory, which the other tests of the metadata use too, and what makes them."""

from collections.abc import Iterable
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.metadata import BLOCK, Geometry, Loaded, Record

UUID_A = UUID("00112233-4455-6677-8899-aabbccddeeff")
UUID_B = UUID("ffeeddcc-bbaa-9988-7766-554433221100")
MAIN, SPARE = 1 << 21, 1 << 20


class Sparse:
    """A device of which only the blocks that are not zero are kept."""

    def __init__(self, blocks: Iterable[tuple[int, bytes]] = (), sectors: int = SPARE) -> None:
        self.blocks = dict(blocks)
        self.size = sectors * 512
        self.failing: set[int] = set()

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        end = min(offset + length, self.size)
        out = bytearray()
        for place in range(offset - offset % BLOCK, end, BLOCK):
            if place in self.failing:
                raise OSError(5, "Input/output error")
            out += self.blocks.get(place, bytes(BLOCK))
        return bytes(out[offset % BLOCK : offset % BLOCK + max(0, end - offset)])

    def load(self, **options: object) -> Loaded:
        return metadata.load(self.read, self.size, **options)  # type: ignore[arg-type]

    def flip(self, place: int, at: int = 0x200) -> None:
        block = bytearray(self.blocks[place])
        block[at] ^= 0x40
        self.blocks[place] = bytes(block)

    def put(self, place: int, block: bytes) -> None:
        self.blocks[place] = block

    def wipe(self, place: int) -> None:
        self.blocks.pop(place, None)

    def reseal(self, place: int, at: int, value: bytes) -> None:
        """Change bytes of a block and make its CRC right again."""
        block = bytearray(self.blocks[place])
        block[at : at + len(value)] = value
        block[0x18:0x1C] = metadata.crc(block).to_bytes(4, "little")
        self.blocks[place] = bytes(block)

    def flat(self) -> bytes:
        out = bytearray(self.size)
        for place, block in self.blocks.items():
            out[place : place + len(block)] = block
        return bytes(out)


def spare(records: Iterable[Record] | bytes = (), **options: object) -> Sparse:
    """A spare of the usual size with the given records."""
    settings: dict[str, object] = {
        "uuid": UUID_A,
        "main_sectors": MAIN,
        "spare_sectors": SPARE,
        "time": 1_700_000_000,
        "main_id": "wwn:0x5000c500a1b2c3d4",
        "name": "precious",
    } | options
    blocks = metadata.encode_image(records, **settings)  # type: ignore[arg-type]
    sectors = settings["spare_sectors"]
    assert isinstance(sectors, int)
    return Sparse(blocks, sectors)


def remaps(count: int, first_spare: int = 1 << 19) -> list[Record]:
    """So many single-sector remaps of which no two merge."""
    return [Record(1000 + 3 * index, first_spare + 5 * index, 1, 1, 1, 77) for index in range(count)]


def slots(copies: int = 5, spacing: int = 256) -> list[int]:
    geometry = Geometry(copies, spacing)
    return [geometry.slot(copy) for copy in range(copies)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"copies": 0}, "copies"),
        ({"copies": 9}, "copies"),
        ({"spacing": 63}, "power of two"),
        ({"spacing": 32}, "power of two"),
        ({"spacing": 65536}, "power of two"),
        ({"spacing": -256}, "power of two"),
        ({"block_size": 520}, "logical block"),
        ({"block_size": 0}, "logical block"),
        ({"block_size": 8192}, "logical block"),
        ({"main_sectors": 0}, "main device"),
        ({"spare_sectors": 2048}, "too small"),
        ({"spare_sectors": 1 << 60}, "spare device"),
        ({"main_id": "x" * 129}, "identity"),
        ({"name": "a\0b"}, "name"),
    ],
)
def test_fresh_refuses_in_words(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        spare((), **options)


def test_fresh_spare() -> None:
    blocks = metadata.fresh(uuid=UUID_A, main_sectors=100, spare_sectors=4096, time=5)
    loaded = Sparse(blocks, 4096).load()
    assert (loaded.sequence, loaded.generation, loaded.time, loaded.header.cursor) == (1, 1, 5, 2048)
    assert loaded.header.segments == (24, *[0] * 11)
    assert (loaded.valid_copies, loaded.intact, len(loaded.records), len(loaded.extents)) == (5, True, 0, 0)
    assert loaded.info.sequence == 1


@pytest.mark.parametrize(
    ("copies", "spacing", "region", "start"),
    [
        (5, 256, 1280, 2048),
        (8, 256, 2048, 2048),
        (1, 64, 64, 2048),
        (8, 32768, 262144, 262144),
        (3, 1024, 3072, 4096),
    ],
)
def test_region_and_data_start(copies: int, spacing: int, region: int, start: int) -> None:
    assert metadata.Geometry(copies, spacing).region == region
    assert metadata.data_start(copies, spacing) == start


def test_half_of_the_first_segment() -> None:
    assert metadata.Geometry(5, 256).first_halves() == (24, 24 + 8 * 14)
    assert metadata.Geometry(5, 64).first_halves() == (24, 24 + 8 * 2)


def test_all_segments_hold_more_than_the_page_promises() -> None:
    geometry = metadata.Geometry(5, 256)
    assert (geometry.capacity([24] * 12) - geometry.half) * 118 > 3_800_000
    assert geometry.capacity([24, 8, 0, 8]) == 14 + 16
