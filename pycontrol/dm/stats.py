"""The statistics that device-mapper itself keeps of any of its devices (dm-stats).

A region divides a device into areas of so many sectors and counts the requests that ended
in each.  It stays over reloads of the table, costs a little for each request, and goes with
its deletion or with the device.
"""

from dataclasses import dataclass
from typing import Final

from pycontrol.dm.errors import DmReplyError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import Ref

_AT_ONCE: Final = 4096
"""Areas asked for in one message: their lines fill some hundred KiB."""

_WRITES: Final = 5
"""Where in a line, behind ``<start>+<length>``, the number of ended writes stands."""


@dataclass(frozen=True, slots=True)
class Region:
    """A region of a device's statistics; sizes in sectors of 512 bytes."""

    number: int
    step: int
    areas: int


def create(control: Control, ref: Ref, length: int, step: int, program: str) -> Region:
    """Begin to count on the first ``length`` sectors of 512 bytes, ``step`` of them an area.

    ``program`` is the name under which :func:`of_program` finds it.  DmIoctlError if the kernel has no
    memory for it.
    """
    answer = control.message(ref, f"@stats_create 0+{length} {step} {program}")
    return Region(_number(answer.strip()), step, -(-length // step))


def writes(control: Control, ref: Ref, region: Region) -> list[int]:
    """How many writes, discards among them, have ended in each area since the region was made.

    DmReplyError if the answer is not as documented.
    """
    found: list[int] = []
    while len(found) < region.areas:
        asked = min(_AT_ONCE, region.areas - len(found))
        answer = control.message(ref, f"@stats_print {region.number} {len(found)} {asked}")
        counts = [_writes(line) for line in answer.splitlines()]
        if len(counts) != asked:
            raise DmReplyError(f"device-mapper tells of {len(counts)} areas instead of {asked}")
        found += counts
    return found


def delete(control: Control, ref: Ref, number: int) -> None:
    """Give up the region of this number; DmIoctlError if there is none."""
    control.message(ref, f"@stats_delete {number}")


def of_program(control: Control, ref: Ref, program: str) -> list[int]:
    """Numbers of the regions that were made under this name."""
    lines = control.message(ref, f"@stats_list {program}").splitlines()
    return [_number(line.partition(":")[0]) for line in lines]


def _writes(line: str) -> int:
    words = line.split()
    if len(words) <= _WRITES:
        raise DmReplyError(f"device-mapper's statistics have the line '{line}'")
    return _number(words[_WRITES])


def _number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise DmReplyError(f"device-mapper's statistics say '{word}' where a number belongs")
    return int(word)
