"""Sizes as people write them, and sectors as device-mapper counts them.

A sector is always 512 bytes, whatever the logical block of the device.
"""

import re
from typing import Final

from pycontrol.errors import UsageError

SECTOR: Final = 512
MIB: Final = 1 << 20

_UNITS: Final = {"": 1, "B": 1, "S": SECTOR, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# No disk has more digits, and int() refuses some thousands of them by a ValueError.
_SIZE: Final = re.compile(r"([0-9]{1,20})\s*([BSKMGT]?)(?:I?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes from ``128K``, ``1MiB``, ``4096`` (bytes) or ``256s`` (sectors of 512 bytes)."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"'{text}' is not a size; write it like 128K, 1M, 131072 or 256s")
    return int(match[1]) * _UNITS[match[2].upper()]


def human(size: int) -> str:
    """``size`` bytes for people, in binary units: ``131072`` is ``128 KiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if value == int(value) else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")
