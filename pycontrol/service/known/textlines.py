"""The lines of a list of bad blocks: read one by one, numbered, and no longer than they may be."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Final, TextIO

from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.text import plain

LONGEST: Final = 1024
"""Characters of a line; a file with a longer one is no list."""

_SHOWN: Final = 40
_ENCODING: Final = "utf-8"
_ERRORS: Final = "surrogateescape"
"""What is no text is found by whoever takes the line apart, and told with its number."""


class ListError(UsageError):
    """A line that does not follow the format; the sentence names it."""

    def __init__(self, number: int, line: str, why: str) -> None:
        text = line.strip()
        shown = plain(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
        super().__init__(f"line {number}, '{shown}', {why}")


def decimal(word: str) -> int | None:
    """A number of ASCII digits and nothing else."""
    return int(word) if word.isascii() and word.isdigit() else None


@contextmanager
def lines_of(path: str) -> Iterator[Iterator[str]]:
    """The lines of a file, or of standard input for ``-``; what goes wrong with it names the file."""
    shown = "standard input" if path == "-" else plain(path)
    try:
        if path == "-":
            # Not as the locale has it: a list is the same one from a file and from a pipe.
            text = TextIOWrapper(sys.stdin.buffer, _ENCODING, _ERRORS)
            try:
                yield _limited(text)
            finally:
                # It would close standard input, which is not ours.
                text.detach()
        else:
            with Path(path).open(encoding=_ENCODING, errors=_ERRORS) as file:
                yield _limited(file)
    except ListError as error:
        raise UsageError(f"{shown}: {error}") from error
    except OSError as error:
        raise DeviceIoError(f"{shown} cannot be read: {error.strerror}; check the name") from error


def _limited(file: TextIO) -> Iterator[str]:
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        if len(line) == LONGEST and not line.endswith("\n"):
            raise ListError(number, line, f"has more than {LONGEST} characters; is this the right file?")
        yield line
