"""A whole state of a spare: all that a dump holds, and all that an image is made from."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self
from zlib import crc32

from pycontrol.metadata.blocks import Header, Info, LogBlock, encode_header, encode_info, encode_log
from pycontrol.metadata.layout import BLOCK, INFO_BLOCK, PER_BLOCK, RECORD_SIZE, SHADOW_BLOCK, Geometry
from pycontrol.metadata.state import Loaded

AREA = PER_BLOCK * RECORD_SIZE
"""Bytes of records in a log block."""

Placed = tuple[int, bytes]
"""A block, with the byte at which it belongs."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Header and info, whose ``copy`` means nothing, and the log.

    ``log`` are the records of the log blocks that count, packed; ``sequences`` and ``times``
    those of each of these blocks.
    """

    header: Header
    info: Info
    log: bytes | bytearray = b""
    sequences: "array[int]" = field(default_factory=lambda: array("Q"))
    times: "array[int]" = field(default_factory=lambda: array("Q"))

    @classmethod
    def of(cls, loaded: Loaded) -> Self:
        """What a load found, all copies as one."""
        log = loaded.log
        return cls(
            replace(loaded.header, copy=0), replace(loaded.info, copy=0), log.packed, log.sequences, log.times
        )

    @property
    def geometry(self) -> Geometry:
        """Copies, and how far apart they are."""
        return Geometry(self.header.copies, self.header.spacing)

    @property
    def packed(self) -> bytes | bytearray:
        """All records, oldest first."""
        return self.log + self.header.records

    def sealed(self) -> Self:
        """The same with the counts and the CRC in the header that its records and the log ask for."""
        header = replace(
            self.header,
            record_count=len(self.header.records) // RECORD_SIZE,
            log_blocks=len(self.log) // AREA,
            log_crc=crc32(self.log),
        )
        return replace(self, header=header)

    def blocks(self) -> Iterator[Placed]:
        """Everything but the headers, without which nothing of it counts: log, then info."""
        header, geometry = self.header, self.geometry
        for number, log in enumerate(self._log_blocks()):
            for copy in range(geometry.copies):
                place = geometry.log_place(header.segments, copy, number)
                yield place, encode_log(replace(log, copy=copy))
        yield from self.infos()

    def infos(self) -> Iterator[Placed]:
        """The info block of each copy."""
        for copy in range(self.header.copies):
            place = self.geometry.slot(copy) + INFO_BLOCK * BLOCK
            yield place, encode_info(replace(self.info, copy=copy))

    def _log_blocks(self) -> Iterator[LogBlock]:
        header = self.header
        for number, (sequence, time) in enumerate(zip(self.sequences, self.times, strict=True)):
            records = bytes(self.log[number * AREA : (number + 1) * AREA])
            yield self._log_block(number, sequence, time, records)
        # A header that is full has its log block written ahead, if there is a place for it.
        ahead = header.record_count == PER_BLOCK
        if ahead and self.geometry.capacity(header.segments) > header.log_blocks:
            yield self._log_block(header.log_blocks, header.sequence, header.time, header.records)

    def _log_block(self, number: int, sequence: int, time: int, records: bytes) -> LogBlock:
        return LogBlock(
            uuid=self.header.uuid, sequence=sequence, time=time, copy=0,
            generation=self.header.generation, number=number, records=records,
        )  # fmt: skip

    def headers(self) -> Iterator[Placed]:
        """The header of each copy, and the shadow of a single one."""
        for copy in range(self.header.copies):
            block = encode_header(replace(self.header, copy=copy))
            yield self.geometry.slot(copy), block
            if self.header.copies == 1:
                yield SHADOW_BLOCK * BLOCK, block
