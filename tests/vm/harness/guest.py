"""The running guest: commands, files and Python code inside it."""

import base64
import inspect
import os
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CommandFailed, CommandTimedOut
from .line import Reply

if TYPE_CHECKING:
    from .machine import Machine


@dataclass(frozen=True)
class Result:
    command: str
    rc: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}-> {self.rc}"


class Job:
    """A command that runs on while the test does something else."""

    def __init__(self, guest: "Guest", number: int, command: str, timeout: float) -> None:
        self._guest, self._number, self._command, self._timeout = guest, number, command, timeout

    def wait(self, check: bool = True) -> Result:
        reply = self._guest._wait(self._number, self._timeout)
        result = Result(
            self._command, reply["rc"] if reply["rc"] is not None else -1, reply["out"], reply["err"]
        )
        if reply["timed_out"]:
            raise CommandTimedOut(f"{result}\n(not done after {self._timeout} s)")
        if check and result.rc != 0:
            raise CommandFailed(str(result))
        return result

    def kill(self) -> None:
        self._guest._ask("kill", 10, job=self._number)


class Guest:
    """What a test holds of a booted machine.  `main` and `spare` are its disks' device paths."""

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.devices: dict[str, str] = {}

    @property
    def main(self) -> str:
        return self.devices["main"]

    @property
    def spare(self) -> str:
        return self.devices["spare"]

    # Commands.

    def run(
        self,
        *argv: str | int | Path,
        check: bool = True,
        timeout: float = 60,
        stdin: str | None = None,
        kill_on_reply: bool = False,
    ) -> Result:
        """Run a program, without a shell; one string is split as a shell would."""
        words = shlex.split(str(argv[0])) if len(argv) == 1 else [str(word) for word in argv]
        return self._start(words, timeout, stdin, kill_on_reply).wait(check)

    def sh(self, script: str, check: bool = True, timeout: float = 60, stdin: str | None = None) -> Result:
        """Run a script in bash (-e, pipefail)."""
        return self.start_sh(script, timeout, stdin).wait(check)

    def dmremapctl(self, *argv: str | int | Path, check: bool = True, timeout: float = 60) -> Result:
        return self.run("dmremapctl", *argv, check=check, timeout=timeout)

    def start(self, *argv: str | int | Path, timeout: float = 60) -> Job:
        """Run a program in the background."""
        words = shlex.split(str(argv[0])) if len(argv) == 1 else [str(word) for word in argv]
        return self._start(words, timeout, None, False)

    def start_sh(self, script: str, timeout: float = 60, stdin: str | None = None) -> Job:
        return self._start("set -euo pipefail\n" + textwrap.dedent(script), timeout, stdin, False)

    # Python inside the guest, in the agent's own process: no start-up, 10 ms a call.

    def python(self, source: str, *args: Any, timeout: float = 60, kill_on_reply: bool = False) -> Any:
        """Execute source, which finds `args`; give what it leaves in `result` or passes to reply().

        With `kill_on_reply` the machine is killed the moment the answer arrives.
        """
        reply = self._ask("python", timeout, kill_on_reply, source=textwrap.dedent(source), args=list(args))
        return reply["result"]

    def call(
        self, function: Callable[..., Any], *args: Any, timeout: float = 60, kill_on_reply: bool = False
    ) -> Any:
        """Call a function of the test's module inside the guest.

        Its source is sent, so it must import what it uses; arguments and result are JSON.
        """
        source = textwrap.dedent(inspect.getsource(function))
        source = f"from typing import *\n{source}\nresult = {function.__name__}(*args)\n"
        return self._ask("python", timeout, kill_on_reply, source=source, args=list(args))["result"]

    # Single requests, O_DIRECT; sectors of 512 bytes.  What the device answers is raised as OSError.

    def read(self, device: str, sector: int, count: int = 1) -> bytes:
        return base64.b64decode(self._direct("read", device, sector, count))

    def write(self, device: str, sector: int, data: bytes) -> None:
        self._direct("write", device, sector, base64.b64encode(data).decode())

    def flush(self, device: str) -> None:
        """fsync() the device."""
        self._direct("flush", device)

    def failing(self, device: str, first: int, count: int, step: int = 1) -> list[int]:
        """Read one block of `step` sectors after the other and give those that fail."""
        failing: list[int] = self._direct("failing", device, first, count, step)
        return failing

    def flushes(self, device: str) -> int:
        """How many flushes a disk has completed since boot, as the kernel counts them.

        Disk.counters() is right for all other requests, but sees each flush twice: QEMU's
        blklogwrites sends it on, and then its block layer flushes the children once more.
        """
        return int(self.run("cat", f"/sys/class/block/{Path(device).name}/stat").out.split()[15])

    def _direct(self, function: str, device: str, *args: Any) -> Any:
        source = """
            from guest import directio
            try:
                result = {"value": getattr(directio, args[0])(*args[1:])}
            except OSError as e:
                result = {"errno": e.errno}
        """
        answer = self.python(source, function, device, *args)
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), device)
        return answer["value"]

    # Files.

    def push(self, source: Path | bytes | str, path: str) -> None:
        data = source.read_bytes() if isinstance(source, Path) else source
        data = data.encode() if isinstance(data, str) else data
        self._ask("put", 60, path=path, data=base64.b64encode(data).decode())

    def pull(self, path: str) -> bytes:
        return base64.b64decode(self._ask("get", 60, path=path)["data"])

    # The kernel.

    def load_module(self, path: str = "/payload/dm-remap-v4.ko") -> None:
        """Load dm-remap-v4 and what it needs."""
        self.sh(
            f"""
            modprobe -a dm-mod $(modinfo -F depends {path} | tr ',-' ' _')
            grep -q '^dm_remap_v4 ' /proc/modules || insmod {path}
            """
        )

    def wait_for_udev(self, *devices: str) -> None:
        """Until udev has done what it has heard of, and has looked at ``devices`` as they are now.

        Of a device that was written to it hears when that is closed, and perhaps after we have asked.
        """
        self.run("udevadm", "settle")
        if devices:
            self.run("udevadm", "trigger", "--settle", *devices)

    # The line.

    def _start(self, command: str | list[str], timeout: float, stdin: str | None, kill_on_reply: bool) -> Job:
        shown = command if isinstance(command, str) else shlex.join(command)
        timeout *= self.machine.kernel.slowness
        number = self.machine._send("run", kill_on_reply, command=command, timeout=timeout, stdin=stdin)
        return Job(self, number, shown, timeout)

    def _wait(self, number: int, timeout: float) -> Reply:
        # The agent keeps the time; this is for when it can't any more.
        reply = self.machine._reply(number, timeout + 15 * self.machine.kernel.slowness)
        if "error" in reply:
            raise CommandFailed(reply["error"])
        return reply

    def _ask(self, what: str, timeout: float, kill_on_reply: bool = False, **request: Any) -> Reply:
        number = self.machine._send(what, kill_on_reply, **request)
        return self._wait(number, timeout * self.machine.kernel.slowness)
