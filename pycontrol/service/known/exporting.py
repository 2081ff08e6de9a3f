"""What is known to be bad on a device's main disk, in the formats that others read."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pycontrol.dm.ioctl import Control
from pycontrol.errors import UsageError
from pycontrol.service.extents import Extent, listed, only_target, pending
from pycontrol.service.known import badblocks, ddrescue, sectorlist
from pycontrol.service.ranges import merged, scaled
from pycontrol.sizes import SECTOR
from pycontrol.text import plain


class Form(StrEnum):
    """The formats; what was written in one of them, an import reads again to the sector."""

    LIST = "list"
    """As the target itself lists it."""
    BADBLOCKS = "badblocks"
    """As badblocks(8) writes it and e2fsck(8) reads it."""
    DDRESCUE = "ddrescue"
    """A map file of GNU ddrescue: ``-`` is pending, ``+`` all the rest."""


@dataclass(frozen=True, slots=True)
class KnownBad:
    """The bad sectors of a device's main disk, of which there are ``sectors`` of 512 bytes."""

    name: str
    sectors: int
    extents: tuple[Extent, ...]

    def lines(
        self, form: Form = Form.LIST, *, block_size: int = badblocks.BLOCK, rounded: bool = False
    ) -> Iterator[str]:
        """The lines of a file, each with its newline.

        ``block_size``, in bytes, and ``rounded`` are for BADBLOCKS: a block that is bad in part is
        a UsageError unless it may be listed all the same.
        """
        comment = f"dmremapctl export {plain(self.name)}: {self.sectors} sectors of 512 bytes"
        if form is Form.LIST:
            return sectorlist.written(self.extents, comment)
        if form is Form.DDRESCUE:
            bad = scaled(pending(self.extents), SECTOR)
            return ddrescue.written(bad, self.sectors * SECTOR, comment)
        badblocks.check_block_size(block_size)
        bad = scaled(merged((extent.sector, extent.end) for extent in self.extents), SECTOR)
        return badblocks.written(bad, block_size, rounded=rounded)


def export(control: Control, name: str, *, with_remapped: bool = True, with_pending: bool = True) -> KnownBad:
    """Ask a device which sectors of its main disk are bad: remapped or pending, or one of the two.

    UsageError for a device of several targets.
    """
    if not (with_remapped or with_pending):
        raise UsageError("neither what is remapped nor what is pending is asked for")
    _, target = only_target(control, name)
    found = listed(control, name, at=target.start)
    chosen = (extent for extent in found if (with_pending if extent.pending else with_remapped))
    return KnownBad(name, target.length, tuple(chosen))
