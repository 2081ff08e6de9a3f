"""Replacing a spare: what would be done, and whether it can be."""

from dataclasses import dataclass

from pycontrol import TARGET, metadata
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName, TargetLine
from pycontrol.errors import WrongDevice
from pycontrol.metadata import SECTOR, Extent, Geometry, Kind, Loaded
from pycontrol.service import live
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.boot import bound
from pycontrol.service.devices import named
from pycontrol.service.extents import only_target
from pycontrol.service.kernel import check_target, require_root
from pycontrol.service.move import newdevice
from pycontrol.service.move.placement import NoRoom, Placement
from pycontrol.service.status import TargetTable
from pycontrol.sizes import human
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``spare replace`` would do.  Sectors are 512 bytes."""

    name: DmName
    main: BlockDevice
    old: BlockDevice
    new: BlockDevice
    uuid: str
    """Of device-mapper."""
    table: TargetLine
    """With the new spare."""
    geometry: Geometry
    block_size: int
    """The logical block of main and the new spare together, in bytes."""
    sectors: int
    """That live on the old spare."""
    loses: tuple[str, ...] = ()
    """What the new spare holds that would be overwritten."""
    warnings: tuple[str, ...] = ()

    @property
    def region(self) -> int:
        """Bytes at the beginning of the new spare that are for the metadata."""
        return self.geometry.region * SECTOR


def plan(control: Control, name: str, new_path: str, *, overwrite: bool = False) -> Plan:
    """Check everything that can be checked without writing.

    ``overwrite`` is the leave to destroy what the new spare holds.
    """
    require_root()
    check_target(control)
    device, target = only_target(control, name)
    ours = named(device.info.name)
    main = newdevice.numbered(target.table.main)
    old = newdevice.numbered(target.table.spare)
    new, warnings = newdevice.look(new_path, device, (main, old))
    loaded = live.load_live(target.table.spare, device.info.uuid)
    geometry = Geometry(loaded.copies, loaded.spacing)
    block_size = max(main.logical_block, new.logical_block)
    if block_size > loaded.block_size:
        raise WrongDevice(
            f"{plain(new_path)} has logical blocks of {new.logical_block} bytes, {plain(name)} has"
            f" {loaded.block_size}: it cannot change while in use; name a device with smaller ones"
        )
    check_room(new, loaded, geometry, block_size)
    words = TargetTable(target.table.main, str(new.dev), target.table.features)
    return Plan(
        name=ours,
        main=main,
        old=old,
        new=new,
        uuid=device.info.uuid,
        table=TargetLine(target.start, target.length, TARGET, str(words)),
        geometry=geometry,
        block_size=block_size,
        sectors=loaded.used_sectors,
        loses=tuple(newdevice.holdings(new, geometry.region * SECTOR, loaded.uuid, overwrite=overwrite)),
        warnings=(*warnings, *bound.replacing(ours)),
    )


def remaps(loaded: Loaded) -> list[tuple[int, int, int]]:
    """Main sector, sectors and spare sector of what lives on the spare, in order."""
    return [(each.main, each.sectors, each.spare) for each in remapped(loaded)]


def remapped(loaded: Loaded) -> list[Extent]:
    """The extents that live on the spare, in order."""
    return [extent for extent in loaded.extents if extent.kind is Kind.REMAP]


def check_room(new: BlockDevice, loaded: Loaded, geometry: Geometry, block_size: int) -> None:
    """WrongDevice if ``new`` is too small for what lives on the spare, and its metadata.

    ``block_size`` is the logical block of main and the new spare together, in bytes.
    """
    placement = Placement(geometry.data_start, new.sectors)
    try:
        placement.follow(remaps(loaded))
        metadata.moved(
            loaded,
            (metadata.Record(*extent) for extent in loaded.extents),
            spare_sectors=new.sectors,
            block_size=block_size,
            end=placement.cursor,
            lost=0,
            time=0,
        )
    except (NoRoom, ValueError) as error:
        needed = human((geometry.data_start + loaded.used_sectors) * SECTOR)
        raise WrongDevice(
            f"{plain(new.path)} is too small: {human(new.size)}, but {needed} and some room for metadata are"
            " needed; name a larger device"
        ) from error
