"""Exit codes, the same in every command."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can learn from ``$?``."""

    OK = 0
    DAMAGED = 1
    USAGE = 2
    BEYOND_RECOVERY = 3
    WRONG_DEVICE = 4
    BUSY = 5
    ACCESS = 6
    NOT_LOADED = 7
    KERNEL_LACKS = 8
    REFUSED = 9
    CANCELLED = 10
    HOSTS_FAILED = 11
    FAULT = 12


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "success",
    ExitCode.DAMAGED: "damage was found, or something is still lost",
    ExitCode.USAGE: "wrong usage, nothing was done",
    ExitCode.BEYOND_RECOVERY: "metadata is beyond recovery",
    ExitCode.WRONG_DEVICE: "no such device, or the wrong one",
    ExitCode.BUSY: "in use, mounted, or somebody's signature on it",
    ExitCode.ACCESS: "not permitted, or an I/O error",
    ExitCode.NOT_LOADED: "the module or its target is not loaded",
    ExitCode.KERNEL_LACKS: "kernel too old, or headers or compiler missing",
    ExitCode.REFUSED: "refused by the target",
    ExitCode.CANCELLED: "cancelled by the user",
    ExitCode.HOSTS_FAILED: "hosts of a fleet failed, each is told with its reason",
    ExitCode.FAULT: "a fault of dmremapctl itself, shown as Python does",
}
"""One line for each code, for ``--help`` and the manual."""
