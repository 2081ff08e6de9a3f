"""Taking over blocks that are known to be bad: from a list to remapped or pending blocks.

:func:`plan` checks the whole list against the device and changes nothing;
:func:`carry_out` sends the target few messages with many ranges each.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy, TargetRefused, WrongDevice
from pycontrol.service import blockdev, devices, extents
from pycontrol.service.extents import only_target
from pycontrol.service.find import smartctl, smartlba
from pycontrol.service.find.smart import Smart
from pycontrol.service.known import badblocks, ddrescue, sectorlist
from pycontrol.service.known.textlines import lines_of
from pycontrol.service.live import node
from pycontrol.service.portions import Portion, batches
from pycontrol.service.ranges import Range, difference, intersection, merged, outward, scaled, total
from pycontrol.sizes import SECTOR
from pycontrol.text import plain

MOST_RANGES: Final = 511
"""In a message: so many share one commit."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says of a disk, in bytes from its beginning."""

    bad: list[Range]
    """In order, merged."""
    end: int
    """Behind the last byte that the list speaks of, be it good or bad."""
    block: int = 1
    """Bytes of a block, if it lists whole ones: the device may end within the last."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import would do; all in sectors of 512 bytes of main."""

    name: str
    read: bool
    """Whether main is asked for what it can still give."""
    at: int
    """Where the target begins in its device."""
    bad: list[Range]
    """What is listed, whole logical blocks."""
    new: list[Range]
    """What of it is neither remapped nor pending."""
    remapped: int
    """Sectors of it that are remapped already."""
    pending: int
    """Sectors of it that are pending already."""
    room: int
    """Free sectors on the spare."""

    @property
    def crowded(self) -> bool:
        """Whether the spare may be too small."""
        return self.read and total(self.new) > self.room


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the listed sectors stand afterwards."""

    remapped: int
    pending: int
    left: int
    """Neither: somebody moved them back meanwhile."""


def from_badblocks(path: str, block_size: int = badblocks.BLOCK) -> Listed:
    """Read a list of badblocks(8); ``block_size`` in bytes.

    The file may be ``-`` for standard input, here and below.  ListError (a UsageError) names the
    line that does not follow the format.
    """
    badblocks.check_block_size(block_size)
    with lines_of(path) as lines:
        bad = merged(badblocks.parse(lines, block_size))
    return Listed(bad, bad[-1][1] if bad else 0, block_size)


def from_ddrescue(path: str, statuses: str = ddrescue.BAD) -> Listed:
    """Read a map file of GNU ddrescue; blocks with these statuses (of ``?*/-+``) are bad."""
    end = 0

    def counted(blocks: Iterable[ddrescue.Block]) -> Iterator[ddrescue.Block]:
        nonlocal end
        for block in blocks:
            end = block.end
            yield block

    with lines_of(path) as lines:
        bad = merged(ddrescue.with_status(counted(ddrescue.parse(lines)), statuses))
    return Listed(bad, end)


def from_list(path: str) -> Listed:
    """Read a list of sectors of 512 bytes, ``sector [count]`` a line, or of what the target lists."""
    with lines_of(path) as lines:
        bad = scaled(merged(sectorlist.parse(lines)), SECTOR)
    return Listed(bad, bad[-1][1] if bad else 0)


def from_smart(control: Control, name: str) -> Listed:
    """Ask the main disk of a device by smartctl; if main is a partition, for what lies in it.

    WrongDevice if the disk does not tell.
    """
    _, target = only_target(control, name)
    main = blockdev.look(node(target.table.main))
    # By its own name: smartctl knows the kind of a disk by that.
    disk = f"/dev/{main.disk.replace('!', '/')}" if main.disk else main.path
    report = smartctl.report(disk)
    if isinstance(report, Smart):
        raise WrongDevice(f"{plain(disk)} does not tell its bad blocks: {plain(report.problem)}")
    block, start = main.logical_block, _start(main.dev)
    everywhere = merged((lba * block, (lba + 1) * block) for lba in smartlba.failed(report))
    inside = intersection(everywhere, [(start, start + main.size)])
    bad = [(begin - start, end - start) for begin, end in inside]
    return Listed(bad, bad[-1][1] if bad else 0)


def _start(dev: DevNumber) -> int:
    """The byte of its disk at which a device begins; 0 for a whole disk."""
    try:
        return int((blockdev.SYSFS / f"dev/block/{dev}/start").read_text()) * SECTOR
    except OSError:
        return 0


def plan(control: Control, name: str, listed: Listed, *, read: bool = True) -> Plan:
    """Check a list against a device; changes nothing.

    What is bad is read once more and moved, unless ``read`` is false: then it is given up, and is
    pending until it is written.  WrongDevice if the list speaks of anything behind the device's
    end, but for the rest of a block that begins before it: it is then of another disk.
    """
    device, target = only_target(control, name)
    size = target.length * SECTOR
    if listed.end - listed.block >= size:
        raise WrongDevice(
            f"the list goes as far as byte {listed.end}, but {plain(name)} has only {size} bytes: it is of"
            " another disk, or in blocks of another size; nothing was changed"
        )
    block = blockdev.look_as(device.path, device.info.dev).logical_block // SECTOR
    # The last block of a device may be a part of one, which nobody can use.
    whole = [(0, target.length // block * block)]
    touched = [(start // SECTOR, -(-end // SECTOR)) for start, end in listed.bad]
    bad = intersection(outward(touched, block), whole)
    there = extents.listed(control, name, at=target.start)
    remapped, pending = extents.remapped(there), extents.pending(there)
    return Plan(
        name=device.info.name,
        read=read,
        at=target.start,
        bad=bad,
        new=difference(difference(bad, remapped), pending),
        remapped=total(intersection(bad, remapped)),
        pending=total(intersection(bad, pending)),
        room=target.status.total_sectors - target.status.used_sectors,
    )


def carry_out(control: Control, plan: Plan, advance: Callable[[int], None] = lambda done: None) -> Outcome:
    """Move what is new, or give it up; ``advance`` is told of sectors done.

    What was done before an error stays; TargetRefused if the spare is full, Busy while it is suspended.
    """
    word = "remap" if plan.read else "pending"
    done, portion = 0, Portion()
    for batch in batches(plan.new, portion, MOST_RANGES):
        words = [str(number) for start, end in batch for number in (start, end - start)]
        try:
            with portion.measured(total(batch)):
                devices.message(control, plan.name, (word, *words), at=plan.at)
        except (Busy, TargetRefused) as error:
            raise type(error)(
                f"after {done} of {total(plan.new)} sectors, which stay as they are now, the target refused"
                f" the {len(batch)} ranges from sector {batch[0][0]} on: {_reason(error)}"
            ) from error
        done += total(batch)
        advance(total(batch))
    if not plan.bad:
        return Outcome(0, 0, 0)
    try:
        there = extents.listed(control, plan.name, at=plan.at, start=plan.bad[0][0], end=plan.bad[-1][1])
    except Busy as error:
        raise Busy(f"after {done} sectors, which stay as they are now, {error}") from error
    remapped = total(intersection(plan.bad, extents.remapped(there)))
    pending = total(intersection(plan.bad, extents.pending(there)))
    return Outcome(remapped, pending, total(plan.bad) - remapped - pending)


def _reason(error: Busy | TargetRefused) -> str:
    # The message itself is in the sentence, thousands of numbers long.
    return str(error).rpartition("': ")[2]
