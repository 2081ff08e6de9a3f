"""Reading blocks where any of them may be unreadable."""

from collections.abc import Callable

from pycontrol.metadata.layout import BLOCK

Read = Callable[[int, int], bytes]
"""``read(offset, length)``: so many bytes, or fewer at the end, or an ``OSError``."""


class Reader:
    """Blocks of a device of ``size`` bytes; None for one that cannot be had."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self.size = size
        self.failures: dict[int, OSError] = {}

    def block(self, offset: int) -> bytes | None:
        """The block at ``offset``."""
        if offset + BLOCK > self.size:
            return None
        try:
            block = self._read(offset, BLOCK)
        except OSError as error:
            self.failures[offset] = error
            return None
        return block if len(block) == BLOCK else None

    def run(self, offset: int, count: int) -> bytes | None:
        """So many blocks from ``offset`` on, if they can be read at once."""
        if offset + count * BLOCK > self.size:
            return None
        try:
            data = self._read(offset, count * BLOCK)
        except OSError:
            return None
        return data if len(data) == count * BLOCK else None

    def why(self, offset: int) -> str:
        """Why there is no block at ``offset``."""
        if offset in self.failures:
            return f"cannot be read: {self.failures[offset].strerror or 'I/O error'}"
        return "behind the end of the device" if offset + BLOCK > self.size else "cannot be read whole"

    def all_zero(self, length: int) -> bool:
        """Whether the first ``length`` bytes, or all there are, can be read and are zero."""
        step = 1 << 20
        for offset in range(0, min(length, self.size), step):
            want = min(step, length - offset, self.size - offset)
            try:
                data = self._read(offset, want)
            except OSError as error:
                self.failures[offset] = error
                return False
            if len(data) != want or data.count(0) != want:
                return False
        return True
