"""``dmremapctl scan``."""

from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import DEVICE
from pycontrol.cli.output import emit_json, json_option, warn, wrapped
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.find.scan import Entry


@click.command()
@click.option(
    "--main", type=DEVICE, metavar="DEVICE", help="Judge the others as spares for this device, best first."
)
@json_option
def scan(main: str | None, as_json: bool) -> None:
    """List the disks: which are worth protecting, and which would make a good spare.

    Health is what smartctl tells, where it is installed; disks that sleep are not woken.
    Nothing is written.

    \b
    Example:
      dmremapctl scan --main /dev/sdb

    JSON: a list of objects with the keys path, dev, kind (disk, partition, dm, md, loop),
    size (bytes), logical_block, readonly, removable, rotational, disk, partitions, model,
    serial, wwn, use, signatures, content, remap (a list of name, role), smart, need
    (urgent, advised, none, unknown, protected), need_reasons, spare (good, doubtful,
    unfit), spare_reasons.  smart has protocol, passed, pending, reallocated, uncorrectable,
    worn_percent, power_on_hours, temperature, asleep, problem; null is not known.
    """
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.find import scan as service
    from pycontrol.service.find import smartctl
    from pycontrol.service.find.judge import Fit

    if smartctl.find() is None:
        warn("smartctl is not installed, so the disks' health is not known; install smartmontools")
    with Control() as control:
        found = service.scan(control, main)
    if main is not None:
        order = list(Fit)
        found = sorted(found, key=lambda entry: order.index(entry.as_spare.fit))
    if as_json:
        emit_json([as_object(entry) for entry in found])
        return
    for entry in found:
        show(entry)
    if not found:
        click.echo("no disks")
    elif main is None:
        _advise(found)


def show(entry: "Entry", *, label: str = "", err: bool = False) -> None:
    """Print a device, what is thought of it below."""
    first, *others = entry_lines(entry)
    wrapped(first, label=label, err=err)
    for line in others:
        wrapped(line, label=" " * len(label) + "    ", err=err)


def entry_lines(entry: "Entry") -> list[str]:
    """A device for people: what it is, then what is thought of it."""
    from pycontrol.service.find.judge import Fit, Need

    lines = [_described(entry)]
    protection, spare = entry.protection, entry.as_spare
    reasons = "; ".join(protection.reasons)
    match protection.need:
        case Need.URGENT | Need.ADVISED:
            word = "needs protection now" if protection.need is Need.URGENT else "worth protecting"
            lines.append(f"{word}: {reasons}")
        case Need.PROTECTED:
            roles = ", ".join(f"{role.role or 'part'} of {plain(role.name)}" for role in entry.roles)
            told = f"under dm-remap: {roles}" if roles else "a dm-remap device"
            lines.append(f"{told}; {reasons}" if reasons else told)
        case Need.UNKNOWN if reasons:
            lines.append(f"health not known: {reasons}")
    if protection.need is not Need.PROTECTED:
        words = {Fit.GOOD: "a good spare", Fit.DOUBTFUL: "a spare, but", Fit.UNFIT: "no spare"}
        why = "; ".join(reason for reason in spare.reasons if reason != entry.disk.use)
        # Who uses it is in the first line, and explains enough.
        if why or spare.fit is Fit.GOOD:
            lines.append(f"{words[spare.fit]}: {why}" if why else words[spare.fit])
    return lines


def _described(entry: "Entry") -> str:
    """Path, size, kind, model, serial number and use in one line."""
    from pycontrol.sizes import human

    disk = entry.disk
    words = [plain(disk.path), human(disk.size), disk.kind]
    if disk.kind == "disk":
        words += ["rotating"] * disk.rotational + ["removable"] * disk.removable
    if not disk.partition:
        serial = entry.smart.serial or disk.identity.serial
        words += [plain(model) for model in [entry.smart.model or disk.model] if model]
        words += [f"serial {plain(serial)}"] if serial else []
    if disk.use:
        words.append(f"({disk.use})")
    return "  ".join(words)


def _advise(found: "list[Entry]") -> None:
    from pycontrol.service.find.judge import Need, ample
    from pycontrol.sizes import human

    needy = [
        entry
        for entry in found
        if entry.protection.need in (Need.URGENT, Need.ADVISED) and not entry.disk.partition
    ]
    for entry in needy:
        path = plain(entry.disk.path)
        click.echo()
        wrapped(
            f"To protect {path} ({human(ample(entry.disk.size))} would be an ample spare):"
            f" dmremapctl scan --main {path}, then dmremapctl create --guide"
        )


def as_object(entry: "Entry") -> dict[str, object]:
    """What --json prints of a device."""
    disk, smart = entry.disk, entry.smart
    keys = (
        "protocol", "passed", "pending", "reallocated", "uncorrectable", "worn_percent",
        "power_on_hours", "temperature", "asleep", "problem",
    )  # fmt: skip
    return {
        "path": disk.path,
        "dev": str(disk.dev),
        "kind": disk.kind,
        "size": disk.size,
        "logical_block": disk.logical_block,
        "readonly": disk.readonly,
        "removable": disk.removable,
        "rotational": disk.rotational,
        "disk": disk.disk,
        "partitions": list(disk.partitions),
        "model": smart.model or disk.model,
        "serial": smart.serial or disk.identity.serial,
        "wwn": disk.identity.wwn,
        "use": disk.use,
        "signatures": list(disk.known_as),
        "content": entry.contents.kind.value,
        "remap": [{"name": role.name, "role": role.role} for role in entry.roles],
        "smart": {key: getattr(smart, key) for key in keys},
        "need": entry.protection.need.value,
        "need_reasons": list(entry.protection.reasons),
        "spare": entry.as_spare.fit.value,
        "spare_reasons": list(entry.as_spare.reasons),
    }
