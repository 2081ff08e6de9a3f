"""Letting others go first: the lowest I/O priority."""

import ctypes
import platform
from contextlib import suppress
from typing import Final

# ioprio_set() has no wrapper in the C library.  Numbers from each architecture's syscall
# table; those not named use asm-generic/unistd.h.
_NUMBERS: Final = {"x86_64": 251, "i686": 289, "armv7l": 314, "ppc64le": 273, "s390x": 282}
_GENERIC: Final = 30

_WHO_PROCESS: Final = 1
_BEST_EFFORT: Final = 2 << 13
_LOWEST: Final = 7


def go_last() -> None:
    """Ask for the lowest level of the ordinary class.  The scheduler bfq heeds it, others do not.

    Not for the idle class: the target looks into a failed read at the reader's priority, and
    others may wait for these sectors meanwhile.
    """
    with suppress(OSError, AttributeError):
        number = _NUMBERS.get(platform.machine(), _GENERIC)
        ctypes.CDLL(None).syscall(
            ctypes.c_long(number),
            ctypes.c_int(_WHO_PROCESS),
            ctypes.c_int(0),
            ctypes.c_int(_BEST_EFFORT | _LOWEST),
        )
