"""Writing a file as a whole or not at all."""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.text import plain

_MOST_LINKS: Final = 40
"""As the kernel has it."""

_SHARED: Final = stat.S_ISVTX | stat.S_IWOTH
"""Of a directory as /tmp, in which anybody may make a link."""


def replace_text(path: str, text: str) -> None:
    """Make or replace a file: readers see the old text or the new one, also after a crash.

    UsageError if there is something else than a regular file, a device node above all.
    DeviceIoError if it cannot be written; then it is as it was.
    """
    shown = plain(path)
    try:
        # A link stays one: what it leads to is replaced.
        place = _place(Path(path))
        mode = _mode(place, shown)
        fd, name = tempfile.mkstemp(prefix=f".{place.name[:100]}.", dir=place.parent)
        temporary = Path(name)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DeviceIoError(f"{shown} cannot be written: {error.strerror}; nothing was changed") from error


def _place(path: Path) -> Path:
    """Where a name leads: a place that is no link at this moment, and whose link would not be followed."""
    for _ in range(_MOST_LINKS):
        path = Path(os.path.realpath(path.parent)) / path.name
        try:
            found = path.lstat()
        except FileNotFoundError:
            return path
        if not stat.S_ISLNK(found.st_mode):
            return path
        # What the kernel refuses who opens it, by fs.protected_symlinks; a rename it does not see.
        directory = path.parent.stat()
        if directory.st_mode & _SHARED == _SHARED and found.st_uid not in (os.geteuid(), directory.st_uid):
            raise UsageError(f"{plain(path)} is a link that another user made; name another file")
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _mode(place: Path, shown: str) -> int:
    """The permissions the file shall have: those it has, if it is ours, or those any new file gets."""
    try:
        found = place.lstat()
    except FileNotFoundError:
        found = None
    if found and not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{shown} is not a file that can be replaced; name another one")
    if found and found.st_uid == os.geteuid():
        return found.st_mode & 0o777
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask
