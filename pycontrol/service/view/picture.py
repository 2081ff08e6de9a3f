"""A disk map as text of any width from 40 columns: lines of pieces, each with a style's name.

Printing them is the command's business; nothing here knows about terminals.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pycontrol.service.view.diskmap import DiskMap, SpareUse, shade_of, thresholds
from pycontrol.sizes import SECTOR, human

MIN_WIDTH: Final = 40
_ROWS: Final = (128, 64, 32)
"""Regions in a row: powers of two, so that the numbers at the left are easy to count from."""

Piece = tuple[str, str]
"""Text, and the name of its style: one of the keys of STYLES, or empty."""

Line = list[Piece]

STYLES: Final = {"remap": "yellow", "pending": "bold red", "bad": "bold red", "log": "cyan", "faint": "dim"}
"""How rich shows them, where there are colours."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a picture; ``shades`` from the lightest on."""

    none: str
    shades: str
    pending: str = "!"
    bad: str = "x"
    log: str = "L"

    @property
    def all(self) -> str:
        """Every character there is."""
        return self.none + self.shades + self.pending + self.bad + self.log


BLOCKS: Final = Glyphs(none="\u00b7", shades="\u2591\u2592\u2593\u2588")
ASCII: Final = Glyphs(none=".", shades=":+*#")


def counted(number: int, what: str) -> str:
    """``1 extent``, ``2 extents``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def moved(found: DiskMap) -> str:
    """How much lives on the spare, for people."""
    return f"{counted(sum(found.remapped), 'sector')} moved in {counted(found.remapped_extents, 'extent')}"


def pending(found: DiskMap) -> str:
    """How much cannot be read until it is written, for people."""
    return f"{counted(sum(found.pending), 'sector')} pending in {counted(found.pending_extents, 'extent')}"


def grid(found: DiskMap, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """The regions in rows, each with the number of its first one; then the legend."""
    count = len(found.span)
    label = len(str(count - 1))
    row = next((each for each in _ROWS if each + label + 1 <= width), _ROWS[-1])
    steps = thresholds(found.remapped, len(glyphs.shades))
    for begin in range(0, count, row):
        cells = (_cell(found, number, steps, glyphs) for number in range(begin, min(begin + row, count)))
        yield [(f"{begin:>{label}} ", "faint"), *joined(cells)]
    yield []
    yield from wrapped(_legend(found, steps, glyphs), width)


def _cell(found: DiskMap, number: int, steps: list[int], glyphs: Glyphs) -> Piece:
    if found.pending[number]:
        return glyphs.pending, "pending"
    shade = shade_of(found.remapped[number], steps)
    return (glyphs.shades[shade - 1], "remap") if shade else (glyphs.none, "faint")


def _legend(found: DiskMap, steps: list[int], glyphs: Glyphs) -> Iterator[Line]:
    span = found.span
    yield [(f"{counted(len(span), 'region')} of {human(span.size * SECTOR)}:", "")]
    yield [(glyphs.none, "faint"), (" none", "")]
    for shade, step in enumerate(steps):
        more = " sectors moved" if shade == len(steps) - 1 else ""
        yield [(glyphs.shades[shade], "remap"), (f" {step}+{more}", "")]
    if any(found.pending):
        yield [(glyphs.pending, "pending"), (" pending", "")]


def spare_bar(use: SpareUse, width: int, glyphs: Glyphs) -> Iterator[Line]:
    """One line for the spare from its first to its last sector; then the legend."""
    room = min(width - 2, len(use.span))
    yield [("[", ""), *joined(_spare_cells(use, room, glyphs)), ("]", "")]
    legend: list[Line] = [[(glyphs.log, "log"), (" metadata", "")]]
    if any(use.data):
        legend.append([(glyphs.shades[0] + glyphs.shades[-1], "remap"), (" data", "")])
    if any(use.bad):
        legend.append([(glyphs.bad, "bad"), (" bad", "")])
    legend.append([(glyphs.none, "faint"), (" free", "")])
    yield from wrapped(legend, width)


def _spare_cells(use: SpareUse, room: int, glyphs: Glyphs) -> Iterator[Piece]:
    for begin, end in columns(len(use.span), room):
        first, behind = use.span.region(begin)[0], use.span.region(end - 1)[1]
        data, most = sum(use.data[begin:end]), behind - first
        if any(use.bad[begin:end]):
            yield glyphs.bad, "bad"
        elif 2 * sum(use.log[begin:end]) >= most or (any(use.log[begin:end]) and not data):
            yield glyphs.log, "log"
        elif data:
            shades = len(glyphs.shades)
            yield glyphs.shades[min(shades - 1, data * shades // most)], "remap"
        else:
            yield glyphs.none, "faint"


def columns(count: int, room: int) -> Iterator[tuple[int, int]]:
    """``count`` regions put into ``room`` columns: the first of each, and the one behind its last."""
    for number in range(room):
        yield number * count // room, (number + 1) * count // room


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours of one style as one piece."""
    text, style = "", ""
    for more, its in pieces:
        if its != style and text:
            yield text, style
            text = ""
        text, style = text + more, its
    if text:
        yield text, style


def wrapped(items: Iterable[Line], width: int) -> Iterator[Line]:
    """Items beside each other, as many as fit into a line; never broken in themselves."""
    line: Line = []
    used = 0
    for item in items:
        length = sum(len(text) for text, _ in item)
        if line and used + 2 + length > width:
            yield line
            line, used = [], 0
        if line:
            line.append(("  ", ""))
            used += 2
        line += item
        used += length
    if line:
        yield line
