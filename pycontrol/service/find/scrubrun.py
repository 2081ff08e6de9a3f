"""At most one scrub of a device, and how others talk to it: files under /run/dm-remap.

A lock (flock) says whether one runs; it ends with the process, so nothing is left to be
stale.  A request to pause names the run it is for by a token that the run made up.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final
from uuid import uuid4

from pycontrol.dm.errors import DmNameError
from pycontrol.dm.types import DmUuid
from pycontrol.errors import AccessDenied, Busy
from pycontrol.service import devices, rundir
from pycontrol.service.find.scrub import Ending, Subject
from pycontrol.text import plain

PATIENCE: Final = 120.0
"""Seconds that a scrub has to end in after it was asked to: a dying disk may take long for one read."""

_PAUSE: Final = 0.1

_FRESH: Final = 1.0
"""Seconds for which a state that was told is new enough."""


@dataclass(frozen=True, slots=True)
class State:
    """What a run tells of itself; the last one's stays until the machine is booted anew."""

    token: str
    pid: int
    ending: str = ""
    """As in :class:`Ending`; empty while it runs, and for one that was killed."""
    begun: float = 0.0
    """Seconds since 1970."""
    updated: float = 0.0
    start: int = 0
    """In sectors of 512 bytes, as all of these."""
    position: int = 0
    read: int = 0
    found: int = 0


class Files:
    """The files of one device."""

    def __init__(self, of: Subject, top: Path | None = None) -> None:
        self.name = of.name
        top = top or devices.LOCKS
        try:
            # A uuid is never used again, a name is; but dmsetup makes devices without one.
            key: str = DmUuid(of.uuid)
        except DmNameError:
            key = of.name
        self.lock, self.state, self.request = (
            top / f"scrub-{key}.{suffix}" for suffix in ("lock", "state", "pause")
        )

    def read(self) -> State | None:
        """The newest run's state; None if there was none since boot."""
        try:
            values = json.loads(self.state.read_bytes())
            return State(**values)
        except (OSError, ValueError, TypeError):
            return None

    def running(self) -> bool:
        """Whether a scrub runs at this moment."""
        try:
            fd = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


class Run:
    """The scrub that holds the lock (:func:`only_one`), from sector ``start`` on.

    What the last one told is gone as soon as this is made.  AccessDenied if it cannot tell.
    """

    def __init__(self, files: Files, start: int) -> None:
        self._files = files
        now = time.time()
        self._state = State(uuid4().hex, os.getpid(), begun=now, updated=now, start=start, position=start)
        self._write()

    def update(self, position: int, read: int, found: int) -> None:
        """Tell how far it has come, in sectors; not more often than anybody looks."""
        if not 0 <= time.time() - self._state.updated < _FRESH:
            self._tell(replace(self._state, position=position, read=read, found=found))

    def end(self, ending: Ending, position: int, read: int, found: int) -> None:
        """Tell how it ended, and where, in sectors of 512 bytes."""
        self._tell(replace(self._state, ending=ending.value, position=position, read=read, found=found))

    def asked_to_pause(self) -> bool:
        """Whether somebody wants this very run to stop."""
        try:
            return self._files.request.read_text() == self._state.token
        except (OSError, ValueError):
            return False

    def _tell(self, state: State) -> None:
        self._state = replace(state, updated=time.time())
        # A scrub goes on where nobody can be told of it.
        with suppress(AccessDenied):
            self._write()

    def _write(self) -> None:
        _replace(self._files.state, json.dumps(asdict(self._state)))


@contextmanager
def only_one(files: Files) -> Iterator[None]:
    """Hold the lock for the length of a block; Busy if another process does."""
    try:
        rundir.make(files.lock.parent)
        fd = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AccessDenied(f"{plain(files.lock)} cannot be opened: {error.strerror}") from error
    try:
        if not rundir.lock(fd):
            state = files.read()
            # One with an ending is of the run before: this one has not told anything yet.
            by = f" by process {state.pid}" if state and not state.ending else ""
            raise Busy(
                f"{plain(files.name)} is being scrubbed already{by};"
                f" 'dmremapctl scrub {plain(files.name)} --status' shows it, --pause stops it"
            )
        yield
    finally:
        os.close(fd)


def pause(
    files: Files,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Ask a running scrub to stop and wait until it has; False if none runs.

    Busy if it does not stop within :data:`PATIENCE` seconds.
    """
    if not files.running():
        return False
    deadline = clock() + PATIENCE
    while files.running():
        state = files.read()
        if state and clock() < deadline:
            # Again and again: the run may have been exchanged for another meanwhile.
            _replace(files.request, state.token)
        elif clock() >= deadline:
            by = f" (process {state.pid})" if state else ""
            raise Busy(f"the scrub of {plain(files.name)}{by} does not stop; it may wait for the disk")
        sleep(_PAUSE)
    with suppress(OSError):
        files.request.unlink()
    return True


def _replace(path: Path, text: str) -> None:
    """Whole or not at all for whoever reads it; it need not survive a power cut."""
    new = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise AccessDenied(f"{plain(path)} cannot be written: {error.strerror}") from error
