"""The messages of the target that change something or count, with their answers taken apart.

``docs/target.md`` describes the messages.  In all of them ``at`` is a sector of the device that
the target covers, for a device of several; sectors of main are counted from the target's start,
in units of 512 bytes.  TargetRefused says what the target did not take, WrongDevice that
there is no such device of ours.
"""

import re
from dataclasses import dataclass

from pycontrol.dm.ioctl import Control
from pycontrol.errors import BrokenError, UsageError
from pycontrol.service.devices import LARGEST_SECTOR, message
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Moved:
    """What ``remap`` or ``unmap`` did, in sectors of 512 bytes."""

    sectors: int
    """Moved to the spare, or back; what was there already does not count."""
    pending: int
    """Could not be read, and cannot be until they are written."""
    answer: str
    """The target's own words."""


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of the metadata, all read anew."""

    good: int
    copies: int
    sequence: int
    """Of the newest state."""


def remap(control: Control, name: str, sector: int, count: int | None = None, *, at: int = 0) -> Moved:
    """Move ``count`` sectors (the whole logical block if None) to a spare place of the target's choice.

    What main can still give is copied; what it cannot give becomes pending.
    """
    return _move(control, name, "remap", sector, count, at)


def unmap(control: Control, name: str, sector: int, count: int | None = None, *, at: int = 0) -> Moved:
    """Copy ``count`` sectors back to main, verify them there, and drop the record.

    TargetRefused where main still fails, and for pending sectors.
    """
    return _move(control, name, "unmap", sector, count, at)


def _move(control: Control, name: str, word: str, sector: int, count: int | None, at: int) -> Moved:
    answer = message(control, name, (word, *_extent(sector, count)), at=at)
    found = _taken_apart(r"(?:Remapped|Unmapped) (\d+) sectors(?:, (\d+) unreadable and pending)?", answer)
    return Moved(found[0], found[1], answer)


def pending(control: Control, name: str, sector: int, count: int | None = None, *, at: int = 0) -> int:
    """Give ``count`` sectors up without reading them; how many of them are pending then.

    Those that were before are counted as well.

    There is no way back but to write them.  What lives on the spare is left alone.
    """
    answer = message(control, name, ("pending", *_extent(sector, count)), at=at)
    return _taken_apart(r"(\d+) sectors are pending", answer)[0]


def sync(control: Control, name: str, *, at: int = 0) -> int:
    """Force a commit; gives the sequence number of the metadata."""
    return _taken_apart(r"Saved, sequence (\d+)", message(control, name, ("sync",), at=at))[0]


def repair(control: Control, name: str, *, at: int = 0) -> int:
    """Rewrite damaged or stale copies of the metadata; gives how many there were."""
    return _taken_apart(r"Repaired (\d+) copies", message(control, name, ("repair",), at=at))[0]


def reread(control: Control, name: str, *, at: int = 0) -> Copies:
    """Read every copy of the metadata again and count the good ones (the message ``restore``)."""
    answer = message(control, name, ("restore",), at=at)
    return Copies(*_taken_apart(r"(\d+) of (\d+) copies are good, sequence (\d+).*", answer))


def rearm(control: Control, name: str, *, at: int = 0) -> None:
    """Reset the breaker: the device is well again, and bad sectors are remapped as before."""
    message(control, name, ("rearm",), at=at)


def counters(control: Control, name: str, *, at: int = 0) -> dict[str, int]:
    """What the target counts, by the names of its messages ``stats`` and ``cache_stats``."""
    lines = [
        line.split()
        for word in ("stats", "cache_stats")
        for line in message(control, name, (word,), at=at).splitlines()
    ]
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdecimal()}


def clear_counters(control: Control, name: str, *, at: int = 0) -> None:
    """Set the counts of errors, and of sectors salvaged and lost, to zero."""
    message(control, name, ("clear_stats",), at=at)


def _taken_apart(pattern: str, answer: str) -> list[int]:
    match = re.fullmatch(pattern, answer, re.ASCII)
    if match is None:
        raise BrokenError(
            f"the target answers '{plain(answer)}', which is not as documented; module and dmremapctl may"
            " differ in version"
        )
    return [int(group or 0) for group in match.groups()]


def _extent(sector: int, count: int | None) -> tuple[str, ...]:
    if not 0 <= sector <= LARGEST_SECTOR:
        raise UsageError(f"{sector} is not a sector number")
    if count is None:
        return (str(sector),)
    if not 1 <= count <= LARGEST_SECTOR - sector:
        raise UsageError(f"{count} is not a number of sectors; it is at least 1")
    return (str(sector), str(count))
