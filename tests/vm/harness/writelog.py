"""QEMU's write log: the format of dm-log-writes, as block/blklogwrites.c writes it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR = 512
MAGIC = 0x6A736677736872
VERSION = 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

SUPER = struct.Struct("<QQQI")  # magic, version, nr_entries, sectorsize
ENTRY = struct.Struct("<QQQQ")  # sector, nr_sectors, flags, data_len


class BadLog(Exception):
    """The log can't be what QEMU wrote."""


@dataclass(frozen=True)
class Entry:
    """One logged request; `sector` and `nr_sectors` in sectors of 512 bytes."""

    sector: int
    nr_sectors: int
    flags: int = 0
    data: bytes = b""

    @property
    def offset(self) -> int:
        return self.sector * SECTOR

    @property
    def length(self) -> int:
        return self.nr_sectors * SECTOR


def encode(entries: list[Entry], nr_entries: int | None = None) -> bytes:
    """A log that holds those entries."""
    count = len(entries) if nr_entries is None else nr_entries
    parts = [SUPER.pack(MAGIC, VERSION, count, SECTOR).ljust(SECTOR, b"\0")]
    for e in entries:
        parts.append(ENTRY.pack(e.sector, e.nr_sectors, e.flags, 0).ljust(SECTOR, b"\0") + e.data)
    return b"".join(parts)


def read_log(path: Path, disk_size: int) -> Iterator[Entry]:
    """All entries that reached the log, in its order.

    The number of entries in the super block is not believed: QEMU updates it after the
    entries, and two updates can overtake each other.  Entries follow each other without
    a gap and no header is all zero (a write has a length, a flush a flag), so the end of
    the file is the end of the log.  QEMU writes header and data of one entry in one
    pwritev(), whole or not at all if it was frozen before it was killed (see `freeze`);
    one that had not begun yet leaves a hole, and the next header is the next sector that
    is not zero.  A request whose entry is missing had not been answered.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as f:
        magic, version, _, sectorsize = SUPER.unpack(f.read(SUPER.size))
        if magic == 0:  # Nothing was flushed yet, so there is no super block either.
            sectorsize = SECTOR
        elif (magic, version, sectorsize) != (MAGIC, VERSION, SECTOR):
            raise BadLog(f"{path}: not a log with {SECTOR}-byte sectors")
        f.seek(SECTOR)
        while header := f.read(SECTOR):
            if not any(header):
                continue
            yield _entry(f, header, disk_size)


def _entry(f: BinaryIO, header: bytes, disk_size: int) -> Entry:
    """The entry whose header has just been read from `f`."""
    sector, nr_sectors, flags, data_len = ENTRY.unpack_from(header.ljust(ENTRY.size, b"\xff"))
    plausible = (
        len(header) == SECTOR
        and not any(header[ENTRY.size :])
        and flags & ~(FLUSH | FUA | DISCARD | MARK) == 0
        and data_len == 0
        and (sector + nr_sectors) * SECTOR <= disk_size
    )
    if not plausible:
        raise BadLog(f"{f.name}: entry {sector}+{nr_sectors} flags {flags:#x} makes no sense")
    if flags & DISCARD:
        return Entry(sector, nr_sectors, flags)
    data = f.read(nr_sectors * SECTOR)
    if len(data) != nr_sectors * SECTOR:
        raise BadLog(f"{f.name}: the data of entry {sector}+{nr_sectors} is cut off")
    return Entry(sector, nr_sectors, flags, data)
