"""Tables of remaps, made on the host as metadata for a spare, and requests that meet them."""

import random
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from pycontrol.metadata import SECTOR, Geometry, Kind, Record, encode_image, pack

EXTENT = 8  # sectors
GEOMETRY = Geometry(copies=5, spacing=256)
EXTENT_BYTES = EXTENT * SECTOR
TIME = 1_700_000_000


@dataclass(frozen=True)
class Remaps:
    """``number`` extents of 4 KiB at random on a main device of ``main_sectors``.

    Their places on the spare follow one another, so that neighbours on main are none on the
    spare, and no two extents become one.
    """

    number: int
    main_sectors: int
    spare_sectors: int
    seed: int = 1

    @property
    def uuid(self) -> UUID:
        return UUID(int=self.number)

    @cached_property
    def extents(self) -> list[int]:
        """First sector of each on main, in the order of their places on the spare."""
        places = random.Random(self.seed).sample(range(self.main_sectors // EXTENT), self.number)
        return [place * EXTENT for place in places]

    @cached_property
    def _sorted(self) -> list[int]:
        return sorted(self.extents)

    @property
    def first_place(self) -> int:
        """Sector of the spare where their data begins, behind the last log segment."""
        return self.spare_sectors - self.number * EXTENT

    def place(self, index: int) -> int:
        """Sector of the spare at which extent ``index`` lives."""
        return self.first_place + index * EXTENT

    def image(self) -> list[tuple[int, bytes]]:
        """Byte offset and content of each metadata block of the spare that is not zero."""
        records = (
            Record(main, self.place(index), EXTENT, Kind.REMAP, time=TIME)
            for index, main in enumerate(self.extents)
        )
        return encode_image(
            pack(records), uuid=self.uuid, main_sectors=self.main_sectors, spare_sectors=self.spare_sectors,
            copies=GEOMETRY.copies, spacing=GEOMETRY.spacing, time=TIME,
        )  # fmt: skip

    # Where requests go, in bytes.

    def missing(self, size: int, count: int) -> list[int]:
        """Offsets on main of requests of ``size`` bytes, none of which touches an extent."""
        rng = random.Random(self.seed + 1)
        found: list[int] = []
        while len(found) < count:
            offset = rng.randrange(self.main_sectors * SECTOR // size) * size
            if not self._touched(offset // SECTOR, size // SECTOR):
                found.append(offset)
        return found

    def hitting(self, size: int, count: int) -> tuple[list[int], list[int]]:
        """Offsets on main of requests each wholly in an extent, and where these are on the spare."""
        assert size <= EXTENT_BYTES
        rng = random.Random(self.seed + 2)
        picked = [
            (rng.randrange(self.number), rng.randrange(EXTENT_BYTES // size) * size) for _ in range(count)
        ]
        main = [self.extents[index] * SECTOR + inside for index, inside in picked]
        spare = [self.place(index) * SECTOR + inside for index, inside in picked]
        return main, spare

    def mixed(self, size: int, count: int) -> list[int]:
        """Every other request begins with an extent (and goes beyond it), the others touch none."""
        rng = random.Random(self.seed + 3)
        last = self.main_sectors - size // SECTOR
        inside = [start for start in self.extents[: 2 * count] if start <= last]
        touching = [rng.choice(inside) * SECTOR for _ in range(count // 2)]
        missing = self.missing(size, count // 2)
        return [offset for pair in zip(touching, missing, strict=True) for offset in pair]

    def _touched(self, start: int, sectors: int) -> bool:
        before = bisect_right(self._sorted, start + sectors - 1)
        return before > 0 and self._sorted[before - 1] + EXTENT > start
