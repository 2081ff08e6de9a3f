"""null_blk disks in the guest: nothing but the block layer stands behind them."""

from harness import Guest

CONFIG = "/sys/kernel/config/nullb"


def null_disk(
    guest: Guest, name: str, mebibytes: int, *, memory: bool = False, cache: int = 0, queues: int = 1
) -> str:
    """A disk that forgets, or one that keeps what is written in ``memory``; gives its path.

    With a write cache of ``cache`` MiB it knows flushes.
    """
    guest.sh(
        f"""
        modprobe null_blk nr_devices=0
        mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
        mkdir {CONFIG}/{name}
        cd {CONFIG}/{name}
        echo {mebibytes} >size
        echo {memory:d} >memory_backed
        echo {cache} >cache_size
        echo {queues} >submit_queues
        echo 1 >power
        udevadm settle
        """
    )
    return f"/dev/{name}"


def remove_null_disk(guest: Guest, name: str) -> None:
    """Also of what it has in memory."""
    guest.sh(f"udevadm settle; rmdir {CONFIG}/{name}")
