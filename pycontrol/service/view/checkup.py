"""Collecting the facts that :mod:`pycontrol.service.view.health` judges."""

import time
from dataclasses import dataclass

from pycontrol.dm.ioctl import Control
from pycontrol.errors import RemapError, WrongDevice
from pycontrol.metadata import Kind, Loaded
from pycontrol.service.devices import RemapDevice, RemapTarget, list_devices, status
from pycontrol.service.live import load_live
from pycontrol.service.view.growth import Growth
from pycontrol.service.view.health import Facts, Verdict, judge, no_table
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Checkup:
    """One target, what is known of it, and the verdict; no target if the device has no table."""

    device: RemapDevice
    target: RemapTarget | None
    facts: Facts | None
    verdict: Verdict


def check_up(control: Control, name: str | None = None, now: float | None = None) -> list[Checkup]:
    """The verdict on every target of one device, or of all; the spares are read for it.

    ``now`` in seconds since 1970, by default the time.  A spare that cannot be read is a reason in
    the verdict and no error; WrongDevice if there is no such device of ours, or it has no table.
    """
    if name is not None:
        found = [status(control, name)]
        target_at(found[0], 0)
    else:
        found = list_devices(control)
    at = time.time() if now is None else now
    return [
        *(_look(device, target, at) for device in found for target in device.targets),
        *(_without(device) for device in found if not device.targets and not device.moved),
    ]


def _without(device: RemapDevice) -> Checkup:
    return Checkup(device, None, None, no_table(plain(device.info.name)))


def _look(device: RemapDevice, target: RemapTarget, now: float) -> Checkup:
    loaded, unread = history_of(device, target)
    facts = Facts(
        name=plain(device.info.name),
        now=now,
        status=target.status,
        pending_sectors=_pending_sectors(device, target, loaded),
        growth=Growth.of(loaded, now) if loaded else None,
        unread=unread,
        suspended=device.info.suspended,
        readonly=device.info.readonly,
    )
    return Checkup(device, target, facts, judge(facts))


def _pending_sectors(device: RemapDevice, target: RemapTarget, loaded: Loaded | None) -> int:
    # Of a suspended device the kernel has no map, and counts none; the spare has it still.
    if not target.status.pending_extents and not device.info.suspended:
        return 0
    # An extent has a sector at least: better too few than none.
    on_spare = loaded.extents.sectors(Kind.PENDING) if loaded else 0
    return on_spare or target.status.pending_extents


def history_of(device: RemapDevice, target: RemapTarget) -> tuple[Loaded | None, str]:
    """What the spare of a target in service holds, or None and why that could not be read."""
    try:
        return load_live(target.table.spare, device.info.uuid), ""
    except (RemapError, OSError) as error:
        return None, plain(error)


def target_at(device: RemapDevice, sector: int) -> RemapTarget:
    """The target of a device that covers ``sector`` of it; WrongDevice if none of ours does."""
    for target in device.targets:
        if target.start <= sector < target.start + target.length:
            return target
    if sector == 0 and device.targets:
        return device.targets[0]
    what = f"has no target of dm-remap at sector {sector}" if device.targets else device.lacking
    raise WrongDevice(f"{plain(device.info.name)} {what}; see 'dmremapctl status'")
