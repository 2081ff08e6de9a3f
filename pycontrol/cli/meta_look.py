"""``dmremapctl meta check``, ``diff`` and ``search``: they only read."""

from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import limit_option, progress, quiet_option, spare_argument
from pycontrol.cli.output import emit_json, json_option, table
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.metadata.diff import Place
    from pycontrol.metadata.search import Hit
    from pycontrol.service.meta import Checked


@click.command()
@spare_argument
@limit_option("Findings", 100)
@quiet_option
@json_option
@click.pass_context
def check(
    ctx: click.Context, spare: str, offset: int, uuid: UUID | None, limit: int, quiet: bool, as_json: bool
) -> None:
    """Find everything that is wrong with the metadata of a spare.

    Every copy of every block is read, and every record is checked by itself and against
    all others.  Each finding names the byte it is about, from the start of the spare.

    \b
    Severity of a finding, and the exit code:
      note    odd, nothing needs repair            0
      damage  needs repair, the state can be had   1
      fatal   the state cannot be had              3

    \b
    Keys of --json:
      path, in_use           what was looked at, and by whom it is used (or empty)
      verdict                clean, damaged or fatal
      findings               list of {severity, kind, offset, copy (or null), text}
      uuid, sequence, time, generation, copies, valid_copies, records, superseded,
      remaps, pendings       of the state; null if there is none
    """
    from pycontrol.service import meta

    found = meta.check(spare, uuid, offset=offset)
    code = _code(found)
    if as_json:
        emit_json(_json(found))
    elif not quiet:
        _print(found, limit)
    ctx.exit(code)


def _code(found: "Checked") -> ExitCode:
    from pycontrol.metadata import Severity

    match found.report.worst:
        case Severity.FATAL:
            return ExitCode.BEYOND_RECOVERY
        case Severity.DAMAGE:
            return ExitCode.DAMAGED
    return ExitCode.OK


_VERDICTS = {ExitCode.OK: "clean", ExitCode.DAMAGED: "damaged", ExitCode.BEYOND_RECOVERY: "fatal"}


def _json(found: "Checked") -> dict[str, object]:
    from pycontrol.metadata import Kind

    loaded = found.report.loaded
    return {
        "path": found.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "in_use": found.in_use,
        "verdict": _VERDICTS[_code(found)],
        "findings": [asdict(finding) for finding in found.report.findings],
        "uuid": str(loaded.uuid) if loaded else None,
        "sequence": loaded.sequence if loaded else None,
        "time": loaded.time if loaded else None,
        "generation": loaded.generation if loaded else None,
        "copies": loaded.copies if loaded else None,
        "valid_copies": loaded.valid_copies if loaded else None,
        "records": len(loaded.records) if loaded else None,
        "superseded": loaded.superseded if loaded else None,
        "remaps": loaded.extents.count(Kind.REMAP) if loaded else None,
        "pendings": loaded.extents.count(Kind.PENDING) if loaded else None,
    }


def _print(found: "Checked", limit: int) -> None:
    findings = found.report.findings
    shown = findings[: limit or None]
    if shown:
        table(
            ("Severity", "At byte", "Copy", "Finding"),
            [
                (each.severity, f"{each.offset:#x}", "" if each.copy is None else each.copy, each.text)
                for each in shown
            ],
        )
        if len(findings) > len(shown):
            click.echo(f"... and {len(findings) - len(shown)} more (--max 0 prints all)")
    if found.in_use:
        click.echo(f"{plain(found.path)} is {found.in_use}: this is how it stood for a moment")
    loaded = found.report.loaded
    if loaded:
        click.echo(
            f"sequence {loaded.sequence}, {loaded.valid_copies} of {loaded.copies} copies valid,"
            f" {len(loaded.records)} records ({loaded.superseded} superseded)"
        )
    click.echo(f"verdict: {_VERDICTS[_code(found)]}")


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@limit_option("Places", 1000)
@quiet_option
@json_option
@click.pass_context
def diff(ctx: click.Context, first: str, second: str, limit: int, quiet: bool, as_json: bool) -> None:
    """Compare the states of two spares or images: what they say, not how it is stored.

    Exit code 0: the same, 1: not the same; the others are as everywhere.

    \b
    Keys of --json:
      same     true or false
      fields   list of {name, first, second}: sizes, sequence, time, counters, ...
      moved    list of {main, sectors, first, second}: main sectors that are not at the
               same place; a place is {kind (remap, pending), spare (or null)}, or null
               for the main device itself
    """
    from itertools import islice

    from pycontrol.metadata.diff import fields, moved
    from pycontrol.service import meta

    one, other = meta.load(first), meta.load(second)
    names = list(fields(one, other))
    places = list(moved(one.extents, other.extents))
    same = not names and not places
    if as_json:
        emit_json(
            {
                "same": same,
                "fields": [{"name": name, "first": _value(a), "second": _value(b)} for name, a, b in names],
                "moved": [
                    {
                        "main": each.main,
                        "sectors": each.sectors,
                        "first": _place_json(each.first),
                        "second": _place_json(each.second),
                    }
                    for each in places
                ],
            }
        )
    elif not quiet:
        if names:
            table(("Field", "A", "B"), [(name, _value(a), _value(b)) for name, a, b in names])
        if places:
            rows = (
                (each.main, each.sectors, _place(each.first), _place(each.second))
                for each in islice(places, limit or None)
            )
            table(("Main sector", "Sectors", "A", "B"), rows, ("Main sector", "Sectors"))
        if limit and len(places) > limit:
            click.echo(f"... and {len(places) - limit} more (--max 0 prints all)")
        if same:
            click.echo("the same")
    ctx.exit(ExitCode.OK if same else ExitCode.DAMAGED)


