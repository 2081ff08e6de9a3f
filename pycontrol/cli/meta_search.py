"""``dmremapctl meta search``."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import DEVICE_OR_IMAGE
from pycontrol.cli.meta_output import quiet_option
from pycontrol.cli.output import emit_json, json_option, table
from pycontrol.cli.progress import phases
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.metadata.search import Hit


@click.command()
@click.argument("place", type=DEVICE_OR_IMAGE, metavar="DEVICE_OR_IMAGE")
@quiet_option
@json_option
def search(place: str, quiet: bool, as_json: bool) -> None:
    """Find metadata anywhere on a device, in the present and the earlier formats.

    For a spare whose partition is gone, or that lies inside something larger: the byte
    where it begins is what --offset of the other commands wants.

    Exit code 0: found, 4: nothing found.

    \b
    Example:
      dmremapctl meta search /dev/sdc

    \b
    Keys of --json:
      spares   list of {uuid, begins (byte), headers (whole ones found), sequence (newest)}
      hits     list of {offset, kind (header, info, log, v4.2, v3.0), valid, uuid,
               sequence, time, copy, begins}; null where a block that is not whole does
               not tell
    """
    from pycontrol.service.offline import meta

    with phases(quiet=quiet) as progress:
        hits = list(meta.search(place, progress))
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
