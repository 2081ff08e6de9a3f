"""Read-ahead, whose end nobody waits for."""

from pathlib import Path

from harness import Guest


def read_ahead(guest: Guest, device: str, sector: int, count: int) -> None:
    """Ask for it through the page cache; it is under way, or over, behind this."""
    guest.call(_advise, device, sector * 512, count * 512)


def _advise(path: str, offset: int, size: int) -> None:
    import os
    from pathlib import Path

    with Path(path).open("rb") as f:
        os.posix_fadvise(f.fileno(), offset, size, os.POSIX_FADV_WILLNEED)


def under_way(guest: Guest, device: str) -> bool:
    """Whether the device has requests that have not ended."""
    name = Path(guest.run("readlink", "-f", device).out.strip()).name
    return guest.run("cat", f"/sys/class/block/{name}/inflight").out.split() != ["0", "0"]
