"""Terminals and environments in which a command is run."""

import fcntl
import locale
import os
import struct
import termios
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile_commands import Case
from tests.hostile_world import Outcome


@dataclass(frozen=True)
class Screen:
    """What there is to write to."""

    columns: int = 0
    """Of a terminal; 0 for none."""
    environment: dict[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    """That the interpreter gave its streams."""
    ascii: bool = False
    escapes: bool = False
    colour: bool = False


SCREENS = {
    "narrow": Screen(40, {"TERM": "xterm-256color"}, escapes=True, colour=True),
    "colourless": Screen(80, {"TERM": "xterm-256color", "NO_COLOR": "1"}, escapes=True),
    "dumb": Screen(80, {"TERM": "dumb"}),
    "C locale": Screen(80, {"TERM": "dumb", "LC_ALL": "C"}, ascii=True),
    "C locale, no terminal": Screen(0, {"LC_ALL": "C"}, ascii=True),
    "ASCII": Screen(0, {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}, "ascii", ascii=True),
}


def shown(case: Case, top: Path, screen: Screen) -> Outcome:
    """Run a command there; to be called in a process of its own."""
    for name in ("TERM", "NO_COLOR", "LC_ALL", "COLUMNS", "LINES", "PYTHONIOENCODING", "FORCE_COLOR"):
        os.environ.pop(name, None)
    os.environ.update({"LC_ALL": "C.UTF-8"} | screen.environment)
    locale.setlocale(locale.LC_ALL, "")
    world = case.world(top)
    if not screen.columns:
        return world.run(*case.words(world), encoding=screen.encoding)
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, screen.columns, 0, 0))
    data = bytearray()

    def read() -> None:
        try:
            while more := os.read(master, 4096):
                data.extend(more)
        except OSError:
            # EIO: nobody has the other end open any more.
            return

    reader = threading.Thread(target=read)
    reader.start()
    outcome = world.run(*case.words(world), encoding=screen.encoding, out=slave, err=slave)
    os.close(slave)
    reader.join()
    return Outcome(outcome.code, data.decode(errors="replace"), "", outcome.state)
