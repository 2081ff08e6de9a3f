"""What has happened, as the records on the spare tell it."""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from pycontrol.dm.ioctl import Control
from pycontrol.metadata import Kind, Records
from pycontrol.service.devices import status
from pycontrol.service.live import load_live
from pycontrol.service.view.checkup import target_at
from pycontrol.service.view.growth import dated

KINDS: Final = {
    int(Kind.REMAP): "remap",
    int(Kind.PENDING): "pending",
    int(Kind.FREE): "unmap",
    int(Kind.BAD_SPARE): "bad_spare",
}


class Happening(NamedTuple):
    """One record.  Sectors of 512 bytes, times in seconds since 1970."""

    time: int
    """As it was recorded, by whatever clock."""
    not_before: int | None
    """The same where that can be, or the time of an earlier record; None if nothing tells."""
    kind: str
    sector: int | None
    """On main; None for a bad place on the spare."""
    sectors: int
    spare: int | None
    """On the spare; None for ``pending`` and ``unmap``."""


def events(control: Control, name: str, *, at: int = 0, now: float | None = None) -> Iterator[Happening]:
    """What has happened to the target at sector ``at`` of a device in service, oldest first.

    The spare is read at once; its errors (MetadataError, DeviceIoError) say why that cannot be.
    ``now`` in seconds since 1970, by default the time: what claims to be later has no date.
    """
    device = status(control, name)
    target = target_at(device, at)
    loaded = load_live(target.table.spare, device.info.uuid)
    return happenings(loaded.records, time.time() if now is None else now)


def happenings(records: Records, now: float) -> Iterator[Happening]:
    """The same of the records of any spare, also of one that was read offline."""
    times = (record.time for record in records)
    for record, not_before in zip(records, dated(times, now), strict=True):
        kind = KINDS[record.kind]
        yield Happening(
            time=record.time,
            not_before=not_before,
            kind=kind,
            sector=None if kind == "bad_spare" else record.main,
            sectors=record.sectors,
            spare=record.spare if kind in ("remap", "bad_spare") else None,
        )
