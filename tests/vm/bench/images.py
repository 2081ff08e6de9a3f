"""The metadata of tables of remaps, in one file of the host that is a disk of the guest."""

from collections.abc import Sequence
from pathlib import Path

from harness import Guest

from .machine import PlainMachine
from .remaps import Remaps

MiB = 1 << 20
SERIAL = "images"


class Images:
    """Written to ``file`` when made."""

    def __init__(self, file: Path, tables: Sequence[Remaps]) -> None:
        self.file = file
        self._places: dict[int, tuple[int, int]] = {}
        end = 0
        with file.open("wb") as out:
            for remaps in tables:
                size = 0
                for offset, block in remaps.image():
                    out.seek(end * MiB + offset)
                    out.write(block)
                    size = max(size, offset + len(block))
                self._places[remaps.number] = (end, -(-size // MiB))
                end += -(-size // MiB)
            out.truncate(end * MiB)

    def copy(self, guest: Guest, remaps: Remaps, spare: str) -> None:
        """Put the metadata of ``remaps`` onto a blank spare."""
        skip, count = self._places[remaps.number]
        guest.run(
            *("dd", f"if={PlainMachine.path(SERIAL)}", f"of={spare}", "bs=1M", f"skip={skip}"),
            *(f"count={count}", "iflag=direct", "oflag=direct"),
            timeout=600,
        )
