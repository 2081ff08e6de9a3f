"""``dmremapctl leave``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.move.leave import Left, Outlook
    from pycontrol.service.ranges import Range

_SHOWN = 20
"""Ranges that are listed for people."""


@click.command()
@click.argument("name", type=NAME)
@click.option("--do", "do_it", is_flag=True, help="Do it: copy everything back, and take the device down.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def leave(ctx: click.Context, name: str, do_it: bool, yes: bool, as_json: bool) -> None:
    """Say whether NAME can go back to its bare disk without loss; with --do, go.

    What lives on the spare is copied back, read again and compared.  Where the disk does not
    take it, it stays on the spare, the device stays, and what remains is listed.

    \b
    Example:
      dmremapctl leave data
      dmremapctl leave data --do

    JSON keys: name, main, remapped, failing (cannot even be read on the disk now), pending
    (lists of [main sector, sectors]), users; with --do: name, main, copied_back (sectors),
    remaining, pending (cannot be read anywhere since), removed, unread (why the spare could not be
    looked at when the device was gone; or empty).
    """
    from pycontrol.cli.exitcodes import ExitCode
    from pycontrol.cli.progress import phases
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.move import leave as service

    with Control() as control:
        if not do_it:
            _show_outlook(service.look(control, name), as_json)
            return
        if not yes:
            click.confirm(
                f"Copy back what lives on the spare of {plain(name)}, and take it down?", abort=True, err=True
            )
        try:
            with phases(quiet=as_json) as progress:
                done = service.leave(control, name, progress=progress)
        except KeyboardInterrupt:
            warn("what was copied back stays there; the same command goes on with the rest")
            raise
    _show_left(done, as_json)
    if not done.clear:
        ctx.exit(ExitCode.ACCESS if done.unread else ExitCode.REFUSED)


def _show_outlook(outlook: "Outlook", as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "name": outlook.name,
                "main": outlook.main,
                "remapped": _counted(outlook.remapped),
                "failing": _counted(outlook.failing),
                "pending": _counted(outlook.pending),
                "users": outlook.users,
            }
        )
        return
    name, main = plain(outlook.name), plain(outlook.main)
    if outlook.clear:
        click.echo(f"nothing lives on the spare of {name}: {main} alone has everything")
    if outlook.remapped:
        click.echo(
            f"{_sectors(outlook.remapped)} live on the spare; they can go back where {main} takes them"
        )
    if outlook.failing:
        click.echo(f"{_sectors(outlook.failing)} of them cannot even be read there now:")
        _list(outlook.failing)
    if outlook.pending:
        click.echo(f"{_sectors(outlook.pending)} cannot be read anywhere; fill or overwrite them first:")
        _list(outlook.pending)
    if outlook.users:
        click.echo(f"it is {outlook.users}: release it first")
    click.echo(f"'dmremapctl leave {name} --do' takes the steps, and stops short of any loss")


def _show_left(done: "Left", as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "name": done.name,
                "main": done.main,
                "copied_back": done.copied_back,
                "remaining": _counted(done.remaining),
                "pending": _counted(done.pending),
                "removed": done.removed,
                "unread": done.unread,
            }
        )
        return
    name, main = plain(done.name), plain(done.main)
    click.echo(f"{done.copied_back} sectors were copied back to {main}")
    if done.clear:
        click.echo(f"{name} is down; {main} alone has everything, its spare is free")
        return
    if done.unread:
        click.echo(f"{name} is down, but its spare cannot be read any more: {plain(done.unread)}")
        click.echo("What was written in the last moment may be on it: keep it, and 'dmremapctl inspect' it")
        return
    if done.removed:
        click.echo(
            f"{name} is down, but somebody used it in the last moment, and {main} alone has not all of it:"
        )
        click.echo("'dmremapctl activate' it, and leave again")
    if done.remaining and done.removed:
        click.echo(f"{_sectors(done.remaining)} live on the spare:")
    elif done.remaining:
        click.echo(f"{main} does not take {_sectors(done.remaining)}; {name} stays, with these on the spare:")
    _list(done.remaining)
    if done.pending:
        click.echo(f"{_sectors(done.pending)} cannot be read anywhere; fill or overwrite them first:")
        _list(done.pending)


def _sectors(ranges: "tuple[Range, ...]") -> str:
    return f"{sum(end - start for start, end in ranges)} sectors"


def _list(ranges: "tuple[Range, ...]") -> None:
    for start, end in ranges[:_SHOWN]:
        click.echo(f"  {start} {end - start}")
    if len(ranges) > _SHOWN:
        click.echo(f"  and {len(ranges) - _SHOWN} more; --json lists all")


def _counted(ranges: "tuple[Range, ...]") -> list[list[int]]:
    return [[start, end - start] for start, end in ranges]
