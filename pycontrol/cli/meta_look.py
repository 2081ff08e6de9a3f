"""``dmremapctl meta check`` and ``diff``: they only read."""

from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pycontrol.cli.arguments import DEVICE_OR_IMAGE
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import SIZE, limit_option, quiet_option, spare_argument
from pycontrol.cli.output import emit_json, json_option, table
from pycontrol.cli.progress import phases
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.metadata.diff import Place
    from pycontrol.service.offline.meta import Checked


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
    Example:
      dmremapctl meta check /dev/sdc1

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
    from pycontrol.service.offline import meta

    with phases(quiet=quiet) as progress:
        found = meta.check(spare, uuid, offset=offset, progress=progress)
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
@click.argument("first", type=DEVICE_OR_IMAGE, metavar="A")
@click.argument("second", type=DEVICE_OR_IMAGE, metavar="B")
@click.option("--offset", type=SIZE, default="0", metavar="SIZE", help="Where the spare begins in A.")
@click.option("--offset-b", type=SIZE, default="0", metavar="SIZE", help="Where the spare begins in B.")
@click.option("--uuid", type=click.UUID, help="Of two sets of metadata in A, read this one.")
@click.option("--uuid-b", type=click.UUID, help="Of two sets of metadata in B, read this one.")
@limit_option("Places", 1000)
@quiet_option
@json_option
@click.pass_context
def diff(
    ctx: click.Context,
    first: str,
    second: str,
    offset: int,
    offset_b: int,
    uuid: UUID | None,
    uuid_b: UUID | None,
    limit: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compare the states of two spares or images: what they say, not how it is stored.

    Exit code 0: the same, 1: not the same; the others are as everywhere.

    \b
    Example:
      dmremapctl meta diff sdc1.backup /dev/sdc1

    \b
    Keys of --json:
      same     true or false
      fields   list of {name, first, second}: sizes, sequence, time, counters, ...
      moved    list of {main, sectors, first, second}: main sectors that are not at the
               same place; a place is {kind (remap, pending), spare (or null)}, or null
               for the main device itself
    """
    from itertools import islice

    from pycontrol.metadata.diff import diff as compare
    from pycontrol.service.offline import meta

    with phases(quiet=quiet) as progress:
        one = meta.load(first, uuid, offset=offset, progress=progress)
        other = meta.load(second, uuid_b, offset=offset_b, progress=progress)
    found = compare(one, other)
    names, places, same = found.fields, found.moved, found.same
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
