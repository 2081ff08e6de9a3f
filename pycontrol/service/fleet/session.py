"""A connection to a host as the rest sees it: what carries it is put in at the edge."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pycontrol.errors import BrokenError
from pycontrol.service.fleet.hosts import Host


class State(Enum):
    """How a host's part ended."""

    OK = "ok"
    DAMAGED = "damaged"
    """It answered, and there is something to act upon: exit code 1 there."""
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    """The connection broke while something was under way."""
    TIMEOUT = "timeout"
    STOPPED = "stopped"


DONE = frozenset({State.OK, State.DAMAGED})
"""What need not be done again."""


class HostFailure(BrokenError):
    """A host's part failed; one sentence, made of escaped parts."""

    def __init__(self, state: State, sentence: str, code: int | None = None) -> None:
        super().__init__(sentence)
        self.state = state
        self.code = code
        """The exit code of dmremapctl there, if it had one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command on the far side is over; ``code`` is None if it was killed or nobody told."""

    code: int | None
    errors: bytes
    """The end of its standard error."""


class Session(Protocol):
    """An open connection."""

    def execute(self, command: str, data: bytes, take: Callable[[bytes], None], deadline: float) -> Ended:
        """Run a command line there; standard output goes to ``take`` as it comes.

        ``data`` is its standard input, which stays open until it ends.  ``deadline`` is of
        time.monotonic().  HostFailure if it passes (TIMEOUT) or the connection breaks (LOST).
        """

    def close(self) -> None:
        """From any thread, and more than once; what is under way ends with HostFailure."""


Connect = Callable[[Host], Session]
"""Opens a connection; HostFailure (UNREACHABLE) with the reason."""


class Stop:
    """One switch for all: it closes what is open, and nothing is opened any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Session] = set()
        self._pulled = False
        self.most = 0
        """The most connections there were at a time."""

    @property
    def pulled(self) -> bool:
        """Whether everything is to end."""
        return self._pulled

    def pull(self) -> None:
        """End everything."""
        with self._lock:
            self._pulled = True
            sessions = list(self._open)
        for session in sessions:
            session.close()

    @contextmanager
    def opened(self, connect: Connect, host: Host) -> Iterator[Session]:
        """A connection for the block; HostFailure if there is none, or everything is to end."""
        session = connect(host)
        try:
            with self._lock:
                if self._pulled:
                    raise HostFailure(State.STOPPED, "stopped")
                self._open.add(session)
                self.most = max(self.most, len(self._open))
            yield session
        finally:
            session.close()
            with self._lock:
                self._open.discard(session)
