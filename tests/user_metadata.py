"""The kernel's metadata code in this process, on simulated disks.

    disk = Disk(sectors=32768)
    with Metadata(disk, main_sectors=65536) as metadata:
        metadata.commit([Record(8, 2048, 8, Kind.REMAP)])
        disk.fail("write", 0, 31)
    after = disk.cut(seed=1)        # what a power cut might leave

``tests/user/metadata_lib.c`` is the other side.  ``DM_REMAP_USER_LIBRARY`` names another
build of it than the plain one.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import ClassVar
from uuid import UUID

from pycontrol.metadata import BLOCK, Kind, Loaded, Record, load
from tests.user_build import built

# Away: neither is there anything to read, nor does a write store a part of it.  Refuse: the latter alone.
OPS = {"read": 1, "write": 2, "flush": 4, "away": 1 | 2 | 8, "refuse": 2 | 8}
ALWAYS = 2**64 - 1
SLOT = 32  # blocks between copies, by default


class Unsure(ctypes.Structure):
    """Masks of copies of which not all that is read may be stored, kept while a device is suspended."""

    _fields_: ClassVar = [("copies", c_uint8), ("headers", c_uint8)]


@cache
def library() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(built() / os.environ.get("DM_REMAP_USER_LIBRARY", "libdmr-metadata-plain")))
    u32, u64, numbers = c_uint32, c_uint64, POINTER(c_uint64)
    signatures: dict[str, tuple[object, list[object]]] = {
        "disk_new": (c_void_p, [u64, u64]),
        "disk_clone": (c_void_p, [c_void_p]),
        "disk_free": (None, [c_void_p]),
        "disk_read": (c_int, [c_void_p, u64, c_char_p]),
        "disk_fail_after": (None, [c_void_p, u32, u64, u64, u64, u64]),
        "disk_heal": (None, [c_void_p]),
        "user_poke": (None, [c_void_p, u64, c_char_p]),
        "user_lie": (None, [c_void_p, c_bool]),
        "user_counts": (None, [c_void_p, numbers, numbers, numbers]),
        "user_cut": (c_void_p, [c_void_p, u64]),
        "user_open": (
            c_void_p,
            [c_void_p, u64, u32, u32, u32, c_char_p, c_bool, u32, u32, u64, Unsure, POINTER(c_char_p)],
        ),
        "user_close": (None, [c_void_p]),
        "user_records": (numbers, [c_void_p, numbers]),
        "user_commit": (c_int, [c_void_p, numbers, u32, POINTER(u32)]),
        "user_compact": (c_int, [c_void_p, u64, u64, u64]),
        "user_mend": (c_int, [c_void_p]),
        "user_check": (c_int, [c_void_p]),
        "user_in_doubt": (c_bool, [c_void_p]),
        "user_uncertain": (c_bool, [c_void_p]),
        "user_believe": (None, [c_void_p]),
        "user_unsure": (Unsure, [c_void_p]),
        "user_set_needs_check": (None, [c_void_p, c_bool]),
        "user_save_soft": (c_int, [c_void_p, numbers]),
        "user_get_soft": (None, [c_void_p, numbers]),
        "user_status": (None, [c_void_p, c_char_p, numbers]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


class Refused(Exception):
    """The metadata was not opened; the sentence of the kernel."""


@dataclass(frozen=True)
class Counts:
    writes: int
    flushes: int
    pending: int  # writes since the last flush


class Disk:
    """A disk with a volatile cache, that fails where it is told to. Blocks are of 4 KiB."""

    def __init__(self, sectors: int = 32768, seed: int = 1, handle: int | None = None) -> None:
        self.sectors = sectors
        self.handle = library().disk_new(sectors, seed) if handle is None else handle

    def __del__(self) -> None:
        library().disk_free(self.handle)

    def block(self, number: int) -> bytes:
        buffer = ctypes.create_string_buffer(BLOCK)
        failed = library().disk_read(self.handle, number, buffer)
        if failed:
            raise OSError(-failed, os.strerror(-failed))
        return buffer.raw

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, min((offset + length - 1) // BLOCK, self.sectors // 8 - 1)
        data = b"".join(self.block(number) for number in range(first, last + 1))
        return data[offset % BLOCK :][:length]

    def image(self) -> bytes:
        return self.read(0, self.sectors * 512)

    def poke(self, block: int, data: bytes) -> None:
        """Change a block behind everybody's back."""
        assert len(data) == BLOCK
        library().user_poke(self.handle, block, data)

    def fail(self, op: str, first: int = 0, last: int = ALWAYS, times: int = ALWAYS, after: int = 0) -> None:
        """Operations on these blocks fail, once so many succeeded; a failed write has stored a part."""
        library().disk_fail_after(self.handle, OPS[op], first, last, times, after)

    def heal(self) -> None:
        library().disk_heal(self.handle)

    def lie(self, lies: bool = True) -> None:
        """Flushes succeed and do nothing."""
        library().user_lie(self.handle, lies)

    def counts(self) -> Counts:
        numbers = [c_uint64() for _ in range(3)]
        library().user_counts(self.handle, *map(byref, numbers))
        return Counts(*(number.value for number in numbers))

    def clone(self) -> "Disk":
        return Disk(self.sectors, handle=library().disk_clone(self.handle))

    def cut(self, seed: int) -> "Disk":
        """A disk as a power cut might leave this one: unflushed writes kept, lost or torn."""
        return Disk(self.sectors, handle=library().user_cut(self.handle, seed))

    def load(self) -> Loaded:
        """What the Python codec makes of it."""
        return load(self.read, self.sectors * 512)


