"""The state of a spare, as it is written to another one with other places."""

from array import array
from collections.abc import Iterable
from dataclasses import replace

from pycontrol.metadata.blocks import Header
from pycontrol.metadata.image import check_sizes, place_segments
from pycontrol.metadata.layout import (
    ARRIVED,
    BLOCK_SECTORS,
    MAX_SEQUENCE,
    PER_BLOCK,
    RECORD_SIZE,
    SECTOR,
    Geometry,
)
from pycontrol.metadata.records import Record, pack
from pycontrol.metadata.snapshot import AREA, Snapshot
from pycontrol.metadata.state import Loaded

_AHEAD = 17
"""As after every load that writes: see the rules of a reader in ``docs/on-disk-format.md``."""


def moved(
    loaded: Loaded,
    records: Iterable[Record],
    *,
    spare_sectors: int,
    block_size: int,
    end: int,
    lost: int,
    time: int,
) -> Snapshot:
    """The metadata of a spare of ``spare_sectors`` that takes the place of the one that was loaded.

    It carries these records, whose data ends before sector ``end``, log segments behind
    that, and the feature ARRIVED; uuid, geometry and soft state stay, to which ``lost``
    sectors are added.  ``block_size`` in bytes.  ValueError if there is no room.
    """
    geometry = Geometry(loaded.copies, loaded.spacing)
    check_sizes(geometry, loaded.main_sectors, spare_sectors, block_size)
    packed = pack(records)
    total = len(packed) // RECORD_SIZE
    counted = max(0, total - 1) // PER_BLOCK
    segments, cursor = place_segments(
        geometry, total // PER_BLOCK, start=-(-end // BLOCK_SECTORS) * BLOCK_SECTORS
    )
    if end > spare_sectors or (segments[1] and cursor > spare_sectors):
        raise ValueError(f"a spare of {spare_sectors} sectors has no room for {total} records")
    sequence = loaded.sequence + _AHEAD
    if sequence >= MAX_SEQUENCE:  # there is one more to come, without the feature
        raise ValueError(f"the sequence number {loaded.sequence} is the last there can be")
    header = Header(
        uuid=loaded.uuid, sequence=sequence, time=time, copy=0, copies=loaded.copies,
        spacing=loaded.spacing, main_sectors=loaded.main_sectors, spare_sectors=spare_sectors,
        generation=loaded.generation, cursor=_cursor(cursor, geometry, spare_sectors, block_size),
        segments=tuple(segments), records=packed[counted * AREA :], block_size=block_size,
        flags=loaded.header.flags, compat=loaded.header.compat, incompat=ARRIVED,
    )  # fmt: skip
    info = replace(
        loaded.info, copy=0, sequence=min(loaded.info.sequence + 1, MAX_SEQUENCE), time=time,
        lost=loaded.info.lost + lost,
    )  # fmt: skip
    sequences = array("Q", [sequence - 1]) * counted
    times = array("Q", [time]) * counted
    return Snapshot(header, info, packed[: counted * AREA], sequences, times).sealed()


def _cursor(after: int, geometry: Geometry, sectors: int, block_size: int) -> int:
    """Where allocation goes on: a whole logical block, at the beginning if the end is reached."""
    unit = block_size // SECTOR
    cursor = -(-after // unit) * unit
    return cursor if cursor < sectors else geometry.data_start
