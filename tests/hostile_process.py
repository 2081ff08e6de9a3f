"""Work in a process of its own, and the command as it is when the interpreter has started."""

import io
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

SECONDS = 60
"""After which a process that hangs is killed."""

_T = TypeVar("_T")


def isolated(work: Callable[[], _T]) -> _T:
    """What ``work`` gives, done in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.close(reader)
        try:
            answer: tuple[Any, str] = work(), ""
        except BaseException:
            answer = None, traceback.format_exc()
        try:
            with os.fdopen(writer, "wb") as file:
                pickle.dump(answer, file)
        finally:
            # Whatever happens, also if nobody listens any more: one that went on would run all tests again.
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert data, f"ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "said nothing"
    value, failure = pickle.loads(data)
    assert not failure, failure
    found: _T = value
    return found


def run(
    *words: str,
    ended: Callable[[], None] = lambda: None,
    encoding: str = "utf-8",
    out: int | None = None,
    err: int | None = None,
) -> tuple[int, str, str]:
    """Exit code and output of ``dmremapctl``, and 99 if it ended in a defect.

    ``out`` and ``err`` are descriptors it shall have for its streams, which nothing is given back of;
    ``encoding`` is the one that the interpreter gave them.  ``ended`` is called at once at its end.
    """
    from pycontrol.cli.main import main

    given = [os.memfd_create(name) for name in ("in", "out", "err")]
    kept = [os.dup(number) for number in range(3)]
    streams = sys.stdin, sys.stdout, sys.stderr, sys.argv
    wanted = given[0], given[1] if out is None else out, given[2] if err is None else err
    for number, fd in enumerate(wanted):
        os.dup2(fd, number)
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False))  # noqa: SIM115
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, "wb", closefd=False), encoding, errors)  # noqa: SIM115
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    sys.argv = ["dmremapctl", *words]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 99
    finally:
        ended()
        sys.stderr.flush()
        for number, fd in enumerate(kept):
            os.dup2(fd, number)
            os.close(fd)
        sys.stdin, sys.stdout, sys.stderr, sys.argv = streams
    texts = [os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="surrogateescape") for fd in given[1:]]
    for fd in given:
        os.close(fd)
    return code, texts[0], texts[1]
