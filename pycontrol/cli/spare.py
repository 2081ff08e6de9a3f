"""``dmremapctl spare``."""

from typing import TYPE_CHECKING, Final

import click

from pycontrol.cli.arguments import DEVICE, NAME
from pycontrol.cli.main import LazyGroup
from pycontrol.cli.moving import interruptible, moving_options, settled_already
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.move.replace import Plan, Replaced
    from pycontrol.service.ranges import Range


COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "replace": ("pycontrol.cli.spare:replace", "Move to another spare, while the device is in use."),
}


@click.group(cls=LazyGroup, commands_at=COMMANDS)
def spare() -> None:
    """Look after the spare of a device."""


@click.command()
@click.argument("name", type=NAME)
@click.argument("newspare", type=DEVICE)
@moving_options("NEWSPARE")
@json_option
@click.pass_context
def replace(
    ctx: click.Context,
    name: str,
    newspare: str,
    overwrite: bool,
    pause: float,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move what lives on the spare of NAME to NEWSPARE, while NAME is in use.

    The old spare is good until the last moment, and marked as retired then: it will be
    refused.  What cannot be read from it any more is pending afterwards, and listed (exit code 1).
    Interrupted, or cut off, nothing has happened, or all: run it again.

    \b
    Example:
      dmremapctl spare replace data /dev/sdd1

    JSON keys: name, old, new, dry_run, sectors (that move, 512 bytes each), copied (sectors, some
    once more), loses, lost (list of [main sector, sectors]), seconds (I/O stood still), warnings.
    """
    from pycontrol.cli.exitcodes import ExitCode
    from pycontrol.cli.progress import phases
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.move.replace import carry_out, plan

    done: Replaced | None = None
    with interruptible(lambda: done is not None):
        with Control() as control:
            if not dry_run and settled_already(control, name, newspare, "replacement", as_json=as_json):
                return
            decided = plan(control, name, newspare, overwrite=overwrite)
            for sentence in decided.warnings:
                warn(sentence)
            if dry_run:
                _show_plan(decided, as_json)
                return
            if not yes:
                click.confirm(_question(decided), abort=True, err=True)
            with phases(quiet=as_json) as progress:
                done = carry_out(control, decided, longest=pause, progress=progress)
        for sentence in done.warnings:
            warn(sentence)
        _show(decided, done, as_json)
    ctx.exit(ExitCode.DAMAGED if done.lost else ExitCode.OK)


def _question(decided: "Plan") -> str:
    new = plain(decided.new.path)
    if decided.loses:
        return f"{new} holds {'; '.join(decided.loses)}.  Overwrite it, losing everything?"
    return f"Make {new} the spare of {decided.name} instead of {plain(decided.old.path)}?"


def _show_plan(decided: "Plan", as_json: bool) -> None:
    if as_json:
        emit_json(_json(decided, None))
        return
    click.echo(
        f"would move {decided.sectors} sectors of {decided.name} from {plain(decided.old.path)}"
        f" to {plain(decided.new.path)}"
    )
    if decided.loses:
        click.echo(f"would overwrite {'; '.join(decided.loses)}")


def _show(decided: "Plan", done: "Replaced", as_json: bool) -> None:
    if as_json:
        emit_json(_json(decided, done))
        return
    click.echo(
        f"{decided.name}: {done.sectors} sectors live on {plain(done.new)} now; I/O stood still for"
        f" {done.seconds:.2f} s"
    )
    if done.lost:
        count = sum(end - start for start, end in done.lost)
        click.echo(f"{count} sectors could not be read from {plain(done.old)} and are pending:")
        for start, end in done.lost:
            click.echo(f"  {start} {end - start}")
    click.echo(f"{plain(done.old)} is retired and will be refused as a spare")


def _json(decided: "Plan", done: "Replaced | None") -> dict[str, object]:
    return {
        "name": str(decided.name),
        "old": decided.old.path,
        "new": decided.new.path,
        "dry_run": done is None,
        "sectors": done.sectors if done else decided.sectors,
        "copied": done.copied if done else 0,
        "loses": list(decided.loses),
        "lost": counted(done.lost) if done else [],
        "seconds": round(done.seconds, 3) if done else None,
        "warnings": [*decided.warnings, *(done.warnings if done else ())],
    }


def counted(ranges: "tuple[Range, ...]") -> list[list[int]]:
    """Ranges as JSON has them: first sector, and how many."""
    return [[start, end - start] for start, end in ranges]
