"""/run/dm-remap, where commands tell each other what they are at, until the machine is booted anew."""

from pathlib import Path
from typing import Final

MODE: Final = 0o755
"""Whatever the umask: anybody may see what is under way, and only root takes a lock."""


def make(top: Path) -> None:
    """Make the directory if it is not there; OSError if it cannot be made."""
    try:
        top.mkdir()
    except FileExistsError:
        return
    top.chmod(MODE)
