"""From an exception to one sentence and one exit code: the only place that does it."""

import errno
import os

from pycontrol import errors
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.dm.errors import CookieError, DmError, DmIoctlError, DmNameError
from pycontrol.text import plain

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (errors.UsageError, ExitCode.USAGE),
    (errors.WrongDevice, ExitCode.WRONG_DEVICE),
    (errors.Busy, ExitCode.BUSY),
    (errors.AccessDenied, ExitCode.ACCESS),
    (errors.TargetMissing, ExitCode.NOT_LOADED),
    (errors.KernelLacks, ExitCode.KERNEL_LACKS),
    (errors.DeviceIoError, ExitCode.ACCESS),
    (errors.TargetRefused, ExitCode.REFUSED),
    (errors.BeyondRecovery, ExitCode.BEYOND_RECOVERY),
    (DmNameError, ExitCode.USAGE),
    (CookieError, ExitCode.ACCESS),
    (DmError, ExitCode.REFUSED),
    (errors.RemapError, ExitCode.ACCESS),
)


def expected(error: BaseException) -> bool:
    """Whether an exception is a failure to report rather than a defect to show in full."""
    return isinstance(error, (errors.RemapError, OSError, KeyboardInterrupt))


def exit_code(error: BaseException) -> ExitCode:
    """The code for an exception; the first in its chain that says something."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.CANCELLED
    if isinstance(error, DmIoctlError):
        from pycontrol.service.kernel import explain

        return exit_code(explain(error))
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError):
        return _os_code(error)
    return ExitCode.ACCESS


def sentence(error: BaseException) -> str:
    """What went wrong, in one line fit for a terminal."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, DmIoctlError):
        from pycontrol.service.kernel import explain

        return sentence(explain(error))
    if isinstance(error, OSError):
        reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
        return plain(f"{os.fsdecode(error.filename)}: {reason}" if error.filename else reason)
    return " ".join(visible(str(error)).split()) or type(error).__name__


def visible(sentence: str) -> str:
    """A sentence made of escaped parts, so that no control character can pass all the same.

    Escaping the backslashes of an escape again would only garble it.
    """
    return "".join(char if char == "\\" else plain(char) for char in sentence)


def _os_code(error: OSError) -> ExitCode:
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTBLK):
        return ExitCode.WRONG_DEVICE
    return ExitCode.BUSY if error.errno == errno.EBUSY else ExitCode.ACCESS
