"""A picture of a device as SVG: the regions, the spare, and the damage over time.

Built as a tree, so that whatever a name holds is escaped; nothing in it comes from elsewhere.
"""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from pycontrol.service.live import shown
from pycontrol.service.view.diskmap import shade_of, thresholds
from pycontrol.service.view.diskview import View
from pycontrol.service.view.picture import columns, counted, moved, pending
from pycontrol.service.view.when import local, local_day
from pycontrol.sizes import SECTOR, human
from pycontrol.text import plain

_ROW: Final = 64
_CELL: Final = 14
_LEFT: Final = 48
_WIDTH: Final = _LEFT + _ROW * _CELL + 16
_CHART: Final = 160
_BINS: Final = 64
_SHADES: Final = 4

# Colours that can be told apart without seeing red and green, on white and on black.
STYLE: Final = (
    ".g{fill:#ffffff}text{font:12px sans-serif;fill:#202020}.h{font-size:16px;font-weight:bold}"
    ".r{text-anchor:end}.n{fill:#e6e6e6}.s1{fill:#ffe08a}.s2{fill:#ffb74d}.s3{fill:#e07b1a}.s4{fill:#a64b00}"
    ".p{fill:#c2185b}.l{fill:#4f8fc0}.b{fill:#000000}.c{fill:none;stroke:#a64b00;stroke-width:2}"
    ".x{stroke:#808080;stroke-width:1}.t{fill:transparent}"
    "@media (prefers-color-scheme:dark){.g{fill:#16181c}text{fill:#e4e4e4}.n{fill:#2e3238}"
    ".s1{fill:#6b5310}.s2{fill:#a87412}.s3{fill:#e09a2b}.s4{fill:#ffd27a}.p{fill:#ff5c9e}.b{fill:#ffffff}"
    ".c{stroke:#ffd27a}}"
)


def as_file(view: View) -> str:
    """A picture of a device, with the history of its damage, as one SVG document."""
    drawn = drawing(view)
    style = Element("style")
    style.text = STYLE
    drawn.insert(0, style)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(drawn, encoding="unicode") + "\n"


def drawing(view: View) -> Element:
    """The ``svg`` element, without its style sheet."""
    rows = -(-len(view.found.span) // _ROW)
    spare_at = 72 + rows * _CELL + 56
    chart_at = spare_at + 64 if view.spare else spare_at
    height = chart_at + _CHART + 56
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {_WIDTH} {height}",
        "width": str(_WIDTH),
        "height": str(height),
        "role": "img",
    }
    top = Element("svg", attributes)
    SubElement(top, "title").text = heading(view)
    _rect(top, "g", 0, 0, _WIDTH, height)
    _text(top, 16, 28, heading(view), "h")
    _text(top, 16, 50, counts(view))
    _regions(top, view, 72)
    if view.spare:
        _spare(top, view, spare_at)
    _chart(top, view, chart_at)
    return top


def heading(view: View) -> str:
    """Which device, and which part of it."""
    span = view.found.span
    part = "" if view.part.whole else f", sectors {span.begin} to {span.end - 1}"
    main, spare = shown(view.target.table.main), shown(view.target.table.spare)
    return f"{plain(view.device.info.name)}: main {main}, spare {spare}{part}, {local(view.now)}"


def counts(view: View) -> str:
    """How much is remapped and pending, and taken of the spare, in one line."""
    found, state = view.found, view.target.status
    used, total = human(state.used_sectors * SECTOR), human(state.total_sectors * SECTOR)
    return f"{moved(found)}; {pending(found)}; {used} of {total} of the spare used"


def tooltip(view: View, number: int) -> str:
    """What is in the region of this number, for people."""
    found = view.found
    begin, end = found.span.region(number)
    what = []
    if found.remapped[number]:
        what.append(f"{found.remapped[number]} moved")
    if found.pending[number]:
        what.append(f"{found.pending[number]} pending")
    return f"region {number}, sectors {begin} to {end - 1}: {', '.join(what) or 'nothing'}"


