"""An old table as a new one: every sector gets a new place, since the old ones may lie in metadata."""

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from pycontrol.metadata.blocks import Header, Info
from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.image import check_sizes, place_segments
from pycontrol.metadata.layout import PER_BLOCK, SECTOR, Geometry
from pycontrol.metadata.legacy import Entry, Old
from pycontrol.metadata.records import Kind, Record, pack
from pycontrol.metadata.snapshot import AREA, Snapshot


@dataclass(slots=True)
class Converted:
    """The new state, and the data to copy: old and new spare sector of each.

    ``lost`` has the main sectors whose data is not to be had, with the reason: they are pending.
    ``left`` has those that the old format never moved: the main device still has them.
    """

    snapshot: Snapshot
    moves: list[tuple[int, int]] = field(default_factory=list)
    lost: dict[int, str] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)


def convert(
    old: Old,
    readable: Callable[[int], bool],
    *,
    uuid: UUID,
    spare_sectors: int,
    copies: int,
    spacing: int,
    block_size: int,
    time: int,
) -> Converted:
    """The table of an old image for a new spare.

    ``readable(sector)`` tells whether data of the old spare can be had.  Corrupt says in one
    sentence what of the old table cannot be, ValueError what of the new spare.
    """
    geometry = Geometry(copies, spacing)
    check_sizes(geometry, old.main_sectors, spare_sectors, block_size)
    lost: dict[int, str] = {}
    places = _places(old, lost)
    for main, spare in places.items():
        if main not in lost and not readable(spare):
            lost[main] = f"spare sector {spare} cannot be read"
    runs = _runs(places, lost)
    unit = block_size // SECTOR
    for main, sectors, _ in runs:
        if main % unit or sectors % unit:
            raise ValueError(
                f"main sectors {main} to {main + sectors - 1} are not whole logical blocks"
                f" of {block_size} bytes"
            )
    segments, at = place_segments(geometry, len(runs) // PER_BLOCK)
    records, moves = [], []
    for main, sectors, pending in runs:
        if pending:
            records.append(Record(main, 0, sectors, Kind.PENDING, 0, time))
            continue
        records.append(Record(main, at, sectors, Kind.REMAP, 0, time))
        moves += [(places[main + step], at + step) for step in range(sectors)]
        at += sectors
    if at > spare_sectors:
        raise ValueError(f"a spare of {spare_sectors} sectors has no room for {len(moves)} sectors of data")
    packed = pack(records)
    counted = max(0, len(records) - 1) // PER_BLOCK
    header = Header(
        uuid=uuid, sequence=1, time=time, copy=0, copies=copies, spacing=spacing,
        main_sectors=old.main_sectors, spare_sectors=spare_sectors, generation=1, cursor=at,
        segments=tuple(segments), records=packed[counted * AREA :], block_size=block_size,
    )  # fmt: skip
    log = (packed[: counted * AREA], array("Q", [1] * counted), array("Q", [time] * counted))
    snapshot = Snapshot(header, Info(uuid=uuid, sequence=1, time=time, copy=0), *log).sealed()
    left = sorted({entry.main for entry in old.entries if not entry.active})
    return Converted(snapshot, moves, lost, left)


def _places(old: Old, lost: dict[int, str]) -> dict[int, int]:
    """The spare sector of each main sector; the later entry counts, of two for one sector too."""
    places: dict[int, int] = {}
    owner: dict[int, int] = {}
    for entry in sorted(old.entries, key=lambda entry: entry.time):
        if not entry.active:
            continue
        _check(old, entry)
        lost.pop(entry.main, None)
        places[entry.main] = entry.spare
        if entry.spare < old.metadata_sectors:
            lost[entry.main] = f"spare sector {entry.spare} lay under the old metadata"
        before = owner.get(entry.spare)
        if before not in (None, entry.main) and places.get(before) == entry.spare:
            lost[before] = f"spare sector {entry.spare} was given away again"
        owner[entry.spare] = entry.main
    return places


def _check(old: Old, entry: Entry) -> None:
    if entry.main >= old.main_sectors:
        raise Corrupt(f"the old table names main sector {entry.main} of only {old.main_sectors}")
    if entry.spare >= old.spare_sectors:
        raise Corrupt(f"the old table names spare sector {entry.spare} of only {old.spare_sectors}")


def _runs(places: dict[int, int], lost: dict[int, str]) -> list[tuple[int, int, bool]]:
    """Main sector, sectors and whether they are pending, of neighbours in one state."""
    runs: list[tuple[int, int, bool]] = []
    for main in sorted(places):
        pending = main in lost
        if runs and runs[-1][0] + runs[-1][1] == main and runs[-1][2] == pending:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, pending)
        else:
            runs.append((main, 1, pending))
    return runs
