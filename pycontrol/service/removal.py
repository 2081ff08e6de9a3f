"""Taking a device down that somebody may still hold for a while."""

import errno
from time import monotonic
from typing import Final

from pycontrol.dm.cookie import Cookie, drop_node
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import live
from pycontrol.service.closing import closings
from pycontrol.service.devices import in_use, named, status
from pycontrol.service.kernel import explained
from pycontrol.text import plain

PATIENCE: Final = 60.0
"""Seconds to wait, unless somebody says otherwise."""


def remove_waiting(
    control: Control, name: str, *, patience: float = PATIENCE, cookie: MakeCookie = Cookie
) -> DeviceInfo:
    """Take a device down as soon as nobody uses it; Busy names the user after ``patience`` seconds."""
    device = status(control, name)
    ours = named(device.info.name)
    deadline = monotonic() + patience
    try:
        node = live.node(str(device.info.dev))
    except WrongDevice:
        # Nobody made one: then nobody can close it either.
        node = device.path
    with closings(control, node) as wait:
        while True:
            try:
                return _remove(control, ours, cookie)
            except DmIoctlError as error:
                left = deadline - monotonic()
                with explained():
                    if error.errno != errno.EBUSY:
                        raise
                    if left <= 0:
                        users = in_use(device.info) or "still open"
                        raise Busy(
                            f"{plain(ours)} is {users} after {patience:.0f} s; release it first ('fuser -vm'"
                            " names the processes), or use --deferred"
                        ) from error
            wait(left)


def _remove(control: Control, name: DmName, cookie: MakeCookie) -> DeviceInfo:
    with cookie() as waiting:
        info = control.remove(name, event_nr=waiting.arm())
        waiting.sent(info.flags)
    drop_node(name)
    return info
