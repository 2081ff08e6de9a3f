"""dmremapctl in processes that can be waited for, and struck meanwhile.

They are children of the agent, which has imported it: a start of its own takes a second.
"""

import importlib
import os
import pkgutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from typing import IO, Any


@dataclass
class Child:
    pid: int
    out: IO[bytes]
    err: IO[bytes]


def begin(argv: list[str], limit: int = 120) -> Child:
    """Start it; it is killed after so many seconds, 0 for never."""
    pycontrol = importlib.import_module("pycontrol")
    for module in pkgutil.walk_packages(pycontrol.__path__, "pycontrol."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    out, err = (os.fdopen(os.memfd_create(name), "w+b") for name in ("out", "err"))
    pid = os.fork()
    if pid == 0:
        _run(argv, out, err, limit)
    return Child(pid, out, err)


def _run(argv: list[str], out: IO[bytes], err: IO[bytes], limit: int) -> None:
    """Does not return."""
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(limit)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, fd in enumerate((nothing, out.fileno(), err.fileno())):
            os.dup2(fd, number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(n, "r" if n == 0 else "w", closefd=False) for n in range(3)
        )
        sys.argv = ["dmremapctl", *argv]
        importlib.import_module("pycontrol.cli.main").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end(child: Child, struck: str = "", delay: float = 0) -> dict[str, Any]:
    """Wait for its end, with a signal after so many seconds; -9 is what SIGKILL makes of the code."""
    if struck:
        time.sleep(delay)
        # Not waited for yet, so its number is still its own.
        os.kill(child.pid, getattr(signal, struck))
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    texts = []
    for file in (child.out, child.err):
        file.seek(0)
        texts.append(file.read().decode())
        file.close()
    return {"rc": code, "out": texts[0], "err": texts[1]}
