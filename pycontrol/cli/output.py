"""Printing: JSON for programs, tables for people."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pycontrol.text import plain

if TYPE_CHECKING:
    from rich.console import Console


def json_option(function: click.decorators.FC) -> click.decorators.FC:
    """``--json``, the same in every command."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON; the keys are documented.")(
        function
    )


def emit_json(value: object) -> None:
    """One JSON document; non-ASCII and control characters are escaped by JSON itself."""
    click.echo(json.dumps(value, default=_jsonable, indent=2))


def emit_json_line(value: object) -> None:
    """One line of a stream of JSON documents."""
    click.echo(json.dumps(value, default=_jsonable))


def _jsonable(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (Path,)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def console() -> "Console":
    """rich's console; wide when nobody looks, so that lines in a pipe are whole."""
    from rich.console import Console

    made = Console(highlight=False, emoji=False, markup=False)
    if not made.is_terminal:
        made.width = 500
    return made


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[str] = ()) -> None:
    """A table; every cell is escaped.  ``numbers`` names the columns to align right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    right = set(numbers)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        grid.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(plain(cell)) for cell in row))
    console().print(grid)


def facts(values: Mapping[str, object]) -> None:
    """Aligned ``name  value`` lines."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        click.echo(f"{name:<{width}}  {plain(value)}")


def warn(sentence: str) -> None:
    click.echo(f"dmremapctl: warning: {sentence}", err=True)
