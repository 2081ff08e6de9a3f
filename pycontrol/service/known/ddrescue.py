"""Map files of GNU ddrescue ("Mapfile structure" in its manual).

Comments run from '#' (at the start of a line or behind a blank) to its end.  The first other
line is the status line, ``position status [pass]``; the others are blocks, ``position size
status``, in order and without gaps.  Positions and sizes are bytes, decimal, octal with 0
before them, or hexadecimal with 0x.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pycontrol.service.known.textlines import ListError, decimal
from pycontrol.service.ranges import Range

STATUSES: Final = "?*/-+"
"""Not tried, not trimmed, not scraped, bad, rescued."""
BAD: Final = "-/*"
"""Read with an error at least once: ddrescue trims and scrapes what a failed read left."""

_CURRENT: Final = "?*/-FG+"
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*", re.ASCII)
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#.*", re.DOTALL)
_LARGEST: Final = (1 << 63) - 1


class Block(NamedTuple):
    """So many bytes from ``position`` on."""

    position: int
    size: int
    status: str

    @property
    def end(self) -> int:
        """Byte behind it."""
        return self.position + self.size


def number(word: str) -> int | None:
    """As strtoll(3) with base 0 reads it, if it reads all of the word; not negative."""
    digits = word.removeprefix("+")
    if not _NUMBER.fullmatch(digits):
        return None
    # Python's own base 0 has another octal.
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    value = int(digits, base)
    return value if value <= _LARGEST else None


def parse(lines: Iterable[str]) -> Iterator[Block]:
    """The blocks of a map file; ListError for a line that is none.

    ddrescue itself overlooks what follows the fields of a line; here it is an error.
    """
    last: Block | None = None
    begun = False
    count = 0
    for count, line in enumerate(lines, 1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        if not begun:
            _check_status_line(count, line, words)
            begun = True
            continue
        block = _block(count, line, words)
        if last and block.position != last.end:
            raise ListError(count, line, f"does not begin at {last.end:#x}, where the block before it ends")
        last = block
        yield block
    if not begun:
        raise ListError(count, "", "is the last, and there was no status line; is this a map file?")


def _check_status_line(count: int, line: str, words: list[str]) -> None:
    fine = (
        len(words) in (2, 3)
        and number(words[0]) is not None
        and len(words[1]) == 1
        and words[1] in _CURRENT
        and (len(words) == 2 or bool(decimal(words[2])))
    )
    if not fine:
        raise ListError(count, line, "is not a status line (position, status, pass); is this a map file?")


def _block(count: int, line: str, words: list[str]) -> Block:
    if len(words) != 3:
        raise ListError(count, line, "is not a block (position, size, status)")
    position, size = number(words[0]), number(words[1])
    if position is None or size is None or position + size > _LARGEST:
        raise ListError(count, line, "has a position or size that is not a number of bytes")
    if not size and position:
        raise ListError(count, line, "is a block without bytes")
    if len(words[2]) != 1 or words[2] not in STATUSES:
        raise ListError(count, line, f"has a status that is none of {STATUSES}")
    return Block(position, size, words[2])


def with_status(blocks: Iterable[Block], statuses: str) -> Iterator[Range]:
    """The bytes of the blocks that have one of these statuses."""
    return ((block.position, block.end) for block in blocks if block.status in statuses)


def written(bad: list[Range], size: int, comment: str = "") -> Iterator[str]:
    """A map file of ``size`` bytes of which these are bad (``-``) and all others rescued (``+``)."""
    if comment:
        yield f"# {comment}\n"
    yield "# current_pos  current_status  current_pass\n"
    yield f"0x{0:08X}     +               1\n"
    yield "#      pos        size  status\n"
    at = 0
    for start, end in bad:
        if at < start:
            yield _line(at, start, "+")
        yield _line(start, end, "-")
        at = end
    if at < size:
        yield _line(at, size, "+")


def _line(start: int, end: int, status: str) -> str:
    return f"0x{start:08X}  0x{end - start:08X}  {status}\n"
