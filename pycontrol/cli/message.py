"""``dmremapctl message``, ``remap`` and ``unmap``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontrol.service.messages import Moved


@click.command()
@click.argument("name", type=NAME)
@click.argument("sector", type=click.IntRange(min=0))
@click.argument("count", type=click.IntRange(min=1), required=False)
@json_option
def remap(name: str, sector: int, count: int | None, as_json: bool) -> None:
    """Move COUNT sectors from SECTOR on to a spare place of the target's choice.

    What the main device can still give is copied; what it cannot give becomes pending.  After an
    interrupt what was moved stays, and the same command goes on with the rest.

    \b
    Example:
      dmremapctl remap data 123456 8

    JSON keys: name, answer (the target's words).
    """
    from pycontrol.service import messages as service

    _move(service.remap, name, sector, count, as_json)


@click.command()
@click.argument("name", type=NAME)
@click.argument("sector", type=click.IntRange(min=0))
@click.argument("count", type=click.IntRange(min=1), required=False)
@json_option
def unmap(name: str, sector: int, count: int | None, as_json: bool) -> None:
    """Copy COUNT sectors from SECTOR on back to the main device and drop the record.

    Refused where the main device still fails.  After an interrupt what was moved stays, and the
    same command goes on with the rest.

    \b
    Example:
      dmremapctl unmap data 123456 8

    JSON keys: name, answer (the target's words).
    """
    from pycontrol.service import messages as service

    _move(service.unmap, name, sector, count, as_json)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name", type=NAME)
@click.argument("words", nargs=-1, required=True)
@click.option(
    "--sector",
    type=click.IntRange(min=0),
    default=0,
    help="Address the target at this sector of the device, if it has several.",
)
@json_option
def message(name: str, words: tuple[str, ...], sector: int, as_json: bool) -> None:
    """Send the target a message and print its answer; try 'help'.

    \b
    Example:
      dmremapctl message data list 0 100

    JSON keys: name, answer (the target's own words).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service import devices as service

    with Control() as control:
        answer = service.message(control, name, words, at=sector)
    _print(name, answer, as_json)


def _move(
    service: "Callable[..., Moved]", name: str, sector: int, count: int | None, as_json: bool
) -> None:
    from pycontrol.cli.progress import progress
    from pycontrol.dm.ioctl import Control

    with Control() as control, progress("sectors", count, quiet=as_json) as advance:
        try:
            done = service(control, name, sector, count, advance=advance)
        except KeyboardInterrupt:
            warn("what was done stays; the same command goes on with the rest")
            raise
    _print(name, done.answer, as_json)


def _print(name: str, answer: str, as_json: bool) -> None:
    if as_json:
        emit_json({"name": name, "answer": answer})
    elif answer:
        # Answers may have several lines; each is escaped by itself.
        click.echo("\n".join(map(plain, answer.splitlines())))
