"""What the running kernel offers, and its refusals as errors of the right kind."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pycontrol import TARGET
from pycontrol.dm.errors import DmIoctlError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import TargetVersion
from pycontrol.errors import (
    AccessDenied,
    Busy,
    KernelLacks,
    RemapError,
    TargetMissing,
    TargetRefused,
    WrongDevice,
)
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.kernellog import KernelLog

NEEDED: Final = (4, 37, 0)
"""The ioctl interface with DM_DEV_ARM_POLL and event numbers in the list (Linux 4.14)."""

_MODULE_WORK: Final = {"DM_TABLE_LOAD", "DM_DEV_SUSPEND", "DM_TARGET_MSG"}


def require_root() -> None:
    """AccessDenied for anybody but root."""
    if os.geteuid() != 0:
        raise AccessDenied("this needs root; run it with sudo")


def check_target(control: Control) -> TargetVersion:
    """Refuse a kernel without device-mapper, with too old a one, or without our target."""
    with explained():
        version = control.version()
        if version < NEEDED:
            has, needs = (".".join(map(str, value)) for value in (version, NEEDED))
            raise KernelLacks(
                f"device-mapper's interface is {has}, but {needs} is needed; boot a newer kernel"
            )
        found = control.target_version(TARGET)
    if found is None:
        raise TargetMissing(f"the target {TARGET} is not loaded; run 'dmremapctl module load' first")
    return found


@contextmanager
def explained(log: "KernelLog | None" = None) -> Iterator[None]:
    """Turn the boundary's errors inside the block into the package's own."""
    try:
        yield
    except DmIoctlError as error:
        raise explain(error, log.sentence() if log else "") from error


def explain(error: DmIoctlError, logged: str = "") -> RemapError:
    """The kind of trouble and the sentence for a failed ioctl; ``logged`` is the kernel's own."""
    asked = plain(error.asked)
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(f"the kernel does not let this user {_infinitive(error)}; run it as root")
    if error.command == "open":
        return TargetMissing(
            f"device-mapper is not loaded ({asked}: {os.strerror(error.errno)});"
            " run 'dmremapctl module load' or 'modprobe dm-mod'"
        )
    if error.errno in (errno.ENXIO, errno.ENODEV) and not logged:
        return WrongDevice(
            f"cannot {asked}: there is no such device; 'dmremapctl list' shows those there are"
        )
    reason = f"{plain(logged)}" if logged else os.strerror(error.errno)
    if error.command in _MODULE_WORK and not (error.errno == errno.EBUSY and not logged):
        if error.errno == errno.EBUSY:
            # A message is refused for what the device does just now, a table for its devices.
            why = "" if error.command == "DM_TARGET_MSG" else "; a device in it is in use"
            return Busy(f"the kernel refused to {asked}: {reason}{why}")
        return TargetRefused(f"the target refused to {asked}: {reason}{'' if logged else _see_log()}")
    if error.errno == errno.EBUSY:
        return Busy(f"cannot {asked}: the device or its name is in use")
    if error.errno == errno.ENOTTY:
        return KernelLacks(f"the kernel cannot {asked}; boot a newer kernel")
    return TargetRefused(f"the kernel refused to {asked}: {reason}{'' if logged else _see_log()}")


def _infinitive(error: DmIoctlError) -> str:
    asked = plain(error.asked)
    return f"open {asked}" if error.command == "open" else asked


def _see_log() -> str:
    return "; 'dmesg' may say more"
