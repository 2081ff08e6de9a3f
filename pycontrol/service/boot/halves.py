"""Where the halves of a line of dmremaptab are, and that there is one spare and no copy of it."""

from functools import partial
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import Busy, RemapError, WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.activate import every_device
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.boot.tab import Entry, device_path
from pycontrol.service.buffered import read_at
from pycontrol.service.create import FindPaths
from pycontrol.service.remains import put_since
from pycontrol.sizes import SECTOR
from pycontrol.text import plain


class Missing(WrongDevice):
    """A half is not there, and may still come."""


def find(entry: Entry, paths: FindPaths | None = None) -> tuple[str, str]:
    """The paths of main device and spare.

    Missing if one is not there; Busy if there are two spares with that uuid, since one is a copy
    of the other and nobody knows which of them is true.
    """
    main = _named(entry.main)
    if not entry.uuid:
        # One that holds no metadata is refused later, with all that can be said of it.
        spare = _named(entry.spare)
        refuse_copies(blockdev.look(spare), paths)
        return main, spare
    try:
        # The link that udev makes of the uuid: only what is as large can be a copy.
        size = blockdev.look(_named(entry.spare)).size
    except Missing:
        size = None
    found = by_uuid(UUID(entry.uuid), paths or every_device, size)
    if not found:
        _refuse_former(UUID(entry.uuid), paths or every_device)
        raise Missing(f"no spare with the metadata uuid {entry.uuid} is there")
    _only_one(found)
    return main, found[0]


def refuse_copies(spare: BlockDevice, paths: FindPaths | None = None) -> None:
    """Busy if there is another spare with the uuid of this one, whoever holds it at present."""
    uuid = _uuid_of(spare)
    if uuid:
        # Whatever holds it at present, it is one of them.
        found = by_uuid(uuid, paths or every_device, spare.size)
        _only_one(sorted([spare.path, *(path for path in found if blockdev.number(path) != spare.dev)]))


def _only_one(found: list[str]) -> None:
    if len(found) > 1:
        raise Busy(
            f"{' and '.join(map(plain, found))} have one metadata uuid; one is a copy of the other, and they"
            " may no longer be equal: disconnect the one that is not meant"
        )


def _named(word: str) -> str:
    path = device_path(word)
    try:
        blockdev.number(path)
    except WrongDevice as error:
        raise Missing(str(error)) from error
    return blockdev.look(path).path


def by_uuid(uuid: UUID, paths: FindPaths, size: int | None = None) -> list[str]:
    """Every device with metadata of this uuid, of so many bytes if ``size`` is given.

    Not those that are part of something else: the first block of a mirror, or of a path
    of multipath, is that of the whole.
    """
    seen: dict[str, str] = {}
    for path in paths():
        try:
            number = str(blockdev.number(path))
            device = blockdev.look(path)
            if size not in (None, device.size) or device.holders or _stands_still(number):
                continue
            if _uuid_of(device, uuid) == uuid:
                seen.setdefault(number, device.path)
        except (RemapError, OSError):
            # What cannot be opened or went away is no candidate.
            continue
    return sorted(seen.values())


def _refuse_former(uuid: UUID, paths: FindPaths) -> None:
    """Busy if the spare was put to other use."""
    for path in paths():
        try:
            device = blockdev.look(path)
            if _stands_still(str(device.dev)):
                continue
            with blockdev.opened(device) as fd:
                read = partial(read_at, fd)
                header = metadata.survey(read, device.size, uuid).header
                since = put_since(read, header.copies * header.spacing * SECTOR)
        except (RemapError, OSError):
            continue
        if since and header.uuid == uuid:
            raise Busy(
                f"{plain(path)} carries {since}, and further on what is left of a spare; 'dmremapctl meta"
                " repair --in-place' makes it one again, and nothing else"
            )


def _stands_still(number: str) -> bool:
    """Whether it is a suspended device of device-mapper: who reads it waits for its resume."""
    try:
        return (blockdev.SYSFS / "dev/block" / number / "dm/suspended").read_text().strip() == "1"
    except OSError:
        return False


def _uuid_of(device: BlockDevice, wanted: UUID | None = None) -> UUID | None:
    with blockdev.opened(device) as fd:
        try:
            read = partial(read_at, fd)
            header = metadata.survey(read, device.size, wanted).header
            # One that was put to other use is none.
            return None if put_since(read, header.copies * header.spacing * SECTOR) else header.uuid
        except metadata.OutOfService as error:
            # A new spare to which everything was copied: activation deals with that.
            return error.uuid if error.mark is None else None
        except metadata.MetadataError:
            return None
