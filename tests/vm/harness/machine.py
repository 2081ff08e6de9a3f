"""The machine: QEMU, its disks, and the ways in which it ends."""

import os
import subprocess
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from . import kernels, leaks
from .console import Console
from .disk import Disk, MiB
from .errors import KernelPanic, VMDied, VMError, VMHung
from .guest import Guest
from .line import Line, LineCut, Reply
from .powercut import Cut
from .processes import freeze, spawn

CI = Path(__file__).resolve().parents[3] / "ci"
BOOT_TIMEOUT = 60.0
# An oops ends the machine, and with it the test, at once and not at its timeout.  Whether the
# kernel's ciphers are right is not the subject, and takes a tenth of a boot.
KERNEL_ARGUMENTS = "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off cryptomgr.notests"


@cache
def _made_by(script: str, kernel: str, module: Path | None) -> Path:
    """The path that a script of ci/ prints; the scripts do nothing if all is in the cache."""
    environment = os.environ | {"DM_REMAP_KERNEL": kernel}
    if module:
        environment["DM_REMAP_MODULE"] = str(module)
    done = subprocess.run(
        [CI / script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"ci/{script} failed")
    return Path(done.stdout.splitlines()[-1])


class Machine:
    """Disks keep their contents over boots, kills and power cuts; `guest` is there while it runs."""

    # Without "erms" Linux copies and clears memory by eight bytes at a time instead of one,
    # which QEMU takes literally: several times as long.
    cpu = "max,-erms"

    def __init__(
        self,
        directory: Path,
        main: int = 256 * MiB,
        spare: int = 64 * MiB,
        *,
        main_block_size: int = 512,
        spare_block_size: int = 512,
        extra: dict[str, int] | None = None,
        power_cuts: bool = True,
        most_zeroes: dict[str, int] | None = None,
        cpus: int = 2,
        memory: int = 1024,
        kernel: str | None = None,
        module: Path | None = None,
    ) -> None:
        """`extra` names further disks and their sizes.

        Without `power_cuts` there are none, but nothing is logged and the disks know
        write-zeroes; `most_zeroes` names disks that take no more sectors at once.  `kernel` and
        `module` stand in for the environment's DM_REMAP_KERNEL and DM_REMAP_MODULE.
        """
        self.directory = directory
        self.kernel = kernels.named(kernel) if kernel else kernels.selected()
        self.module = module
        self.cpus, self.memory = cpus, memory
        self.console = Console(directory / "console.log")
        self.disks = {
            "main": Disk(directory, "main", main, main_block_size, power_cuts=power_cuts),
            "spare": Disk(directory, "spare", spare, spare_block_size, power_cuts=power_cuts),
        }
        for name, size in (extra or {}).items():
            self.disks[name] = Disk(directory, name, size, power_cuts=power_cuts)
        for name, sectors in (most_zeroes or {}).items():
            self.disks[name].most_zeroes = sectors
        self._qemu: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None
        self._guest: Guest | None = None
        self._killed = False

    @property
    def main(self) -> Disk:
        return self.disks["main"]

    @property
    def spare(self) -> Disk:
        return self.disks["spare"]

    @property
    def running(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    @property
    def guest(self) -> Guest:
        assert self._guest is not None, "the machine is off"
        return self._guest

    # From off to on.

    def boot(self, load_module: bool = True) -> Guest:
        """Start the machine and give the guest, its disks named by udev and the module loaded."""
        assert not self.running, "the machine is on"
        try:
            guest = self._start()
        except (KernelPanic, VMHung) as failure:
            # None of our code is in it yet: see docs/testing.md.
            if isinstance(failure, KernelPanic) and "int3: 0000" not in str(failure):
                raise
            warnings.warn(f"the machine did not boot, and is booted once more: {failure}", stacklevel=2)
            self._off()
            self.console.forgive()
            guest = self._start()
        if load_module:
            guest.load_module()
        return guest

    def _start(self) -> Guest:
        """As far as the agent, which tells the names of the disks."""
        for disk in self.disks.values():
            disk.before_boot()
        agent = self.directory / "agent"
        agent.unlink(missing_ok=True)
        self._killed = False
        arguments = self._arguments(agent)  # Which may have to build things first.
        self._qemu = spawn(arguments, self.directory / "qemu.log")
        guest = self._guest = Guest(self)
        try:
            self._line = Line(agent, lambda: self.running)
        except LineCut:
            raise self._ended() from None
        self._reply(0, BOOT_TIMEOUT * self.kernel.slowness)
        guest.devices = guest.call(_devices, sorted(self.disks))
        if self.kernel.slowness > 1:
            guest.sh(f"echo {40 * self.kernel.slowness:.0f} >/proc/sys/kernel/hung_task_timeout_secs")
        return guest

    def _arguments(self, agent: Path) -> list[str]:
        image, payload = (_made_by(what, self.kernel.name, self.module) for what in ("guest", "payload"))
        arguments = [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            # No KVM: where tests run it is missing, or there and broken.
            *("-machine", "q35,accel=tcg", "-cpu", self.cpu, "-smp", str(self.cpus), "-m", str(self.memory)),
            *("-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initramfs.cpio")),
            *("-append", f"{KERNEL_ARGUMENTS} {self.kernel.arguments}"),
            *("-chardev", f"file,id=console,path={self.console.path},append=on"),
            *("-serial", "chardev:console", "-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,path={agent},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=agent"),
        ]
        for serial, file in (("root", image / "root.erofs"), ("payload", payload)):
            arguments += ["-blockdev", f"driver=file,node-name={serial},filename={file},read-only=on"]
            arguments += ["-device", f"virtio-blk-pci,drive={serial},serial={serial}"]
        for disk in self.disks.values():
            arguments += disk.arguments()
        return arguments

    # From on to off.

    def kill(self) -> None:
        """Kill QEMU at this moment.  By itself this loses nothing: see power_cut()."""
        if self._qemu and self.running:
            self._killed = True
            freeze(self._qemu.pid)
            self._qemu.kill()
            self._qemu.wait()

    def power_cut(self, seed: int = 0, *, keep: float | None = None, torn: bool = True) -> dict[str, Cut]:
        """Kill the machine, if it still runs, and take from every disk what was not flushed.

        `keep` and `torn` as in powercut.rebuild().  Tells what became of the writes.
        """
        self.kill()
        self._off()
        disks = enumerate(self.disks.items())
        return {name: disk.power_cut(seed + i, keep, torn) for i, (name, disk) in disks}

    def power_off(self, timeout: float = 60) -> None:
        """Shut down in good order, all caches written."""
        assert self._qemu and self._line, "the machine is off"
        timeout *= self.kernel.slowness
        self.check_leaks()
        self._killed = True
        try:
            self._line.send("run", command="sync; busybox poweroff -f", timeout=timeout, stdin=None)
            self._qemu.wait(timeout)
        except LineCut:
            raise self._ended() from None
        except subprocess.TimeoutExpired:
            raise self._hung(f"no power-off within {timeout} s") from None
        self._off()

    def reboot(self) -> Guest:
        self.power_off()
        return self.boot()

    def _off(self) -> None:
        if self._line:
            self._line.close()
        self._line = self._guest = None

    def close(self) -> None:
        self.kill()
        self._off()
        for disk in self.disks.values():
            disk.close()

    # The kernel's opinion.

    def check_console(self) -> None:
        """Raise KernelWarning if the kernel has complained since the last check."""
        if self.running and self._line:
            self._flush_console()
        self.console.check()

    def check_leaks(self) -> None:
        """Raise KernelWarning if the module has lost memory, where the kernel can tell."""
        if self.kernel.finds_leaks and self.running and self._line:
            leaks.check(self.guest)

    def forgive(self) -> None:
        """Forget what the kernel has complained about, when the test made it complain."""
        if self.running and self._line:
            self._flush_console()
        self.console.forgive()

    def _flush_console(self) -> None:
        """Wait until all that the kernel has said so far is in the console's file."""
        mark = f"console mark {time.monotonic_ns()}"
        try:
            self.guest.python("open('/dev/kmsg', 'w').write(args[0] + '\\n')", mark)
        except VMError:
            return  # Then there is nothing more to come.
        deadline = time.monotonic() + 30 * self.kernel.slowness
        while mark not in self.console.unchecked():
            if time.monotonic() > deadline:
                raise self._hung("what its kernel says does not reach the console")
            time.sleep(0.01)

    # The line to the agent, for Guest; and what its silence means.

    def _send(self, what: str, kill_on_reply: bool = False, **request: Any) -> int:
        at_once: Callable[[], None] | None = self.kill if kill_on_reply else None
        if self._line is None:
            raise VMDied("the machine is off")
        try:
            return self._line.send(what, at_once, **request)
        except LineCut:
            raise self._ended() from None

    def _reply(self, number: int, timeout: float) -> Reply:
        if self._line is None:
            raise VMDied("the machine is off")
        try:
            return self._line.reply(number, timeout)
        except LineCut:
            raise self._ended() from None
        except TimeoutError:
            raise self._hung(f"no answer within {timeout:.0f} s") from None

    def _ended(self) -> VMError:
        assert self._qemu
        if self._killed:
            return VMDied("the machine was killed by the test")
        try:
            self._qemu.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        if "Kernel panic" in self.console.unchecked():
            return KernelPanic("the guest's kernel panicked", self.console.complaint())
        said = (self.directory / "qemu.log").read_text()[-2000:]
        return VMDied(f"QEMU ended with {self._qemu.returncode}: {said}", self.console.tail())

    def _hung(self, message: str) -> VMError:
        # A panic may leave it no time, or no interrupts, to reset the machine.
        panicked = "Kernel panic" in self.console.unchecked()
        self.kill()
        if panicked:
            return KernelPanic("the guest's kernel panicked", self.console.complaint())
        return VMHung(message, self.console.tail())


def _devices(serials: list[str]) -> dict[str, str]:
    """In the guest: which device has which serial."""
    from pathlib import Path

    found = {}
    for disk in Path("/sys/block").glob("vd*"):
        found[(disk / "serial").read_text().strip()] = f"/dev/{disk.name}"
    return {serial: found[serial] for serial in serials}
