"""What the harness must know about the kernel that a machine runs.

DM_REMAP_KERNEL selects it for all of ci/; a debug kernel is slower and can tell more.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    name: str
    slowness: float = 1  # limits of time are that much longer than for Debian's kernel
    arguments: str = ""  # further ones for its command line
    finds_leaks: bool = False


# A machine that gets little of a busy host is slow without being stuck.
_PATIENT = "watchdog_thresh=60 workqueue.watchdog_thresh=120"

_DEBUG = {
    "kasan": Kernel("kasan", slowness=4, arguments=_PATIENT, finds_leaks=True),
    # Watches four times as many accesses as by default.
    "kcsan": Kernel("kcsan", slowness=4, arguments=f"{_PATIENT} kcsan.skip_watch=1000"),
}


def named(name: str) -> Kernel:
    return _DEBUG.get(name) or Kernel(name)


def selected() -> Kernel:
    """The one that all machines run, unless a test asks for another."""
    return named(os.environ.get("DM_REMAP_KERNEL") or "6.1")
