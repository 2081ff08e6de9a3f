"""What all commands of ``dmremapctl fleet`` share: options, the run, its end and its exit code."""

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.output import json_option

if TYPE_CHECKING:
    from pycontrol.service.fleet.hosts import Host
    from pycontrol.service.fleet.journal import Journal
    from pycontrol.service.fleet.runner import Event, Fleet, Outcome
    from pycontrol.service.fleet.session import State

    Events = Callable[[Fleet, Sequence[Host]], Generator[Event, None, None]]

JOBS: Final = 10

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """What the options that every command has were given."""

    path: Path | None
    on: tuple[str, ...]
    jobs: int
    timeout: float | None
    resume: Path | None
    as_json: bool

    def hosts(self) -> "list[Host]":
        """The hosts that are meant."""
        from pycontrol.service.fleet.hosts import read

        if self.path is None:
            raise click.UsageError("Name the file of hosts with -H FILE, or in DMREMAP_HOSTS.")
        return read(self.path).select(self.on)


def fleet_options(*, resume: bool = True) -> Callable[[_F], _F]:
    """The options; the command gets them as one argument ``options``."""

    def decorate(function: _F) -> _F:
        @click.pass_context
        def command(ctx: click.Context, /, **given: Any) -> None:
            mine = {key: given.pop(key) for key in ("on", "jobs", "timeout", "as_json")}
            options = Options(path=ctx.obj, resume=given.pop("resume", None), **mine)
            ctx.exit(int(function(options, **given)))

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__dict__.update(getattr(function, "__dict__", {}))
        made: Any = json_option(command)
        if resume:
            made = click.option(
                "--resume",
                metavar="STATEFILE",
                type=click.Path(path_type=Path),
                help="Note here what is done, and leave out what is noted already.",
            )(made)
        for option in (
            click.option(
                "--timeout",
                metavar="SECONDS",
                type=click.FloatRange(min=0, min_open=True),
                help="How long a host may take; the file of hosts says it otherwise.",
            ),
            click.option(
                "--jobs",
                type=click.IntRange(1, 1000),
                default=JOBS,
                show_default=True,
                help="So many hosts at a time.",
            ),
            click.option("--on", multiple=True, metavar="NAME", help="Only this host or group; repeatable."),
        ):
            made = option(made)
        decorated: _F = made
        return decorated

    return decorate


def run(
    options: Options,
    words: Sequence[str],
    hosts: "Sequence[Host]",
    events: "Events",
    *,
    endless: bool = False,
    unlimited: bool = False,
) -> ExitCode:
    """Do it, show it, note it; the exit code.

    ``words`` are what the command is, for --resume.  ``endless`` is a command that ^C ends as it
    should; ``unlimited`` one without a time limit unless --timeout gives it one.
    """
    from pycontrol.cli.fleet_show import screen
    from pycontrol.service.fleet import bundle, ssh
    from pycontrol.service.fleet.journal import opened
    from pycontrol.service.fleet.runner import Fleet, Outcome

    limit = float("inf") if unlimited and options.timeout is None else options.timeout
    with ExitStack() as stack:
        journal = stack.enter_context(opened(options.resume, words)) if options.resume else None
        fleet = Fleet(ssh.connect, bundle.Once(bundle.tool), jobs=options.jobs, seconds=limit)
        before = _before(journal, hosts)
        left = [host for host in hosts if host.name not in before]
        shown = stack.enter_context(screen(hosts, as_json=options.as_json))
        stack.enter_context(_interrupting(fleet))
        for outcome in before.values():
            shown.take(outcome)
        # Not the outcomes: answers may be long, and hosts many.
        states = {outcome.state for outcome in before.values()}
        # Closed, so that nothing goes on if noting or showing fails.
        for event in stack.enter_context(closing(events(fleet, left))):
            if isinstance(event, Outcome):
                states.add(event.state)
                _note(journal, event)
            shown.take(event)
        shown.end(words[0], fleet.interrupted and not endless, options.resume)
    return _code(states, fleet.interrupted, endless)


def _before(journal: "Journal | None", hosts: "Sequence[Host]") -> "dict[str, Outcome]":
    from pycontrol.service.fleet.runner import Outcome
    from pycontrol.service.fleet.session import State

    if journal is None:
        return {}
    done = journal.done
    return {
        host.name: Outcome(
            host.name,
            done[host.name].state,
            done[host.name].sentence,
            code=1 if done[host.name].state is State.DAMAGED else 0,
            before=True,
        )
        for host in hosts
        if host.name in done
    }


def _note(journal: "Journal | None", outcome: "Outcome") -> None:
    from pycontrol.service.fleet.journal import Note

    if journal is not None:
        journal.add(outcome.host, Note(outcome.state, outcome.sentence))


@contextmanager
def _interrupting(fleet: "Fleet") -> Iterator[None]:
    """^C, SIGTERM and a terminal that is closed end what is under way; the second one ends us."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        if fleet.interrupted:
            raise KeyboardInterrupt
        fleet.interrupt()

    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _code(states: "set[State]", interrupted: bool, endless: bool) -> ExitCode:
    from pycontrol.service.fleet.session import DONE, State

    if interrupted and not endless and State.STOPPED in states:
        return ExitCode.CANCELLED
    if states - DONE - {State.STOPPED}:
        return ExitCode.HOSTS_FAILED
    return ExitCode.DAMAGED if State.DAMAGED in states else ExitCode.OK
