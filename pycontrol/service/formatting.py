"""Writing the metadata of a spare that nothing is remapped to yet."""

from pycontrol import metadata
from pycontrol.errors import WrongDevice
from pycontrol.metadata import Geometry, Mark
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.contents import check_agreed
from pycontrol.service.create import Options, Plan
from pycontrol.service.directio import direct
from pycontrol.service.examining import check_main, examine
from pycontrol.service.move import retire
from pycontrol.sizes import SECTOR
from pycontrol.text import plain


def write_fresh(decided: Plan, now: int) -> None:
    """Zero the region, then write the copies; sole use of the spare meanwhile.

    ``now`` is in seconds since 1970.  WrongDevice if metadata of this geometry cannot be, Busy if
    the devices hold something that they did not when it was decided, DeviceIoError if writing failed.
    """
    try:
        blocks = metadata.fresh(
            uuid=decided.uuid,
            main_sectors=decided.main.sectors,
            spare_sectors=decided.spare.sectors,
            copies=decided.copies,
            spacing=decided.spacing // SECTOR,
            block_size=max(decided.main.logical_block, decided.spare.logical_block),
            main_id=str(decided.main.identity),
            name=str(decided.name),
            time=now,
        )
    except ValueError as error:
        raise WrongDevice(f"{plain(decided.spare.path)} cannot be formatted: {plain(error)}") from error
    geometry = Geometry(decided.copies, decided.spacing // SECTOR)
    mark = retire.unfinished(decided.uuid, now, decided.main)
    places = {offset for offset, _ in metadata.marked(mark, geometry)}
    with direct(decided.spare, write=True, exclusive=True) as spare:
        _check_unchanged(decided)
        # At each moment there is the mark or a header: never half of something that nobody knows.
        retire.begin(spare, decided.spare.size, geometry, mark)
        spare.store(block for block in blocks if block[0] not in places)
        retire.admit(spare, [block for block in blocks if block[0] in places])


def _check_unchanged(decided: Plan) -> None:
    """Refuse if more would be lost than was decided: somebody may have been asked, and taken his time."""
    found = examine(decided.main, decided.spare, Options(True, decided.copies, decided.spacing))
    check_agreed(decided.spare.path, found.loses, decided.loses)
    check_main(decided.main)


def was_interrupted(mark: Mark | None, main: BlockDevice) -> bool:
    """Whether a spare with this mark was being made for this main device, and can be begun anew."""
    if mark is None:
        return False
    ours = retire.unfinished(mark.uuid, mark.time, main)
    return metadata.encode_mark(mark) == metadata.encode_mark(ours)
