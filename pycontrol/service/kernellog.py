"""The sentence the kernel logged when it refused: ioctls return only a number."""

import os
import re
from pathlib import Path
from typing import Final

KMSG: Final = Path("/dev/kmsg")
_PREFIX: Final = re.compile(
    r"^device-mapper: (?:table: |ioctl: )?(?:\d+:\d+: )?(?:(?:dm-)?remap-v4(?: metadata)?: )*"
)
_NOISE: Final = ("error adding target to table", "unable to find target")
# The level of what is refused; what the target has done is told in warnings and below.
_ERROR: Final = 3


class KernelLog:
    """Device-mapper's errors since this object was made; silent where the log cannot be read."""

    def __init__(self, path: Path = KMSG) -> None:
        self._fd: int | None = None
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._fd, 0, os.SEEK_END)
        except OSError:
            self.close()

    def close(self) -> None:
        """Stop listening; :meth:`sentence` is empty from then on."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def sentence(self) -> str:
        """The first telling error of device-mapper since the mark, without its prefix; or empty."""
        lines = [line for line in self._lines() if line.startswith("device-mapper:") or "remap-v4" in line]
        told = [line for line in lines if not any(noise in line for noise in _NOISE)]
        return _PREFIX.sub("", (told or lines or [""])[0]).strip()

    def _lines(self) -> list[str]:
        found: list[str] = []
        while self._fd is not None:
            try:
                record = os.read(self._fd, 8192)
            except BrokenPipeError:
                # Records were overwritten before they were read; the next read goes on behind them.
                continue
            except OSError:
                break
            if not record:
                break
            # "priority,number,time,flags;text\n KEY=value\n ..."; the level is in three bits of the priority.
            about, _, text = record.decode(errors="replace").partition(";")
            priority = about.partition(",")[0]
            if priority.isdecimal() and int(priority) & 7 <= _ERROR:
                found.append(text.split("\n", 1)[0])
        return found
