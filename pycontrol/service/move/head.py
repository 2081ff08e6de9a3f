"""The beginning of a new disk, which gets its contents last.

There is what tells a file system, and its uuid: half a copy must not be taken for the
whole.  Meanwhile a mark says what it is, so that the next evacuation goes on over it.
"""

from pycontrol.metadata import BLOCK, SECTOR, Mark, encode_mark
from pycontrol.service.directio import CHUNK, Direct
from pycontrol.service.ranges import Range


def of(sectors: int) -> Range:
    """The head of a disk for so many sectors of 512 bytes: its first sector, and that behind it."""
    return 0, min(CHUNK // SECTOR, sectors)


class First:
    """The first block, with what tells most file systems, till it may take the place of the mark."""

    def __init__(self, target: Direct, sectors: int) -> None:
        self._target, self._data = target, bytearray(min(BLOCK, sectors * SECTOR))

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """As if it were on the disk."""
        self._data[offset : offset + len(data)] = data

    def store(self) -> None:
        """Put it on the disk; DeviceIoError if it cannot be."""
        self._target.store([(0, bytes(self._data))])


def blank(target: Direct, sectors: int, mark: Mark) -> None:
    """Nothing there but the mark, on stable storage; DeviceIoError if it cannot be written."""
    _, end = of(sectors)
    target.store([(0, encode_mark(mark))])
    target.store([(BLOCK, bytes(end * SECTOR - BLOCK))])
