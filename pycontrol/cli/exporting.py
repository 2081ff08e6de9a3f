"""``dmremapctl export``."""

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, json_option
from pycontrol.text import plain


@click.command()
@click.argument("name", type=NAME)
@click.option("--badblocks", "form", flag_value="badblocks", help="As badblocks(8) writes it, for e2fsck -l.")
@click.option("--ddrescue", "form", flag_value="ddrescue", help="A map file: - is pending, + all the rest.")
@click.option("--list", "form", flag_value="list", help="As the target lists it; the default.")
@click.option("--pending-only", "kind", flag_value="pending", help="What cannot be read.")
@click.option("--remapped-only", "kind", flag_value="remapped", help="What lives on the spare.")
@click.option("--block-size", type=int, metavar="BYTES", help="Of the badblocks list (1024).")
@click.option("--round", "rounded", is_flag=True, help="List blocks of it that are bad in part, too.")
@click.option("-o", "--output", "out", metavar="FILE", help="A new file, not standard output.")
@json_option
def export(
    name: str,
    form: str | None,
    kind: str | None,
    block_size: int | None,
    rounded: bool,
    out: str | None,
    as_json: bool,
) -> None:
    """List the bad blocks of a device's main disk: those remapped and those pending.

    What one command exports, 'import' reads again, to the sector; with --round, to the block.

    \b
    Examples:
      dmremapctl export data --ddrescue -o data.map
      dmremapctl export data --badblocks --block-size 4096 --round -o bad.txt

    JSON keys: name, sectors (of the main device), extents (list of {sector, sectors, spare}; spare
    is null for a pending one).  There is no list then, unless -o says where it goes.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.errors import UsageError
    from pycontrol.service.known.badblocks import BLOCK
    from pycontrol.service.known.exporting import Form
    from pycontrol.service.known.exporting import export as service

    wanted = Form(form or "list")
    if wanted is not Form.BADBLOCKS and (block_size is not None or rounded):
        raise UsageError("--block-size and --round belong to --badblocks")
    if wanted is Form.DDRESCUE and kind == "remapped":
        raise UsageError("a map file tells what can be read, and what is remapped can be; use --list")
    with Control() as control:
        found = service(control, name, with_remapped=kind != "pending", with_pending=kind != "remapped")
    lines = found.lines(wanted, block_size=BLOCK if block_size is None else block_size, rounded=rounded)
    if out is not None:
        from pycontrol.service.offline.imagefile import write_text

        write_text(out, lines)
    if as_json:
        emit_json(
            {
                "name": name,
                "sectors": found.sectors,
                "extents": [
                    {"sector": each.sector, "sectors": each.sectors, "spare": each.spare}
                    for each in found.extents
                ],
            }
        )
    elif out is None:
        for line in lines:
            click.echo(line, nl=False)
    else:
        click.echo(f"{len(found.extents)} extents of {plain(name)} are in {plain(out)}")
