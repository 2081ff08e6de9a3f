"""Disks that a module of the guest's kernel simulates, for what those of the machine can't do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Guest

_DISKS = {
    "null_blk": "/sys/block/nullb0",
    "scsi_debug": "/sys/bus/pseudo/drivers/scsi_debug/adapter0/host*/target*/*:*/block/*",
}


@contextmanager
def simulated(guest: Guest, module: str, *options: str) -> Iterator[str]:
    """The path of its disk, which is there until the block ends."""
    guest.run("modprobe", module, *options)
    # A disk of scsi_debug's waits for udev, which loads the driver.
    found = guest.sh(f"until compgen -G '{_DISKS[module]}'; do sleep 0.1; done; udevadm settle >&2").out
    yield f"/dev/{Path(found.strip()).name}"
    # Until udev has closed it.
    guest.sh(f"until rmmod {module} 2>/dev/null; do sleep 0.1; done")
