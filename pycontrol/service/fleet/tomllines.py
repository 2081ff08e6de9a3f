"""In which line of a TOML file a key is; tomllib does not tell."""

import re
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_KEY: Final = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_WORD: Final = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def line_of(text: str, where: tuple[str, ...]) -> int | None:
    """The line, from 1 on, of a key or of the table that it is in; None if that cannot be told.

    ``where`` is the way to it; tables of an array count from ``"0"`` on.  It is for a message:
    what only looks like a key, within a string of several lines, may be taken for one.
    """
    best, found = 0, None
    table: tuple[str, ...] = ()
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table = _words(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            here = table
        elif key := _KEY.match(line):
            here = table + _words(key[1])
        else:
            continue
        if here[: len(where)] == where:
            return number
        # Else the nearest table that is spelt out, where the key itself is in an inline one.
        if len(here) > best and where[: len(here)] == here:
            best, found = len(here), number
    return found


def _words(path: str) -> tuple[str, ...]:
    return tuple(word.strip("\"'") for word in _WORD.findall(path))
