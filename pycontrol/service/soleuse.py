"""Writing to a mapped device while nobody else can.

Between the look whether a block is pending and the write to it, its owner might write it,
and be overwritten with something older.  So either nobody uses the device and it is opened
for sole use (O_EXCL keeps mounts, swap and other devices away), or its file system is frozen.
Programs that open the device without either, as virtual machines do, are seen by
device-mapper's count of openers, and refused.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName
from pycontrol.errors import Busy
from pycontrol.service.blockdev import look_as, open_device
from pycontrol.service.devices import RemapDevice, in_use, still_open
from pycontrol.service.known import mounted
from pycontrol.service.known.freeze import Freezer, freezer
from pycontrol.text import plain

FREEZABLE: Final = ("ext2", "ext3", "ext4", "xfs")
"""File systems of one device, whose writes all stop when they are frozen."""


@dataclass(frozen=True, slots=True)
class SoleUse:
    """The open device: ``fd`` is for O_DIRECT."""

    fd: int
    _control: Control
    _name: DmName
    _freezer: Freezer | None

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Nobody else writes to the device inside the block, which should be short."""
        self._check()
        with self._freezer.frozen() if self._freezer else nullcontext():
            yield

    def _check(self) -> None:
        own = 2 if self._freezer else 1
        if still_open(self._control, self._name, but_for=own):
            raise Busy(f"{self._name} is open in another program; close it there ('fuser -v' names it)")


@contextmanager
def sole_use(control: Control, device: RemapDevice, *, freeze: bool) -> Iterator[SoleUse]:
    """Take a device, for reading and writing; Busy says who has it, WrongDevice if its node is another's."""
    name = DmName(device.info.name)
    mapped = look_as(device.path, device.info.dev)
    flags = os.O_RDWR | os.O_DIRECT
    with ExitStack() as stack:
        holder: Freezer | None = None
        try:
            fd = open_device(mapped, flags | os.O_EXCL)
        except Busy as error:
            mount = mounted.whole(device.info.dev)
            if mount is None:
                users = in_use(device.info) or "in use"
                raise Busy(f"{plain(device.path)} is {users}; release it first") from error
            where = plain(mount.point)
            if mount.fstype not in FREEZABLE:
                raise Busy(
                    f"{name} is mounted on {where} as {plain(mount.fstype)}; unmount it first"
                ) from error
            if not freeze:
                raise Busy(
                    f"{name} is mounted on {where}; unmount it, or use --freeze to hold its writes back for"
                    " moments"
                ) from error
            holder = stack.enter_context(freezer(mount.point, dev=device.info.dev))
            fd = open_device(mapped, flags)
        stack.callback(os.close, fd)
        yield SoleUse(fd, control, name, holder)
