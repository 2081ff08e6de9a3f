"""The same as one HTML page: picture and tables, no scripts, nothing from elsewhere.

It is well-formed XML as well, so that any reader of either can take it.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from pycontrol.service.view import svg
from pycontrol.service.view.diskview import View
from pycontrol.text import plain

_ROWS: Final = 500
"""Rows of a table at most."""

_STYLE: Final = (
    "body{font:14px sans-serif;margin:1em auto;max-width:62em;padding:0 1em;background:#ffffff;color:#202020}"
    "svg{max-width:100%;height:auto}table{border-collapse:collapse}th,td{padding:.15em .8em;text-align:right;"
    "border-bottom:1px solid #80808060}"
    "@media (prefers-color-scheme:dark){body{background:#16181c;color:#e4e4e4}}"
)


def as_file(view: View) -> str:
    """A picture of a device with tables below it as one HTML page, without scripts."""
    page = Element("html", {"lang": "en"})
    head = SubElement(page, "head")
    SubElement(head, "meta", {"charset": "utf-8"})
    SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    SubElement(head, "meta", {"name": "color-scheme", "content": "light dark"})
    SubElement(head, "title").text = svg.heading(view)
    SubElement(head, "style").text = _STYLE + svg.STYLE
    body = SubElement(page, "body")
    SubElement(body, "h1").text = plain(view.device.info.name)
    SubElement(body, "p").text = svg.counts(view)
    body.append(svg.drawing(view))
    _damage(body, view)
    _extents(body, view)
    _course(body, view)
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode") + "\n"


def _damage(body: Element, view: View) -> None:
    found = view.found
    rows = (
        (number, *found.span.region(number), found.remapped[number], found.pending[number])
        for number in range(len(found.span))
        if found.extents[number]
    )
    shown = ((number, begin, end - begin, moved, pending) for number, begin, end, moved, pending in rows)
    heads = ("Region", "First sector", "Sectors", "Moved", "Pending")
    _table(body, "Regions with damage", heads, shown, sum(map(bool, found.extents)))


def _extents(body: Element, view: View) -> None:
    found = view.found
    if not found.listed or not found.all_listed:
        return
    rows = (
        (extent.sector, extent.sectors, "pending" if extent.spare is None else extent.spare)
        for extent in found.listed
    )
    _table(body, "Extents", ("Sector", "Sectors", "On the spare"), rows, len(found.listed))


def _course(body: Element, view: View) -> None:
    course = view.growth.course(view.now, 16) if view.growth else []
    if course:
        rows = ((words,) for words in svg.course_words(course))
        _table(body, "Sectors that failed over time", ("Until",), rows, len(course))


def _table(
    body: Element, title: str, heads: Iterable[str], rows: Iterable[Iterable[object]], count: int
) -> None:
    if not count:
        return
    SubElement(body, "h2").text = title
    table = SubElement(body, "table")
    line = SubElement(table, "tr")
    for head in heads:
        SubElement(line, "th").text = head
    for row in islice(rows, _ROWS):
        line = SubElement(table, "tr")
        for cell in row:
            SubElement(line, "td").text = str(cell)
    if count > _ROWS:
        SubElement(body, "p").text = f"and {count - _ROWS} more"
