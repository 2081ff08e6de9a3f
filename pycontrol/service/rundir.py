"""/run/dm-remap, where commands tell each other what they are at, until the machine is booted anew."""

import fcntl
import time
from pathlib import Path
from typing import Final

MODE: Final = 0o755
"""Whatever the umask: anybody may see what is under way, and only root takes a lock."""

_TRIES: Final = 10
_PAUSE: Final = 0.1
"""Seconds."""


def make(top: Path) -> None:
    """Make the directory if it is not there; OSError if it cannot be made."""
    try:
        top.mkdir()
    except FileExistsError:
        return
    top.chmod(MODE)


def lock(fd: int) -> bool:
    """Take the lock of an open file for this process alone; False if another one keeps it.

    Whoever only looks whether it is taken has it, shared, for a moment: that is waited for, about a
    second at most.  OSError if it cannot be locked.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False
