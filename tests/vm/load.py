"""A device is written and read while a command works on it, and maybe the power goes meanwhile.

Each batch of writes ends with an fsync; the model is told before it begins and when it has
been acknowledged, so after a power cut it knows what must be there.
"""

import json
import random
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from accounting import Model
from guest.shadow import content
from harness import Guest, Machine, Result, VMDied

WRITES, READS = 16, 4


class Load:
    """Writes `blocks` of 4 KiB of a device in random order, and reads others of them back."""

    def __init__(self, model: Model, device: str, blocks: Sequence[int], seed: int) -> None:
        self.model, self.device, self.blocks = model, device, list(blocks)
        self.rng = random.Random(seed)
        self.number = seed << 32  # Not one that another load has written.
        self.batches = 0

    def batch(self, guest: Guest, blocks: Sequence[int] | None = None) -> None:
        """Write some of the blocks, or these; and compare what is read."""
        writes = list(blocks or self.rng.sample(self.blocks, WRITES))
        reads = self.rng.sample(self.blocks, READS)
        numbers = range(self.number + 1, self.number + 1 + len(writes))
        self.number = numbers[-1]
        numbered = list(zip(writes, numbers, strict=True))
        self.model.writing({block: content(block, number) for block, number in numbered})
        found = guest.call(_write_and_read, self.device, numbered, reads, timeout=120)
        self.model.acknowledged()
        wrong = [
            block
            for block, crc in zip(reads, found, strict=True)
            if crc != zlib.crc32(self.model.block(block))
        ]
        assert wrong == [], f"blocks {wrong} read wrong"
        self.batches += 1

    def until(self, done: Callable[[], bool], guest: Guest) -> None:
        while not done():
            self.batch(guest)


def beside(load: Load, guest: Guest, *words: str) -> Any:
    """Run dmremapctl under load to its end; the JSON it prints."""
    command, load_done = _together(load, guest, words, cut=None)
    load_done.result()
    return json.loads(command.result().out)


def cut_off(load: Load, box: Machine, *words: str, moment: Callable[[], bool]) -> Result | None:
    """Run dmremapctl under load and kill the machine at a moment; the result if it came before."""
    command, load_done = _together(load, box.guest, words, cut=moment)
    done: Result | None = None
    for future in (load_done, command):
        try:
            done = future.result()
        except VMDied:
            done = None
    return done


def _together(
    load: Load, guest: Guest, words: Sequence[str], cut: Callable[[], bool] | None
) -> tuple[Future[Result], Future[None]]:
    # A program of its own: forking a thread of the agent while another writes is asking for trouble.
    job = guest.start("dmremapctl", *words, "--json", timeout=300)
    with ThreadPoolExecutor(2) as pool:
        command = pool.submit(job.wait)
        load_done = pool.submit(load.until, command.done, guest)
        if cut is not None:
            while not (command.done() or cut()):
                time.sleep(0.001)
            guest.machine.kill()
    return command, load_done


def _write_and_read(device: str, numbered: list[list[int]], reads: list[int]) -> list[int]:
    """In the guest: write the blocks and flush; the CRCs of those read."""
    import mmap
    import os
    import zlib

    from guest.shadow import BLOCK, content

    fd = os.open(device, os.O_RDWR | os.O_DIRECT)
    crcs = []
    with mmap.mmap(-1, BLOCK) as buffer:
        for block, number in numbered:
            buffer[:] = content(block, number)
            os.pwritev(fd, [buffer], block * BLOCK)
        os.fsync(fd)
        for block in reads:
            os.preadv(fd, [buffer], block * BLOCK)
            crcs.append(zlib.crc32(buffer))
    os.close(fd)
    return crcs
