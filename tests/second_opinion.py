"""A program of the user-space build, with the Python codec beside the kernel's.

    python -m tests.second_opinion [--one-in N] PROGRAM [arguments]

Of the disks that ``crashlab``, ``damage`` or ``mutate`` looks at, one in N is also loaded by
``pycontrol.metadata``.  It must find the same records, sequence number and counter, and the same
copies good, or refuse the disk as well.  ``tests/user/opinion.h`` is the other side.
"""

import argparse
import ctypes
import importlib
import sys
import zlib
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_int, c_ubyte, c_uint64, c_void_p
from typing import Any
from uuid import UUID

from pycontrol.metadata import BLOCK, SECTOR, Loaded, MetadataError, Slot, State, load
from tests.user_build import built

SIZE = 4096 * BLOCK  # of all their disks
KEPT = 100_000  # results of each function, and blocks

# Most blocks, and most logs, are those of the state before: what these make of them is kept.
PURE = {
    "load": ["decode_header", "replay", "check_places"],
    "condition": ["crc", "decode_header", "decode_info"],
    "log": ["decode_log"],
}


def hashable(argument: object) -> object:
    match argument:
        case bytearray() | memoryview():
            return bytes(argument)
        case list():
            return tuple(argument)
        case _:
            return argument


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which depends on nothing but its arguments, with a memory of what it did."""
    memory: dict[tuple[object, ...], tuple[Any, Exception | None]] = {}

    def remembering(*arguments: object) -> Any:
        key = tuple(map(hashable, arguments))
        if key not in memory:
            if len(memory) >= KEPT:
                memory.clear()
            try:
                memory[key] = (function(*key), None)
            except (ValueError, MetadataError) as error:
                memory[key] = (None, error)
        result, failed = memory[key]
        if failed is not None:
            raise failed.with_traceback(None)
        return result

    return remembering


def remember_what_is_pure() -> None:
    for name, functions in PURE.items():
        module = importlib.import_module(f"pycontrol.metadata.{name}")
        for function in functions:
            setattr(module, function, remembered(getattr(module, function)))


FIELDS = ("refused", "sequence", "good", "records", "records_crc", "read_errors")


class Verdict(ctypes.Structure):
    """``struct verdict``."""

    _fields_ = [(name, c_uint64) for name in FIELDS]

    def told(self) -> dict[str, int]:
        return {"refused": 1} if self.refused else {name: getattr(self, name) for name in FIELDS}


class Asked(ctypes.Structure):
    """``struct asked``."""

    _fields_ = [
        ("main_sectors", c_uint64),
        ("block_size", c_uint64),
        ("uuid_known", c_uint64),
        ("uuid", c_ubyte * 16),
    ]


def good(slot: Slot) -> bool:
    """As the kernel means it: a shadow does not stand in for the header."""
    return slot.valid and slot.header.state is State.VALID


def verdict(loaded: Loaded, asked: Asked) -> dict[str, int]:
    """What the Python codec found, for a caller who knows the devices."""
    if (loaded.main_sectors, loaded.spare_sectors * SECTOR, loaded.block_size) != (
        asked.main_sectors,
        SIZE,
        asked.block_size,
    ):
        return {"refused": 1}
    return {
        "refused": 0,
        "sequence": loaded.sequence,
        "good": sum(good(slot) << slot.copy for slot in loaded.slots),
        "records": len(loaded.records),
        "records_crc": zlib.crc32(loaded.records.packed),
        "read_errors": loaded.info.read_errors,
    }


class Reader:
    """The blocks of the laboratory's disks, each content fetched once."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.page = library.disk_page
        self.page.restype = c_uint64
        self.page.argtypes = [c_void_p, c_uint64, POINTER(c_void_p)]
        self.pages: dict[int, bytes] = {0: bytes(BLOCK)}
        self.disk: int = 0

    def block(self, number: int) -> bytes:
        data = c_void_p()
        serial: int = self.page(self.disk, number, byref(data))
        if serial not in self.pages:
            if len(self.pages) >= KEPT:
                self.pages = {0: self.pages[0]}
            assert data.value
            self.pages[serial] = ctypes.string_at(data.value, BLOCK)
        return self.pages[serial]

    def read(self, offset: int, length: int) -> bytes:
        first, count = offset // BLOCK, length // BLOCK
        if count == 1:
            return self.block(first)
        return b"".join([self.block(first + at) for at in range(count)])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--one-in", type=int, default=1, metavar="N")
    parser.add_argument("program")
    options, rest = parser.parse_known_args()
    remember_what_is_pure()
    library = ctypes.CDLL(str(built() / f"lib{options.program}-plain"))
    reader = Reader(library)

    def second_opinion(disk: int, asked: Any, theirs: Any) -> bool:
        reader.disk = disk
        uuid = UUID(bytes=bytes(asked[0].uuid)) if asked[0].uuid_known else None
        why = ""
        try:
            mine = verdict(load(reader.read, SIZE, uuid=uuid), asked[0])
        except MetadataError as error:
            mine = {"refused": 1}
            why = f" ({error})"
        if mine == theirs[0].told():
            return True
        print(f"C: {theirs[0].told()}, Python: {mine}{why}", file=sys.stderr)
        return False

    callback = CFUNCTYPE(c_bool, c_void_p, POINTER(Asked), POINTER(Verdict))(second_opinion)
    c_void_p.in_dll(library, "second_opinion").value = ctypes.cast(callback, c_void_p).value
    c_uint64.in_dll(library, "opinion_one_in").value = options.one_in
    arguments = [options.program.encode(), *map(str.encode, rest), None]
    library.main.argtypes = [c_int, POINTER(c_char_p)]
    status: int = library.main(len(arguments) - 1, (c_char_p * len(arguments))(*arguments))
    return status


if __name__ == "__main__":
    sys.exit(main())
