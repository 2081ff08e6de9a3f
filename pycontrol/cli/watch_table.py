"""The live table of ``dmremapctl watch``: drawn when something happens, and never by time."""

import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from pycontrol.cli.watch import STYLES, clock_time
from pycontrol.service.tell.notice import EVENTS_LOST, REMOVED, Notice, details, lost_events
from pycontrol.service.tell.totals import Totals, totals
from pycontrol.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pycontrol.service.tell.follow import Follower

WIDE: Final = 72
"""Columns of a terminal from which on all columns of the table are shown."""


class Board:
    """The rows: each device there is, and those that went while somebody watched, by name."""

    def __init__(self) -> None:
        self._states: dict[str, Totals | None] = {}
        self._last: dict[str, Notice] = {}

    def take(self, follower: "Follower", notices: Iterable[Notice]) -> None:
        """Bring the rows up to date."""
        for notice in notices:
            if notice.event.name:
                self._last[notice.event.name] = notice
        here = {device.info.name: totals(device) for device in follower.devices.values()}
        gone = {name for name, notice in self._last.items() if notice.event.action == REMOVED}
        self._states = here | dict.fromkeys(gone - here.keys())

    def draw(self, width: int) -> "Table":
        """The table for a terminal of so many columns; a narrow one gets what matters most."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = width >= WIDE
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
        grid.add_column("name", overflow="fold")
        grid.add_column("state", overflow="fold")
        for number in ("remapped", "pending", "spare", "copies") if wide else ("pending",):
            grid.add_column(number, justify="right", no_wrap=True)
        grid.add_column("last event", overflow="fold")
        for name, state in sorted(self._states.items()):
            cells = [Text(plain(name), style="bold"), _state(state)]
            if wide:
                cells.append(Text(str(state.remapped_extents) if state else ""))
            cells.append(_pending(state))
            if wide:
                cells.append(Text(f"{state.spare_percent:.1f}%" if state else ""))
                cells.append(Text(f"{state.valid_copies}/{state.copies}" if state else ""))
            grid.add_row(*cells, _last(self._last.get(name), wide))
        if not self._states:
            grid.add_row(Text("no devices", style="dim"))
        return grid


def _state(state: Totals | None) -> "Text":
    from rich.text import Text

    if state is None:
        return Text("removed", style="dim")
    return Text(plain(state.state), style="green" if state.mode == "rw" and not state.errors else "bold red")


def _pending(state: Totals | None) -> "Text":
    from rich.text import Text

    count = state.pending_extents if state else 0
    return Text(str(count) if state else "", style="bold red" if count else "")


def _last(notice: Notice | None, wide: bool) -> "Text":
    from rich.text import Text

    if notice is None:
        return Text("")
    event = notice.event
    action = Text(plain(event.action), style=STYLES.get(event.action, ""))
    if not wide:
        return action
    more = f" {lost_events(notice)}" if event.action == EVENTS_LOST else details(event)
    return Text.assemble(f"{clock_time(event.time)} ", action, more)


def show(screen: "Console", name: str | None) -> None:
    """Draw until SIGINT or SIGTERM; the last table stays on the screen."""
    from rich.live import Live

    from pycontrol.dm.ioctl import Control
    from pycontrol.service.signals import arrived, signal_pipe
    from pycontrol.service.tell.follow import Follower
    from pycontrol.service.tell.uevents import KernelUevents

    source = KernelUevents()
    board = Board()
    ends = signal.SIGINT, signal.SIGTERM
    try:
        with Control() as control, signal_pipe(*ends, signal.SIGWINCH) as signals:
            follower = Follower(control, source, frozenset([name] if name else []))
            board.take(follower, follower.start())
            # Without a thread of its own: nothing is drawn unless something has changed.
            with Live(board.draw(screen.width), console=screen, auto_refresh=False) as live:
                came: set[int] = set()
                while came.isdisjoint(ends):
                    follower.wait(signals)
                    came = arrived(signals)
                    board.take(follower, follower.step())
                    live.update(board.draw(screen.width), refresh=True)
    finally:
        source.close()
