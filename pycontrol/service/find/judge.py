"""Which disks are worth protecting, and which would make a good spare: opinions with reasons.

Pure: what is known comes in, an opinion goes out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pycontrol.service.find.disks import Disk
from pycontrol.service.find.smart import Smart
from pycontrol.service.identity import Identity
from pycontrol.sizes import MIB, human
from pycontrol.text import plain

GIB: Final = 1 << 30

COPIES: Final = 5
SPACING: Final = 128 << 10
"""The defaults of formatting: copies of the metadata, and bytes from one to the next."""

MOST_SPACING: Final = 4 * MIB
"""More is not proposed."""

LEAST_AMPLE: Final = 64 * MIB
MOST_AMPLE: Final = 32 * GIB


class Need(StrEnum):
    """How much a disk needs protection."""

    URGENT = "urgent"
    """It fails already: data is unreadable, or it says itself that it is about to fail."""
    ADVISED = "advised"
    """It has begun to wear out."""
    NONE = "none"
    UNKNOWN = "unknown"
    """Nothing is known of its health."""
    PROTECTED = "protected"
    """It is main or spare of a dm-remap device already."""


class Fit(StrEnum):
    """How well a device would do as a spare."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    """It would work; the reasons say what speaks against it."""
    UNFIT = "unfit"


class Content(StrEnum):
    """What is on a device that could become a spare."""

    UNKNOWN = "unknown"
    BLANK = "blank"
    SOMETHING = "something"
    """A signature, or data of unknown kind."""
    METADATA = "metadata"
    """A dm-remap spare's."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What was found, with words for it."""

    kind: Content = Content.UNKNOWN
    words: str = ""
    main_id: str = ""
    """METADATA: the main device's identity as recorded."""
    main_size: int = 0
    """METADATA: in bytes."""


@dataclass(frozen=True, slots=True)
class Protection:
    """Whether to protect a disk, and why."""

    need: Need
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fitness:
    """Whether to use a device as a spare, and why or why not."""

    fit: Fit
    reasons: tuple[str, ...] = ()


def protection(disk: Disk, smart: Smart) -> Protection:
    """Judge the disk by what it says of itself; a partition is as good as its disk."""
    worries = smart.worries
    if disk.remapped_by or disk.ours:
        return Protection(Need.PROTECTED, worries)
    if smart.failing:
        return Protection(Need.URGENT, worries)
    if worries:
        return Protection(Need.ADVISED, worries)
    if smart.known:
        return Protection(Need.NONE)
    return Protection(Need.UNKNOWN, (plain(smart.problem),) if smart.problem else ())


def obstacles(disk: Disk) -> tuple[str, ...]:
    """Why a device can be neither main nor spare as things are."""
    found = []
    if disk.ours:
        found.append("a dm-remap device itself")
    if disk.remapped_by:
        found.append(f"under dm-remap already, by {', '.join(map(plain, disk.remapped_by))}")
    elif disk.use:
        found.append(disk.use)
    if disk.readonly:
        found.append("read-only")
    return tuple(found)


def fitness(spare: Disk, smart: Smart, contents: Contents, main: Disk | None) -> Fitness:
    """Judge a device as a spare: for ``main``, or for any if that is None."""
    unfit = [*obstacles(spare), *_pair(spare, main)]
    if smart.failing:
        unfit.append("failing itself")
    least = region(COPIES, SPACING) + MIB
    if spare.size <= least:
        unfit.append(f"too small: {human(spare.size)}, more than {human(least)} is needed")
    unfit += _occupied(spare, contents, main)
    if unfit:
        return Fitness(Fit.UNFIT, tuple(unfit))
    doubts = _doubts(spare, smart, contents, main)
    return Fitness(Fit.DOUBTFUL if doubts else Fit.GOOD, tuple(doubts))


def _pair(spare: Disk, main: Disk | None) -> list[str]:
    if main is None:
        return []
    if spare.dev == main.dev:
        return ["this is the main device"]
    if main.disk == spare.disk and not (main.partition and spare.partition):
        return ["overlaps the main device"]
    if main.identity.same_disk(spare.identity) and main.disk != spare.disk:
        return ["the same disk as the main device by another name"]
    return []


def _occupied(spare: Disk, contents: Contents, main: Disk | None) -> list[str]:
    if spare.partitions:
        return ["it has partitions"]
    if contents.kind is Content.SOMETHING:
        return [f"carries {contents.words}"]
    if contents.kind is Content.METADATA and main is not None and not _made_for(contents, main):
        return [f"spare of another main device ({contents.words})"]
    if contents.kind is Content.UNKNOWN and spare.known_as:
        return [f"carries {', '.join(map(plain, spare.known_as))}"]
    return []


def _made_for(contents: Contents, main: Disk) -> bool:
    recorded = Identity.parse(contents.main_id)
    return contents.main_size == main.size and not recorded.conflicts(main.identity)


def _doubts(spare: Disk, smart: Smart, contents: Contents, main: Disk | None) -> list[str]:
    doubts = []
    if main is not None and main.disk == spare.disk:
        doubts.append("on the same disk as main: if it fails, both fail")
    doubts += smart.worries
    if contents.kind is Content.UNKNOWN:
        doubts.append(contents.words or "what is on it was not looked at")
    if contents.kind is Content.METADATA and main is None:
        doubts.append(f"a spare already ({contents.words})")
    if spare.removable:
        doubts.append("removable: what lives on it is gone when it is pulled out")
    if main is not None and spare.size < ample(main.size):
        doubts.append(f"small for {human(main.size)}: {human(ample(main.size))} would be ample")
    if main is not None and spare.logical_block > main.logical_block:
        doubts.append(larger_block(spare.logical_block, main.logical_block))
    if spare.kind == "loop":
        doubts.append("a file behind a loop device: it lies on some other disk")
    if spare.rotational and main is not None and not main.rotational:
        doubts.append("it rotates and main does not: remapped blocks will be slow")
    return doubts


def larger_block(spare: int, main: int) -> str:
    """The sentence on a spare whose logical block (bytes) is larger than main's."""
    return (
        f"its logical block is {spare} bytes, main's {main}: what was made on main in smaller blocks may"
        " not be readable through the device"
    )


def ample(main_size: int) -> int:
    """How large a spare should be, in bytes: a disk of which 1 % is bad should be replaced."""
    return min(max(main_size // 100, LEAST_AMPLE), MOST_AMPLE)


def region(copies: int, spacing: int) -> int:
    """Bytes at the start of the spare that the copies of the metadata take."""
    return copies * spacing


def spacing(spare_size: int, copies: int = COPIES) -> int:
    """Bytes from copy to copy that fit a spare of ``spare_size`` bytes.

    Far apart, so that one damaged place hits one copy only, but all within 1 % of the spare.
    """
    chosen = SPACING
    while chosen < MOST_SPACING and region(copies, 2 * chosen) <= spare_size // 100:
        chosen *= 2
    return chosen
