"""Bringing a device up and taking it down, each wholly or not at all."""

import contextlib
from collections.abc import Callable, Iterable

from pycontrol.dm.cookie import Cookie, drop_node, ensure_node
from pycontrol.dm.errors import CookieError, DmError, DmIoctlError
from pycontrol.dm.ioctl import Control, remove_retrying
from pycontrol.dm.types import DeviceInfo, DmCommand, DmName, DmUuid, Ref, TargetLine

MakeCookie = Callable[[], Cookie]


def bring_up(
    control: Control,
    name: DmName,
    uuid: DmUuid,
    targets: Iterable[TargetLine],
    *,
    readonly: bool = False,
    cookie: MakeCookie = Cookie,
) -> DeviceInfo:
    """DM_DEV_CREATE, DM_TABLE_LOAD, resume; a device half made is removed again.

    Only the resume carries a cookie: udev's rules pass over the uevents before it.
    """
    live = False
    try:
        control.create(name, uuid)
        control.load(name, targets, readonly=readonly)
        with cookie() as waiting:
            info = control.resume(name, event_nr=waiting.arm())
            live = True
            waiting.sent(info.flags)
    except BaseException as error:
        if live and isinstance(error, CookieError):
            # The device itself is up; that udev is slow is no reason to take it down.
            raise
        if isinstance(error, DmIoctlError) and error.command == DmCommand.DM_DEV_CREATE.name:
            # Nothing was made, and what there is of that name or uuid is somebody else's.
            raise
        with contextlib.suppress(DmError, OSError):
            # By its uuid: interrupted before it was made, the name may be that of another.
            take_down(control, uuid, cookie=cookie)
        raise
    ensure_node(name, info.dev)
    return info


def take_down(
    control: Control, ref: Ref, *, deferred: bool = False, cookie: MakeCookie = Cookie
) -> DeviceInfo:
    """Remove a device and wait until udev has forgotten it.

    With ``deferred`` one in use goes when its last user closes it.  DmIoctlError if there is no such
    device, or it is open (EBUSY); CookieError if udev does not answer.
    """
    name = control.info(ref).name
    with cookie() as waiting:
        if deferred:
            info = control.remove(ref, deferred=True, event_nr=waiting.arm())
        else:
            info = remove_retrying(control, ref, event_nr=waiting.arm())
        waiting.sent(info.flags)
    if not info.deferred_remove:
        drop_node(name)
    return info
