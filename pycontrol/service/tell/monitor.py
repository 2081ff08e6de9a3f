"""The daemon: tells of every event, calls hooks, keeps a file for Prometheus.

One loop that waits in poll().  It has a time-out only while a hook runs, a burst is being
gathered, somebody reads metrics, or a uevent is overdue; an idle monitor sleeps until something
happens.
"""

import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from pycontrol.service.signals import arrived
from pycontrol.service.tell.bursts import Bursts
from pycontrol.service.tell.exporter import Exporter
from pycontrol.service.tell.follow import Follower
from pycontrol.service.tell.hooks import Hook, Runner
from pycontrol.service.tell.metrics import Counters, render
from pycontrol.service.tell.notice import Notice
from pycontrol.service.tell.textfile import TextFile

STOP: Final = (signal.SIGTERM, signal.SIGINT)
REREAD: Final = signal.SIGHUP

_Key = tuple[int, str, str]
"""Number of the hook, name of the device, class."""


class Monitor:
    """``tell`` gets every notice, ``report`` a sentence about everything that failed."""

    def __init__(
        self,
        follower: Follower,
        runner: Runner,
        bursts: Bursts[_Key],
        *,
        tell: Callable[[Notice], None],
        report: Callable[[str], None],
        hooks: Sequence[Hook] = (),
        textfile: TextFile | None = None,
        exporter: Exporter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self._follower = follower
        self._runner = runner
        self._bursts = bursts
        self._tell = tell
        self._report = report
        self._hooks = hooks
        self._textfile = textfile
        self._exporter = exporter
        self._trouble = ""
        self._clock = clock

    def run(self, signals: int, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        """Until a signal of :data:`STOP` comes from ``signals``, see :func:`signal_pipe`.

        ``ready`` is called once the devices were read and nothing can be missed any more,
        ``stopping`` when the end has begun: bursts that were being gathered are told, and hooks
        waited for; a second signal ends that.
        """
        self._take(self._follower.start())
        self._write()
        ready()
        came: set[int] = set()
        while came.isdisjoint(STOP):
            came = self._wait((signals, *self._follower.descriptors), self._follower.deadline)
            self._runner.attend()
            self._take(self._follower.step())
            # Before the hooks start: who is called for an event finds it in the file.
            self._write(anew=REREAD in came)
            self._start_due()
            # What is asked for is as of now: the state was read a moment ago.
            if self._exporter:
                self._exporter.attend(self._page)
        stopping()
        self._end(signals)

    def _end(self, signals: int) -> None:
        if self._exporter:
            self._exporter.close()
            self._exporter = None
        self._bursts.close()
        self._start_due()
        came: set[int] = set()
        while not self._runner.idle and came.isdisjoint(STOP):
            came = self._wait((signals,), None)
            self._runner.attend()
            self._start_due()
        self._runner.kill()
        self._write(up=False)

    def _wait(self, descriptors: tuple[int, ...], deadline: float | None) -> set[int]:
        """Sleep until there is something to do; the signals that came, by the first descriptor."""
        poll = select.poll()
        for descriptor in (*descriptors, *self._runner.descriptors):
            poll.register(descriptor, select.POLLIN)
        asked = None
        if self._exporter:
            asked = self._exporter.deadline
            for descriptor, events in self._exporter.interest:
                poll.register(descriptor, events)
        # Bursts that are due wait for a free place; a program that ends says so by itself.
        due = self._bursts.deadline if self._runner.free else None
        deadlines = [each for each in (deadline, self._runner.deadline, due, asked) if each is not None]
        left = max(0.0, min(deadlines) - self._clock()) if deadlines else None
        # In milliseconds, rounded up.  Without a time limit only an event ends the sleep.
        poll.poll(None if left is None else int(left * 1000) + 1)
        return arrived(descriptors[0])

    def _take(self, notices: Iterable[Notice]) -> None:
        now = self._clock()
        for notice in notices:
            self.counters.add(notice)
            self._tell(notice)
            event = notice.event
            for number, hook in enumerate(self._hooks):
                if hook.wants(notice):
                    self._bursts.add((number, event.name, event.action), notice, now)

    def _start_due(self) -> None:
        failed = self._runner.outcomes["failed"]
        while self._runner.free and (due := self._bursts.due(self._clock())) is not None:
            (number, _, _), burst = due
            self._runner.start(self._hooks[number].call(burst))
        if self._runner.outcomes["failed"] != failed:
            self._write()

    def _page(self, up: bool = True) -> str:
        return render(self._follower.devices.values(), self.counters, self._runner.outcomes, up=up)

    def _write(self, *, up: bool = True, anew: bool = False) -> None:
        if self._textfile is None:
            return
        try:
            self._textfile.write(self._page(up), anew=anew)
        except OSError as error:
            trouble = f"{self._textfile.path} cannot be written: {error.strerror}"
            # A full disk is told of once, not with every event.
            if trouble != self._trouble:
                self._report(trouble)
            self._trouble = trouble
        else:
            self._trouble = ""
