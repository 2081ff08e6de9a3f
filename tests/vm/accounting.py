"""What every byte of a device must be: a model on the host, which a device is compared with.

A sector is right, or it is lost: then it must not be readable.  What was being written when
the power went may be old or new, each sector for itself; what is found is the truth from then on.
"""

import zlib
from collections.abc import Iterable, Mapping

from harness import Guest

SECTOR = 512
BLOCK = 4096
PER_BLOCK = BLOCK // SECTOR


class Model:
    """The bytes of a device.  Blocks are of 4 KiB, sectors of 512 bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.lost: set[int] = set()
        self._unsure: dict[int, bytes] = {}

    def put(self, sector: int, data: bytes) -> None:
        self.data[sector * SECTOR : sector * SECTOR + len(data)] = data

    def block(self, number: int) -> bytes:
        return bytes(self.data[number * BLOCK : (number + 1) * BLOCK])

    def sector(self, number: int) -> bytes:
        return bytes(self.data[number * SECTOR : (number + 1) * SECTOR])

    # Blocks that are being written.

    def writing(self, blocks: Mapping[int, bytes]) -> None:
        """From now on these may be on the disk, until acknowledged() says that they are."""
        self._unsure = dict(blocks)

    def acknowledged(self) -> None:
        for number, content in self._unsure.items():
            self.put(number * PER_BLOCK, content)
        self._unsure = {}

    # The device.

    def check(self, guest: Guest, device: str) -> None:
        """Read all of the device, past the page cache."""
        seen = guest.call(_look, device, len(self.data), timeout=300)
        assert set(seen["unreadable"]) == self.lost, ranges(set(seen["unreadable"]) ^ self.lost)
        crcs: list[int] = seen["crcs"]
        assert len(crcs) * BLOCK == len(self.data)
        wrong = [number for number, crc in enumerate(crcs) if crc != zlib.crc32(self._readable(number))]
        self._settle(guest, device, [number for number in wrong if number in self._unsure])
        wrong = [number for number in wrong if number not in self._unsure]
        assert wrong == [], f"{len(wrong)} blocks of {device} are wrong: {wrong[:20]}"
        self._unsure = {}

    def _readable(self, number: int) -> bytes:
        """The block with zeroes in place of what is lost."""
        sectors = range(number * PER_BLOCK, (number + 1) * PER_BLOCK)
        if self.lost.isdisjoint(sectors):
            return self.block(number)
        return b"".join(bytes(SECTOR) if each in self.lost else self.sector(each) for each in sectors)

    def _settle(self, guest: Guest, device: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            new, found = self._unsure[number], guest.read(device, number * PER_BLOCK, PER_BLOCK)
            for at in range(0, BLOCK, SECTOR):
                sector = number * PER_BLOCK + at // SECTOR
                is_now = found[at : at + SECTOR]
                assert is_now in (self.sector(sector), new[at : at + SECTOR]), f"sector {sector}"
                self.put(sector, is_now)


def ranges(sectors: Iterable[int]) -> list[tuple[int, int]]:
    """First sector and number of sectors of each run, in order."""
    found: list[tuple[int, int]] = []
    for sector in sorted(sectors):
        if found and sum(found[-1]) == sector:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((sector, 1))
    return found


def _look(device: str, size: int) -> dict[str, list[int]]:
    """In the guest: the CRC of each block, zeroes for sectors that cannot be read, and which these are."""
    import mmap
    import os
    import zlib

    crcs, unreadable = [], []
    fd = os.open(device, os.O_RDONLY | os.O_DIRECT)
    piece = 1 << 20
    with mmap.mmap(-1, piece) as buffer, mmap.mmap(-1, 4096) as one:

        def read(at: int, length: int) -> None:
            """Into the buffer, by halves down to the sectors that fail."""
            try:
                with memoryview(one if length <= 4096 else buffer) as whole, whole[:length] as part:
                    if os.preadv(fd, [part], at) != length:
                        raise EOFError(device)
                    if length <= 4096:
                        buffer[at % piece : at % piece + length] = part
            except OSError:
                if length == 512:
                    unreadable.append(at // 512)
                    buffer[at % piece : at % piece + length] = bytes(length)
                    return
                step = 512 if length <= 4096 else 4096
                for inner in range(at, at + length, step):
                    read(inner, step)

        for at in range(0, size, piece):
            read(at, piece)
            crcs += [zlib.crc32(buffer[start : start + 4096]) for start in range(0, piece, 4096)]
    os.close(fd)
    return {"crcs": crcs, "unreadable": unreadable}
