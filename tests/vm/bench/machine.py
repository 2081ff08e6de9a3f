"""Machines to measure on: one in which a nanosecond is an instruction, one with two processors."""

from dataclasses import replace
from pathlib import Path

from harness import Guest, Machine

# Of the guest's time: what udev and the kernel still do after a boot would be counted too.
SETTLE = 20

# A machine that counts is a tenth as fast, and gives way to whatever else runs on the host.
SLOWNESS = 8

MEMORY = 4096  # MiB

# Instructions can only be compared on one kernel.
KERNEL = "6.1"


class PlainMachine(Machine):
    """A machine that has ``files`` of the host as disks, by serial, beside those of the harness."""

    # As processors are: how memory is copied is part of what is counted.
    cpu = "max"

    def __init__(
        self, directory: Path, files: dict[str, Path] | None = None, *, cpus: int, module: Path | None = None
    ) -> None:
        super().__init__(directory, cpus=cpus, memory=MEMORY, power_cuts=False, kernel=KERNEL, module=module)
        self.kernel = replace(self.kernel, slowness=SLOWNESS * self.kernel.slowness)
        self._files = files or {}

    def _arguments(self, agent: Path) -> list[str]:
        arguments = super()._arguments(agent)
        for serial, path in self._files.items():
            arguments += ["-blockdev", f"driver=file,node-name={serial},filename={path}"]
            arguments += ["-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
        return arguments

    @staticmethod
    def path(serial: str) -> str:
        """In the guest, of one of ``files``."""
        return f"/dev/disk/by-id/virtio-{serial}"


class CountingMachine(PlainMachine):
    """One processor whose clock advances by a nanosecond with each instruction.

    While it has nothing to do the clock runs as ours, so limits of time keep their meaning.
    """

    def __init__(
        self, directory: Path, files: dict[str, Path] | None = None, *, module: Path | None = None
    ) -> None:
        super().__init__(directory, files, cpus=1, module=module)
        self.boot_instructions = 0

    def _arguments(self, agent: Path) -> list[str]:
        return [*super()._arguments(agent), "-icount", "shift=0,sleep=on"]

    def boot(self, load_module: bool = True) -> Guest:
        guest = super().boot(load_module)
        self.boot_instructions = guest.call(_busy_nanoseconds)
        guest.run("sleep", SETTLE)
        return guest


def _busy_nanoseconds() -> int:
    """In the guest: how long its processor has had something to do, to 10 ms."""
    import os
    from pathlib import Path

    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
