"""A stop on the way of a copy: what comes before it has arrived, what comes behind it has not."""

import time
from collections.abc import Iterable

from harness import Guest

NAME = "gated"
_BLOCK = 8  # Sectors.
_FOR_EVER = 24 * 3600 * 1000  # Milliseconds.


class Gate:
    """A device over a disk, of which one block takes no write until it is opened."""

    def __init__(self, guest: Guest, disk: str, at: int) -> None:
        """`at` is the byte at which it stops."""
        self.guest, self.disk = guest, guest.machine.disks[disk]
        self.path = f"/dev/mapper/{NAME}"
        below, first, behind = guest.devices[disk], at // 512, at // 512 + _BLOCK
        self._whole = f"0 {self.disk.size // 512} linear {below} 0"
        # Reads and flushes of the block pass.
        delay = " ".join(f"{below} {first} {wait}" for wait in (0, _FOR_EVER, 0))
        lines = (
            f"0 {first} linear {below} 0",
            f"{first} {_BLOCK} delay {delay}",
            f"{behind} {self.disk.size // 512 - behind} linear {below} {behind}",
        )
        guest.run("dmsetup", "create", NAME, stdin="\n".join(lines) + "\n")

    def wait_for(self, contents: Iterable[bytes]) -> None:
        """Until all of these are on the disk, wherever it may be."""
        waiting = list(contents)
        while waiting:
            there = self.disk.image.read_bytes()
            waiting = [content for content in waiting if content not in there]
            time.sleep(0.05)

    def open(self) -> None:
        """Let everything pass, what waits first."""
        self.guest.run("dmsetup", "load", NAME, "--table", self._whole)
        self.guest.run("dmsetup", "resume", NAME)

    def remove(self) -> None:
        self.guest.run("dmsetup", "remove", "--retry", NAME)
