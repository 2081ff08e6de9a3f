"""What root relies on: programs, directories and files that nobody else can change."""

import os
from pathlib import Path
from typing import Final

from pycontrol.errors import AccessDenied
from pycontrol.text import plain

SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where root's programs are: not $PATH, which may begin with a user's directory."""


def search_path() -> str:
    """Where programs are looked for, as in $PATH."""
    return SEARCH if os.geteuid() == 0 else os.environ.get("PATH", os.defpath)


def only_ours(found: os.stat_result) -> bool:
    """Whether nobody but us, and root, can change a file or directory."""
    return found.st_uid in (0, os.getuid()) and not found.st_mode & 0o022


def make_private(place: Path) -> None:
    """Make a directory and the one it is in; AccessDenied for root if others can change what is there."""
    for directory in (place.parent, place):
        try:
            directory.mkdir(0o755, parents=True, exist_ok=True)
            trusted = os.geteuid() != 0 or only_ours(directory.stat())
        except OSError as error:
            raise AccessDenied(f"cannot make {plain(directory)}: {error.strerror}") from error
        if not trusted:
            raise AccessDenied(f"others than root can write to {plain(directory)}; remove it, then try again")
