"""Single direct requests to a block device, past the page cache.  Data is base64, for JSON."""

import base64
import mmap
import os

SECTOR = 512


def read(device: str, sector: int, count: int) -> str:
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        # Direct I/O wants aligned memory; a mapping is.
        with mmap.mmap(-1, count * SECTOR) as buffer:
            if os.preadv(fd, [buffer], sector * SECTOR) != count * SECTOR:
                raise OSError(5, "short read")
            return base64.b64encode(buffer[:]).decode()
    finally:
        os.close(fd)


def write(device: str, sector: int, data: str) -> None:
    content = base64.b64decode(data)
    fd = os.open(device, os.O_WRONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, len(content)) as buffer:
            buffer[:] = content
            if os.pwritev(fd, [buffer], sector * SECTOR) != len(content):
                raise OSError(5, "short write")
    finally:
        os.close(fd)


def flush(device: str) -> None:
    fd = os.open(device, os.O_WRONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def failing(device: str, first: int, count: int, step: int) -> "list[int]":
    bad = []
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, step * SECTOR) as buffer:
            for sector in range(first, first + count, step):
                try:
                    os.preadv(fd, [buffer], sector * SECTOR)
                except OSError:
                    bad.append(sector)
    finally:
        os.close(fd)
    return bad
