"""An idle monitor is asleep, and small: a process of its own, on the kernel's real uevent socket."""

import socket
import subprocess
import sys
from pathlib import Path

from pycontrol.service.tell.uevents import KernelUevents
from tests.test_monitor_exporter import free_port

TOP = Path(__file__).resolve().parents[1]
MEMORY = 40 << 10  # KiB.

PROGRAM = """
import sys
from pycontrol.dm import ioctl
from tests.fakes import PolledKernel
fake, real = PolledKernel(), ioctl.Control.__init__
fake.add("r0", "DMREMAP-1", (0, 1000, "dm-remap-v4", "8:0 8:16"))
ioctl.Control.__init__ = lambda self: real(self, fake)
ioctl.Control.fileno = lambda self: fake.control
from pycontrol.cli.main import cli
try:
    cli(["monitor", "--textfile", sys.argv[1], "--hook", "ANY=/bin/true", "--window", "0.01",
         "--listen", "127.0.0.1:" + sys.argv[2]])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def figures(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def resting(pid: int) -> bool:
    """Whether it waits for something, and not for a processor or a hook."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return figures(pid)["State"].startswith("S") and not children


def work(times: int) -> None:
    """Something that takes time and can be counted."""
    for _ in range(times):
        subprocess.run(["/bin/true"], check=True)


def test_idle_is_asleep_and_small(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(tmp_path / "notify"))
        running = subprocess.Popen(
            [sys.executable, "-B", "-c", PROGRAM, str(tmp_path / "x.prom"), str(free_port())],
            cwd=TOP,
            env={"NOTIFY_SOCKET": str(tmp_path / "notify")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert listener.recv(100) == b"READY=1"
    # Every event of this machine's kernel wakes it: what came meanwhile makes it another time.
    events = KernelUevents()
    came = True
    while came:
        events.read()
        # The hook for the device that is there may still run; one that polls never comes to rest.
        before, now = "", figures(running.pid)["voluntary_ctxt_switches"]
        while before != now or not resting(running.pid):
            work(20)
            before, now = now, figures(running.pid)["voluntary_ctxt_switches"]
        work(100)
        after = figures(running.pid)
        came = bool(events.read())
    events.close()
    running.terminate()
    out, err = running.communicate(timeout=60)
    assert after["voluntary_ctxt_switches"] == before
    assert after["Threads"] == "1"
    assert int(after["VmHWM"].split()[0]) < MEMORY, after["VmHWM"]
    assert running.returncode == 0 and "r0: PRESENT" in out, err
    # Nobody listens any more, which is no reason to fail.
    assert "the service manager could not be told STOPPING=1: Connection refused" in err
    assert not {"rich", "pyudev", "email", "asyncio", "fabric"} & set(err.split()), err
