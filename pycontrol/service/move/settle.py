"""Finishing, or taking back, a switch in the middle of which a program was killed.

The device stands still then.  What is on the disks says which way is right: the spare that
is valid is the one; if none is, the one to which everything was copied.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from uuid import UUID

from pycontrol import TARGET, UUID_PREFIX, metadata
from pycontrol.dm import stats
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, TargetLine
from pycontrol.errors import BrokenError, Busy, DeviceIoError
from pycontrol.service import blockdev
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.devices import named
from pycontrol.service.directio import Direct, direct
from pycontrol.service.kernel import explained, require_root
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.move import head, newdevice, retire
from pycontrol.service.move.underway import underway
from pycontrol.service.move.written import PROGRAM
from pycontrol.service.status import TargetTable
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Settled:
    """How a device that stood still goes on."""

    on: str
    """The path of the spare, or of the disk, that it works with."""
    words: str
    """What was done, for people."""


def settle(control: Control, name: str, other: str) -> Settled | None:
    """Let a device go on that was left standing; None for one that works.

    ``other`` is the device to which it was to move.  Busy if it was not this program that
    suspended it.
    """
    require_root()
    ours = named(name)
    with explained():
        info, lines = control.table(ours)
        if not info.suspended:
            return None
        if not stats.of_program(control, ours, PROGRAM):
            raise Busy(f"{ours} is suspended by another program; 'dmsetup resume {ours}' lets it go on")
        _, loaded = control.table(ours, inactive=True)
    with underway(ours, "finishing what was interrupted"):
        return _Standing(control, info, ours, lines, loaded, other).settle()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A device that may hold what is right."""

    device: BlockDevice
    at: Direct

    def mark(self) -> metadata.Mark | None:
        """What takes it out of service; None if nothing does, or it cannot be read."""
        try:
            return metadata.find_mark(metadata.Reader(self.at.bytes_at, self.device.size))
        except OSError:
            return None

    @property
    def bare(self) -> bool:
        """It is certainly no spare: wherever one has something of ours it can be read, and has nothing."""
        reader = metadata.Reader(self.at.bytes_at, self.device.size)
        found = metadata.find_mark(reader) or list(metadata.valid_headers(reader))
        return not (found or reader.failures)


class _Standing:
    """A suspended device, the table it had and the one it was to get."""

    def __init__(
        self,
        control: Control,
        info: DeviceInfo,
        name: DmName,
        lines: list[TargetLine],
        inactive: list[TargetLine],
        other: str,
    ) -> None:
        self._control, self._name, self._inactive = control, name, inactive
        self._readonly = info.readonly
        uuid = info.uuid
        self._uuid = UUID(uuid.removeprefix(UUID_PREFIX)) if uuid.startswith(UUID_PREFIX) else None
        remapping = [line for line in (*lines, *inactive) if line.type == TARGET]
        self._lines = lines
        self._table = remapping[0] if remapping else None
        spares = [newdevice.numbered(TargetTable.parse(line.params).spare) for line in remapping]
        self._other = blockdev.look(other)
        self._devices = list({device.dev: device for device in (*spares, self._other)}.values())

    def settle(self) -> Settled:
        with ExitStack() as stack:
            opened = [
                _Opened(device, stack.enter_context(direct(device, write=True))) for device in self._devices
            ]
            valid = [(loaded, each) for each in opened if (loaded := self._loaded(each))]
            if valid:
                # Two are if the old one could not be marked: then the new one is in use, the later one.
                loaded, spare = max(valid, key=lambda found: found[0].sequence)
                settled = self._go_on_with(spare.device, "taken up again with the spare that is valid")
                self._spoil_copy(loaded.uuid)
                return settled
            marks = [each.mark() for each in opened]
            for each in opened:
                if self._admitted(each, marks):
                    return self._go_on_with(each.device, "finished: the new spare is in use")
            if self._left_for_disk(opened, marks):
                return Settled(self._other.path, "finished: the new disk is in use")
        raise BrokenError(
            f"{self._name} stands still, and no spare of it can be used as it is: run 'spare replace' with"
            f" the one it had before, or look at {' and '.join(plain(each.path) for each in self._devices)}"
            " with 'dmremapctl inspect'"
        )

    def _loaded(self, spare: _Opened) -> metadata.Loaded | None:
        """What a spare holds that is valid."""
        try:
            return metadata.load(spare.at.bytes_at, spare.device.size, uuid=self._uuid)
        except (metadata.MetadataError, OSError):
            return None

    def _admitted(self, spare: _Opened, marks: list[metadata.Mark | None]) -> bool:
        """Everything had arrived on the spare, and the old one was retired for it."""
        try:
            blocks, loaded = retire.arrived(spare.at.bytes_at, spare.device.size)
        except (metadata.MetadataError, OSError):
            return False
        if self._uuid not in (None, loaded.uuid):
            return False
        if not any(retire.replaced(mark, loaded.header) for mark in marks):
            return False
        retire.admit(spare.at, blocks)
        return True

    def _left_for_disk(self, opened: list[_Opened], marks: list[metadata.Mark | None]) -> bool:
        """A spare was retired for the disk that was named: go on there."""
        disk = self._other
        there = retire.known_as(disk.path, disk.identity)
        if not any(mark and mark.other == there and self._uuid in (None, mark.uuid) for mark in marks):
            return False
        table = TargetLine(0, sum(line.length for line in self._lines), "linear", f"{disk.dev} 0")
        # The mark of a spare that was replaced says the same; and the guard may have taken the table back.
        if self._inactive != [table] and (
            self._inactive or not all(each.bare for each in opened if each.device.dev == disk.dev)
        ):
            return False
        self._resume(table)
        return True

    def _go_on_with(self, spare: BlockDevice, words: str) -> Settled:
        if self._table is None:
            raise BrokenError(
                f"{self._name} stands still without a table of dm-remap; 'dmsetup table' shows it"
            )
        table = TargetTable.parse(self._table.params)
        wanted = replace(table, spare=str(spare.dev))
        self._resume(replace(self._table, params=str(wanted)))
        return Settled(spare.path, words)

    def _spoil_copy(self, uuid: UUID) -> None:
        """The disk of an evacuation, whose table was loaded, has everything, and grows old from now on."""
        if [line.type for line in self._inactive] != ["linear"] or self._table is None:
            return
        disk = newdevice.numbered(self._inactive[0].params.split()[0])
        main = newdevice.numbered(TargetTable.parse(self._table.params).main)
        mark = retire.unfinished(uuid, int(time.time()), main)
        try:
            with direct(disk, write=True) as opened:
                head.blank(opened, self._inactive[0].length, mark)
        except DeviceIoError as error:
            raise DeviceIoError(
                f"{self._name} goes on as it was, but {plain(disk.path)} could not be marked ({error}): never"
                " use what is on it, wipe or destroy it"
            ) from error

    def _resume(self, table: TargetLine) -> None:
        """With this table, whatever was loaded."""
        log = KernelLog()
        try:
            with explained(log):
                if self._inactive:
                    self._control.clear(self._name)
                if [table] != self._lines:
                    self._control.load(self._name, [table], readonly=self._readonly)
                self._control.resume(self._name)
                for number in stats.of_program(self._control, self._name, PROGRAM):
                    stats.delete(self._control, self._name, number)
        finally:
            log.close()
