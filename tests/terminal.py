"""A terminal of a test's own: what the command writes to it, and what somebody types."""

import os
from types import TracebackType
from typing import Self


class Terminal:
    """``screen`` and ``keyboard`` are its files; :meth:`shown` closes it and gives all that was written."""

    def __init__(self, typed: str = "") -> None:
        self._end, slave = os.openpty()
        self.screen = os.fdopen(slave, "w")
        self.keyboard = os.fdopen(os.dup(slave), "r")
        os.write(self._end, typed.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        os.close(self._end)

    def shown(self) -> str:
        """What was written, less the carriage returns that the terminal adds at the ends of lines."""
        self._close()
        read = bytearray()
        try:
            while data := os.read(self._end, 4096):
                read += data
        except OSError:
            # EIO: nobody has the other end open any more.
            pass
        return read.decode().replace("\r\n", "\n")

    def _close(self) -> None:
        for file in (self.screen, self.keyboard):
            if not file.closed:
                file.close()
