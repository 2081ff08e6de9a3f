"""The monitor in a machine, and what it has told so far."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness import Guest

OUT, ERR, PID = "/tmp/told.out", "/tmp/told.err", "/tmp/told.pid"
TEXTFILE = "/tmp/told.prom"
CALLS = "/tmp/told.calls"  # Of the hook, if a test has one.


@contextmanager
def monitor(guest: Guest, *options: str, under: str = "") -> Iterator[None]:
    """The monitor, listening when the block begins, and ended by SIGTERM behind it."""
    words = " ".join(("dmremapctl monitor --json --textfile", TEXTFILE, *options))
    guest.run("rm", "-f", OUT, ERR, PID, TEXTFILE, CALLS)
    job = guest.start_sh(f"echo $$ >{PID}; exec {under} {words} >{OUT} 2>{ERR}", timeout=280)
    try:
        guest.sh(f"until grep -qs monitoring {ERR}; do sleep 0.1; done")
        yield
    finally:
        guest.sh(f"kill -TERM $(cat {PID})", check=False)
    done = job.wait()
    assert done.rc == 0 and guest.run("cat", ERR).out == "dmremapctl: monitoring\n"
    assert "dmremap_monitor_up 0\n" in guest.run("cat", TEXTFILE).out


def told(guest: Guest) -> list[Any]:
    return [json.loads(line) for line in guest.run("cat", OUT).out.splitlines()]


def wait_for(guest: Guest, action: str, times: int = 1) -> None:
    guest.sh(f'until [ $(grep -c \'"action": "{action}"\' {OUT}) -ge {times} ]; do sleep 0.1; done')


def wait_for_metric(guest: Guest, name: str, value: int) -> None:
    """Wait for a line of the textfile, which is written right behind the lines."""
    guest.sh(f"until grep -qxF '{name} {value}' {TEXTFILE}; do sleep 0.1; done")
