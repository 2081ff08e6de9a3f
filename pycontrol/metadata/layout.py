"""Where things lie on a spare."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

SECTOR: Final = 512
BLOCK: Final = 4096
BLOCK_SECTORS: Final = BLOCK // SECTOR
MIB_SECTORS: Final = (1 << 20) // SECTOR

VERSION: Final = 4
HEADER_MAGIC: Final = 0x444D5234  # "4RMD"
LOG_MAGIC: Final = 0x4C4D5234  # "4RML"
INFO_MAGIC: Final = 0x494D5234  # "4RMI"

CRC_AT: Final = 0x18
CRC_BYTES: Final = range(CRC_AT, CRC_AT + 4)
COPY_AT: Final = 0x1C
STRUCTURE_AT: Final = 0x20
RECORDS_AT: Final = 0x130
RECORDS_END: Final = 0xFF0
RECORD_SIZE: Final = 32
PER_BLOCK: Final = (RECORDS_END - RECORDS_AT) // RECORD_SIZE
"""Records in a header or log block: 118."""

INFO_BLOCK: Final = 1
SHADOW_BLOCK: Final = 2
LOG_BLOCK: Final = 3

MAX_COPIES: Final = 8
MIN_SHIFT: Final = 15
MAX_SHIFT: Final = 24
DEFAULT_COPIES: Final = 5
DEFAULT_SPACING: Final = 256
SEGMENTS: Final = 12
MAX_SECTORS: Final = 1 << 54
"""No device is larger: the kernel counts its bytes in a signed 64-bit number."""

MAX_BLOCK_SIZE: Final = 4096
MAX_SEQUENCE: Final = 1 << 63
"""No block has a higher number, nor 0; the kernel goes on from half of that at most."""
AHEAD: Final = 17
"""No header is further ahead of one that a majority has: failed commits, and what denies them."""

NEEDS_CHECK: Final = 1
ARRIVED: Final = 1 << 31
"""Incompatible feature: what another spare holds has been copied here, and may still be valid there."""

V42_STRUCTURE_SIZE: Final = 84288
V42_SPACING: Final = 0x20000
V42_COPIES: Final = 5
V3_MAGIC: Final = b"DMREMAP3"


class Field(IntEnum):
    """Where in a header the fields are that a finding may be about."""

    MAIN_SECTORS = 0x38
    SPARE_SECTORS = 0x40
    COMPAT = 0x48
    RO_COMPAT = 0x4C
    FLAGS = 0x54
    CURSOR = 0x60
    RECORD_COUNT = 0x68
    LOG_BLOCKS = 0x6C
    BLOCK_SIZE = 0x70
    LOG_CRC = 0x74
    SEGMENTS = 0x78


@dataclass(frozen=True, slots=True)
class Geometry:
    """How many copies, and how far apart; ``spacing`` in sectors."""

    copies: int
    spacing: int

    def __post_init__(self) -> None:
        if not 1 <= self.copies <= MAX_COPIES:
            raise ValueError(f"{self.copies} copies of the metadata: choose 1 to {MAX_COPIES}")
        size = self.spacing * SECTOR
        if size & (size - 1) or not 1 << MIN_SHIFT <= size <= 1 << MAX_SHIFT:
            raise ValueError(
                f"spacing of {self.spacing} sectors: choose a power of two, 64 (32 KiB) to 32768 (16 MiB)"
            )

    @property
    def region(self) -> int:
        """Size of the metadata region in sectors."""
        return self.copies * self.spacing

    @property
    def data_start(self) -> int:
        """First sector of spare data: the region's end, rounded up to a MiB."""
        return -(-self.region // MIB_SECTORS) * MIB_SECTORS

    @property
    def half(self) -> int:
        """Blocks in one half of log segment 0."""
        return (self.spacing // BLOCK_SECTORS - LOG_BLOCK) // 2

    def slot(self, copy: int) -> int:
        """Byte at which the slot of ``copy`` begins."""
        return copy * self.spacing * SECTOR

    def first_halves(self) -> tuple[int, int]:
        """The two values that entry 0 of the segment list may have."""
        return LOG_BLOCK * BLOCK_SECTORS, (LOG_BLOCK + self.half) * BLOCK_SECTORS

    def segment_blocks(self, index: int) -> int:
        """Blocks a copy has in segment ``index``."""
        return self.half if index == 0 else 16 << (index - 1)

    def segment_sectors(self, index: int) -> int:
        """Sectors that segment ``index``, from 1, takes with all its copies."""
        return self.segment_blocks(index) * BLOCK_SECTORS * self.copies

    def segment_place(self, segments: Sequence[int], index: int, copy: int) -> int:
        """Byte at which ``copy`` of segment ``index`` begins."""
        if index == 0:
            return self.slot(copy) + segments[0] * SECTOR
        return segments[index] * SECTOR + copy * self.segment_blocks(index) * BLOCK

    def capacity(self, segments: Sequence[int]) -> int:
        """Log blocks that fit into the segments up to the first that is not allocated."""
        total = 0
        for index, start in enumerate(segments):
            if not start:
                break
            total += self.segment_blocks(index)
        return total

    def log_place(self, segments: Sequence[int], copy: int, number: int) -> int:
        """Byte at which ``copy`` of log block ``number`` lies."""
        index = 0
        while number >= self.segment_blocks(index):
            number -= self.segment_blocks(index)
            index += 1
        return self.segment_place(segments, index, copy) + number * BLOCK


def data_start(copies: int = DEFAULT_COPIES, spacing: int = DEFAULT_SPACING) -> int:
    """First sector of spare data; ValueError for a geometry that cannot be."""
    return Geometry(copies, spacing).data_start
