"""``dmremapctl inspect``: show the metadata on a spare, or on an image of one."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import limit_option, quiet_option, spare_argument

if TYPE_CHECKING:
    from pycontrol.metadata import Slot, Survey
    from pycontrol.service.inspection import Inspection


@click.command("inspect")
@spare_argument
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--headers", "only_headers", is_flag=True, help="Look at headers and info blocks only.")
@click.option("--copy", "copy_", type=click.IntRange(min=0), metavar="N", help="Every field of this copy.")
@limit_option("Extents", 1000)
@quiet_option
@click.pass_context
def inspect(
    ctx: click.Context,
    spare: str,
    offset: int,
    as_json: bool,
    uuid: UUID | None,
    only_headers: bool,
    copy_: int | None,
    limit: int,
    quiet: bool,
) -> None:
    """Show the metadata on a spare device or on an image of one.

    Opens it read-only and writes nothing.  Looks at every copy, says which is good and
    which one counts, lists the extents that all records add up to, and draws where on the
    main device they lie.

    --copy N shows every field of one copy, good or not, beside what counts.  --headers does
    not read the log, however long it is; neither option is for --json.

    \b
    Exit code 0: all copies are valid      3: beyond recovery
              1: readable, but some copies  4: no such device, or not ours
                 are damaged or stale       6: not permitted, or an I/O error

    \b
    Keys of --json (sectors of 512 bytes, times in seconds since 1970):
      path, device_sectors          what was looked at
      uuid, name, main_id           identity
      main_sectors, spare_sectors   sizes the metadata was made for
      copies, spacing, data_start   geometry
      block_size                    smallest unit of a remap, in bytes
      sequence, time, generation    of the newest commit
      cursor, log_blocks, segments  where allocation goes on; the log
      compat, ro_compat, incompat   feature words
      needs_check, notes            flag; list of sentences
      valid_copies, intact, chosen  copies, whether nothing needs repair, the copy that counts
      in_use                        who uses it, or empty
      slots                         list, one a copy: copy, offset (byte), valid,
          header, info, shadow (null unless there is one copy only): offset, state
              (valid, stale, missing, damaged), reason, sequence, time,
              crc_stored, crc_computed (null where not readable)
          log: state, valid, stale, missing, damaged (blocks), reason
      read_errors, write_errors, salvaged, lost, scrub    soft state
      records, remaps, pendings     how many records, remapped and pending extents
      used_sectors, pending_sectors
      bad_spare                     list of {spare, sectors} never to be used
      extents                       list of {main, spare, sectors, kind (remap,
          pending), errors, time}, sorted; spare is null for pending
    """
    from pycontrol.metadata import Corrupt
    from pycontrol.service import inspection

    if only_headers or copy_ is not None:
        if as_json:
            raise click.UsageError("--headers and --copy are not for --json")
        survey, in_use = inspection.look_at_headers(spare, uuid, offset=offset)
        if not quiet:
            _print_some(spare, survey, in_use, copy_)
        ctx.exit(ExitCode.OK if survey.intact else ExitCode.DAMAGED)
    try:
        found = inspection.inspect(spare, uuid, offset=offset)
    except Corrupt as error:
        if error.slots and not as_json and not quiet:
            from pycontrol.cli.inspect_text import print_copies

            print_copies(error.slots, None)
        raise
    if as_json:
        for piece in _json(found):
            sys.stdout.write(piece)
    elif not quiet:
        from pycontrol.cli.inspect_text import print_all

        print_all(found, limit)
    if not found.loaded.intact:
        ctx.exit(ExitCode.DAMAGED)


def _print_some(spare: str, survey: "Survey", in_use: str, copy: int | None) -> None:
    from pycontrol.cli import inspect_text

    if copy is None:
        inspect_text.print_headers(spare, survey, in_use)
    elif copy < survey.header.copies:
        inspect_text.print_copy(survey, copy)
    else:
        raise click.UsageError(f"there are {survey.header.copies} copies, numbered from 0")


# For scripts


def _json(found: "Inspection") -> Iterator[str]:
    """One object in pieces: a table of a million extents is never in memory as text."""
    head = json.dumps(_head(found), indent=2)
    yield head.removesuffix("\n}")
    yield ',\n  "extents": ['
    separator = "\n    "
    for extent in found.loaded.extents:
        row = extent._asdict()
        row["kind"] = extent.kind.name.lower()
        if row["kind"] == "pending":
            row["spare"] = None
        yield separator + json.dumps(row)
        separator = ",\n    "
    yield "]\n}\n"


def _head(found: "Inspection") -> dict[str, Any]:
    from pycontrol.metadata import Kind, data_start

    loaded = found.loaded
    header, info = loaded.header, loaded.info
    return {
        "path": found.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "device_sectors": loaded.device_sectors,
        "uuid": str(header.uuid),
        "name": info.name,
        "main_id": info.main_id,
        "main_sectors": header.main_sectors,
        "spare_sectors": header.spare_sectors,
        "copies": header.copies,
        "spacing": header.spacing,
        "data_start": data_start(header.copies, header.spacing),
        "block_size": header.block_size,
        "sequence": header.sequence,
        "time": header.time,
        "generation": header.generation,
        "cursor": header.cursor,
        "log_blocks": header.log_blocks,
        "segments": list(header.segments),
        "compat": header.compat,
        "ro_compat": header.ro_compat,
        "incompat": header.incompat,
        "needs_check": loaded.needs_check,
        "notes": found.notes,
        "in_use": found.in_use,
        "valid_copies": loaded.valid_copies,
        "intact": loaded.intact,
        "chosen": loaded.chosen,
        "slots": [_slot(slot) for slot in loaded.slots],
        "read_errors": info.read_errors,
        "write_errors": info.write_errors,
        "salvaged": info.salvaged,
        "lost": info.lost,
        "scrub": info.scrub,
        "records": len(loaded.records),
        "remaps": loaded.extents.count(Kind.REMAP),
        "pendings": loaded.extents.count(Kind.PENDING),
        "used_sectors": loaded.used_sectors,
        "pending_sectors": loaded.pending_sectors,
        "bad_spare": [{"spare": start, "sectors": sectors} for start, sectors in loaded.bad_spare],
    }


def _slot(slot: "Slot") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "copy": slot.copy,
        "offset": slot.offset,
        "valid": slot.valid,
        "header": asdict(slot.header),
        "info": asdict(slot.info),
        "shadow": asdict(slot.shadow) if slot.shadow else None,
        "log": {"state": slot.log.state, **asdict(slot.log)},
    }
