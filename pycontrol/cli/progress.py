"""Progress of long work: on standard error, where that is a terminal, and once it takes a while."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from pycontrol.service.progress import Advance, Progress

_PATIENCE: Final = 0.5
"""Seconds that work may take before a bar is shown."""

_INTERVAL: Final = 0.1
"""Seconds from one look at the figures to the next."""


@contextmanager
def phases(*, quiet: bool) -> Iterator["Progress"]:
    """A bar for each phase of what the block does, one at a time; gone when it ends."""
    if quiet or not sys.stderr.isatty():
        from pycontrol.service.progress import silent

        yield silent
        return
    bars = _Bars()
    try:
        yield bars.begin
    finally:
        bars.close()


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator["Advance"]:
    """The same for work of a single phase."""
    with phases(quiet=quiet) as begin:
        yield begin(what, total)


class _Bars:
    def __init__(self) -> None:
        self._bar: Bar | None = None

    def begin(self, what: str, total: int | None) -> "Advance":
        self.close()
        so_far, due = 0, monotonic() + _PATIENCE
        update: Callable[[int], None] | None = None

        def advance(done: int) -> None:
            nonlocal so_far, due, update
            so_far += done
            now = monotonic()
            if now < due:
                return
            due = now + _INTERVAL
            update = update or self._open(what, total)
            update(so_far)

        return advance

    def _open(self, what: str, total: int | None) -> Callable[[int], None]:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from pycontrol.cli.output import error_console

        # The bar takes the room that is left: all is one line on a terminal of 40 columns, too.
        columns = (
            TextColumn("{task.description}"),
            BarColumn(None),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        # What is printed meanwhile goes above the bar, unless it goes to a file.  Drawn here and by no
        # thread: that would take the signals that the work holds off.
        bar = Progress(
            *columns,
            console=error_console(),
            transient=True,
            expand=True,
            redirect_stdout=sys.stdout.isatty(),
            auto_refresh=False,
        )
        bar.start()
        self._bar = bar
        task = bar.add_task(what, total=total)
        return lambda done: bar.update(task, completed=done, refresh=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
