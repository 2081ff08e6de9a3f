"""Moving what lives on a spare, and its metadata, to another one, while the device is in use.

Until the switch the device works with the old spare as if nothing were going on: a copy is
made beside it, and made again where it was written meanwhile.  For the switch I/O stands
still, the rest is copied, and the steps of :mod:`pycontrol.metadata.mark` see to it that at
each moment one of the spares, and never both, can be used.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from pycontrol import metadata
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.errors import BrokenError, DeviceIoError
from pycontrol.metadata import SECTOR, Loaded, Mark, Record, Snapshot
from pycontrol.service import live
from pycontrol.service.directio import direct
from pycontrol.service.move import newdevice, retire
from pycontrol.service.move.filling import Filling
from pycontrol.service.move.replace_plan import Plan, plan
from pycontrol.service.move.rounds import LONGEST, Rounds
from pycontrol.service.move.switch import Outcome, Switch
from pycontrol.service.move.underway import underway
from pycontrol.service.move.written import watched
from pycontrol.service.progress import Progress, silent
from pycontrol.service.ranges import Range
from pycontrol.service.taken import taken
from pycontrol.text import plain

__all__ = ["Plan", "Replaced", "carry_out", "plan"]


@dataclass(frozen=True, slots=True)
class Replaced:
    """What was done.  Sectors are 512 bytes."""

    name: str
    old: str
    new: str
    sectors: int
    """That live on the new spare."""
    copied: int
    """Sectors that were copied for it, once more those that were written meanwhile."""
    lost: tuple[Range, ...]
    """Main sectors (first, behind the last) that could not be read from the old spare: pending now."""
    seconds: float
    """How long I/O stood still."""
    warnings: tuple[str, ...] = ()


def carry_out(
    control: Control,
    decided: Plan,
    *,
    longest: float = LONGEST,
    progress: Progress = silent,
    cookie: MakeCookie = Cookie,
    now: int | None = None,
) -> Replaced:
    """Do it; ``longest`` are the seconds for which I/O may stand still.

    Whatever happens before the switch leaves the device as it was; Busy if it is written
    faster than it can be copied.
    """
    moment = int(time.time()) if now is None else now
    outcome, rounds = Outcome(), Rounds(longest)
    with (
        outcome.interruptible(),
        underway(decided.name, f"spare replace, to {decided.new.path}"),
        taken(decided.new) as let_go,
        direct(decided.new, write=True) as target,
        direct(decided.old, write=True) as source,
        watched(
            control, decided.name, decided.table.start + decided.table.length, lambda: outcome.standing
        ) as written,
    ):
        uuid = live.load_live(str(decided.old.dev), decided.uuid).uuid
        newdevice.check_holdings(decided.new, target, decided.region, uuid, decided.loses)
        mark = retire.unfinished(uuid, moment, decided.old)
        retire.begin(target, decided.new.size, decided.geometry, mark)
        unit = max(decided.block_size, decided.old.logical_block)
        filling = Filling(source, target, decided.geometry, decided.new.sectors, unit, written)
        _copy_ahead(decided, filling, rounds, progress)
        target.sync()
        switch = _Switch(
            decided.name,
            decided.table,
            source,
            decided.new,
            target,
            moment,
            outcome,
            decided,
            filling,
            rounds,
            mark,
        )
        switch.make(control, let_go, cookie)
    return Replaced(
        name=decided.name,
        old=decided.old.path,
        new=decided.new.path,
        sectors=sum(piece.sectors for piece in filling.placement.pieces) - filling.lost_sectors,
        copied=rounds.copied // SECTOR,
        lost=tuple(filling.lost),
        seconds=outcome.seconds,
        warnings=tuple(outcome.warnings),
    )


def _copy_ahead(decided: Plan, filling: Filling, rounds: Rounds, progress: Progress) -> None:
    """Copy until little is left."""
    while True:
        counts = filling.counts()
        began = monotonic()
        loaded = live.load_live(str(decided.old.dev), decided.uuid)
        loading = monotonic() - began
        pieces = filling.left(loaded, counts)
        # It is loaded, made, written, and read back while I/O stands still.
        began = monotonic()
        size = sum(len(block) for _, block in _snapshot(decided, filling, loaded, 0)[1].blocks())
        rounds.takes_besides(loading + monotonic() - began + 2 * rounds.copying(size))
        if not rounds.again(decided.name, sum(piece.sectors for piece in pieces) * SECTOR):
            return
        filling.copy(pieces, progress, rounds, "copying")


def _snapshot(plan: Plan, filling: Filling, loaded: Loaded, now: int) -> tuple[list[Record], Snapshot]:
    """The metadata of the new spare; BrokenError if there is no room for it."""
    records = filling.records(loaded)
    try:
        return records, metadata.moved(
            loaded,
            records,
            spare_sectors=plan.new.sectors,
            block_size=plan.block_size,
            end=filling.placement.cursor,
            lost=filling.lost_sectors,
            time=now,
        )
    except ValueError as error:
        raise BrokenError(f"{plain(plan.new.path)} cannot take the metadata: {plain(error)}") from error


@dataclass(slots=True)
class _Switch(Switch):
    """The moment at which the device leaves the old spare for the new one."""

    plan: Plan
    filling: Filling
    rounds: Rounds
    mark: Mark
    _arrived: list[retire.Placed] = field(default_factory=list)
    """The new spare's headers, not in service."""
    _admitted: list[retire.Placed] = field(default_factory=list)
    """The same, in service."""

    def finish(self) -> Loaded:
        """Copy the rest, and write the metadata."""
        plan, filling = self.plan, self.filling
        counts = filling.counts()
        loaded = metadata.load(self.old.bytes_at, plan.old.size)
        filling.copy(filling.left(loaded, counts), silent, self.rounds, "")
        self._try_again()
        records, snapshot = _snapshot(plan, filling, loaded, self.now)
        self.target.store(snapshot.blocks())
        self._arrived, self.usable = list(snapshot.headers()), True
        retire.admit(self.target, self._arrived)
        self._admitted, check = retire.arrived(self.target.bytes_at, plan.new.size)
        if list(check.records) != records:
            raise DeviceIoError(f"{plain(plan.new.path)} does not read as it was written; use another device")
        return loaded

    def _try_again(self) -> None:
        """What could not be read may come back; but a dying disk takes seconds for each block."""
        until = monotonic() + self.rounds.longest / 2
        for block in self.filling.lost_blocks():
            if monotonic() >= until:
                break
            self.filling.copy([block], silent, self.rounds, "")

    def arrive(self, usable: Callable[[], None]) -> None:
        """The headers without what keeps the kernel away."""
        retire.admit(self.target, self._admitted, usable)

    def withdraw(self) -> None:
        """The headers that the kernel refuses, as they were."""
        retire.admit(self.target, self._arrived)

    def spoil(self) -> None:
        """A mark again in place of the headers."""
        retire.admit(self.target, metadata.marked(self.mark, self.plan.geometry))
