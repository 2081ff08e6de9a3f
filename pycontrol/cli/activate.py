"""``dmremapctl activate`` and ``deactivate``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import DEVICE, NAME
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.boot.bringup import Outcome
    from pycontrol.service.boot.tab import Entry


@click.command()
@click.argument("name", type=NAME, required=False)
@click.argument("main", type=DEVICE, required=False)
@click.argument("spare", type=DEVICE, required=False)
@click.option("--all", "every", is_flag=True, help="All that /etc/dmremaptab lists, but for noauto.")
@click.option("--tab", type=click.Path(), metavar="FILE", help="Another table than /etc/dmremaptab.")
@click.option("--no-wait", is_flag=True, help="Do not wait for a half that is missing.")
@click.option("--relocate-weak", is_flag=True, help="Move blocks that could be read only on retry, too.")
@click.option("--alone", is_flag=True, help="The spare that SPARE replaces will never be used again.")
@json_option
def activate(
    name: str | None,
    main: str | None,
    spare: str | None,
    every: bool,
    tab: str | None,
    no_wait: bool,
    relocate_weak: bool,
    alone: bool,
    as_json: bool,
) -> None:
    """Bring the device NAME up from MAIN and the SPARE that belongs to it; formats nothing.

    If a replacement of the spare was cut off at its very end, this finishes it. NAME alone is
    looked up in /etc/dmremaptab, whose lines also say how long a missing half is waited for. A
    device that is up already is well.

    \b
    Examples:
      dmremapctl activate data /dev/sdb /dev/sdc1
      dmremapctl activate data
      dmremapctl activate --all

    JSON keys: name, path, uuid, dev, main, spare, records, table, finished (a replacement),
    warnings; by the table a list of name, path, uuid, dev (null if it is not up), changed, error,
    warnings.
    """
    from pycontrol.errors import UsageError

    if name and main and spare and not every:
        if tab or no_wait:
            raise UsageError("--tab and --no-wait are for devices of the table; leave out MAIN and SPARE")
        _activate_pair(name, main, spare, relocate_weak=relocate_weak, alone=alone, as_json=as_json)
        return
    if main or every == bool(name):
        raise UsageError("give NAME MAIN SPARE, or a NAME of /etc/dmremaptab, or --all")
    if relocate_weak or alone:
        raise UsageError(
            "--relocate-weak and --alone are for NAME MAIN SPARE; the table has options of its own"
        )
    _activate_listed(name, tab, wait=not no_wait, as_json=as_json)


def _activate_listed(name: str | None, tab: str | None, *, wait: bool, as_json: bool) -> None:
    """Those of the table; ends with the code of the first that failed, or of a line that is wrong."""
    from pathlib import Path

    from pycontrol.cli.exitcodes import ExitCode
    from pycontrol.cli.failures import exit_code, sentence
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.boot import tab as tables
    from pycontrol.service.boot.bringup import bring_up_all
    from pycontrol.service.devices import named

    path = Path(tab) if tab else tables.PATH
    table = tables.load(path)
    for fault in table.faults:
        click.echo(f"dmremapctl: {plain(path)}:{fault.line}: {plain(fault.sentence)}", err=True)
    entries = _chosen(table.entries, named(name) if name else None, plain(path))
    # Whoever wants one device is not told of others' lines by the code.
    code = ExitCode.USAGE if table.faults and not name else ExitCode.OK
    told = []
    with Control() as control:
        for outcome in bring_up_all(control, entries, wait=wait) if entries else ():
            for words in outcome.warnings:
                warn(words)
            if outcome.error:
                click.echo(f"dmremapctl: {outcome.entry.name}: {sentence(outcome.error)}", err=True)
            elif not as_json:
                done = "activated" if outcome.changed else "active already"
                click.echo(f"/dev/mapper/{outcome.entry.name}: {done}")
            if outcome.error and outcome.failed:
                code = code or exit_code(outcome.error)
            told.append(_listed_json(outcome))
    if as_json:
        emit_json(told)
    raise SystemExit(code)


def _chosen(entries: "list[Entry]", name: str | None, path: str) -> "list[Entry]":
    from pycontrol.errors import UsageError

    if not name:
        return [entry for entry in entries if not entry.noauto]
    found = [entry for entry in entries if entry.name == name]
    if not found:
        raise UsageError(f"{path} has no device {name}; give MAIN and SPARE as well")
    return found


def _listed_json(outcome: "Outcome") -> dict[str, object]:
    from pycontrol.cli.failures import sentence

    info = outcome.info
    return {
        "name": outcome.entry.name,
        "path": f"/dev/mapper/{outcome.entry.name}",
        "uuid": info.uuid if info else None,
        "dev": str(info.dev) if info else None,
        "changed": outcome.changed,
        "error": sentence(outcome.error) if outcome.error else None,
        "warnings": list(outcome.warnings),
    }


def _activate_pair(
    name: str, main: str, spare: str, *, relocate_weak: bool, alone: bool, as_json: bool
) -> None:
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.activate import activate as service

    with Control() as control:
        done = service(control, name, main, spare, relocate_weak=relocate_weak, alone=alone)
    decided, info = done.plan, done.info
    for sentence in decided.warnings:
        warn(sentence)
    if as_json:
        emit_json(
            {
                "name": info.name,
                "path": f"/dev/mapper/{info.name}",
                "uuid": info.uuid,
                "dev": str(info.dev),
                "main": str(decided.main.dev),
                "spare": str(decided.spare.dev),
                "records": decided.records,
                "table": str(decided.table),
                "finished": done.finished,
                "warnings": list(decided.warnings),
            }
        )
        return
    if done.finished:
        click.echo(f"{plain(spare)} is the spare now; its predecessor is retired")
    click.echo(f"/dev/mapper/{plain(info.name)}: activated, {decided.records} records on the spare")


@click.command()
@click.argument("name", type=NAME)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    metavar="SECONDS",
    help="How long to wait for the end of its use (60).",
)
@json_option
def deactivate(name: str, wait: float, as_json: bool) -> None:
    """Take the device NAME down as soon as nobody uses it; 'activate' brings it up again.

    \b
    Example:
      dmremapctl deactivate data

    JSON keys: name, removed (true).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.removal import remove_waiting

    with Control() as control:
        info = remove_waiting(control, name, patience=wait)
    if as_json:
        emit_json({"name": info.name, "removed": True})
    else:
        click.echo(f"deactivated {plain(info.name)}")
