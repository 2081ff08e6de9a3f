"""``dmremapctl scrub``."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.output import emit_json, emit_json_line, json_option, wrapped
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.find.scrub import Finding, Subject, Summary

    Begin = Callable[[int], None]
    Tell = Callable[[Finding], None]
    Advance = Callable[[int, int, int], None]


@click.command()
@click.argument("name", type=NAME)
@click.option(
    "--rate", default="50M", metavar="SIZE", help="Read at most so much a second; 0 is no limit (50M)."
)
@click.option("--restart", "verb", flag_value="restart", help="Begin anew, wherever the last one stopped.")
@click.option("--resume", "verb", flag_value="resume", help="Go on with one that stopped; else do nothing.")
@click.option("--pause", "verb", flag_value="pause", help="Stop the one that runs; its place is kept.")
@click.option("--status", "verb", flag_value="status", help="Tell whether one runs, and how far it has come.")
@json_option
@click.pass_context
def scrub(ctx: click.Context, name: str, rate: str, verb: str | None, as_json: bool) -> None:
    """Read the whole device, so that bad sectors are found before they are needed.

    What cannot be read becomes pending, and is told as it is found.  A scrub that was
    stopped, by --pause, ^C or a power cut, goes on where it stopped; the place is kept on
    the spare.

    \b
    Example:
      dmremapctl scrub data --rate 20M

    \b
    Exit code 0: nothing is pending      5: another scrub of it runs
              1: some sectors are       10: interrupted, the place is kept

    JSON: one object a line.  type is "finding", with kind (pending, unreadable), sector,
    sectors; or, the last, "summary", with name, path, ending (finished, paused,
    interrupted), start, position, sectors, read, found, pending, weak, seconds; or "nothing",
    with name, path, pending, if there was nothing to resume.
    --pause: name, paused, position.  --status: name, path, running, pid, ending, begun,
    updated, start, position, sectors, read, found.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.find.scrub import subject
    from pycontrol.service.kernel import check_target, require_root
    from pycontrol.sizes import parse_size

    limit = parse_size(rate)
    require_root()
    with Control() as control:
        check_target(control)
        of = subject(control, name)
        if verb == "status":
            _status(control, of, as_json)
        elif verb == "pause":
            _pause(control, of, as_json)
        else:
            ctx.exit(_scrub(control, of, limit, verb, as_json))


def _scrub(control: "Control", of: "Subject", rate: int, verb: str | None, as_json: bool) -> ExitCode:
    from pycontrol.service.find import scrubbing as service
    from pycontrol.service.find.ioprio import go_last
    from pycontrol.service.find.scrub import Ending

    go_last()
    with _signals() as interrupted, _shown(of, as_json) as (begin, tell, advance):
        done = service.scrub(
            control, of.name, rate=rate, restart=verb == "restart", resume=verb == "resume",
            stop=interrupted, begin=begin, tell=tell, progress=advance,
        )  # fmt: skip
    if done.ending is Ending.NOTHING:
        _nothing(of, done, as_json)
        return ExitCode.DAMAGED if done.pending else ExitCode.OK
    return _told(of, done, as_json)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """^C, SIGTERM and a terminal that is closed end the scrub after the piece at hand."""
    import signal

    caught: list[int] = []
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda number, _frame: caught.append(number)) for number in wanted
    }
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(of: "Subject", as_json: bool) -> "Iterator[tuple[Begin, Tell, Advance]]":
    """Findings as they come, and on a terminal a bar below them."""
    import sys

    if as_json:
        yield lambda _: None, lambda finding: emit_json_line(_finding(finding)), lambda *_: None
        return
    if not sys.stdout.isatty():
        yield lambda _: None, lambda finding: click.echo(_sentence(finding)), lambda *_: None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from pycontrol.cli.output import console
    from pycontrol.sizes import SECTOR

    # One line, on a terminal of 40 columns, too: the bar takes the room that is left.
    columns = TaskProgressColumn(), BarColumn(None), TransferSpeedColumn(), TimeRemainingColumn(compact=True)
    with Progress(*columns, console=console(), transient=True, expand=True) as bar:
        task = bar.add_task("", total=of.sectors * SECTOR)
        first = 0

        def begin(start: int) -> None:
            nonlocal first
            first = start
            bar.reset(task, total=(of.sectors - start) * SECTOR)
            if start:
                bar.console.print(f"from sector {start} on, where the last one stopped")

        def tell(finding: "Finding") -> None:
            bar.console.print(_sentence(finding), style="red")

        def advance(position: int, _read: int, _found: int) -> None:
            bar.update(task, completed=(position - first) * SECTOR)

        yield begin, tell, advance


