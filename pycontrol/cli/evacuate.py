"""``dmremapctl evacuate``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import DEVICE, NAME
from pycontrol.cli.moving import interruptible, moving_options, settled_already
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.move.evacuate import Evacuated, Plan


@click.command()
@click.argument("name", type=NAME)
@click.argument("newdisk", type=DEVICE)
@click.option(
    "--give-up-lost",
    "lost_file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write zeroes for what cannot be read, and list it in the new FILE.",
)
@moving_options("NEWDISK")
@json_option
def evacuate(
    name: str,
    newdisk: str,
    lost_file: str | None,
    overwrite: bool,
    pause: float,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy NAME to the healthy NEWDISK while it is in use, and go on there.

    NAME keeps its name and goes on without a break; then main and spare can go.  Until the
    last moment nothing about it is changed: interrupted, or cut off, it is as it was.  The
    spare is marked as retired at the end, so that the two cannot be put together again.

    \b
    Example:
      dmremapctl evacuate data /dev/sde

    JSON keys: name, main, spare, new, dry_run, sectors (of the device), copied (sectors, some
    once more), loses, lost (list of [sector, sectors], zeroes on NEWDISK), seconds (I/O stood
    still), warnings.
    """
    from pycontrol.cli.progress import phases
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.move.evacuate import carry_out, plan
    from pycontrol.service.move.lostlist import lost_list

    done: Evacuated | None = None
    with interruptible(lambda: done is not None):
        with Control() as control:
            if not dry_run and settled_already(control, name, newdisk, "evacuation", as_json=as_json):
                return
            decided = plan(control, name, newdisk, overwrite=overwrite, give_up=lost_file is not None)
            for sentence in decided.warnings:
                warn(sentence)
            if dry_run:
                _show_plan(decided, as_json)
                return
            if not yes:
                click.confirm(_question(decided), abort=True, err=True)
            with lost_list(lost_file) as write_down, phases(quiet=as_json) as progress:
                done = carry_out(
                    control, decided, give_up=lost_file is not None, longest=pause, progress=progress,
                    write_down=write_down,
                )  # fmt: skip
        for sentence in done.warnings:
            warn(sentence)
        _show(decided, done, lost_file, as_json)


def _question(decided: "Plan") -> str:
    new = plain(decided.new.path)
    words = []
    if decided.loses:
        words.append(f"{new} holds {'; '.join(decided.loses)}.  Overwrite it, losing everything?")
    if decided.pending:
        count = sum(end - start for start, end in decided.pending)
        words.append(f"{count} sectors cannot be read and will be zeroes.  Give them up?")
    return "  ".join(words) or f"Copy {decided.name} to {new}, and go on there?"


def _show_plan(decided: "Plan", as_json: bool) -> None:
    from pycontrol.sizes import SECTOR, human

    if as_json:
        emit_json(_json(decided, None))
        return
    click.echo(
        f"would copy {human(decided.sectors * SECTOR)} of {decided.name} to {plain(decided.new.path)} and go"
        " on there"
    )
    if decided.loses:
        click.echo(f"would overwrite {'; '.join(decided.loses)}")


def _show(decided: "Plan", done: "Evacuated", lost_file: str | None, as_json: bool) -> None:
    if as_json:
        emit_json(_json(decided, done))
        return
    main, new = plain(decided.main.path), plain(done.new)
    click.echo(f"{decided.name} is on {new} now; I/O stood still for {done.seconds:.2f} s")
    if done.lost:
        count = sum(end - start for start, end in done.lost)
        click.echo(f"{count} sectors are lost, and zeroes now; {plain(lost_file)} lists them")
    click.echo(
        f"{main} and {plain(decided.spare.path)} are not needed any more.  Whatever finds file systems by"
        f" their uuid would find {main} as well: disconnect it, or 'wipefs -a' it"
    )


def _json(decided: "Plan", done: "Evacuated | None") -> dict[str, object]:
    lost = done.lost if done else decided.pending
    return {
        "name": str(decided.name),
        "main": decided.main.path,
        "spare": decided.spare.path,
        "new": decided.new.path,
        "dry_run": done is None,
        "sectors": decided.sectors,
        "copied": done.copied if done else 0,
        "loses": list(decided.loses),
        "lost": [[start, end - start] for start, end in lost],
        "seconds": round(done.seconds, 3) if done else None,
        "warnings": [*decided.warnings, *(done.warnings if done else ())],
    }
