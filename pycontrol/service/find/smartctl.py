"""Asking a disk for its health by ``smartctl``: with a time limit, and never fatally."""

import json
import shutil
import subprocess
from contextlib import suppress
from typing import Final

from pycontrol.service.find import smart
from pycontrol.service.find.smart import Smart

SEARCH: Final = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
"""Not $PATH: this runs as root."""

TIMEOUT: Final = 20.0
"""Seconds for one disk.  A dying one may keep the kernel busy for minutes."""

_ASLEEP: Final = 3
"""The exit status wanted of a disk that sleeps; by itself smartctl never ends with it."""

_ARGUMENTS: Final = ("--json=c", "-n", f"standby,{_ASLEEP}", "-i", "-H", "-A")
_LOGS: Final = ("-l", "error", "-l", "selftest", "-l", "defects")


def find() -> str | None:
    """The program's path; None if it is not installed."""
    return shutil.which("smartctl", path=SEARCH)


def ask(path: str, *, program: str | None = None, timeout: float = TIMEOUT) -> Smart:
    """What the disk at ``path`` says; ``problem`` tells why if that is nothing.

    A disk that sleeps is left asleep.  ``timeout`` is in seconds.
    """
    found = report(path, program=program, timeout=timeout)
    if isinstance(found, Smart):
        return found
    return smart.parse(found)


def report(path: str, *, program: str | None = None, timeout: float = TIMEOUT) -> dict[str, object] | Smart:
    """smartctl's whole JSON document; a :class:`Smart` with the reason if there is none."""
    tool = program or find()
    if tool is None:
        return Smart(problem="smartctl is not installed")
    status, output = _run([tool, *_ARGUMENTS, *_LOGS, path], timeout)
    if status is None:
        return Smart(problem=output.decode())
    if status == _ASLEEP:
        return Smart(asleep=True, problem="asleep, not woken")
    try:
        # Its exit status is a set of bits that say the same as the document.
        document = json.loads(output)
    except (ValueError, RecursionError):
        return Smart(problem=f"smartctl's answer is not JSON (exit status {status})")
    return document if isinstance(document, dict) else Smart(problem="smartctl's answer is not an object")


def _run(command: list[str], timeout: float) -> tuple[int | None, bytes]:
    """Exit status and output; None and the reason if it did not end by itself."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": SEARCH, "LC_ALL": "C"},
        )
    except OSError as error:
        return None, f"smartctl cannot be started: {error.strerror}".encode()
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        # A process that the disk holds in the kernel cannot die yet; it is not waited for.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=1)
        return None, f"the disk did not answer smartctl within {timeout:g} s".encode()
    return process.returncode, output
