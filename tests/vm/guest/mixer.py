"""A random mix of direct reads and writes on a device, checked against a model in memory.

Runs in the guest. Each thread has every so-manieth zone of the device to itself, so the
model knows what every read must give; remaps come and go everywhere meanwhile.
"""

import hashlib
import mmap
import os
import random
import subprocess
import threading
from typing import Any

ZONE = 2 << 20
LARGEST = 1 << 20


class Mixer:
    def __init__(self, device: str, size: int, block: int, seed: int, threads: int) -> None:
        self.device, self.size, self.block = device, size, block
        self.seed, self.threads = seed, threads
        self.model = bytearray(size)
        self.pool = random.Random(seed).randbytes(4 << 20)
        self.wrong: list[str] = []
        self.done = [0] * threads

    def io_thread(self, number: int, count: int) -> None:
        rng = random.Random(self.seed * 1000 + number)
        fd = os.open(self.device, os.O_RDWR | os.O_DIRECT)
        buffer = mmap.mmap(-1, LARGEST)  # aligned to a page, as direct I/O needs it
        view = memoryview(buffer)
        zones = range(number, self.size // ZONE, self.threads)
        for _ in range(count):
            # Sizes evenly spread over their logarithm, at any block.
            length = self.block * max(1, int((LARGEST // self.block) ** rng.random()))
            at = rng.choice(zones) * ZONE + rng.randrange((ZONE - length) // self.block + 1) * self.block
            if rng.random() < 0.5:
                start = rng.randrange(len(self.pool) - length)
                view[:length] = self.pool[start : start + length]
                os.pwritev(fd, [view[:length]], at)
                self.model[at : at + length] = view[:length]
            else:
                got = os.preadv(fd, [view[:length]], at)
                if got != length or view[:length] != self.model[at : at + length]:
                    self.wrong.append(f"read of {length} at {at} differs (request {self.done[number]})")
            self.done[number] += 1
        os.close(fd)

    def run_io(self, number: int, count: int) -> None:
        try:
            self.io_thread(number, count)
        except Exception as e:
            self.wrong.append(f"thread {number}: {e!r}")

    def move(self, name: str, rng: random.Random) -> bool:
        """Remap or unmap a random run; true if the target did it."""
        length = self.block // 512 * rng.choice([1, 1, 2, 8, 63, 256])
        sector = rng.randrange((self.size // 512 - length) // (self.block // 512)) * (self.block // 512)
        word = rng.choice(["remap", "remap", "unmap"])
        command = ["dmsetup", "message", name, "0", word, str(sector), str(length)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def verify(self) -> None:
        """Read the whole device once more."""
        fd = os.open(self.device, os.O_RDONLY | os.O_DIRECT)
        buffer = mmap.mmap(-1, LARGEST)
        for at in range(0, self.size, LARGEST):
            os.preadv(fd, [buffer], at)
            if buffer[:] != self.model[at : at + LARGEST]:
                self.wrong.append(f"the MiB at {at} differs at the end")
        os.close(fd)


def mix(name: str, size: int, block: int, count: int, seed: int, threads: int = 4) -> dict[str, Any]:
    """Do `count` requests; returns what went wrong, and the model's SHA-256 by MiB."""
    mixer = Mixer(f"/dev/mapper/{name}", size, block, seed, threads)
    workers = [threading.Thread(target=mixer.run_io, args=(i, count // threads)) for i in range(threads)]
    for worker in workers:
        worker.start()
    rng = random.Random(seed)
    moves = 0
    while any(worker.is_alive() for worker in workers):
        moves += mixer.move(name, rng)
    mixer.verify()
    hashes = [hashlib.sha256(mixer.model[at : at + LARGEST]).hexdigest() for at in range(0, size, LARGEST)]
    return {"wrong": mixer.wrong[:20], "requests": sum(mixer.done), "moves": moves, "hashes": hashes}
