"""What a run of Python costs, in CPU time and memory, with its bytecode at hand as where it is installed."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds of CPU, and MiB at the most."""

    seconds: float
    memory: float


def run(*arguments: str) -> Cost:
    """Run Python with these arguments; it must succeed."""
    process = subprocess.Popen([sys.executable, *arguments], cwd=TOP, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@contextmanager
def bytecode_elsewhere() -> Iterator[Path]:
    """Bytecode is kept, but not in the tree: in a directory that goes at the end, with all else in it."""
    with tempfile.TemporaryDirectory() as directory:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = directory
        yield Path(directory)