def _regions(top: Element, view: View, y: int) -> None:
    found = view.found
    count = len(found.span)
    steps = thresholds(found.remapped, _SHADES)
    for number in range(count):
        row, column = divmod(number, _ROW)
        at = y + row * _CELL
        if not column:
            _text(top, _LEFT - 6, at + 11, str(number), "r")
        shade = shade_of(found.remapped[number], steps)
        style = "p" if found.pending[number] else f"s{shade}" if shade else "n"
        _rect(top, style, _LEFT + column * _CELL, at, _CELL - 1, _CELL - 1, tooltip(view, number))
    legend = [("n", "none")]
    legend += [(f"s{shade}", f"{step}+") for shade, step in enumerate(steps, 1)]
    legend += [("p", "pending: lost until written")]
    words = f"{counted(count, 'region')} of {human(found.span.size * SECTOR)}, sectors moved:"
    _legend(top, y + -(-count // _ROW) * _CELL + 8, words, legend)


def _legend(top: Element, y: int, words: str, items: list[tuple[str, str]]) -> None:
    _text(top, _LEFT, y + 11, words)
    x = _LEFT + 240
    for style, name in items:
        _rect(top, style, x, y, 13, 13)
        _text(top, x + 18, y + 11, name)
        x += 34 + 7 * len(name)


def _spare(top: Element, view: View, y: int) -> None:
    use = view.spare
    assert use is not None
    _text(top, _LEFT - 6, y + 13, "spare", "r")
    room = min(2 * _ROW, len(use.span))
    width = _ROW * _CELL / room
    for number, (begin, end) in enumerate(columns(len(use.span), room)):
        first, behind = use.span.region(begin)[0], use.span.region(end - 1)[1]
        data, log, bad = (sum(each[begin:end]) for each in (use.data, use.log, use.bad))
        shade = min(_SHADES, 1 + data * _SHADES // (behind - first)) if data else 0
        style = "b" if bad else "l" if log > data else f"s{shade}" if shade else "n"
        what = f"sectors {first} to {behind - 1}: {data} data, {log} metadata, {bad} bad"
        _rect(top, style, _LEFT + number * width, y, width, 18, what)
    legend = [
        ("l", "metadata and its log"),
        ("s1", "data, some"),
        ("s4", "data, most"),
        ("b", "bad"),
        ("n", "free"),
    ]
    _legend(top, y + 26, human(use.span.end * SECTOR), legend)


def _chart(top: Element, view: View, y: int) -> None:
    _text(top, _LEFT, y + 12, "Sectors that failed, by the dates of the records on the spare")
    course = view.growth.course(view.now, _BINS) if view.growth else []
    if not course:
        why = view.unread or "no record has a date"
        _text(top, _LEFT, y + 36, plain(why))
        return
    base, left, width = y + 24 + _CHART, _LEFT, _ROW * _CELL
    most = course[-1][1]
    points: list[str] = []
    for number, (_, total) in enumerate(course):
        x, at = left + number * width / _BINS, base - total * (_CHART - 10) / most
        if points:
            points.append(f"{x:.1f},{points[-1].split(',')[1]}")
        points.append(f"{x:.1f},{at:.1f}")
    _line(top, left, base, left + width, base)
    _line(top, left, base, left, base - _CHART)
    SubElement(top, "polyline", {"class": "c", "points": " ".join(points)})
    _text(top, left - 6, base - _CHART + 14, str(most), "r")
    _text(top, left - 6, base, "0", "r")
    _text(top, left, base + 16, local_day(course[0][0]))
    _text(top, left + width, base + 16, local_day(course[-1][0]), "r")
    for number, words in enumerate(course_words(course)):
        _rect(top, "t", left + (number - 0.5) * width / _BINS, base - _CHART, width / _BINS, _CHART, words)


def course_words(course: list[tuple[int, int]]) -> Iterator[str]:
    """Each time, the sum until then, and what was new."""
    before = 0
    for time, total in course:
        yield f"{local(time)}: {total} sectors in all, {total - before} new"
        before = total


def _text(top: Element, x: float, y: float, words: str, style: str = "") -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}"} | ({"class": style} if style else {})
    SubElement(top, "text", attributes).text = words


def _rect(top: Element, style: str, x: float, y: float, width: float, height: float, words: str = "") -> None:
    numbers = {"x": x, "y": y, "width": width, "height": height}
    made = SubElement(top, "rect", {"class": style} | {key: f"{value:g}" for key, value in numbers.items()})
    if words:
        SubElement(made, "title").text = words


def _line(top: Element, x1: float, y1: float, x2: float, y2: float) -> None:
    numbers = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    SubElement(top, "line", {"class": "x"} | {key: f"{value:g}" for key, value in numbers.items()})
