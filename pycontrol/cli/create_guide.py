"""The guided way of ``dmremapctl create``: proposals, questions, and the plan in words.

All of it goes to standard error: standard output is for the result.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pycontrol.cli.output import warn
from pycontrol.cli.scan import show
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.dm.ioctl import Control
    from pycontrol.service.blockdev import BlockDevice
    from pycontrol.service.create import Plan
    from pycontrol.service.find.scan import Entry


def choose(control: "Control", name: str | None, main: str | None, spare: str | None) -> tuple[str, str, str]:
    """Ask for what is None, with proposals from a scan."""
    if main is None or spare is None:
        main, spare = _devices(control, main, spare)
    return name if name is not None else _name(control, main), main, spare


def _devices(control: "Control", main: str | None, spare: str | None) -> tuple[str, str]:
    from pycontrol.service.find import scan, smartctl

    if smartctl.find() is None:
        warn("smartctl is not installed, so the disks' health is not known; install smartmontools")
    found = scan.scan(control, main)
    if main is None:
        main = _main(found)
        found = scan.for_main(found, main)
    return main, _spare(found) if spare is None else spare


def _main(found: "Sequence[Entry]") -> str:
    from pycontrol.errors import WrongDevice
    from pycontrol.service.find.judge import Need
    from pycontrol.service.find.scan import by_need

    proposed = by_need(found)
    if not proposed:
        raise WrongDevice("there is no disk that could be protected now; 'dmremapctl scan' says why")
    needy = proposed[0].protection.need in (Need.URGENT, Need.ADVISED)
    return _chosen("Which disk is to be protected?", proposed, take_first=needy or len(proposed) == 1)


def _spare(found: "Sequence[Entry]") -> str:
    from pycontrol.errors import WrongDevice
    from pycontrol.service.find.judge import Fit
    from pycontrol.service.find.scan import by_fitness

    proposed = by_fitness(found)
    if not proposed:
        raise WrongDevice(
            "there is no device that could be the spare; 'dmremapctl scan --main DEVICE' says why, and"
            " --format takes one that holds something"
        )
    return _chosen(
        "Which device shall be the spare?", proposed, take_first=proposed[0].as_spare.fit is Fit.GOOD
    )


def _chosen(question: str, proposed: "Sequence[Entry]", *, take_first: bool) -> str:
    click.echo(question, err=True)
    for number, entry in enumerate(proposed, 1):
        show(entry, label=f"{number}. ", err=True)
    words = f"Number, or path of another (1 to {len(proposed)})"
    answer: str = click.prompt(words, default="1" if take_first else None, err=True)
    answer = answer.strip()
    if answer.isascii() and answer.isdigit():
        if 1 <= int(answer) <= len(proposed):
            return proposed[int(answer) - 1].disk.path
        raise click.UsageError(f"there is no number {answer} in the list")
    return answer


def _name(control: "Control", main: str) -> str:
    import re

    from pycontrol.service.kernel import explained

    with explained():
        taken = {entry.name for entry in control.list_devices()}
    base = "safe-" + re.sub(r"[^A-Za-z0-9]+", "-", Path(main).name).strip("-")
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 2))]
    free = next(name for name in names if name not in taken)
    answer: str = click.prompt("Name of the device, under /dev/mapper", default=free, err=True)
    return answer.strip()


# The plan


def plan_lines(decided: "Plan") -> list[str]:
    """What would be done, for people."""
    from pycontrol.service.create import Action
    from pycontrol.sizes import human

    main, spare = decided.main, decided.spare
    lines = [
        f"/dev/mapper/{plain(decided.name)} is made, {human(main.size)}.",
        f"  main: {_described(main)}.  What is on it stays, and nothing is written to it now.",
    ]
    if decided.action is Action.FORMAT:
        holds = "; ".join(decided.loses)
        told = f"holds {holds}, WHICH IS LOST" if holds else "blank"
        copies = f"{decided.copies} copies of the metadata, {human(decided.spacing)} apart"
        lines += [
            f"  spare: {_described(spare)}; {told}.",
            f"  written now: the first {human(decided.overwritten)} of {plain(spare.path)}, {copies};"
            " the rest when sectors fail.",
        ]
    else:
        lines.append(
            f"  spare: {_described(spare)}; formatted for this main, with {decided.records} records."
            "  Nothing of it is overwritten."
        )
    percent = 100 * decided.room / main.size
    lines += [
        f"  room: {human(decided.room)} for bad sectors, {percent:.2g} % of main.",
        f"  table: {decided.table}",
    ]
    if main.known_as:
        marks = ", ".join(map(plain, main.known_as))
        lines.append(
            f"  afterwards: what is on {plain(main.path)} ({marks}) is to be used through"
            f" /dev/mapper/{plain(decided.name)} only; change /etc/fstab if it names the disk."
        )
    return lines


def _described(device: "BlockDevice") -> str:
    from pycontrol.service.find import disks
    from pycontrol.sizes import human

    known = disks.of_number(device.dev)
    words = [human(device.size)]
    words += [plain(known.model)] if known and known.model else []
    words += [f"serial {plain(device.identity.serial)}"] if device.identity.serial else []
    return f"{plain(device.path)} ({', '.join(words)})"
