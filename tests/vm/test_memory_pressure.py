"""Memory runs out while the device is the only place where dirty pages can go: it always goes on."""

import random
import re
from collections.abc import Callable

from harness import Machine
from harness.disk import MiB
from target import create, extents, pending, remapped, status

MEMORY = 224  # MiB of the guest, which boots with 100 of them.
BLOCK = 8  # Sectors of a page.
# The disks' driver asks for memory that it can do without, and says with a trace that there was none.
OF_THE_DRIVER = re.compile(
    r"page allocation failure: order:(?:(?!</TASK>).)*? virtqueue_add_"
    r"(?:(?!</TASK>).)*? virtio_queue_rq.*?</TASK>",
    re.DOTALL,
)


def bad_blocks(seed: int, sectors: int, count: int) -> list[int]:
    """First sectors of blocks spread over the disk, past what mkfs and mkswap write."""
    return sorted(random.Random(seed).sample(range(16384, sectors, BLOCK), count))


def _fill(path: str, size: int, seed: int) -> str:
    """In the guest: write more than memory holds through the page cache, and give its hash."""
    import hashlib
    import os
    import random
    from pathlib import Path

    chunk, digest, numbers = 1 << 20, hashlib.sha256(), random.Random(seed)
    with Path(path).open("wb") as f:
        for _ in range(size // chunk):
            data = numbers.randbytes(chunk)
            digest.update(data)
            f.write(data)
        f.flush()
        os.fsync(f.fileno())
    return digest.hexdigest()


def _hash(path: str) -> str:
    import hashlib
    from pathlib import Path

    Path("/proc/sys/vm/drop_caches").write_text("3")
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _use_memory(size: int, seed: int) -> bool:
    """In the guest: fill more memory than there is, twice over; is it all there in the end?"""
    import hashlib
    import random

    chunk = 1 << 20
    numbers = random.Random(seed)
    pages = [bytearray(numbers.randbytes(chunk)) for _ in range(size // chunk)]
    for page in pages:
        page[::4096] = bytes(b ^ 0xFF for b in page[::4096])
    numbers = random.Random(seed)
    for page in pages:
        expected = bytearray(numbers.randbytes(chunk))
        expected[::4096] = bytes(b ^ 0xFF for b in expected[::4096])
        if hashlib.sha256(page).digest() != hashlib.sha256(expected).digest():
            return False
    return True


def test_dirty_pages_of_a_file_system_over_bad_blocks(machine: Callable[..., Machine]) -> None:
    box = machine(memory=MEMORY, power_cuts=False)
    box.console.ignore(OF_THE_DRIVER)
    guest = box.boot()
    device = create(guest)
    guest.sh(f"mkfs.ext4 -q -E lazy_itable_init=0 {device}; mkdir -p /tmp/m; mount {device} /tmp/m")
    sectors = int(guest.run("blockdev", "--getsz", device).out)
    bad = bad_blocks(1, sectors, 300)
    box.main.fail(bad, on="write")
    digest = guest.call(_fill, "/tmp/m/file", 200 * MiB, 1, timeout=240)
    assert guest.call(_hash, "/tmp/m/file", timeout=120) == digest
    guest.sh(f"umount /tmp/m; e2fsck -fn {device}", timeout=120)
    listed = extents(guest)
    assert len(remapped(listed)) > 100 and not set(remapped(listed)) - set(bad)
    assert pending(listed) == [] and status(guest).mode == "rw"


def test_swap_over_bad_blocks(machine: Callable[..., Machine]) -> None:
    box = machine(memory=MEMORY, power_cuts=False)
    box.console.ignore(OF_THE_DRIVER)
    guest = box.boot()
    device = create(guest)
    sectors = int(guest.run("blockdev", "--getsz", device).out)
    guest.sh(f"mkswap {device}; swapon {device}")
    bad = bad_blocks(2, sectors, 600)
    box.main.fail(bad, on="write")
    assert guest.call(_use_memory, 220 * MiB, 2, timeout=280)
    listed = extents(guest)
    assert len(remapped(listed)) > 50 and not set(remapped(listed)) - set(bad)
    guest.sh(f"swapoff {device}", timeout=120)
    assert status(guest).mode == "rw"
