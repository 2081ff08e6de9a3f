"""The messages of the target that change something or count, with their answers taken apart.

``docs/target.md`` describes the messages.  In all of them ``at`` is a sector of the device that
the target covers, for a device of several; sectors of main are counted from the target's start,
in units of 512 bytes.  TargetRefused says what the target did not take, WrongDevice that
there is no such device of ours.
"""

import re
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.errors import BrokenError, Busy, RemapError, TargetRefused, UsageError
from pycontrol.service import blockdev
from pycontrol.service.devices import LARGEST_SECTOR, message, status
from pycontrol.service.portions import FIRST, LEAST, Portion, batches
from pycontrol.service.progress import Advance
from pycontrol.sizes import SECTOR
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Moved:
    """What ``remap`` or ``unmap`` did, in sectors of 512 bytes."""

    sectors: int
    """Moved to the spare, or back; what was there already does not count."""
    pending: int
    """Could not be read, and cannot be until they are written."""
    answer: str
    """The target's words; after several messages, of all of them."""


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of the metadata, all read anew."""

    good: int
    copies: int
    sequence: int
    """Of the newest state."""


def remap(
    control: Control,
    name: str,
    sector: int,
    count: int | None = None,
    *,
    at: int = 0,
    advance: Advance = lambda done: None,
) -> Moved:
    """Move ``count`` sectors (the whole logical block if None) to a spare place of the target's choice.

    What main can still give is copied; what it cannot give becomes pending.  Many sectors go in
    several messages: between two of them KeyboardInterrupt comes, and ``advance`` is told of the
    sectors done.  What was done before that, or before an error, stays.
    """
    return _move(control, name, "remap", sector, count, at, advance)


def unmap(
    control: Control,
    name: str,
    sector: int,
    count: int | None = None,
    *,
    at: int = 0,
    advance: Advance = lambda done: None,
) -> Moved:
    """Copy ``count`` sectors back to main, verify them there, and drop the record; by parts, as ``remap``.

    TargetRefused where main still fails, and for pending sectors.
    """
    return _move(control, name, "unmap", sector, count, at, advance)


_DONE: Final = {"remap": "Remapped", "unmap": "Unmapped"}


def _move(
    control: Control, name: str, word: str, sector: int, count: int | None, at: int, advance: Advance
) -> Moved:
    words = _extent(sector, count)
    if count is None or count <= FIRST or not _has(control, name, at, sector, count):
        return _moved(word, message(control, name, (word, *words), at=at))
    done, moved, lost = 0, 0, 0
    portion = Portion()
    for [(start, end)] in batches([(sector, sector + count)], portion):
        try:
            with portion.measured(end - start):
                answer = message(control, name, (word, str(start), str(end - start)), at=at)
        except (Busy, TargetRefused) as error:
            raise type(error)(
                f"after {done} of {count} sectors, which stay as they are now, {error}"
            ) from error
        part = _moved(word, answer)
        done, moved, lost = done + end - start, moved + part.sectors, lost + part.pending
        advance(end - start)
    said = f"{_DONE[word]} {moved} sectors" + (f", {lost} unreadable and pending" if lost else "")
    return Moved(moved, lost, said)


def _moved(word: str, answer: str) -> Moved:
    found = _taken_apart(rf"{_DONE[word]} (\d+) sectors(?:, (\d+) unreadable and pending)?", answer)
    return Moved(found[0], found[1], answer)


def _has(control: Control, name: str, at: int, sector: int, count: int) -> bool:
    """Whether a range is in the target, and in whole logical blocks; if not, it shall refuse all of it."""
    device = status(control, name)
    length = next((each.length for each in device.targets if 0 <= at - each.start < each.length), 0)
    try:
        block = blockdev.look_as(device.path, device.info.dev).logical_block // SECTOR
    except RemapError:
        block = LEAST
    return sector + count <= length and not (sector | count) % block


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
