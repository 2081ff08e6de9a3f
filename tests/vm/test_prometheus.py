"""The metrics of real devices, by file and by HTTP, as Prometheus' own checker sees them.

The debug kernels know no IP: there it is the file alone.
"""

import subprocess
from pathlib import Path

from harness import Guest
from listening import monitor, wait_for, wait_for_metric
from target import message

TOP = Path(__file__).resolve().parents[2]


def loopback() -> None:
    """Bring it up, as no guest does by itself: the kernel then gives it its address."""
    import fcntl
    import socket
    import struct

    set_flags, up = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))


def scrape(port: int) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def check(text: str) -> None:
    promtool = subprocess.run([TOP / "ci/promtool"], stdout=subprocess.PIPE, text=True, check=True)
    done = subprocess.run(
        [promtool.stdout.strip(), "check", "metrics"], input=text, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), text


def test_promtool_takes_what_the_monitor_gives(guest: Guest) -> None:
    by_http = guest.machine.kernel.name not in ("kasan", "kcsan")
    if by_http:
        guest.call(loopback)
    guest.dmremapctl("create", "mapped", guest.main, guest.spare, "--yes")
    with monitor(guest, "--listen 9811" if by_http else ""):
        message(guest, "remap", 1000, 8)
        wait_for(guest, "REMAP")
        wait_for_metric(guest, 'dmremap_event_bytes_total{device="mapped",action="REMAP"}', 4096)
        written = guest.run("cat", "/tmp/told.prom").out
        assert 'dmremap_remapped_extents{device="mapped"} 1\n' in written
        check(written)
        # What was moved is counted behind the event that tells of it, but before any later one.
        message(guest, "unmap", 1000, 8)
        wait_for_metric(guest, 'dmremap_event_bytes_total{device="mapped",action="UNMAP"}', 4096)
        written = guest.run("cat", "/tmp/told.prom").out
        assert 'dmremap_salvaged_bytes_total{device="mapped"} 4096\n' in written
        # The state is read when it is asked for, and the file is of the last event: here the same.
        if by_http:
            assert guest.call(scrape, 9811) == written
