"""null_blk disks in the guest: nothing but the block layer stands behind them."""

from dataclasses import dataclass

from harness import Guest

CONFIG = "/sys/kernel/config/nullb"


@dataclass(frozen=True)
class Speed:
    """Of a disk; by default no request takes any time."""

    latency: int = 0  # nanoseconds, of every request and flush
    rate: int = 0  # MiB/s at most; 0: without a limit


INSTANT = Speed()


def null_disk(
    guest: Guest,
    name: str,
    mebibytes: int,
    *,
    memory: bool = False,
    cache: int = 0,
    queues: int = 1,
    poll_queues: int = 0,
    speed: Speed = INSTANT,
) -> str:
    """A disk that forgets, or one that keeps what is written in ``memory``; gives its path.

    With a write cache of ``cache`` MiB it knows flushes.
    """
    timer = f"echo 2 >irqmode; echo {speed.latency} >completion_nsec" if speed.latency else ""
    poll = f"echo {poll_queues} >poll_queues" if poll_queues else ""
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
        {poll}
        echo {speed.rate} >mbps
        {timer}
        echo 1 >power
        udevadm settle
        """
    )
    return f"/dev/{name}"


def remove_null_disk(guest: Guest, name: str) -> None:
    """Also of what it has in memory."""
    guest.sh(f"udevadm settle; rmdir {CONFIG}/{name}")
