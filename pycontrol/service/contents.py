"""What lies on a device that might become a spare.  Reads it, writes nothing."""

from collections.abc import Iterable
from functools import partial
from typing import Final

from pycontrol.errors import Busy, RemapError
from pycontrol.service import blockdev, signatures
from pycontrol.service.buffered import read_at
from pycontrol.service.find.disks import Disk
from pycontrol.service.find.judge import COPIES, SPACING, Content, Contents, region
from pycontrol.sizes import SECTOR, human
from pycontrol.text import plain

_STEP: Final = 64 << 10


def examine(disk: Disk) -> Contents:
    """Signatures, metadata of ours, or other data where the metadata would lie.

    A device that cannot be read is UNKNOWN, with the reason; nothing is raised for it.
    """
    try:
        with blockdev.opened(disk.path) as fd:
            return _examine(disk, partial(read_at, fd))
    except RemapError as error:
        return Contents(words=str(error))
    except OSError as error:
        return Contents(words=f"it cannot be read: {error.strerror}")


def _examine(disk: Disk, read: signatures.Read) -> Contents:
    from pycontrol import metadata

    marks = [*map(plain, disk.known_as), *(plain(mark) for mark in signatures.probe(read, disk.size))]
    if marks:
        return Contents(Content.SOMETHING, ", ".join(dict.fromkeys(marks)))
    try:
        found = metadata.survey(read, disk.size)
    except metadata.NotOurs:
        length = min(region(COPIES, SPACING), disk.size)
        if is_blank(read, length):
            return Contents(Content.BLANK)
        return Contents(Content.SOMETHING, f"data in its first {human(length)}")
    except metadata.MetadataError as error:
        return Contents(Content.SOMETHING, f"dm-remap metadata that is not as it should be ({plain(error)})")
    return Contents(
        Content.METADATA,
        f"{plain(found.info.name) or 'unnamed'}, main {plain(found.info.main_id) or 'not known'}",
        main_id=found.info.main_id,
        main_size=found.header.main_sectors * SECTOR,
    )


def is_blank(read: signatures.Read, length: int) -> bool:
    """Whether the first ``length`` bytes are zero."""
    return all(not any(read(at, min(_STEP, length - at))) for at in range(0, length, _STEP))


def check_agreed(path: str, found: Iterable[str], agreed: Iterable[str]) -> None:
    """Busy if there is more on a device by now than what somebody has agreed to lose; both for people."""
    known = set(agreed)
    more = [each for each in found if each not in known]
    if more:
        raise Busy(f"{plain(path)} carries {'; '.join(more)} by now; look at it again")
