"""The file in which what was given up is written down, before it is given up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.service.ranges import Range
from pycontrol.text import plain

WriteDown = Callable[[list[Range], bool], None]
"""Told the sectors, first and behind the last, and whether they were given up already; what it was
told is on stable storage."""


@contextmanager
def lost_list(path: str | None) -> Iterator[WriteDown]:
    """A new file; gone again if the block fails before anything was given up.  None for no file.

    UsageError if there is a file of that name, DeviceIoError if it cannot be made or written.
    """
    if path is None:
        yield lambda ranges, given_up: None
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise UsageError(f"{plain(path)} exists; name a new file") from error
    except OSError as error:
        raise DeviceIoError(f"{plain(path)} cannot be made: {error.strerror}") from error
    os.close(fd)
    keep, has = False, b""

    def write_down(ranges: list[Range], given_up: bool) -> None:
        nonlocal keep, has
        text = "".join(f"{start} {end - start}\n" for start, end in ranges).encode()
        # Once they are given up the list of before is better than none.
        keep = given_up and bool(text)
        if text != has:
            try:
                _put(path, text)
            except OSError as error:
                raise DeviceIoError(f"{plain(path)} cannot be written: {error.strerror}") from error
            has = text

    try:
        yield write_down
    finally:
        if not keep:
            Path(path).unlink(missing_ok=True)


def _put(path: str, text: bytes) -> None:
    """Have it in the file, whole, on stable storage; or what it had."""
    target = Path(path)
    fd, new = mkstemp(dir=target.parent, prefix=f"{target.name}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(new).replace(target)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    with suppress(OSError):
        # Not every file system can.
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
