"""Children that never outlive the test run."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(argv: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a long-running child, its output appended to `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


def freeze(pid: int, timeout: float = 60) -> None:
    """Stop every thread of a process and wait until all of them have stopped.

    A stopped thread has left the kernel: unlike SIGKILL, which makes a large write() end
    in the middle (generic_perform_write() checks fatal_signal_pending()), this leaves each
    write either whole or not begun.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + timeout
    while not all(_state(task) in "TtZX" for task in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(0.001)


def _state(task: Path) -> str:
    try:
        # The command's name, in parentheses, may hold anything.
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"
