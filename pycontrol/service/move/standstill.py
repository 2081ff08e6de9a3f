"""Letting I/O on a device stand still for a moment, so that it always goes on again.

The device may hold the root file system or swap: so nothing here may need a page from disk,
or memory that only writing could free.  A second process waits for the end of the first,
and resumes the device if that was left undone.
"""

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pycontrol.dm.errors import DmError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, TargetLine
from pycontrol.errors import Busy, RemapError
from pycontrol.service.kernel import explained
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.signals import signals_held

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_PR_SET_IO_FLUSHER: Final = 57

# What the guard does if it is left alone.
_NOTHING: Final = b"N"
_GO_BACK: Final = b"B"
_GO_ON: Final = b"O"


class Standstill:
    """A suspended device.  It goes on with the table it had, unless :meth:`switch` was called."""

    def __init__(self, table: "_Table", line: int, log: KernelLog) -> None:
        self._table, self._line, self._log = table, line, log
        self._began = time.monotonic()
        self.seconds = 0.0
        """How long I/O stood still."""
        self.refused = False
        """Going back was tried, and failed: whoever tried it says so."""

    def load(self, table: TargetLine) -> None:
        """Have the new table ready; TargetRefused or Busy if the kernel refuses, and nothing has changed."""
        with explained(self._log):
            self._table.load([table])

    def decided(self, on: bool) -> None:
        """From now on the new table is the right one, or (again) the old one."""
        os.write(self._line, _GO_ON if on else _GO_BACK)

    def switch(self, event_nr: int = 0) -> DeviceInfo:
        """Go on with the new table; ``event_nr`` is a cookie's, for udev.

        TargetRefused if the target refuses to: then it stands still, and :meth:`go_back` is for the caller.
        """
        try:
            with explained(self._log):
                info = self._table.control.resume(self._table.name, event_nr=event_nr)
        except BaseException:
            # Whatever it says: once I/O goes on with the new table there is no way back.
            if self._table.left():
                self._ended()
            raise
        self._ended()
        return info

    def check(self) -> None:
        """Busy if somebody else has let it go on meanwhile."""
        with explained():
            suspended = self._table.control.table(self._table.name)[0].suspended
        if not suspended:
            raise Busy(f"another program has let {self._table.name} go on; try again")

    def go_back(self) -> None:
        """Go on with the old table.

        If this process ends before the block does, or this failed, its guard does it once more.
        """
        self.refused = True
        with explained(self._log):
            self._table.go_back()
        self.refused = False
        self.seconds = time.monotonic() - self._began

    def _ended(self) -> None:
        self.seconds = time.monotonic() - self._began
        os.write(self._line, _NOTHING)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return bool(self.seconds)


@dataclass(frozen=True, slots=True)
class _Table:
    """A device and the table it had."""

    control: Control
    name: DmName
    lines: tuple[TargetLine, ...]
    readonly: bool

    def load(self, lines: Iterable[TargetLine]) -> None:
        """Have these ready; what is read-only stays so."""
        self.control.load(self.name, lines, readonly=self.readonly)

    def left(self) -> bool:
        """Whether the device is known to go on, and with another table."""
        try:
            info, lines = self.control.table(self.name)
        except DmError:
            return False
        return not info.suspended and tuple(lines) != self.lines

    def go_back(self) -> None:
        """Resume with it, whatever was loaded meanwhile."""
        with suppress(DmError):
            self.control.clear(self.name)
        # A resume that failed has put the new table in place all the same.
        if tuple(self.control.table(self.name)[1]) != self.lines:
            self.load(self.lines)
        self.control.resume(self.name)


def _nothing_more() -> None:
    return


@contextmanager
def standstill(
    control: Control,
    name: DmName,
    *,
    gone_back: Callable[[], None] = _nothing_more,
    keep: Iterable[int] = (),
) -> Iterator[Standstill]:
    """Suspend a device for the length of a block; signals wait for its end.

    What is under way ends first.  File systems are not asked to write out what they have:
    nothing on disk moves, so nothing needs it.  If the block fails before the switch, the
    device goes on as it was.

    If this process is killed in the block, the one that guards it calls ``gone_back`` when it
    has let the device go on as it was; of what is open it has the descriptors ``keep``.
    """
    log = KernelLog()
    try:
        with explained():
            info, lines = control.table(name)
        if info.suspended:
            raise Busy(f"{name} is suspended by another program; 'dmsetup resume {name}' lets it go on")
        table = _Table(control, name, tuple(lines), info.readonly)
        with signals_held(), _guarded(table, gone_back, keep) as line, _memory_held():
            os.write(line, _GO_BACK)
            try:
                with explained(log):
                    control.suspend(name, noflush=True, skip_lockfs=True)
            except BaseException:
                os.write(line, _NOTHING)
                raise
            still = Standstill(table, line, log)
            try:
                try:
                    yield still
                finally:
                    if not (still.over or still.refused):
                        still.go_back()
            except RemapError:
                # What went wrong is worth more than "interrupted".
                signal.sigtimedwait({signal.SIGINT}, 0)
                raise
            finally:
                if still.over:
                    os.write(line, _NOTHING)
            # A ^C comes too late: all is done, and to say so is better than "interrupted".
            signal.sigtimedwait({signal.SIGINT}, 0)
    finally:
        log.close()


@contextmanager
def _memory_held() -> Iterator[None]:
    """All memory of this process stays in memory, and getting more does not wait for writes.

    Where the kernel or its limits refuse that, it is gone without: the device may not be one
    that the machine itself lives on.
    """
    libc = ctypes.CDLL(None)
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)
    libc.prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_IO_FLUSHER, 0, 0, 0, 0)
        libc.munlockall()


@contextmanager
def _guarded(table: _Table, gone_back: Callable[[], None], keep: Iterable[int]) -> Iterator[int]:
    """The line to a process that puts the device in order if this one dies."""
    heard, line = os.pipe()
    guard = os.fork()
    if guard == 0:
        # Nothing of what the other has open, least of all devices for sole use, is for the guard.
        _keep_open({heard, table.control.fileno(), *keep})
        _stand_guard(table, gone_back, heard)
    try:
        yield line
    finally:
        os.close(line)
        os.close(heard)
        os.waitpid(guard, 0)


def _keep_open(wanted: set[int]) -> None:
    """Close every descriptor but those of the terminal and these."""
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in wanted:
            # The one that listed them is closed already.
            with suppress(OSError):
                os.close(fd)


def _stand_guard(table: _Table, gone_back: Callable[[], None], heard: int) -> None:
    """Wait for the end of the other process; does not return."""
    try:
        # A ^C goes to the whole process group.
        with signals_held(), _memory_held():
            last = _NOTHING
            while said := os.read(heard, 1):
                last = said
            with suppress(DmError, RemapError, OSError):
                if last == _GO_BACK:
                    table.go_back()
                    gone_back()
                elif last == _GO_ON:
                    table.control.resume(table.name)
    finally:
        os._exit(0)
