"""Looking at the metadata of a spare; writes nothing."""

from dataclasses import dataclass
from uuid import UUID

from pycontrol.metadata import Loaded, Survey, load, survey
from pycontrol.metadata.state import MAY_BE_OLD
from pycontrol.service.offline.meta import reading
from pycontrol.service.offline.source import source
from pycontrol.service.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found on ``path``, which has ``size`` bytes."""

    path: str
    size: int
    loaded: Loaded
    in_use: str = ""
    """Who uses it, for people; empty if nobody does that can be seen."""

    @property
    def notes(self) -> list[str]:
        """What is readable, but not as it should be."""
        loaded = self.loaded
        found = []
        if self.in_use:
            found.append(f"{self.in_use}: this is how it stood for a moment")
        if loaded.device_sectors != loaded.spare_sectors:
            found.append(
                f"made for a spare of {loaded.spare_sectors} sectors, this one has {loaded.device_sectors}:"
                " the target will refuse it"
            )
        if loaded.read_only:
            found.append(f"read-only compatible features {loaded.header.ro_compat:#x} are not known here")
        if loaded.needs_check:
            found.append("needs_check is set: a change could not be recorded")
        if loaded.may_be_old:
            found.append(
                f"{MAY_BE_OLD}: the target writes nothing until the others can be read, or are given up"
                " with 'repair anyway'"
            )
        elif not loaded.intact:
            found.append("some blocks are damaged or stale: the target mends them when it is activated")
        return found


def look_at_headers(path: str, uuid: UUID | None = None, *, offset: int = 0) -> tuple[Survey, str]:
    """What headers and info blocks alone tell, and who uses the spare; see :func:`inspect`."""
    with source(path, offset) as opened:
        return opened.look(lambda read, size: survey(read, size, uuid)), opened.in_use


def inspect(
    path: str, uuid: UUID | None = None, *, offset: int = 0, progress: Progress = silent
) -> Inspection:
    """Read the metadata from a device or an image file, opened read-only.

    ``offset`` is the byte at which the spare begins.  MetadataError says why there is
    none; the other errors are about the device.
    """
    with source(path, offset) as opened:
        loaded = opened.look(lambda read, size: load(reading(read, size, uuid, progress), size, uuid=uuid))
        return Inspection(path, opened.size, loaded, opened.in_use)
