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
    (errors.Cancelled, ExitCode.CANCELLED),
    (errors.AccessDenied, ExitCode.ACCESS),
    (errors.TargetMissing, ExitCode.NOT_LOADED),
    (errors.KernelLacks, ExitCode.KERNEL_LACKS),
    (errors.DeviceIoError, ExitCode.ACCESS),
    (errors.TargetRefused, ExitCode.REFUSED),
    (errors.BeyondRecovery, ExitCode.BEYOND_RECOVERY),
    (errors.RemapError, ExitCode.ACCESS),
    (DmNameError, ExitCode.USAGE),
    (CookieError, ExitCode.ACCESS),
    (DmError, ExitCode.REFUSED),
)


def expected(error: BaseException) -> bool:
    """Whether an exception is a failure to report rather than a defect to show in full."""
    return isinstance(error, (errors.RemapError, DmError, OSError, KeyboardInterrupt))


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
    # The package's own sentences were made of escaped parts: escaping the backslashes of an
    # escape again would only garble it, but control characters must not pass here either.
    words = "".join(char if char == "\\" else plain(char) for char in str(error))
    return " ".join(words.split()) or type(error).__name__


def _os_code(error: OSError) -> ExitCode:
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTBLK):
        return ExitCode.WRONG_DEVICE
    return ExitCode.BUSY if error.errno == errno.EBUSY else ExitCode.ACCESS
