"""What must be changed where a device that /etc/dmremaptab lists moves to another disk or spare."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pycontrol.errors import RemapError
from pycontrol.service.boot import tab
from pycontrol.service.boot.tab import Entry

SYSTEMD: Final = Path("/run/systemd")


def evacuating(name: str) -> list[str]:
    """Warnings, for people, before the device goes to another disk; none if it is not listed."""
    return _warnings(name, "take the line out")


def replacing(name: str) -> list[str]:
    """The same before it gets another spare, which has the metadata uuid of the old one."""
    entry = _line(name)
    return _warnings(name, "" if entry and entry.uuid else "name the new spare there")


def _warnings(name: str, change: str) -> list[str]:
    entry = _line(name)
    return list(_sentences(entry, change)) if entry else []


def _line(name: str) -> Entry | None:
    try:
        return tab.load(tab.PATH).find(name)
    except RemapError:
        # What cannot be read lists nothing, to systemd neither.
        return None


def _sentences(entry: Entry, change: str) -> Iterator[str]:
    unit = f"dm-remap@{_escaped(entry.name)}.service"
    # One below system goes before the generator's: it was unbound already.
    if (SYSTEMD / "generator" / unit).exists() and not (SYSTEMD / "system" / unit).exists():
        yield (
            f"systemd stops {unit}, and unmounts what is on {entry.name}, when a disk that it was on is"
            " retired or disconnected: first unbind it, as 'Moving' in docs/boot.md says"
        )
    if change:
        yield (
            f"{tab.PATH} lists {entry.name} in line {entry.line}: {change} when it has moved, and"
            " 'systemctl daemon-reload'"
        )


def _escaped(name: str) -> str:
    """As systemd-escape does, and the generator, for a name that dmremaptab may have."""
    return "".join(
        char if char.isalnum() or char in ":_" or (char == "." and at) else f"\\x{ord(char):02x}"
        for at, char in enumerate(name)
    )
