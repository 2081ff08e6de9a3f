"""Options and output that the ``meta`` commands share."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pycontrol.cli.arguments import DEVICE_OR_IMAGE
from pycontrol.text import plain

_F = TypeVar("_F", bound=Callable[..., Any])


def spare_argument(function: _F) -> _F:
    """SPARE_OR_IMAGE, and the options that say what of it is meant."""
    uuid_help = "Of two sets of metadata, read this one."
    function = click.option("--uuid", type=click.UUID, help=uuid_help)(function)
    function = click.option(
        "--offset",
        type=SIZE,
        default="0",
        metavar="SIZE",
        help="Where the spare begins in it; 'search' tells.",
    )(function)
    return click.argument("spare", type=DEVICE_OR_IMAGE, metavar="SPARE_OR_IMAGE")(function)


quiet_option = click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")


def _countable(_ctx: click.Context, _param: click.Parameter, value: int) -> int:
    # islice() counts no further; nothing is that long.
    return min(value, sys.maxsize)


def limit_option(of_what: str, default: int) -> Callable[[_F], _F]:
    """``--max N``, as the parameter ``limit``."""
    return click.option(
        "--max",
        "limit",
        metavar="N",
        type=click.IntRange(min=0),
        callback=_countable,
        default=default,
        show_default=True,
        help=f"{of_what} to print, 0 for all; --json prints all.",
    )


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pycontrol.errors import UsageError
        from pycontrol.sizes import parse_size

        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


SIZE = _Size()


def say(quiet: bool, sentence: str) -> None:
    """Tell what was done, on standard error: standard output may be the result itself."""
    if not quiet:
        click.echo(sentence, err=True)


def overwriting(loses: tuple[str, ...]) -> str:
    """The end of a sentence about what would be done."""
    return f", overwriting {'; '.join(loses)}" if loses else ""


def confirm(loses: tuple[str, ...], path: str, *, yes: bool, force: bool) -> None:
    """Ask before something is overwritten; Busy without ``--force`` if that is of worth."""
    from pycontrol.errors import Busy

    shown = plain(path)
    if loses and not force:
        raise Busy(f"{shown} carries {'; '.join(loses)}; name another place, or use --force")
    question = f"{shown} carries {'; '.join(loses)}.  Overwrite it?" if loses else f"Write to {shown}?"
    if not yes:
        click.confirm(question, abort=True, err=True)
