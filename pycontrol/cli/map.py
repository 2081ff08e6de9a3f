"""``dmremapctl map``."""

import sys
from typing import TYPE_CHECKING, Any

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, json_option, warn
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.view.diskview import View
    from pycontrol.service.view.picture import Glyphs, Line


@click.command("map")
@click.argument("name", type=NAME)
@click.option("--zoom", metavar="REGION", help="Look into this region, or with 517.3 into one of its own.")
@click.option("--from", "begin", type=click.IntRange(min=0), metavar="SECTOR", help="Begin here.")
@click.option("--to", "end", type=click.IntRange(min=1), metavar="SECTOR", help="End before this sector.")
@click.option("--svg", type=click.Path(), metavar="FILE", help="Write the picture there instead.")
@click.option(
    "--html", type=click.Path(), metavar="FILE", help="Write a page there instead: picture, tables, history."
)
@click.option(
    "--max",
    "limit",
    metavar="N",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="List the extents of a part if they are no more than this.",
)
@click.option(
    "--sector",
    metavar="SECTOR",
    type=click.IntRange(min=0),
    default=0,
    help="Look at the target at this sector of the device, if it has several.",
)
@json_option
def map_(
    name: str,
    zoom: str | None,
    begin: int | None,
    end: int | None,
    svg: str | None,
    html: str | None,
    limit: int,
    sector: int,
    as_json: bool,
) -> None:
    """Draw where on a disk the damage lies, and how full the spare is.

    The main device is cut into 1024 regions at most, numbered from 0; each is one character,
    the darker the more of its sectors live on the spare; those with pending sectors are marked.
    Rows begin with the number of their first region.  --zoom, or --from and --to, show a part
    in the same way; a part with few extents is followed by a list of them.

    Files are replaced as a whole; what is no file, a device above all, is refused.

    \b
    Example:
      dmremapctl map data                  the whole disk
      dmremapctl map data --zoom 517       region 517 of it
      dmremapctl map data --zoom 517.3     region 3 of that
      dmremapctl map data --html disk.html

    \b
    Keys of --json (sectors of 512 bytes, times in seconds since 1970):
      name, path, main, spare, main_sectors    the device
      begin, end, region_sectors, region_count the part, and how it is cut
      remapped_extents, pending_extents, remapped_sectors, pending_sectors    in this part
      regions     list of {region, begin, sectors, remapped, pending, extents}: those with damage
      extents     list of {sector, sectors, spare (null if pending)}; null if there are more than --max
      spare_use   {sectors, data, log, bad, bad_places: list of {spare, sectors}}
      history     list of {time, sectors}: damaged until then
      undated     sectors in it without a date
      unread      why spare_use and history are null, or empty
    """
    from pycontrol.cli.progress import phases
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.view import diskview

    if zoom is not None and (begin is not None or end is not None):
        raise click.UsageError("--zoom and --from or --to exclude each other")
    part = diskview.Part(begin, end, zoom or "")
    keep = limit if not part.whole or html or as_json else 0
    with Control() as control, phases(quiet=as_json) as progress:
        view = diskview.look(control, name, part, at=sector, keep=keep, progress=progress)
    if view.unread:
        warn(f"the spare cannot be read, so its use and the history are left out: {view.unread}")
    if svg:
        _write(svg, "svg", view, quiet=as_json)
    if html:
        _write(html, "html", view, quiet=as_json)
    if as_json:
        emit_json(_as_json(view))
    elif not svg and not html:
        _show(view)


def _write(path: str, kind: str, view: "View", *, quiet: bool) -> None:
    from importlib import import_module

    from pycontrol.service.view.replacefile import replace_text

    replace_text(path, import_module(f"pycontrol.service.view.{kind}").as_file(view))
    if not quiet:
        click.echo(f"wrote {plain(path)}")


# For people


def _show(view: "View") -> None:
    from shutil import get_terminal_size

    from pycontrol.service.view import picture

    # The last column stays free: some terminals break the line behind it.
    width = max(picture.MIN_WIDTH, get_terminal_size((81, 24)).columns - 1)
    glyphs = picture.BLOCKS if _can_print(picture.BLOCKS) else picture.ASCII
    _print([*_lines(view, width, glyphs)])


