"""What a command that was killed has left of a device that never came up."""

from dataclasses import dataclass, replace
from uuid import UUID

from pycontrol import UUID_PREFIX
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.flow import MakeCookie, take_down
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DevNumber, DmName
from pycontrol.errors import Busy
from pycontrol.service import blockdev
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.kernel import explained
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A device of ours that has never had a live table."""

    info: DeviceInfo
    holds: frozenset[DevNumber]
    """What its inactive table stands on, and has for itself alone."""

    def without(self, device: BlockDevice) -> BlockDevice:
        """A device as it will be when this is cleared away."""
        names = self.info.name, f"dm-{self.info.dev.minor}"
        return replace(device, holders=tuple(holder for holder in device.holders if holder not in names))


def clear_unfinished(control: Control, name: DmName, *, cookie: MakeCookie = Cookie) -> bool:
    """Remove a device of ours that has never had a table; false if there is none.

    Only under the lock of its name (:func:`underway`): else it may be one that is being made.
    """
    if unfinished(control, name) is None:
        return False
    with explained():
        take_down(control, name, cookie=cookie)
    return True


def unfinished(control: Control, name: DmName) -> Unfinished | None:
    """A device of ours that has never had a live table and that nobody has open; None if there is none."""
    try:
        info = control.info(name)
        if not info.uuid.startswith(UUID_PREFIX) or info.has_table or info.open_count:
            return None
        return Unfinished(info, frozenset(control.deps(name, inactive=True)))
    except DmIoctlError:
        return None


def free_name(control: Control, name: DmName) -> Unfinished | None:
    """What a killed command has left under a name, if anything; Busy if a device has it."""
    left = unfinished(control, name)
    if left is None:
        with explained():
            if any(entry.name == name for entry in control.list_devices()):
                raise Busy(f"there is a device named {name} already; choose another name or remove it")
    return left


def check_free_but_for(left: Unfinished | None, device: BlockDevice) -> None:
    """Refuse a device that others than what a killed command has left hold; carry_out looks again."""
    if left is None or device.dev not in left.holds:
        blockdev.check_free(device)
    else:
        # Until that is cleared away nobody else can have it to themselves, not even to try.
        blockdev.check_unused(device)


def check_elsewhere(control: Control, name: DmName, uuid: UUID) -> None:
    """Busy if there is a device of another name with the uuid of this spare: it may never have come up.

    The kernel would only say that something is in use.
    """
    with explained():
        for entry in control.list_devices():
            if entry.uuid == f"{UUID_PREFIX}{uuid}" and entry.name != name:
                shown = plain(entry.name)
                raise Busy(
                    f"{shown} is the device of this spare, though it may not be up; use that name, or"
                    f" 'dmremapctl remove {shown}' first"
                )