@dataclass(frozen=True)
class Status:
    uuid: UUID
    sequence: int
    copies: int
    valid: int
    spacing: int
    log_blocks: int
    commits: int
    block_writes: int
    flushes: int
    needs_check: bool
    formatted: bool
    chosen: int
    good: int  # a bit for each copy


def _raise(result: int) -> int:
    if result < 0:
        raise OSError(-result, errno.errorcode.get(-result, "?"))
    return result


class Metadata:
    """Open metadata; :class:`Refused` if it can't be. ``records`` are those found."""

    def __init__(
        self,
        disk: Disk,
        main_sectors: int = 65536,
        *,
        block_size: int = 4096,
        copies: int = 0,
        spacing: int = 0,
        uuid: UUID | None = None,
        read_only: bool = False,
        early: int = 0,
        buffers: int = 64,
        seed: int = 1,
        unsure: Unsure | None = None,
    ) -> None:
        error = c_char_p()
        self.disk = disk
        self.handle = library().user_open(
            disk.handle, main_sectors, block_size, copies, spacing, uuid and uuid.bytes,
            read_only, early, buffers, seed, unsure or Unsure(), byref(error),
        )  # fmt: skip
        if not self.handle:
            raise Refused((error.value or b"").decode())
        count = c_uint64()
        numbers = library().user_records(self.handle, byref(count))
        self.records = [Record(*numbers[6 * at : 6 * at + 6]) for at in range(count.value)]

    def close(self) -> None:
        library().user_close(self.handle)

    def __enter__(self) -> "Metadata":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def commit(self, records: Iterable[Record]) -> None:
        """All of them, or OSError; then ``done`` says how many are durable."""
        flat = [number for record in records for number in record]
        done = c_uint32()
        result = library().user_commit(
            self.handle, (c_uint64 * len(flat))(*flat), len(flat) // 6, byref(done)
        )
        self.done = done.value
        _raise(result)

    def compact(self, keep: int, then: int | None = None) -> None:
        """Compact a log that begins with a record of main sector 0.

        What records say of main sectors below ``keep`` is still so; ``then``: below that, when
        the records are gone through for the second time.
        """
        _raise(library().user_compact(self.handle, 0, keep, keep if then is None else then))

    def mend(self) -> int:
        return _raise(library().user_mend(self.handle))

    def check(self) -> int:
        return _raise(library().user_check(self.handle))

    def in_doubt(self) -> bool:
        return bool(library().user_in_doubt(self.handle))

    def uncertain(self) -> bool:
        """May another load find something else?"""
        return bool(library().user_uncertain(self.handle))

    def believe(self) -> None:
        library().user_believe(self.handle)

    def unsure(self) -> Unsure:
        found: Unsure = library().user_unsure(self.handle)
        return found

    def set_needs_check(self, needed: bool) -> None:
        library().user_set_needs_check(self.handle, needed)

    def save_soft(self, *numbers: int) -> None:
        """Read errors, write errors, sectors salvaged, sectors lost, scrub position."""
        _raise(library().user_save_soft(self.handle, (c_uint64 * 5)(*numbers)))

    @property
    def soft(self) -> tuple[int, ...]:
        numbers = (c_uint64 * 5)()
        library().user_get_soft(self.handle, numbers)
        return tuple(numbers)

    @property
    def status(self) -> Status:
        uuid = ctypes.create_string_buffer(16)
        numbers = (c_uint64 * 12)()
        library().user_status(self.handle, uuid, numbers)
        return Status(UUID(bytes=uuid.raw), *numbers)


def remaps(count: int, first: int = 0) -> list[Record]:
    return [Record(16 * at, 2048 + 8 * at, 8, Kind.REMAP, 1, 5) for at in range(first, first + count)]


def records_of(disk: Disk) -> list[Record]:
    with Metadata(disk, read_only=True) as metadata:
        return metadata.records


def alone(disk: Disk, copy: int, table: list[Record]) -> None:
    """One copy has it all, if nothing else is left of the others."""
    for other in {0, 1, 2, 3, 4} - {copy}:
        for block in range(other * SLOT, (other + 1) * SLOT):
            disk.poke(block, bytes(BLOCK))
    assert records_of(disk) == table
