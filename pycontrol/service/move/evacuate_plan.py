"""Moving a device to a healthy disk: what would be done, and whether it can be."""

from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName, TargetLine
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import blockdev, extents, live
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.boot import bound
from pycontrol.service.devices import named
from pycontrol.service.kernel import check_target, require_root
from pycontrol.service.move import newdevice
from pycontrol.service.ranges import Range, total
from pycontrol.sizes import SECTOR, human
from pycontrol.text import plain

REGION: Final = 1 << 20
"""Bytes at the beginning of the new disk that must be blank, where nothing known is found there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``evacuate`` would do.  Sectors are 512 bytes."""

    name: DmName
    mapped: BlockDevice
    """The device itself."""
    main: BlockDevice
    spare: BlockDevice
    new: BlockDevice
    uuid: str
    """Of device-mapper."""
    sectors: int
    """Of the device: what is copied."""
    block_size: int
    """The device's logical block, in bytes."""
    pending: tuple[Range, ...] = ()
    """What cannot be read."""
    loses: tuple[str, ...] = ()
    """What the new disk holds that would be overwritten."""
    warnings: tuple[str, ...] = ()

    @property
    def table(self) -> TargetLine:
        """The device on the new disk alone."""
        return TargetLine(0, self.sectors, "linear", f"{self.new.dev} 0")


def plan(
    control: Control, name: str, new_path: str, *, overwrite: bool = False, give_up: bool = False
) -> Plan:
    """Check everything that can be checked without writing.

    ``overwrite`` is the leave to destroy what the new disk holds, ``give_up`` that to lose
    what cannot be read.
    """
    require_root()
    check_target(control)
    device, target = extents.only_target(control, name)
    ours = named(device.info.name)
    main = newdevice.numbered(target.table.main)
    spare = newdevice.numbered(target.table.spare)
    new, warnings = newdevice.look(new_path, device, (main, spare))
    block = max(main.logical_block, spare.logical_block)
    if new.logical_block > block:
        raise WrongDevice(
            f"{plain(new_path)} has logical blocks of {new.logical_block} bytes, {plain(name)} has {block}:"
            " it cannot change while in use; name a disk with smaller ones"
        )
    if target.start:
        raise WrongDevice(f"{ours} does not begin with sector 0 of its table; it cannot be moved as a whole")
    if new.sectors < target.length:
        raise WrongDevice(
            f"{plain(new_path)} is too small: {human(new.size)} for the {human(target.length * SECTOR)} of"
            f" {ours}; name a larger disk"
        )
    uuid = live.load_live(target.table.spare, device.info.uuid).uuid
    pending = extents.pending(extents.listed(control, name))
    if pending and not give_up:
        raise Busy(
            f"{total(pending)} sectors of {ours} cannot be read; fill them first ('dmremapctl fill'), or"
            " write zeroes in their place with --give-up-lost FILE"
        )
    return Plan(
        name=ours,
        mapped=blockdev.look_as(device.path, device.info.dev),
        main=main,
        spare=spare,
        new=new,
        uuid=device.info.uuid,
        sectors=target.length,
        block_size=block,
        pending=tuple(pending),
        loses=tuple(newdevice.holdings(new, REGION, uuid, overwrite=overwrite)),
        warnings=(*warnings, *bound.evacuating(ours)),
    )
