"""``dmremapctl inspect``: show the metadata on a spare, or on an image of one."""

import sys
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.meta_output import limit_option, quiet_option, spare_argument
from pycontrol.cli.progress import phases

if TYPE_CHECKING:
    from pycontrol.metadata import Survey


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
    not read the log, however long it is.

    \b
    Examples:
      dmremapctl inspect /dev/sdc1
      dmremapctl inspect --copy 2 sdc1.backup

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

    \b
    With --headers there is nothing of what only the log tells: notes, valid_copies, chosen,
    the log of a slot, records and all that follows; intact and valid are about headers and
    info blocks.

    \b
    Keys of --json with --copy N:
      path, in_use, intact          as above
      copy                          N
      header, info                  offset (byte), state, reason, sequence, time, crc_stored,
          crc_computed; fields (each as it stands there; null where the block cannot be
          read), differs (list of names: not as in what counts)
    """
    from pycontrol.metadata import Corrupt
    from pycontrol.service.offline import inspection

    if only_headers or copy_ is not None:
        survey, in_use = inspection.look_at_headers(spare, uuid, offset=offset)
        if copy_ is not None and copy_ >= survey.header.copies:
            raise click.UsageError(f"there are {survey.header.copies} copies, numbered from 0")
        if as_json:
            _emit_some(spare, survey, in_use, copy_)
        elif not quiet:
            _print_some(spare, survey, in_use, copy_)
        ctx.exit(ExitCode.OK if survey.intact else ExitCode.DAMAGED)
    try:
        with phases(quiet=quiet) as progress:
            found = inspection.inspect(spare, uuid, offset=offset, progress=progress)
    except Corrupt as error:
        if error.slots and not as_json and not quiet:
            from pycontrol.cli.inspect_text import print_copies

            print_copies(error.slots, None)
        raise
    if as_json:
        from pycontrol.cli.inspect_json import whole

        sys.stdout.writelines(whole(found))
    elif not quiet:
        from pycontrol.cli.inspect_text import print_all

        print_all(found, limit)
    if not found.loaded.intact:
        ctx.exit(ExitCode.DAMAGED)


def _print_some(spare: str, survey: "Survey", in_use: str, copy: int | None) -> None:
    from pycontrol.cli import inspect_text

    if copy is None:
        inspect_text.print_headers(spare, survey, in_use)
    else:
        inspect_text.print_copy(survey, copy)


def _emit_some(spare: str, survey: "Survey", in_use: str, copy: int | None) -> None:
    from pycontrol.cli import inspect_json
    from pycontrol.cli.output import emit_json

    if copy is None:
        emit_json(inspect_json.headers(spare, survey, in_use))
    else:
        emit_json(inspect_json.one_copy(spare, survey, in_use, copy))
