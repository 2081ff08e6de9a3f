"""What a load found: the state, and in which condition each copy is."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from pycontrol.metadata.blocks import Header, Info
from pycontrol.metadata.layout import AHEAD
from pycontrol.metadata.records import Extents, Kind, Records

MAY_BE_OLD: Final = "a minority of the headers is whole, and a newer one may be among the others"
"""What :attr:`Loaded.may_be_old` means, for people."""


class State(StrEnum):
    """Condition of one block, or of the log, in one copy."""

    VALID = "valid"
    STALE = "stale"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(slots=True)
class BlockState:
    """A header, shadow or info block.

    The numbers are what it carries, also if it is damaged; None where none could be read.
    """

    offset: int
    state: State
    reason: str = ""
    sequence: int | None = None
    time: int | None = None
    crc_stored: int | None = None
    crc_computed: int | None = None

    @property
    def whole(self) -> bool:
        """As it was written, be it lately or long ago."""
        return self.state in (State.VALID, State.STALE)

    @property
    def unread(self) -> bool:
        """Reading it failed."""
        return self.state is State.DAMAGED and self.crc_stored is None


@dataclass(slots=True)
class LogState:
    """The counted log blocks of one copy, by condition; ``reason`` of the first damaged one."""

    valid: int = 0
    stale: int = 0
    missing: int = 0
    damaged: int = 0
    reason: str = ""

    @property
    def state(self) -> State:
        """The worst condition of any block; an empty log is valid."""
        if self.damaged:
            return State.DAMAGED
        if self.missing:
            return State.MISSING
        return State.STALE if self.stale else State.VALID


@dataclass(frozen=True, slots=True)
class LogFault:
    """Log block ``number`` is not as it should be in one copy, at this byte ``offset``."""

    copy: int
    number: int
    offset: int
    state: State
    reason: str


@dataclass(slots=True)
class Log:
    """The log blocks that count, each from a copy that holds the newest version of it.

    ``packed`` are their records, ``crc`` is that over them; sequence, time and the copy
    taken are given for each block.  ``lost`` are the numbers of blocks that no copy has.
    """

    packed: bytearray = field(default_factory=bytearray)
    sequences: "array[int]" = field(default_factory=lambda: array("Q"))
    times: "array[int]" = field(default_factory=lambda: array("Q"))
    holders: bytearray = field(default_factory=bytearray)
    crc: int = 0
    lost: list[int] = field(default_factory=list)
    faults: list[LogFault] = field(default_factory=list)

    def failures(self, header: Header) -> Iterator[str]:
        """Why this is not the log that the header counts."""
        for number in self.lost:
            yield f"log block {number} is lost: no copy of it is valid"
        if not self.lost and self.crc != header.log_crc:
            yield "the CRC over the log does not match: a newer version of one of its blocks is lost"


@dataclass(slots=True)
class Slot:
    """One copy of the metadata.  ``shadow`` exists where there is one copy only."""

    copy: int
    offset: int
    header: BlockState
    info: BlockState
    log: LogState = field(default_factory=LogState)
    shadow: BlockState | None = None

    @property
    def headers(self) -> Iterator[BlockState]:
        """The header, and the shadow if there is one."""
        yield self.header
        if self.shadow:
            yield self.shadow

    @property
    def valid(self) -> bool:
        """The copy alone would give the whole newest state: header or shadow, info and log."""
        return (
            any(each.state is State.VALID for each in self.headers)
            and self.log.state is State.VALID
            and self.info.state is State.VALID
        )

    @property
    def intact(self) -> bool:
        """Valid, and so is the shadow next to its header."""
        return self.valid and all(each.state is State.VALID for each in self.headers)


@dataclass(frozen=True, slots=True)
class Survey:
    """Headers and info blocks; the log has not been looked at.

    ``blocks`` has the header and info block of each copy as read, None where it cannot be.
    """

    header: Header
    info: Info
    slots: list[Slot]
    blocks: dict[int, tuple[bytes | None, bytes | None]]
    device_sectors: int

    @property
    def intact(self) -> bool:
        """Every header and info block is as it should be."""
        return all(slot.intact for slot in self.slots)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The state of a spare.  Sizes and places in sectors, ``block_size`` in bytes, times in seconds."""

    header: Header
    info: Info
    records: Records
    extents: Extents
    bad_spare: list[tuple[int, int]]
    slots: list[Slot]
    log: Log
    chosen: int
    device_sectors: int

    @property
    def uuid(self) -> UUID:
        """Of the spare."""
        return self.header.uuid

    @property
    def main_sectors(self) -> int:
        """Size of the main device in sectors."""
        return self.header.main_sectors

    @property
    def spare_sectors(self) -> int:
        """Size of the spare in sectors."""
        return self.header.spare_sectors

    @property
    def block_size(self) -> int:
        """Logical block in bytes: the smallest unit of a remap."""
        return self.header.block_size

    @property
    def copies(self) -> int:
        """How many copies of the metadata there are, good or not."""
        return self.header.copies

    @property
    def spacing(self) -> int:
        """From one copy to the next, in sectors."""
        return self.header.spacing

    @property
    def sequence(self) -> int:
        """Number of the newest commit."""
        return self.header.sequence

    @property
    def time(self) -> int:
        """Of the newest commit, in seconds since 1970."""
        return self.header.time

    @property
    def generation(self) -> int:
        """One more with each compaction of the log, from 1."""
        return self.header.generation

    @property
    def needs_check(self) -> bool:
        """A change could not be recorded."""
        return self.header.needs_check

    @property
    def read_only(self) -> bool:
        """A read-only compatible feature is set that this code does not know."""
        return bool(self.header.ro_compat)

    @property
    def main_id(self) -> str:
        """WWN, serial number or partition uuid of the main device; empty if not known."""
        return self.info.main_id

    @property
    def name(self) -> str:
        """What the device was called when it was made."""
        return self.info.name

    @property
    def read_errors(self) -> int:
        """Failed reads of the main device that were seen."""
        return self.info.read_errors

    @property
    def write_errors(self) -> int:
        """Failed writes to the main device that were seen."""
        return self.info.write_errors

    @property
    def salvaged(self) -> int:
        """Sectors that came back on a retry, or were moved on request."""
        return self.info.salvaged

    @property
    def lost(self) -> int:
        """Sectors that became pending, ever."""
        return self.info.lost

    @property
    def scrub(self) -> int:
        """Sector of the main device up to which it has been scrubbed."""
        return self.info.scrub

    @property
    def valid_copies(self) -> int:
        """Copies each of which would give the whole state alone."""
        return sum(slot.valid for slot in self.slots)

    @property
    def intact(self) -> bool:
        """Nothing needs repair."""
        return all(slot.intact for slot in self.slots)

    @property
    def may_be_old(self) -> bool:
        """A minority of the headers is whole, and the others may have held what is newer.

        They cannot be read, or carry a number that no failed commit leads to.
        """
        whole = sum(any(each.whole for each in slot.headers) for slot in self.slots)
        damaged = [each for slot in self.slots for each in slot.headers if each.state is State.DAMAGED]
        return whole <= self.copies // 2 and any(
            each.unread or (each.sequence or 0) > self.sequence + AHEAD for each in damaged
        )

    @property
    def superseded(self) -> int:
        """Records that mean nothing any more: replaced by later ones, or free."""
        return len(self.records) - self.extents.live

    @property
    def used_sectors(self) -> int:
        """Sectors that live on the spare."""
        return self.extents.sectors(Kind.REMAP)

    @property
    def pending_sectors(self) -> int:
        """Sectors that cannot be read until they are written."""
        return self.extents.sectors(Kind.PENDING)
