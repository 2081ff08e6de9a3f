"""Hosts in this process, put in where fabric's connections are otherwise: they answer as far.py does."""

import json
import shlex
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.session import Ended

DEVICE = {
    "name": "data",
    "path": "/dev/mapper/data",
    "targets": [
        {
            "main": "8:0",
            "spare": "8:16",
            "remapped_extents": 3,
            "pending_extents": 0,
            "mode": "rw",
            "healthy": True,
        }
    ],
}


def inventory(path: Path, hosts: int) -> Path:
    """A file of so many hosts."""
    groups = "".join(f"[groups.rack{number}]\n" for number in range(10))
    names = ((f"host{number:05}", number % 10) for number in range(hosts))
    path.write_text(groups + "".join(f'[hosts.{name}]\ngroups = ["rack{rack}"]\n' for name, rack in names))
    return path


@dataclass
class Simulation:
    """All hosts; ``answer`` is what dmremapctl there answers to its words: JSON and exit code."""

    answer: Callable[[Host, list[str]], tuple[Any, int]] = lambda host, words: ([DEVICE], 0)
    entered: Callable[[], None] = lambda: None
    """Called while a connection is open."""
    open: int = 0
    most: int = 0
    opened: int = 0
    cached: set[str] = field(default_factory=set)
    """Hosts that have the tool."""
    copied: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def connect(self, host: Host) -> "SimulatedSession":
        """In the place of pycontrol.service.fleet.ssh.connect()."""
        with self.lock:
            self.open += 1
            self.opened += 1
            self.most = max(self.most, self.open)
        self.entered()
        return SimulatedSession(self, host)


class SimulatedSession:
    """Takes the command line apart as a shell there does."""

    def __init__(self, simulation: Simulation, host: Host) -> None:
        self._all, self._host, self._open = simulation, host, True

    def execute(self, command: str, data: bytes, take: Callable[[bytes], None], deadline: float) -> Ended:
        words = shlex.split(command)
        assert words[:3] == [self._host.python, "-I", "-c"]
        size, token, _place, verb, *rest = words[4:]
        assert len(data) >= int(size)
        hello = {"token": token, "python": "3.11.2", "release": "6.1.0-9", "machine": "x86_64", "root": True}
        match verb, rest:
            case "put", ["tool", _, count]:
                assert len(data) == int(size) + int(count)
                self._all.cached.add(self._host.name)
            case "run", [_, *asked]:
                hello["cached"] = self._host.name in self._all.cached
                if hello["cached"]:
                    value, code = self._all.answer(self._host, asked)
                    take(json.dumps(hello).encode() + b"\n")
                    take(value if isinstance(value, bytes) else json.dumps(value, indent=2).encode())
                    return Ended(code, b"" if code < 2 else b"dmremapctl: it failed\n")
            case "facts", []:
                pass
            case _:
                raise AssertionError(words[5:])
        take(json.dumps(hello).encode() + b"\n")
        return Ended(0, b"")

    def close(self) -> None:
        with self._all.lock:
            self._all.open -= self._open
            self._open = False
