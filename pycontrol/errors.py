"""What can go wrong, in three families.

What was asked cannot be done (:class:`RequestError`), the machine lacks something
(:class:`MachineError`), or something broke (:class:`BrokenError`).  A fourth is the
boundary's own, :class:`pycontrol.dm.errors.DmError`: what device-mapper itself answered to a
:class:`~pycontrol.dm.ioctl.Control`, which the services turn into one of the three.  A class says
what kind of trouble it is; the message is one sentence that ends with what to do.
Exit codes are chosen from the class in :mod:`pycontrol.cli.failures` and nowhere else.
"""


class RemapError(Exception):
    """Root of every error this package raises on purpose."""


class RequestError(RemapError):
    """What was asked for cannot be done as asked."""


class UsageError(RequestError):
    """An argument is malformed or out of its range."""


class WrongDevice(RequestError):
    """There is no such device, or it is not what the command needs."""


class Busy(RequestError):
    """The device is in use, mounted, or carries somebody's signature."""


class MachineError(RemapError):
    """The machine lacks something the command needs."""


class AccessDenied(MachineError):
    """Not root, or the kernel forbids it."""


class TargetMissing(MachineError):
    """Device-mapper or our target is not loaded."""


class KernelLacks(MachineError):
    """The kernel is too old, or headers, compiler or tools are missing."""


class BrokenError(RemapError):
    """Something that should have worked did not."""


class DeviceIoError(BrokenError):
    """Reading or writing a device failed."""


class TargetRefused(BrokenError):
    """The kernel's target refused a table, a resume or a message."""


class BeyondRecovery(BrokenError):
    """Metadata is ours, but no copy of some block of it can be trusted."""
