"""What is done, for --resume: a line for each host, added as it ends."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pycontrol.errors import AccessDenied, Busy, UsageError
from pycontrol.service.buffered import read_at
from pycontrol.service.fleet.session import DONE, State
from pycontrol.text import plain

LARGEST: Final = 256 << 20
_VERSION: Final = 1
_BEGIN: Final = b'{"dmremap_fleet"'


@dataclass(frozen=True, slots=True)
class Note:
    """How a host ended in an earlier run."""

    state: State
    sentence: str


class Journal:
    """A line is added with one write and made durable.

    What a crash leaves of a line has no end of line: it is taken away, and that host is done
    again.  So the cost is that of the line, however many hosts there are.
    """

    def __init__(self, fd: int, path: Path, done: dict[str, Note]) -> None:
        self._fd, self._path = fd, path
        self.done = done
        """The hosts that need not be done again."""

    def add(self, host: str, note: Note) -> None:
        """Note how a host ended; once this returns it stays noted.  AccessDenied if it cannot be written."""
        _write(self._fd, {"host": host, "state": note.state.value, "sentence": note.sentence}, self._path)


@contextmanager
def opened(path: Path, command: Sequence[str]) -> Iterator[Journal]:
    """The journal of a command, new or from an earlier run of the same one.

    UsageError if it is of another command, Busy if a run uses it.
    """
    shown = plain(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise AccessDenied(f"{shown} cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"{shown} is in use by another run; wait for that, or name another file") from error
        if os.fstat(fd).st_size > LARGEST:
            raise UsageError(f"{shown} is not the state of a run; name another file")
        yield _begun(fd, path, list(command))
    finally:
        os.close(fd)


def _begun(fd: int, path: Path, command: list[str]) -> Journal:
    data = read_at(fd, 0, os.fstat(fd).st_size)
    whole = data[: data.rfind(b"\n") + 1]
    # What is there of a first line that was cut off.
    if not whole and data[: len(_BEGIN)] != _BEGIN[: len(data)]:
        raise UsageError(f"{plain(path)} is not the state of a run; name another file")
    if not whole:
        os.ftruncate(fd, 0)
        _write(fd, {"dmremap_fleet": _VERSION, "command": command}, path)
        return Journal(fd, path, {})
    try:
        first, *lines = [json.loads(line) for line in whole.splitlines()]
        version, of = first["dmremap_fleet"], first["command"]
        notes = {line["host"]: Note(State(line["state"]), str(line["sentence"])) for line in lines}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{plain(path)} is not the state of a run; name another file") from error
    if version != _VERSION or of != command:
        words = plain(" ".join(map(str, of)) if isinstance(of, list) else of)
        raise UsageError(f"{plain(path)} is the state of 'fleet {words}'; name another file for this command")
    os.ftruncate(fd, len(whole))
    return Journal(fd, path, {host: note for host, note in notes.items() if note.state in DONE})


def _write(fd: int, value: dict[str, Any], path: Path) -> None:
    line = json.dumps(value).encode() + b"\n"
    try:
        if os.write(fd, line) != len(line):
            raise OSError(0, "no room for a line")
        os.fsync(fd)
    except OSError as error:
        raise AccessDenied(
            f"{plain(path)} cannot be written: {error.strerror}; what the hosts did stays done"
        ) from error
