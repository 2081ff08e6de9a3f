"""``dmremapctl list``, ``status`` and ``remove``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.output import emit_json, facts, json_option, table
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.devices import RemapDevice, RemapTarget


@click.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the devices.

    \b
    Example:
      dmremapctl list

    JSON: a list of objects with the keys name, path, uuid, dev, open, main, spare, mode.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.devices import list_devices

    with Control() as control:
        found = list_devices(control)
    rows = [_row(device) for device in found]
    if as_json:
        emit_json(rows)
    elif rows:
        table(
            ("name", "device", "main", "spare", "mode", "open", "uuid"),
            [
                (
                    row["name"],
                    row["dev"],
                    row["main"] or "",
                    row["spare"] or "",
                    row["mode"],
                    row["open"],
                    row["uuid"],
                )
                for row in rows
            ],
            numbers=("open",),
        )
    else:
        click.echo("no devices")


def _row(device: "RemapDevice") -> dict[str, object]:
    first = device.targets[0] if device.targets else None
    return {
        "name": device.info.name,
        "path": device.path,
        "uuid": device.info.uuid,
        "dev": str(device.info.dev),
        "open": device.info.open_count,
        "main": first.table.main if first else None,
        "spare": first.table.spare if first else None,
        "mode": mode(device),
    }


def mode(device: "RemapDevice") -> str:
    """The worst mode of the device's targets, or why there are none."""
    if device.moved:
        return "evacuated"
    modes = [target.status.mode for target in device.targets]
    return next((word for word in ("Fail", "ro", "rw") if word in modes), "no table")


@click.command()
@click.argument("name", type=NAME, required=False)
@json_option
def status(name: str | None, as_json: bool) -> None:
    """Show the state of one device, or of all.

    \b
    Example:
      dmremapctl status data

    JSON: a list of objects with the keys name, path, uuid, dev, open, event_nr, suspended,
    readonly, deferred_remove, doing, targets; each target has start, length, main, spare, features,
    used_sectors, total_sectors, remapped_extents, pending_extents, valid_copies, copies,
    sequence, read_errors, write_errors, sectors_salvaged, sectors_lost, errors, mode,
    needs_check, healthy.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service import devices as service

    with Control() as control:
        found = [service.status(control, name)] if name is not None else service.list_devices(control)
    if as_json:
        emit_json([_as_json(device) for device in found])
        return
    if not found:
        click.echo("no devices")
    for number, device in enumerate(found):
        if number:
            click.echo()
        _show(device)


def _as_json(device: "RemapDevice") -> dict[str, object]:
    from pycontrol.service.devices import doing

    info = device.info
    return {
        "name": info.name,
        "path": device.path,
        "uuid": info.uuid,
        "dev": str(info.dev),
        "open": info.open_count,
        "event_nr": info.event_nr,
        "suspended": info.suspended,
        "readonly": info.readonly,
        "deferred_remove": info.deferred_remove,
        "doing": doing(info.name),
        "targets": [_target_json(device, target) for target in device.targets],
    }


def _target_json(device: "RemapDevice", target: "RemapTarget") -> dict[str, object]:
    from dataclasses import asdict

    # The status line's features are those of the table once more.
    state = {key: value for key, value in asdict(target.status).items() if key != "features"}
    return {
        "start": target.start,
        "length": target.length,
        "main": target.table.main,
        "spare": target.table.spare,
        "features": list(target.table.features),
        **state,
        "healthy": target.status.healthy and not device.info.suspended,
    }


def _show(device: "RemapDevice") -> None:
    from pycontrol.service.devices import doing
    from pycontrol.sizes import SECTOR, human

    info = device.info
    states = ["suspended"] * info.suspended + ["read-only"] * info.readonly
    states += ["to be removed on last close"] * info.deferred_remove
    states += filter(None, [plain(doing(info.name))])
    click.echo(f"{plain(device.path)}  {info.dev}  {plain(info.uuid)}  {', '.join(states) or 'active'}")
    if not device.targets:
        click.echo(f"  it {device.lacking}")
    for target in device.targets:
        state = target.status
        used, total = state.used_sectors * SECTOR, state.total_sectors * SECTOR
        facts(
            {
                "  range": f"sectors {target.start} to {target.start + target.length - 1}",
                "  main": target.table.main,
                "  spare": f"{target.table.spare}, {human(used)} of {human(total)} used",
                "  options": " ".join(target.table.features) or "none",
                "  remapped": f"{state.remapped_extents} extents",
                "  pending": f"{state.pending_extents} extents that cannot be read until written",
                "  metadata": f"{state.valid_copies} of {state.copies} copies valid,"
                f" sequence {state.sequence}",
                "  errors": f"{state.read_errors} read, {state.write_errors} write",
                "  data": f"{state.sectors_salvaged} sectors salvaged, {state.sectors_lost} lost",
                "  state": " ".join(
                    [state.mode, *state.errors, *(["needs_check"] if state.needs_check else [])]
                ),
            }
        )


@click.command()
@click.argument("name", type=NAME)
@click.option("--deferred", is_flag=True, help="If it is in use, remove it when its last user closes it.")
@click.option("--retry", is_flag=True, help="If it is in use, wait up to a minute for the end of that.")
@json_option
def remove(name: str, deferred: bool, retry: bool, as_json: bool) -> None:
    """Take a device down; the spare keeps its remaps.

    \b
    Example:
      dmremapctl remove data --retry

    JSON keys: name, removed (false if it waits for its last user).
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service import devices as service

    if deferred and retry:
        raise click.UsageError("--deferred does not wait, --retry does: choose one")
    with Control() as control:
        if retry:
            from pycontrol.service.removal import remove_waiting

            info = remove_waiting(control, name)
        else:
            info = service.remove(control, name, deferred=deferred)
    gone = not info.deferred_remove
    if as_json:
        emit_json({"name": info.name, "removed": gone})
    elif gone:
        click.echo(f"removed {plain(info.name)}")
    else:
        click.echo(f"{plain(info.name)} is in use; it goes when its last user closes it")
