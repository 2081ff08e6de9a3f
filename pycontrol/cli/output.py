"""Printing: JSON for programs, tables for people."""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

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
    import json

    click.echo(json.dumps(value, default=_jsonable, indent=2))


def emit_json_line(value: object) -> None:
    """One line of a stream of JSON documents."""
    import json

    click.echo(json.dumps(value, default=_jsonable))


def _jsonable(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (Path,)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def console() -> "Console":
    """rich's console; wide when nobody looks, so that lines in a pipe are whole."""
    made = _console(stderr=False)
    if not made.is_terminal:
        made.width = 500
    return made


def error_console() -> "Console":
    """The same on standard error, for what is no result."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    class Screen(Console):
        def on_broken_pipe(self) -> None:
            # rich would end the program, with an exit code of its own.
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    return Screen(stderr=stderr, highlight=False, emoji=False, markup=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[str] = ()) -> None:
    """A table; every cell is escaped.  ``numbers`` names the columns to align right.

    On a terminal that is too narrow for it, each row is a paragraph.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen, right = console(), set(numbers)
    cells = [[plain(cell) for cell in row] for row in rows]
    # Where nobody looks all is on one line, and need not be measured.
    widths = _longest_words([columns, *cells]) if screen.is_terminal else [0] * len(columns)
    if sum(widths) + _GAP * (len(widths) - 1) > screen.width:
        for row in cells:
            _paragraph(columns, row)
            click.echo()
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, width in zip(columns, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column in right else "left"
        grid.add_column(column, justify=justify, overflow="fold", min_width=width)
    for row in cells:
        grid.add_row(*map(Text, row))
    screen.print(grid)


_GAP = 3
"""Blanks between two columns of a table."""


def _longest_words(rows: Iterable[Sequence[str]]) -> list[int]:
    """The width of the longest word in each column of a table, which shall not be broken."""
    from rich.cells import cell_len

    words = ([max(map(cell_len, cell.split() or [""])) for cell in row] for row in rows)
    return [max(column) for column in zip(*words, strict=True)]


def facts(values: Mapping[str, object]) -> None:
    """Aligned ``name  value`` lines."""
    _paragraph(list(values), [plain(value) for value in values.values()])


def _paragraph(names: Sequence[str], values: Sequence[str]) -> None:
    width = max(map(len, names), default=0)
    for name, value in zip(names, values, strict=True):
        click.echo(f"{name:<{width}}  {value}")


def warn(sentence: str) -> None:
    """One line on standard error; ``sentence`` is made of escaped parts."""
    click.echo(f"dmremapctl: warning: {sentence}", err=True)


def wrapped(line: str, *, label: str = "", err: bool = False) -> None:
    """A line behind its label, folded at the terminal's edge; whole where nobody looks."""
    import sys

    if not (sys.stderr if err else sys.stdout).isatty():
        click.echo(label + line, err=err)
        return
    import shutil
    import textwrap

    width = max(shutil.get_terminal_size().columns, 20)
    further = " " * (len(label) + 2)
    click.echo(
        textwrap.fill(line, width, initial_indent=label, subsequent_indent=further, break_on_hyphens=False),
        err=err,
    )
