"""Programs that are called for events: without a shell, few at once, and not for ever."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, Self

from pycontrol.errors import UsageError
from pycontrol.service.tell.bursts import Burst
from pycontrol.service.tell.notice import LEVELS, Notice
from pycontrol.text import plain

ANY: Final = "ANY"

# What belongs to the monitor and its service manager, and to nobody it starts.
_PRIVATE: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "JOURNAL_STREAM")


@dataclass(frozen=True, slots=True)
class Call:
    """One program to run."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    stdin: bytes = b""
    about: str = ""
    """For reports: ``the hook /x/y for REMAP of r0``."""


class Hook(Protocol):
    """Something to call for events of some classes."""

    def wants(self, notice: Notice) -> bool:
        """Whether this hook is for events of that kind."""

    def call(self, burst: Burst) -> Call:
        """What to run for a burst of events."""


@dataclass(frozen=True, slots=True)
class ProgramHook:
    """``PROGRAM CLASS NAME COUNT`` with the details in the environment."""

    action: str
    """A class of events, or ``ANY``."""
    program: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """``CLASS=PROGRAM``; UsageError if it is not, or the program is not there and executable now."""
        word, equals, program = text.partition("=")
        action = word.upper().replace("-", "_")
        if not equals or action not in {*LEVELS, ANY}:
            raise UsageError(
                f"'{plain(text)}' is not CLASS=PROGRAM; the classes are {', '.join([*LEVELS, ANY])}"
            )
        path = Path(program)
        if not path.is_absolute() or not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"{plain(program) or 'nothing'} is not the full path of a program to run")
        return cls(action, program)

    def wants(self, notice: Notice) -> bool:
        """Whether this hook is for events of that kind."""
        return self.action in (notice.event.action, ANY)

    def call(self, burst: Burst) -> Call:
        """What to run for a burst of events."""
        event = burst.latest.event
        return Call(
            argv=(self.program, event.action, event.name, str(burst.count)),
            environment=clean_environment() | variables(burst),
            about=f"the hook {plain(self.program)} for {plain(event.action)} of {plain(event.name)}",
        )


def clean_environment() -> dict[str, str]:
    """The monitor's own environment less what is private to it."""
    return {key: value for key, value in os.environ.items() if key not in _PRIVATE}


def variables(burst: Burst) -> dict[str, str]:
    """``DMREMAP_*`` of a burst; those that do not apply are empty."""
    event, state = burst.latest.event, burst.latest.state
    values: dict[str, object] = {
        "CLASS": event.action,
        "NAME": event.name,
        "UUID": event.uuid,
        "DEVICE": event.device,
        "LEVEL": int(burst.latest.level),
        "MESSAGE": burst.latest.line,
        "COUNT": burst.count,
        "EXTENTS": burst.extents,
        "SECTORS": burst.sectors,
        "SECTOR": "" if burst.sector is None else burst.sector,
        "LOST": burst.lost,
        "SEQNUM": "" if event.seqnum is None else event.seqnum,
        "FIRST": f"{burst.first:.3f}",
        "LAST": f"{event.time:.3f}",
        "MODE": state.mode if state else "",
        "ERRORS": " ".join(state.errors) if state else "",
        "HEALTHY": int(state.healthy) if state else "",
        "REMAPPED_EXTENTS": state.remapped_extents if state else "",
        "PENDING_EXTENTS": state.pending_extents if state else "",
        "SPARE_USED_SECTORS": state.used_sectors if state else "",
        "SPARE_TOTAL_SECTORS": state.total_sectors if state else "",
        "VALID_COPIES": state.valid_copies if state else "",
        "COPIES": state.copies if state else "",
    }
    return {f"DMREMAP_{key}": str(value) for key, value in values.items()}


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    about: str
    deadline: float
    overdue: bool = False


@dataclass(slots=True)
class Runner:
    """Runs calls in the background; its descriptors become readable when one ends.

    ``limit`` at once, each for ``time_limit`` seconds at most, then it is killed with all that
    is in its process group.  Failures go to ``report`` and change nothing else.
    """

    limit: int
    time_limit: float
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    outcomes: dict[str, int] = field(default_factory=lambda: {"ok": 0, "failed": 0, "timeout": 0})
    """How many calls ended how."""
    _running: dict[int, _Running] = field(default_factory=dict)

    @property
    def free(self) -> bool:
        """Whether one more may be started."""
        return len(self._running) < self.limit

    @property
    def idle(self) -> bool:
        """Whether none is running."""
        return not self._running

    @property
    def descriptors(self) -> tuple[int, ...]:
        """One for each that runs; readable when it has ended."""
        return tuple(self._running)

    @property
    def deadline(self) -> float | None:
        """When the first of them has run too long, by the monotonic clock in seconds; None if none will."""
        return min((each.deadline for each in self._running.values() if not each.overdue), default=None)

    def start(self, call: Call) -> None:
        """Start a program and go on."""
        try:
            process = _spawn(call)
        except (OSError, ValueError) as error:
            self.outcomes["failed"] += 1
            self.report(f"{call.about} could not be started: {getattr(error, 'strerror', None) or error}")
            return
        descriptor = os.pidfd_open(process.pid)
        self._running[descriptor] = _Running(process, call.about, self.clock() + self.time_limit)

    def attend(self) -> None:
        """See who has ended, and end who is overdue."""
        now = self.clock()
        for descriptor, running in list(self._running.items()):
            code = running.process.poll()
            if code is not None:
                os.close(descriptor)
                del self._running[descriptor]
                self._ended(running, code)
            elif running.deadline <= now and not running.overdue:
                running.overdue = True
                # It leads a group of its own, and is not reaped yet: the number is still its.
                os.killpg(running.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End all that still run, and do not wait for it."""
        for descriptor, running in self._running.items():
            os.killpg(running.process.pid, signal.SIGKILL)
            os.close(descriptor)
            self.outcomes["failed"] += 1
            self.report(f"{running.about} was killed, because the monitor ends")
        self._running.clear()

    def _ended(self, running: _Running, code: int) -> None:
        if running.overdue:
            self.outcomes["timeout"] += 1
            self.report(f"{running.about} was killed after {self.time_limit:g} s")
        elif code:
            self.outcomes["failed"] += 1
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            self.report(f"{running.about} ended {how}")
        else:
            self.outcomes["ok"] += 1


def _spawn(call: Call) -> "subprocess.Popen[bytes]":
    # A file rather than a pipe: nobody has to wait until the program reads it.
    stdin = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        os.write(stdin, call.stdin)
        os.lseek(stdin, 0, os.SEEK_SET)
        # Its output goes where the monitor's complaints go; standard output is for events alone.
        return subprocess.Popen(
            call.argv, stdin=stdin, stdout=2, env=call.environment, start_new_session=True
        )
    finally:
        os.close(stdin)