def _finding(finding: "Finding") -> dict[str, object]:
    return {
        "type": "finding",
        "kind": finding.kind.value,
        "sector": finding.sector,
        "sectors": finding.sectors,
    }


def _sentence(finding: "Finding") -> str:
    from pycontrol.service.find.scrub import Kind

    what = {
        Kind.PENDING: "cannot be read, pending until written",
        Kind.UNREADABLE: "cannot be read, and was not recorded",
    }
    return f"sector {finding.sector}, {_count(finding.sectors)}: {what[finding.kind]}"


def _count(sectors: int) -> str:
    return f"{sectors} sector" if sectors == 1 else f"{sectors} sectors"


def _told(of: "Subject", done: "Summary", as_json: bool) -> ExitCode:
    from pycontrol.service.find.scrub import Ending

    code = ExitCode.DAMAGED if done.pending or done.found else ExitCode.OK
    if done.ending is Ending.INTERRUPTED:
        code = ExitCode.CANCELLED
    if as_json:
        from dataclasses import asdict

        emit_json_line({"type": "summary", "name": of.name, "path": of.path, **asdict(done)})
        return code
    from pycontrol.sizes import SECTOR, human

    name = plain(of.name)
    result = f"{_count(done.found)} found that cannot be read" if done.found else "nothing new found"
    wrapped(f"{name}: {done.ending}, {human(done.read * SECTOR)} read in {done.seconds:.0f} s, {result}")
    _pending(of, done)
    if done.weak:
        wrapped(f"{_count(done.weak)} could be read on a retry only; --relocate-weak would move such")
    if done.ending is not Ending.FINISHED:
        wrapped(f"stopped at sector {done.position}; 'dmremapctl scrub {name}' goes on there")
    return code


def _pending(of: "Subject", done: "Summary") -> None:
    if done.pending:
        name = plain(of.name)
        wrapped(
            f"{_count(done.pending)} pending in all: lost on this disk unless a copy is written there"
            f" ('dmremapctl fill {name} --from COPY'); 'dmremapctl message {name} list' names them"
        )


def _nothing(of: "Subject", done: "Summary", as_json: bool) -> None:
    if as_json:
        emit_json_line({"type": "nothing", "name": of.name, "path": of.path, "pending": done.pending})
    else:
        click.echo(f"no scrub of {plain(of.name)} was stopped on its way; nothing to resume")
        _pending(of, done)


def _pause(control: "Control", of: "Subject", as_json: bool) -> None:
    from pycontrol.service.find import scrubbing as service
    from pycontrol.service.find.scrub import position

    paused, at = service.pause(control, of.name), position(control, of)
    if as_json:
        emit_json({"name": of.name, "paused": paused, "position": at})
    elif paused:
        click.echo(f"{plain(of.name)}: paused at sector {at}")
    else:
        click.echo(f"no scrub of {plain(of.name)} runs")


def _status(control: "Control", of: "Subject", as_json: bool) -> None:
    from pycontrol.service.find.scrubbing import standing

    found = standing(control, of.name)
    running, position, state = found.running, found.position, found.last
    if as_json:
        emit_json(
            {
                "name": of.name,
                "path": of.path,
                "running": running,
                "pid": state.pid if running and state and not state.ending else None,
                "ending": (state.ending or None) if state and not running else None,
                "begun": state.begun if state else None,
                "updated": state.updated if state else None,
                "start": state.start if state else None,
                "position": position,
                "sectors": of.sectors,
                "read": state.read if state else None,
                "found": state.found if state else None,
            }
        )
        return
    name, percent = plain(of.name), 100 * position // of.sectors
    if running:
        by = f" (process {state.pid})" if state and not state.ending else ""
        click.echo(f"{name}: a scrub runs{by}, {percent} % done, at sector {position}")
    elif position:
        click.echo(
            f"{name}: stopped at sector {position}, {percent} %; 'dmremapctl scrub {name}' goes on there"
        )
    elif state and state.ending == "finished":
        from datetime import datetime

        when = f"{datetime.fromtimestamp(state.updated):%Y-%m-%d %H:%M}"
        click.echo(f"{name}: no scrub runs; the last one came to the end at {when}")
    else:
        click.echo(f"{name}: no scrub runs, and none was stopped on its way")
    if state and state.found:
        click.echo(f"{_count(state.found)} found that cannot be read")
