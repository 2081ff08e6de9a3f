"""What a whole table of remaps takes: memory, and the time of its load against dd's."""

from dataclasses import dataclass

from harness import Guest

from .remaps import Remaps


@dataclass(frozen=True)
class WholeTable:
    """Time in nanoseconds, which are instructions on a machine that counts."""

    memory: int  # bytes that the device holds: slabs, vmalloc, per CPU, dm-bufio
    cached: int  # of these, what dm-bufio keeps of the metadata until somebody wants the memory
    read: int  # bytes that the load reads from the spare
    load: int
    dd: int

    @property
    def ratio(self) -> float:
        return self.load / self.dd


def measure(guest: Guest, main: str, spare: str, remaps: Remaps) -> WholeTable:
    """``spare`` holds the metadata of ``remaps``, read by the target and then by dd."""
    table = f"0 {remaps.main_sectors} dm-remap-v4 {main} {spare}"
    name = ["measured", "--uuid", f"DMREMAP-{remaps.uuid}"]
    sample: dict[str, int] = guest.call(_sample, name, table, spare, timeout=900)
    return WholeTable(**sample)


def _sample(name: list[str], table: str, spare: str) -> dict[str, int]:
    """In the guest: load the table, look at what it took, remove it, and read the same bytes."""
    import subprocess
    import time
    from pathlib import Path

    def run(*command: str) -> int:
        begin = time.monotonic_ns()
        subprocess.run(command, check=True, capture_output=True)
        return time.monotonic_ns() - begin

    def held() -> int:
        """By the kernel, without the page cache, its own stacks and what belongs to processes."""
        run("udevadm", "settle")
        run("sync")
        Path("/proc/sys/vm/drop_caches").write_text("3")
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kinds = ("Slab", "VmallocUsed", "Percpu")
        return sum(int(lines[kind].split()[0]) << 10 for kind in kinds) + cached()

    def cached() -> int:
        return int(Path("/sys/module/dm_bufio/parameters/current_allocated_bytes").read_text())

    def read() -> int:
        disk = Path(spare).resolve().name
        return int(Path(f"/sys/class/block/{disk}/stat").read_text().split()[2]) << 9

    before, cached_before, read_before = held(), cached(), read()
    run("dmsetup", "create", "--notable", *name)
    run("dmsetup", "load", name[0], "--table", table)
    load = run("dmsetup", "resume", "--noudevsync", name[0])
    amount = read() - read_before
    memory = {"memory": held() - before, "cached": cached() - cached_before}
    run("dmsetup", "remove", "--retry", name[0])
    held()
    mebibytes = max(1, amount >> 20)
    dd = run("dd", f"if={spare}", "of=/dev/null", "bs=1M", f"count={mebibytes}", "iflag=direct")
    return memory | {"read": amount, "load": load, "dd": dd}
