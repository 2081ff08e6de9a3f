"""``dmremapctl create``."""

import sys
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import DEVICE, NAME
from pycontrol.cli.output import emit_json, json_option, warn, wrapped
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.types import DeviceInfo
    from pycontrol.service.create import Plan


@click.command()
@click.argument("name", type=NAME, required=False)
@click.argument("main", type=DEVICE, required=False)
@click.argument("spare", type=DEVICE, required=False)
@click.option("--guide", is_flag=True, help="Propose what is not given, show the plan, and ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be done; write nothing.")
@click.option("--format", "format_", is_flag=True, help="Format the spare even if it holds something.")
@click.option("--copies", type=int, metavar="N", help="Copies of the metadata, 1 to 8 (5).")
@click.option("--spacing", metavar="SIZE", help="From one copy to the next, a power of two (128K).")
@click.option("--relocate-weak", is_flag=True, help="Move blocks that could be read only on retry, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def create(
    name: str | None,
    main: str | None,
    spare: str | None,
    guide: bool,
    dry_run: bool,
    format_: bool,
    copies: int | None,
    spacing: str | None,
    relocate_weak: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Join MAIN and SPARE to the device /dev/mapper/NAME.

    A spare that was formatted for MAIN is activated with its remaps.  A blank one is
    formatted, after asking.  One that holds anything else is refused without --format, and a MAIN
    that is a spare itself even so.

    On a terminal, what is not given is asked for, with proposals; so it is with --guide.

    \b
    Example:
      dmremapctl create data /dev/sdb /dev/sdc1

    JSON keys: name, path, uuid, dev, main, spare, formatted, records, table, warnings.
    With --dry-run there is no uuid and dev, but dry_run, copies, spacing (bytes), loses, metadata
    (is any of dm-remap on the spare?), overwritten (bytes), room (bytes).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service import create as service
    from pycontrol.sizes import parse_size

    options = service.Options(format_, copies, parse_size(spacing) if spacing else None, relocate_weak)
    guided = guide or None in (name, main, spare)
    if guided:
        _check_guide(guide, yes, name, main, spare)
    with Control() as control:
        if guided:
            from pycontrol.cli.create_guide import choose

            name, main, spare = choose(control, name, main, spare)
        assert name is not None and main is not None and spare is not None
        decided = service.plan(control, name, main, spare, options)
        if guided:
            decided = service.proposed(control, decided, options)
        for sentence in decided.warnings:
            warn(sentence)
        if dry_run:
            _show_plan(decided, as_json)
            return
        _ask(decided, guided, yes)
        try:
            info = service.carry_out(control, decided)
        except KeyboardInterrupt:
            if decided.action is service.Action.FORMAT:
                warn("the spare may be formatted already; the same command goes on from there")
            raise
    _made(info, decided, as_json)


def _check_guide(guide: bool, yes: bool, *given: str | None) -> None:
    """Whether there is somebody to ask."""
    missing = [word for word, value in zip(("NAME", "MAIN", "SPARE"), given, strict=True) if value is None]
    if missing and yes:
        raise click.UsageError(f"--yes chooses no devices; name {' and '.join(missing)}")
    if missing and not guide and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            f"Missing argument '{missing[0]}'; on a terminal, or with --guide, it is asked for."
        )


def _ask(decided: "Plan", guided: bool, yes: bool) -> None:
    from pycontrol.service.create import Action

    if guided:
        from pycontrol.cli.create_guide import plan_lines

        for line in plan_lines(decided):
            wrapped(line, err=True)
    if yes or (decided.action is not Action.FORMAT and not guided):
        return
    if decided.action is Action.FORMAT:
        click.confirm(_question(decided.spare.path, decided.loses), abort=True, err=True)
    else:
        click.confirm("Do it?", abort=True, err=True)


def _question(spare: str, loses: tuple[str, ...]) -> str:
    if loses:
        return f"{plain(spare)} holds {'; '.join(loses)}.  Overwrite it, losing everything?"
    return f"{plain(spare)} is blank.  Format it as a spare?"


def _show_plan(decided: "Plan", as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "dry_run": True,
                **_common(decided),
                "copies": decided.copies,
                "spacing": decided.spacing,
                "loses": list(decided.loses),
                "metadata": decided.metadata,
                "overwritten": decided.overwritten,
                "room": decided.room,
            }
        )
        return
    from pycontrol.cli.create_guide import plan_lines

    for line in plan_lines(decided):
        wrapped(line)
    click.echo("dry run: nothing was written")


def _made(info: "DeviceInfo", decided: "Plan", as_json: bool) -> None:
    if as_json:
        emit_json({**_common(decided), "uuid": info.uuid, "dev": str(info.dev)})
        return
    formatted = decided.overwritten > 0
    how = "formatted the spare" if formatted else f"activated, {decided.records} records on the spare"
    pair = f"{plain(decided.main.path)} with spare {plain(decided.spare.path)}"
    click.echo(f"/dev/mapper/{plain(info.name)}: {pair}, {how}")


def _common(decided: "Plan") -> dict[str, object]:
    return {
        "name": decided.name,
        "path": f"/dev/mapper/{decided.name}",
        "main": str(decided.main.dev),
        "spare": str(decided.spare.dev),
        "formatted": decided.overwritten > 0,
        "records": decided.records,
        "table": str(decided.table),
        "warnings": list(decided.warnings),
    }
