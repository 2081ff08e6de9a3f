"""Reads whose completions somebody has to poll for, by the system calls of io_uring(7)."""

import ctypes
import mmap
import os
import struct
import subprocess
from typing import Any

# Of every architecture but Alpha.
SETUP, ENTER = 425, 426
IOPOLL, GET_EVENTS, READ = 1, 1, 22
LENGTH = 4096

# In struct io_uring_params: where it says how far into a ring a field of it is.
FLAGS, SQ_TAIL, SQ_MASK, SQ_ARRAY, CQ_HEAD, CQ_ENTRIES, SIZE = 8, 44, 48, 64, 80, 100, 120

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def _call(number: int, *arguments: Any) -> int:
    result = int(_syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Ring:
    """For one read at a time."""

    def __init__(self) -> None:
        self._parameters = bytearray(SIZE)
        struct.pack_into("I", self._parameters, FLAGS, IOPOLL)
        self._fd = _call(SETUP, 1, (ctypes.c_char * SIZE).from_buffer(self._parameters))
        self._submitted, self._completed, self._entries = (
            mmap.mmap(self._fd, mmap.PAGESIZE, offset=offset) for offset in (0, 0x8000000, 0x10000000)
        )

    def _place(self, field: int) -> int:
        return int(struct.unpack_from("I", self._parameters, field)[0])

    def _word(self, ring: mmap.mmap, field: int) -> int:
        return int(struct.unpack_from("I", ring, self._place(field))[0])

    def read(self, file: int, address: int) -> None:
        """Submit it, and don't poll."""
        struct.pack_into("BBHiQQIIQ", self._entries, 0, READ, 0, 0, file, 0, address, LENGTH, 0, 0)
        tail = self._word(self._submitted, SQ_TAIL)
        slot = self._place(SQ_ARRAY) + 4 * (tail & self._word(self._submitted, SQ_MASK))
        struct.pack_into("I", self._submitted, slot, 0)
        struct.pack_into("I", self._submitted, self._place(SQ_TAIL), tail + 1)
        if _call(ENTER, self._fd, 1, 0, 0, None, 0) != 1:
            raise OSError("the read was not taken")

    def result(self) -> int:
        """Poll until it has ended; what it returned: bytes, or less than 0."""
        _call(ENTER, self._fd, 0, 1, GET_EVENTS, None, 0)
        _, result = struct.unpack_from("Qi", self._completed, self._place(CQ_ENTRIES))
        struct.pack_into("I", self._completed, self._place(CQ_HEAD), self._word(self._completed, CQ_HEAD) + 1)
        return int(result)


def read_and_poll_late(device: str, command: list[str]) -> int:
    """Read the first 4096 bytes, run the command, and only then poll; what the read returned."""
    file = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, LENGTH)
        ring = Ring()
        ring.read(file, ctypes.addressof(ctypes.c_char.from_buffer(buffer)))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return ring.result()
    finally:
        os.close(file)