def _can_print(glyphs: "Glyphs") -> bool:
    try:
        glyphs.all.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _lines(view: "View", width: int, glyphs: "Glyphs") -> "list[Line]":
    from pycontrol.service.live import shown
    from pycontrol.service.view import picture
    from pycontrol.sizes import SECTOR, human

    found, state, table = view.found, view.target.status, view.target.table
    span = found.span
    used, total = human(state.used_sectors * SECTOR), human(state.total_sectors * SECTOR)

    def text(*words: str) -> "list[Line]":
        return list(picture.wrapped(([(word, "")] for word in words), width))

    lines = text(plain(view.device.path), f"main {shown(table.main)}, {human(view.main_sectors * SECTOR)}")
    if not view.part.whole:
        lines += text(f"sectors {span.begin} to {span.end - 1}")
    lines += [[], *picture.grid(found, width, glyphs)]
    lines += text(picture.moved(found)) + text(picture.pending(found))
    lines += [[], *text(f"spare {shown(table.spare)},", f"{used} of {total} used")]
    if view.spare:
        lines += picture.spare_bar(view.spare, width, glyphs)
        if bad := sum(view.spare.bad):
            lines += text(f"{picture.counted(bad, 'sector')} of the spare bad")
    return lines + _extent_lines(view)


def _extent_lines(view: "View") -> "list[Line]":
    found = view.found
    if view.part.whole or not (found.remapped_extents or found.pending_extents):
        return []
    if not found.all_listed:
        return [[], [("zoom in, or raise --max, to have the extents listed", "")]]
    sector = max(len(str(extent.sector)) for extent in found.listed)
    count = max(len(str(extent.sectors)) for extent in found.listed)
    lines: list[Line] = [[], [("extents: sector, sectors, place", "")]]
    for extent in found.listed:
        begin = f"{extent.sector:>{sector}} {extent.sectors:>{count}} "
        if extent.spare is None:
            lines.append([(begin, ""), ("pending", "pending")])
        else:
            lines.append([(begin, ""), (f"spare {extent.spare}", "remap")])
    return lines


def _print(lines: "list[Line]") -> None:
    from rich.text import Text

    from pycontrol.cli.output import console
    from pycontrol.service.view.picture import STYLES

    screen = console()
    for line in lines:
        pieces = [(words, STYLES.get(style, "")) for words, style in line]
        screen.print(Text.assemble(*pieces), soft_wrap=True)


# For programs


def _as_json(view: "View") -> dict[str, Any]:
    from dataclasses import asdict

    found, span, table = view.found, view.found.span, view.target.table
    growth = view.growth
    return {
        "name": view.device.info.name,
        "path": view.device.path,
        "main": table.main,
        "spare": table.spare,
        "main_sectors": view.main_sectors,
        "begin": span.begin,
        "end": span.end,
        "region_sectors": span.size,
        "region_count": len(span),
        "remapped_extents": found.remapped_extents,
        "pending_extents": found.pending_extents,
        "remapped_sectors": sum(found.remapped),
        "pending_sectors": sum(found.pending),
        "regions": [_region(view, number) for number in range(len(span)) if found.extents[number]],
        "extents": [asdict(extent) for extent in found.listed] if found.all_listed else None,
        "spare_use": _spare_use(view),
        "history": None
        if growth is None
        else [{"time": time, "sectors": total} for time, total in growth.course(view.now, 64)],
        "undated": growth.undated if growth else None,
        "unread": view.unread,
    }


def _region(view: "View", number: int) -> dict[str, int]:
    found = view.found
    begin, end = found.span.region(number)
    return {
        "region": number,
        "begin": begin,
        "sectors": end - begin,
        "remapped": found.remapped[number],
        "pending": found.pending[number],
        "extents": found.extents[number],
    }


def _spare_use(view: "View") -> dict[str, Any] | None:
    use, loaded = view.spare, view.loaded
    if use is None or loaded is None:
        return None
    return {
        "sectors": use.span.end,
        "data": sum(use.data),
        "log": sum(use.log),
        "bad": sum(use.bad),
        "bad_places": [{"spare": start, "sectors": sectors} for start, sectors in loaded.bad_spare],
    }
