"""``dmremapctl health``."""

from typing import TYPE_CHECKING, Any

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.output import emit_json, json_option
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.status import TargetStatus
    from pycontrol.service.view.checkup import Checkup
    from pycontrol.service.view.growth import Window

_STYLES = {"good": "green", "watch": "yellow", "act": "bold red", "failing": "bold white on red"}


@click.command()
@click.argument("name", type=NAME, required=False)
@json_option
@click.pass_context
def health(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Say how a device is, or all of them are, why, and what to do.

    Damage is judged by how it grows, by the dates of the records on the spare, and never by
    how much there is: a disk with many old remaps and no new ones is good.

    \b
    good      nothing to do
    watch     look again soon
    act       do now what the reasons say
    failing   protection has ended or is about to: get the data off

    Sectors moved on request (remap, import) do not count as growth.  The dates are those of the
    clock when it happened; records that were compacted have the latest date of those that were
    joined.

    \b
    Example:
      dmremapctl health data || mail -s "data needs attention" root

    Exit code 0: good or watch; 1: act or failing, of any device.

    \b
    JSON: a list of objects, one a target (sectors of 512 bytes):
      name, path, start           the target
      verdict                     good, watch, act or failing
      reasons                     list of {verdict, kind, sentence}, worst first
      exhaustion                  when the spare is full: {days, earliest, latest, certainty (guess,
                                  rough, fair), places}, in days; null if it does not fill
      day, week, month            new damage: {days, places, sectors, pending, bad_spare}; or null
      places, sectors, undated    damage of all time, and sectors without a date; or null
      pending_sectors, used_sectors, total_sectors, valid_copies, copies, mode, errors,
      needs_check, read_errors, write_errors, sectors_salvaged, sectors_lost    as in status;
                                  null for a device without a table
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.view.checkup import check_up
    from pycontrol.service.view.health import Level

    with Control() as control:
        found = check_up(control, name)
    if as_json:
        emit_json([_as_json(each) for each in found])
    elif not found:
        click.echo("no devices")
    for number, each in enumerate(() if as_json else found):
        if number:
            click.echo()
        _show(each)
    if any(each.verdict.level >= Level.ACT for each in found):
        ctx.exit(ExitCode.DAMAGED)


def _show(each: "Checkup") -> None:
    from shutil import get_terminal_size
    from textwrap import wrap

    from rich.text import Text

    from pycontrol.cli.output import console

    verdict, target = each.verdict, each.target
    where = f" from sector {target.start}" if target and target.start else ""
    line = Text(f"{plain(each.device.path)}{where}: ")
    line.append(str(verdict.level), style=_STYLES[str(verdict.level)])
    screen = console()
    screen.print(line, soft_wrap=True)
    width = max(40, get_terminal_size((81, 24)).columns - 1)
    sentences = [f"{reason.level}: {reason.sentence}" for reason in verdict.reasons]
    if target:
        sentences.append(_figures(target.status))
    for sentence in sentences:
        for words in wrap(sentence, width, initial_indent="  ", subsequent_indent="    "):
            click.echo(words)


def _figures(state: "TargetStatus") -> str:
    from pycontrol.sizes import SECTOR, human

    used, total = human(state.used_sectors * SECTOR), human(state.total_sectors * SECTOR)
    return (
        f"spare {used} of {total} used, copies {state.valid_copies} of {state.copies},"
        f" {state.read_errors} read and {state.write_errors} write errors,"
        f" {state.sectors_salvaged} sectors salvaged and {state.sectors_lost} lost since the beginning"
    )


_STATE = (
    "used_sectors", "total_sectors", "valid_copies", "copies", "mode", "errors", "needs_check",
    "read_errors", "write_errors", "sectors_salvaged", "sectors_lost",
)  # fmt: skip


def _as_json(each: "Checkup") -> dict[str, Any]:
    target, facts, verdict = each.target, each.facts, each.verdict
    growth, ahead = facts.growth if facts else None, verdict.outlook
    return {
        "name": each.device.info.name,
        "path": each.device.path,
        "start": target.start if target else 0,
        "verdict": str(verdict.level),
        "reasons": [
            {"verdict": str(reason.level), "kind": reason.kind, "sentence": reason.sentence}
            for reason in verdict.reasons
        ],
        "exhaustion": ahead
        and {
            "days": ahead.days,
            "earliest": ahead.earliest,
            "latest": ahead.latest,
            "certainty": ahead.certainty,
            "places": ahead.places,
        },
        "day": _window(growth.day) if growth else None,
        "week": _window(growth.week) if growth else None,
        "month": _window(growth.month) if growth else None,
        "places": growth.places if growth else None,
        "sectors": growth.sectors if growth else None,
        "undated": growth.undated if growth else None,
        "pending_sectors": facts.pending_sectors if facts else None,
        **{key: getattr(target.status, key) if target else None for key in _STATE},
    }


def _window(window: "Window") -> dict[str, int]:
    from dataclasses import asdict

    return asdict(window)