def _value(value: object) -> object:
    return value if isinstance(value, (int, str, bool, list)) else str(value)


def _place_json(place: "Place | None") -> dict[str, object] | None:
    return {"kind": place.kind.name.lower(), "spare": place.spare} if place else None


def _place(place: "Place | None") -> str:
    if place is None:
        return "main device"
    return "pending" if place.spare is None else f"spare sector {place.spare}"


@click.command()
@click.argument("place", metavar="DEVICE_OR_IMAGE")
@quiet_option
@json_option
def search(place: str, quiet: bool, as_json: bool) -> None:
    """Find metadata anywhere on a device, in the present and the earlier formats.

    For a spare whose partition is gone, or that lies inside something larger: the byte
    where it begins is what --offset of the other commands wants.

    Exit code 0: found, 4: nothing found.

    \b
    Keys of --json:
      spares   list of {uuid, begins (byte), headers (whole ones found), sequence (newest)}
      hits     list of {offset, kind (header, info, log, v4.2, v3.0), valid, uuid,
               sequence, time, copy, begins}; null where a block that is not whole does
               not tell
    """
    from pycontrol.service import meta

    with progress("searching", meta.size_of(place), quiet=quiet or as_json) as advance:
        hits = list(meta.search(place, advance))
    spares = _spares(hits)
    if as_json:
        found = [{**asdict(hit), "uuid": str(hit.uuid) if hit.uuid else None} for hit in hits]
        emit_json({"spares": spares, "hits": found})
    elif not quiet:
        logs = sum(hit.kind == "log" for hit in hits)
        rows = [
            (
                f"{hit.offset:#x}",
                hit.kind,
                "whole" if hit.valid else "damaged",
                hit.uuid or "",
                "" if hit.sequence is None else hit.sequence,
                "" if hit.copy is None else hit.copy,
            )
            for hit in hits
            if hit.kind != "log"
        ]
        if rows:
            table(("At byte", "Block", "Condition", "UUID", "Sequence", "Copy"), rows)
        if logs:
            click.echo(f"{logs} log blocks")
        for each in spares:
            click.echo(
                f"spare {each['uuid']} begins at byte {each['begins']}: {each['headers']} headers,"
                f" sequence {each['sequence']}"
            )
    if not hits:
        from pycontrol.errors import WrongDevice

        raise WrongDevice(f"there is no metadata of dm-remap anywhere on {plain(place)}")


def _spares(hits: "list[Hit]") -> list[dict[str, object]]:
    """Whole headers, by the spare they belong to."""
    groups: dict[tuple[str, int], list[Hit]] = {}
    for hit in hits:
        if hit.uuid is not None and hit.begins is not None:
            groups.setdefault((str(hit.uuid), hit.begins), []).append(hit)
    return [
        {
            "uuid": uuid,
            "begins": begins,
            "headers": len(group),
            "sequence": max(hit.sequence or 0 for hit in group),
        }
        for (uuid, begins), group in groups.items()
    ]
