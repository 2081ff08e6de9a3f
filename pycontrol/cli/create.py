"""``dmremapctl create``."""

import click

from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain


@click.command()
@click.argument("name")
@click.argument("main")
@click.argument("spare")
@click.option("--format", "format_", is_flag=True, help="Format the spare even if it holds something.")
@click.option("--copies", type=int, metavar="N", help="Copies of the metadata, 1 to 8 (5).")
@click.option("--spacing", metavar="SIZE", help="From one copy to the next, a power of two (128K).")
@click.option("--relocate-weak", is_flag=True, help="Move blocks that could be read only on retry, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def create(
    name: str,
    main: str,
    spare: str,
    format_: bool,
    copies: int | None,
    spacing: str | None,
    relocate_weak: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Join MAIN and SPARE to the device /dev/mapper/NAME.

    A spare that was formatted for MAIN is activated with its remaps.  A blank one is
    formatted, after asking.  One that holds anything else is refused without --format.

    JSON keys: name, path, uuid, dev, main, spare, formatted, records, table, warnings.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.create import Action, Options, carry_out, plan
    from pycontrol.sizes import parse_size

    options = Options(format_, copies, parse_size(spacing) if spacing else None, relocate_weak)
    with Control() as control:
        decided = plan(control, name, main, spare, options)
        for sentence in decided.warnings:
            warn(sentence)
        formatting = decided.action is Action.FORMAT
        if formatting and not yes:
            click.confirm(_question(spare, decided.loses), abort=True, err=True)
        info = carry_out(control, decided)
    if as_json:
        emit_json(
            {
                "name": info.name,
                "path": f"/dev/mapper/{info.name}",
                "uuid": info.uuid,
                "dev": str(info.dev),
                "main": str(decided.main.dev),
                "spare": str(decided.spare.dev),
                "formatted": formatting,
                "records": decided.records,
                "table": str(decided.table),
                "warnings": list(decided.warnings),
            }
        )
        return
    how = "formatted the spare" if formatting else f"activated, {decided.records} records on the spare"
    click.echo(f"/dev/mapper/{plain(info.name)}: {plain(main)} with spare {plain(spare)}, {how}")


def _question(spare: str, loses: tuple[str, ...]) -> str:
    if loses:
        return f"{plain(spare)} holds {'; '.join(loses)}.  Overwrite it, losing everything?"
    return f"{plain(spare)} is blank.  Format it as a spare?"
