"""Copying a device to a healthy disk while it is in use, and going on there.

Until the switch nothing about the device is changed.  For the switch I/O stands still, and
what was written since it was copied is read from main and spare directly, where the
metadata says it is.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from pycontrol import metadata
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.errors import Busy, DeviceIoError, RemapError
from pycontrol.metadata import BLOCK, SECTOR, Loaded, Mark
from pycontrol.service import live
from pycontrol.service.directio import CHUNK, Copy, Direct, Target, copy, direct
from pycontrol.service.move import head, newdevice, retire
from pycontrol.service.move.evacuate_places import blocks, places, within
from pycontrol.service.move.evacuate_plan import REGION, Plan, plan
from pycontrol.service.move.lostlist import WriteDown
from pycontrol.service.move.rounds import LONGEST, Rounds
from pycontrol.service.move.switch import Outcome, Switch
from pycontrol.service.move.underway import underway
from pycontrol.service.move.written import Counts, Written, watched
from pycontrol.service.progress import Progress, silent
from pycontrol.service.ranges import Range, difference, intersection, merged, pieces, scaled, total
from pycontrol.service.taken import taken
from pycontrol.text import plain

__all__ = ["Evacuated", "Plan", "carry_out", "plan"]


@dataclass(frozen=True, slots=True)
class Evacuated:
    """What was done.  Sectors are 512 bytes."""

    name: str
    new: str
    sectors: int
    copied: int
    """Sectors that were copied, once more those that were written meanwhile."""
    lost: tuple[Range, ...]
    """Sectors (first, behind the last) that could not be read: zeroes on the new disk."""
    seconds: float
    """How long I/O stood still."""
    warnings: tuple[str, ...] = ()


def carry_out(
    control: Control,
    decided: Plan,
    *,
    give_up: bool = False,
    longest: float = LONGEST,
    progress: Progress = silent,
    cookie: MakeCookie = Cookie,
    write_down: WriteDown = lambda ranges, given_up: None,
    now: int | None = None,
) -> Evacuated:
    """Do it; ``longest`` are the seconds for which I/O may stand still.

    ``write_down`` is told what is given up, before and again, exactly, after the switch.

    Whatever happens before the switch leaves the device as it was: Busy if it is written
    faster than it can be copied, or if something cannot be read and ``give_up`` is not set.
    """
    moment = int(time.time()) if now is None else now
    outcome, rounds = Outcome(), Rounds(longest)
    with (
        outcome.interruptible(),
        underway(decided.name, f"evacuate, to {decided.new.path}"),
        taken(decided.new) as let_go,
        direct(decided.new, write=True) as target,
        direct(decided.main) as main,
        direct(decided.spare, write=True) as spare,
        watched(control, decided.name, decided.sectors, lambda: outcome.standing) as written,
    ):
        uuid = live.load_live(str(decided.spare.dev), decided.uuid).uuid
        newdevice.check_holdings(decided.new, target, REGION, uuid, decided.loses)
        mark = retire.unfinished(uuid, moment, decided.main)
        head.blank(target, decided.sectors, mark)
        copying = _Copying(decided, target, written, give_up, rounds)
        switch = _Switch(
            decided.name, decided.table, spare, decided.new, target, moment, outcome,
            decided, copying, mark, main, write_down,
        )  # fmt: skip
        while not outcome.made:
            with direct(decided.mapped) as mapped:
                copying.look_at_head(mapped)
                copying.ahead(mapped, progress)
            target.sync()
            # Not while I/O stands still: the file may lie on the device.
            write_down(copying.lost, False)
            with suppress(_LostMore):
                # What failed during the standstill is written down, too, before it is given up.
                switch.make(control, let_go, cookie)
    return Evacuated(
        name=decided.name,
        new=decided.new.path,
        sectors=decided.sectors,
        copied=rounds.copied // SECTOR,
        lost=tuple(copying.lost),
        seconds=outcome.seconds,
        warnings=tuple(outcome.warnings),
    )


class _LostMore(Exception):
    """Sectors cannot be read of which nobody was told."""


class _Copying:
    """What was copied, what must be again, and what cannot be read; ranges are of sectors."""

    def __init__(
        self, decided: Plan, target: Direct, written: Written, give_up: bool, rounds: Rounds
    ) -> None:
        self._plan, self._target, self._written, self._give_up = decided, target, written, give_up
        self._rounds = rounds
        self._counts: Counts | None = None
        self._head = head.of(decided.sectors)
        self._first = head.First(target, decided.sectors)
        self._waiting: list[Range] = difference([(0, decided.sectors)], [self._head])
        self._zeroed: list[Range] = []
        """Of what is lost."""
        self.lost: list[Range] = []

    def left(self) -> list[Range]:
        """What was written since it was copied, or was not copied at all; of the head, what was written."""
        counts = self._written.counts()
        if self._counts is not None:
            self._waiting = merged([*self._waiting, *self._written.between(self._counts, counts)])
        self._counts = counts
        return self._waiting

    def ahead(self, mapped: Direct, progress: Progress) -> None:
        """Copy through the device, which heals or notes what it cannot read, until little is left."""
        what = "copying"
        while True:
            # Before what is left is looked at: it may take long, and must not when I/O stands still.
            self._zero(self._target, difference(self.lost, [self._head]), progress)
            left = difference(self.left(), [self._head])
            if not self._rounds.again(self._plan.name, total(left) * SECTOR):
                return
            copies = [Copy(at, at, end - at) for at, end in scaled(left, SECTOR)]
            self._copy(mapped, copies, self._target, progress, what)
            self._waiting = difference(self._waiting, left)
            self.check_lost()
            what = "copying what was written meanwhile"

    def look_at_head(self, mapped: Direct) -> None:
        """Whether it can be read; it is copied when I/O stands still."""
        start, end = self._head
        step = self._plan.block_size // SECTOR
        bad = [(at, at + step) for at in range(start, end, step) if not self._readable(mapped, at, step)]
        self.lost = merged([*difference(self.lost, [(start, end)]), *bad])
        self.check_lost()

    def _readable(self, mapped: Direct, at: int, sectors: int) -> bool:
        try:
            mapped.read(at * SECTOR, sectors * SECTOR)
        except OSError:
            _alive(mapped)
            return False
        return True

    def _copy(
        self, source: Direct, copies: list[Copy], target: Target, progress: Progress = silent, what: str = ""
    ) -> None:
        amount = sum(each.length for each in copies)
        began = monotonic()
        advance = progress(what, amount)
        failed = copy(source, target, copies, self._plan.block_size, advance, lambda: _alive(source))
        self._rounds.did(amount, monotonic() - began)
        tried = merged((each.target // SECTOR, (each.target + each.length) // SECTOR) for each in copies)
        bad = merged((each.target // SECTOR, (each.target + each.length) // SECTOR) for each in failed)
        self.lost = merged([*difference(self.lost, tried), *bad])
        self._zeroed = intersection(self._zeroed, self.lost)

    def _zero(self, target: Target, lost: list[Range], progress: Progress = silent) -> None:
        """Zeroes where there are none yet."""
        left = difference(lost, self._zeroed)
        if not left:
            return
        advance = progress("writing zeroes", total(left) * SECTOR)
        for start, end in pieces(scaled(left, SECTOR), CHUNK):
            target.write(start, bytes(end - start))
            advance(end - start)
        self._zeroed = merged([*self._zeroed, *left])

    def check_lost(self) -> None:
        """Busy if something could not be read, and may not be given up."""
        if self.lost and not self._give_up:
            first = self.lost[0][0]
            raise Busy(
                f"{total(self.lost)} sectors of {self._plan.name} cannot be read, the first is {first};"
                " nothing was changed: fill them ('dmremapctl fill'), or lose them with --give-up-lost FILE"
            )

    def last(self, main: Direct, spare: Direct, loaded: Loaded) -> None:
        """Nothing moves any more: copy the rest from where it is, zeroes for what is lost.

        All but the first block, for which :meth:`complete` is.  _LostMore if more is lost than before.
        """
        told, until = self.lost, monotonic() + self._rounds.longest / 2
        written = self.left()
        # What could not be read may come back; but a dying disk takes seconds for each block.
        doubtful = difference(told, written)
        left = difference(merged([*written, self._head]), doubtful)
        from_main, from_spare, pending = places(left, loaded)
        again_main, again_spare, still_pending = places(doubtful, loaded)
        self.lost = merged([*self.lost, *pending, *still_pending])
        _, end = self._head
        first = min(BLOCK // SECTOR, end)
        # The beginning last, when all that it leads to is durable.
        for target, part in (
            (self._target, (end, self._plan.sectors)),
            (self._target, (first, end)),
            (self._first, (0, first)),
        ):
            for source, copies in ((main, from_main), (spare, from_spare)):
                self._copy(source, list(within(copies, part)), target)
            for source, copies in ((main, again_main), (spare, again_spare)):
                for block in blocks(within(copies, part), self._plan.block_size):
                    if monotonic() >= until:
                        break
                    self._copy(source, [block], target)
            self._zero(target, intersection(self.lost, [part]))
            self._target.sync()
        self.check_lost()
        if difference(self.lost, told):
            raise _LostMore

    def complete(self) -> None:
        """All else is there: the first block, in place of the mark."""
        self._first.store()


def _alive(source: Direct) -> None:
    """DeviceIoError if the device cannot be read at all any more, at five places all over it."""
    size = os.lseek(source.fd, 0, os.SEEK_END)
    for part in range(5):
        try:
            source.read(min(size * part // 4, size - BLOCK) // BLOCK * BLOCK, BLOCK)
            return
        except OSError:
            continue
    raise DeviceIoError(f"{plain(source.path)} cannot be read at all any more; nothing was changed")


@dataclass(slots=True)
class _Switch(Switch):
    """The moment at which the device leaves main and spare for the new disk."""

    plan: Plan
    copying: _Copying
    mark: Mark
    main: Direct
    write_down: WriteDown

    def finish(self) -> Loaded:
        """Copy the rest."""
        loaded = metadata.load(self.old.bytes_at, self.plan.spare.size)
        self.usable = True
        self.copying.last(self.main, self.old, loaded)
        return loaded

    def complete(self) -> None:
        """With its first block the copy is one."""
        self.copying.complete()

    def spoil(self) -> None:
        """The whole copy would be taken for the device, and grow old."""
        head.blank(self.target, self.plan.sectors, self.mark)

    def settled(self) -> None:
        """Some of what was lost may have come back at the last try."""
        try:
            self.write_down(self.copying.lost, True)
        except RemapError as error:
            self.outcome.warnings.append(str(error))
