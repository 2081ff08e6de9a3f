"""How a fleet is shown: a table that lives on a terminal, lines in a pipe, JSON for programs."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from pycontrol.cli.output import console, emit_json_line, wrapped
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.runner import Began, Came, Event, Outcome, Told
from pycontrol.service.fleet.session import DONE, State
from pycontrol.text import plain

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

STYLES: Final = {State.OK: "green", State.DAMAGED: "yellow", State.STOPPED: "dim"}
REDRAW: Final = 0.1
"""Seconds from one drawing to the next, at least."""
WIDE: Final = 60
"""Columns that the table takes."""
AROUND: Final = 4
"""Lines of a terminal that are left for what is not a host."""


class Screen(Protocol):
    """Whatever it is shown on."""

    def take(self, event: Event) -> None:
        """Show an event."""

    def end(self, command: str, interrupted: bool, resume: Path | None) -> None:
        """Show how it all ended."""


@contextmanager
def screen(hosts: Sequence[Host], *, as_json: bool) -> Iterator[Screen]:
    """What suits standard output."""
    if as_json:
        yield _Json()
    elif not sys.stdout.isatty() or console().is_dumb_terminal:
        yield _Lines(len(hosts))
    else:
        with _Table(hosts).live() as shown:
            yield shown


class _Counting:
    """How many ended how."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()

    def count(self, outcome: Outcome) -> None:
        self.states[outcome.state] += 1

    def sentence(self, resume: Path | None) -> str:
        total = self.states.total()
        words = ", ".join(f"{self.states[state]} {state.value}" for state in State if self.states[state])
        again = any(count for state, count in self.states.items() if state not in DONE)
        if again and resume:
            words += "; the same command goes on with those that are not done"
        return f"{total} {'host' if total == 1 else 'hosts'}: {words}"


class _Json(_Counting):
    def take(self, event: Event) -> None:
        if isinstance(event, Outcome):
            self.count(event)
            emit_json_line(
                {
                    "type": "host",
                    "host": event.host,
                    "state": event.state.value,
                    "sentence": event.sentence,
                    "code": event.code,
                    "seconds": round(event.seconds, 3),
                    "before": event.before,
                    "answer": event.answer,
                }
            )
        elif isinstance(event, Came):
            emit_json_line({"type": "event", "host": event.host, "document": event.document})

    def end(self, command: str, interrupted: bool, resume: Path | None) -> None:
        counts = {state.value: self.states[state] for state in State}
        hosts = self.states.total()
        emit_json_line(
            {"type": "summary", "command": command, "hosts": hosts, "interrupted": interrupted, **counts}
        )


class _Lines(_Counting):
    """A line for each host, as it ends."""

    def __init__(self, hosts: int) -> None:
        super().__init__()
        self._hosts = hosts

    def take(self, event: Event) -> None:
        if isinstance(event, Outcome):
            self.count(event)
            wrapped(_line(event))
        elif isinstance(event, Came):
            wrapped(_event(event))

    def end(self, command: str, interrupted: bool, resume: Path | None) -> None:
        wrapped(self.sentence(resume))


def _line(outcome: Outcome) -> str:
    return f"{outcome.host}: {_state(outcome)}{': ' if outcome.sentence else ''}{outcome.sentence}"


def _state(outcome: Outcome) -> str:
    return f"{outcome.state.value} before" if outcome.before else outcome.state.value


def _event(event: Came) -> str:
    """The document of a stream, whatever it is, in a line."""
    document: Any = event.document
    values = document.items() if isinstance(document, dict) else [("", document)]
    words = (f"{plain(key)}={plain(value)}" for key, value in values if value not in (None, ""))
    return f"{event.host}: {' '.join(words)}"


class _Table(_Counting):
    """What is under way and what failed, as long as it lasts; then every host."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        super().__init__()
        self._all = [host.name for host in hosts]
        self._under_way: dict[str, tuple[float, str]] = {}
        self._ended: dict[str, Outcome] = {}
        self._due = 0.0
        self._screen = console()
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator["_Table"]:
        from rich.live import Live

        # Drawn when something happens, and without a thread of its own.
        with Live(console=self._screen, auto_refresh=False, transient=True) as self._live:
            yield self

    def take(self, event: Event) -> None:
        if isinstance(event, Began):
            self._under_way[event.host] = time.monotonic(), "connecting"
        elif isinstance(event, Told):
            if event.host in self._under_way:
                self._under_way[event.host] = self._under_way[event.host][0], event.words
        elif isinstance(event, Outcome):
            self.count(event)
            self._under_way.pop(event.host, None)
            # The answers are not kept: there may be many hosts.
            self._ended[event.host] = Outcome(
                event.host, event.state, event.sentence, event.seconds, before=event.before
            )
        elif self._live:
            self._live.console.print(_event(event))
        now = time.monotonic()
        if self._live and now >= self._due:
            self._due = now + REDRAW
            self._live.update(self._draw(), refresh=True)

    def _draw(self) -> "Table":
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for _ in range(3):
            grid.add_column(overflow="fold")
        # One line each: what does not fit the screen is counted.
        room = max(1, self._screen.height - AROUND)
        for host, (begun, words) in list(self._under_way.items())[:room]:
            seconds = f"{time.monotonic() - begun:.0f} s"
            grid.add_row(Text(host, style="bold"), Text(words[:40]), Text(seconds, style="dim"))
        done = f"{len(self._ended)} of {len(self._all)} hosts done"
        grid.add_row(Text(done), Text(self._failed_words(), style="bold red"), Text(""))
        return grid

    def _failed_words(self) -> str:
        failed = sum(count for state, count in self.states.items() if state not in DONE)
        return f"{failed} failed" if failed else ""

    def end(self, command: str, interrupted: bool, resume: Path | None) -> None:
        if self._live:
            self._live.stop()
        rows = [self._ended[name] for name in self._all if name in self._ended]
        if self._screen.width < WIDE:
            for row in rows:
                wrapped(_line(row))
        else:
            self._screen.print(_grid(rows))
        click.echo()
        wrapped(self.sentence(resume))


def _grid(rows: Sequence[Outcome]) -> "Table":
    """A sentence is escaped already, so it is not for :func:`pycontrol.cli.output.table`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("host", "state", "seconds", "what"):
        grid.add_column(column, justify="right" if column == "seconds" else "left", overflow="fold")
    for row in rows:
        style = STYLES.get(row.state, "bold red")
        grid.add_row(
            Text(row.host), Text(_state(row), style=style), Text(f"{row.seconds:.1f}"), Text(row.sentence)
        )
    return grid
