"""``dmremapctl monitor``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json_line, json_option

if TYPE_CHECKING:
    from pycontrol.service.tell.hooks import Hook
    from pycontrol.service.tell.notice import Notice


class _Seconds(click.FloatRange):
    """Up to a day, which poll() can wait for."""

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(0, 86400, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail("nan is not a number of seconds.", param, ctx)
        return seconds


@click.command()
@click.argument("names", type=NAME, nargs=-1, metavar="[NAME]...")
@click.option(
    "programs",
    "--hook",
    multiple=True,
    metavar="CLASS=PROGRAM",
    help="Run a program for events of this class, or of ANY; may be given again.",
)
@click.option(
    "addresses", "--mail", multiple=True, metavar="ADDRESS", help="Send mail from warnings upwards."
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.prom",
    help="Keep the state in this file, for Prometheus' node_exporter.",
)
@click.option(
    "--listen",
    metavar="[ADDRESS:]PORT",
    help="Give the state to a Prometheus that asks by HTTP; without ADDRESS only on this machine.",
)
@click.option(
    "--window",
    type=_Seconds(),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Gather events of one class and device for so long, then call once.",
)
@click.option(
    "--window-max",
    type=_Seconds(),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="While they go on, gather twice as long each time, up to this.",
)
@click.option(
    "--hook-limit",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    metavar="N",
    help="So many programs run at once.",
)
@click.option(
    "--hook-timeout",
    type=_Seconds(min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="A program that runs longer is killed.",
)
@json_option
def monitor(
    names: tuple[str, ...],
    programs: tuple[str, ...],
    addresses: tuple[str, ...],
    textfile: Path | None,
    listen: str | None,
    window: float,
    window_max: float,
    hook_limit: int,
    hook_timeout: float,
    as_json: bool,
) -> None:
    """Tell of everything that happens to the devices, as a service: until it is stopped.

    Prints a line for each event; in the journal with its priority.  Watches the devices
    NAME..., which need not exist yet, or all.  Hooks and lines are described in
    docs/monitor.md, metrics in docs/prometheus.md.

    JSON: one object a line, with the keys of watch and: level (syslog's), lost, state (null, or
    mode, errors, needs_check, healthy, remapped_extents, pending_extents, used_sectors,
    total_sectors, valid_copies, copies, read_errors, write_errors, sectors_salvaged,
    sectors_lost).

    \b
    Example:
      dmremapctl monitor --mail root --hook PENDING=/usr/local/sbin/page-me
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.devices import named
    from pycontrol.service.signals import signal_pipe
    from pycontrol.service.tell import monitor as service
    from pycontrol.service.tell.bursts import Bursts
    from pycontrol.service.tell.exporter import Exporter
    from pycontrol.service.tell.follow import Follower
    from pycontrol.service.tell.hooks import ProgramHook, Runner
    from pycontrol.service.tell.mail import MailHook
    from pycontrol.service.tell.textfile import TextFile
    from pycontrol.service.tell.uevents import KernelUevents

    wanted = frozenset(str(named(name)) for name in names)
    hooks: list[Hook] = [ProgramHook.parse(text) for text in programs]
    hooks += [MailHook.parse(address) for address in addresses]
    file = TextFile(textfile) if textfile else None
    exporter = Exporter.parse(listen) if listen else None
    # Listening begins before the devices are read, so that nothing falls between.
    source = KernelUevents()

    def ready() -> None:
        click.echo("dmremapctl: monitoring", err=True)
        _notify("READY=1")

    def stopping() -> None:
        _notify("STOPPING=1")

    try:
        with Control() as control, signal_pipe(*service.STOP, service.REREAD) as signals:
            daemon = service.Monitor(
                Follower(control, source, wanted),
                Runner(hook_limit, hook_timeout, _report),
                Bursts(window, window_max),
                tell=_tell_json if as_json else _tell,
                report=_report,
                hooks=hooks,
                textfile=file,
                exporter=exporter,
            )
            daemon.run(signals, ready, stopping)
    finally:
        source.close()
        if exporter:
            exporter.close()


def _notify(state: str) -> None:
    from pycontrol.service.tell import systemd

    try:
        systemd.notify(state)
    except OSError as error:
        # Whoever waits for it will miss it; the events are worth more.
        _report(f"the service manager could not be told {state}: {error.strerror}")


def _tell(notice: "Notice") -> None:
    from pycontrol.service.tell import systemd

    if systemd.in_journal(1):
        click.echo(f"<{notice.level}>{notice.line}")
    else:
        from datetime import datetime

        received = datetime.fromtimestamp(notice.event.time).astimezone()
        click.echo(f"{received.isoformat(timespec='seconds')} {notice.line}")


def _tell_json(notice: "Notice") -> None:
    from dataclasses import asdict

    state = asdict(notice.state) if notice.state else None
    emit_json_line(asdict(notice.event) | {"level": notice.level, "lost": notice.lost, "state": state})


def _report(sentence: str) -> None:
    from pycontrol.service.tell import systemd

    click.echo(f"{'<4>' if systemd.in_journal(2) else ''}dmremapctl: {sentence}", err=True)
