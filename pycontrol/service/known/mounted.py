"""Where the file system on a device is mounted."""

from dataclasses import dataclass
from pathlib import Path

from pycontrol.dm.types import DevNumber
from pycontrol.service import blockdev


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount of the whole of a file system: its top directory, and its kind."""

    point: str
    fstype: str


def whole(dev: DevNumber, proc: Path | None = None) -> Mount | None:
    """A mount of the whole file system on a device; None if there is none in our namespace."""
    try:
        lines = ((proc or blockdev.PROC) / "self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split(" ")
        if len(words) < 10 or words[2] != str(dev) or words[3] != "/" or "-" not in words[6:]:
            continue
        # Optional fields end with a dash.
        return Mount(blockdev.unescaped(words[4]), words[words.index("-", 6) + 1])
    return None
