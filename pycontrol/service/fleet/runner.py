"""Many hosts, so many at a time: what happens to each comes back as events, in one thread."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

from pycontrol.service.fleet.bundle import Once
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.remote import Remote
from pycontrol.service.fleet.session import Connect, HostFailure, State, Stop

AHEAD: Final = 32
"""Events that may wait to be shown: a host that says more than that waits itself."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a host's part came to: a sentence, escaped, and JSON."""

    sentence: str
    answer: Any = None
    state: State = State.OK


@dataclass(frozen=True, slots=True)
class Began:
    """A host's turn has come."""

    host: str


@dataclass(frozen=True, slots=True)
class Told:
    """A few words on what is being done there."""

    host: str
    words: str


@dataclass(frozen=True, slots=True)
class Came:
    """One document of a stream."""

    host: str
    document: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """A host's part is over; exactly one for each host."""

    host: str
    state: State
    sentence: str
    seconds: float = 0.0
    code: int | None = None
    """The exit code of dmremapctl there; None if it did not come to that."""
    answer: Any = field(default=None, compare=False)
    before: bool = False
    """It was done by an earlier run."""


Event = Began | Told | Came | Outcome
Work = Callable[[Remote, Callable[[Any], None]], Result]
"""Done with each host, in a thread; the second argument takes the documents of a stream."""


class Run:
    """The work on all hosts; iterate over it for its events.

    Never more than ``jobs`` connections are open, not counting those of jump hosts.  After
    :meth:`interrupt` what is under way is ended, and each host left has the state STOPPED.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        work: Work,
        *,
        connect: Connect,
        tool: Once,
        jobs: int,
        seconds: Callable[[Host], float] = lambda host: host.timeout,
    ) -> None:
        self._hosts, self._work, self._jobs = hosts, work, jobs
        self._connect, self._tool, self._seconds = connect, tool, seconds
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._room = threading.Semaphore(AHEAD)
        self.stop = Stop()

    def interrupt(self) -> None:
        """End early; from any thread, and from the handler of a signal."""
        # The queue may be used in a handler, other than what pulling takes.
        self._events.put(None)

    def __iter__(self) -> Generator[Event, None, None]:
        """Every event, the last of each host an :class:`Outcome`."""
        left = len(self._hosts)
        with ThreadPoolExecutor(max(1, min(self._jobs, left)), thread_name_prefix="host") as pool:
            try:
                for host in self._hosts:
                    pool.submit(self._one, host)
                while left:
                    event = self._events.get()
                    if event is None:
                        self.stop.pull()
                        continue
                    self._room.release()
                    left -= isinstance(event, Outcome)
                    yield event
            except BaseException:
                self.stop.pull()
                # Nobody takes events any more: nobody may wait for that.
                self._room.release(AHEAD + 2 * len(self._hosts))
                raise

    def _put(self, event: Event) -> None:
        if not self.stop.pulled:
            self._room.acquire()
        self._events.put(event)

    def _one(self, host: Host) -> None:
        begun = time.monotonic()
        try:
            outcome = self._tried(host, begun)
        except HostFailure as failure:
            # What was closed by us was not lost.
            stopped = self.stop.pulled and failure.state in (State.LOST, State.STOPPED, State.UNREACHABLE)
            state = State.STOPPED if stopped else failure.state
            sentence = "interrupted" if stopped else str(failure)
            outcome = Outcome(host.name, state, sentence, time.monotonic() - begun, failure.code)
        except Exception as error:  # A defect with one host shall not take the others with it.
            from pycontrol.text import plain

            sentence = f"unexpected {type(error).__name__}: {plain(error)}"
            outcome = Outcome(host.name, State.FAILED, sentence, time.monotonic() - begun)
        self._put(outcome)

    def _tried(self, host: Host, begun: float) -> Outcome:
        if self.stop.pulled:
            return Outcome(host.name, State.STOPPED, "not begun")
        self._put(Began(host.name))
        with self.stop.opened(self._connect, host) as session:
            remote = Remote(
                session,
                host,
                self._tool(),
                seconds=self._seconds(host),
                tell=lambda words: self._put(Told(host.name, words)),
            )
            done = self._work(remote, lambda document: self._put(Came(host.name, document)))
        seconds = time.monotonic() - begun
        code = 1 if done.state is State.DAMAGED else 0
        return Outcome(host.name, done.state, done.sentence, seconds, code, done.answer)


class Fleet:
    """Runs with the same manners, one after another; what interrupts one, interrupts those to come."""

    def __init__(self, connect: Connect, tool: Once, *, jobs: int, seconds: float | None = None) -> None:
        self._connect, self._tool, self._jobs, self._limit = connect, tool, jobs, seconds
        self._current: Run | None = None
        self.interrupted = False

    def interrupt(self) -> None:
        """End early; from the handler of a signal."""
        self.interrupted = True
        if self._current:
            self._current.interrupt()

    def run(self, hosts: Sequence[Host], work: Work) -> Generator[Event, None, None]:
        """The events of this work on these hosts."""
        limit = self._limit
        self._current = run = Run(
            hosts,
            work,
            connect=self._connect,
            tool=self._tool,
            jobs=self._jobs,
            seconds=lambda host: host.timeout if limit is None else limit,
        )
        if self.interrupted:
            run.interrupt()
        if hosts:
            yield from run
        self._current = None
