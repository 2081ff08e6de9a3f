"""What a fleet believes of a host, what it notes, and what it lets be loaded."""

import json
import os
import resource
import shlex
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontrol.errors import Busy, UsageError
from pycontrol.service.fleet import bundle, far, modules, ssh
from pycontrol.service.fleet.bundle import Blob, Once
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.journal import Note, opened
from pycontrol.service.fleet.modules import Kernel, Store
from pycontrol.service.fleet.remote import LIMIT
from pycontrol.service.fleet.runner import Event, Outcome, Run
from pycontrol.service.fleet.session import Ended, HostFailure, State
from pycontrol.service.fleet.tasks import status
from tests.conftest import Run as Command
from tests.fleet_simulated import DEVICE, Simulation, inventory

KERNEL = Kernel("6.1.0-9", "x86_64")
HOST = Host("one", "192.0.2.1")


# What a host answers


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    made = Simulation()
    monkeypatch.setattr(ssh, "connect", made.connect)
    return made


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "not what this version"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"name": "data"}', "not what this version"),
        ([DEVICE | {"targets": [{"mode": 7}]}], "not what this version"),
        ([DEVICE | {"more": json.loads("[" * 40 + "]" * 40)}], "not what this version"),
        ([DEVICE, 3], "not what this version"),
        (b" " * (LIMIT + 1), "longer than 16 MiB"),
    ],
)
def test_an_answer_is_not_believed_unseen(
    hosts: Simulation, run: Command, tmp_path: Path, answer: Any, sentence: str
) -> None:
    hosts.answer = lambda host, words: (answer, 0)
    done = run("fleet", "-H", str(inventory(tmp_path / "hosts.toml", 1)), "status")
    assert done.exit_code == 11 and sentence in done.stdout, done.output


def test_nothing_that_a_terminal_obeys_comes_through(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202e\n[red]"
    hosts.answer = lambda host, words: ([DEVICE | {"name": evil}], 0)
    path = str(inventory(tmp_path / "hosts.toml", 1))
    done = run("fleet", "-H", path, "status")
    assert done.exit_code == 0
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\x1b]0;owned\\x07\\u202e\\x0a[red]: rw" in done.stdout
    assert run("fleet", "-H", path, "status", "--json").stdout.isascii()


def test_the_worst_answer_decides_the_exit_code(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    path = str(inventory(tmp_path / "hosts.toml", 3))
    codes = {"host00001": 1}
    hosts.answer = lambda host, words: ([DEVICE], codes.get(host.name, 0))
    assert run("fleet", "-H", path, "status").exit_code == 1
    codes["host00002"] = 7
    done = run("fleet", "-H", path, "status")
    assert done.exit_code == 11
    assert "host00002: failed: it failed" in done.stdout
    assert done.stdout.splitlines()[-1] == "3 hosts: 1 ok, 1 damaged, 1 failed"


@pytest.mark.parametrize(
    "words", [["scrub", "data"], ["watch"], ["status"], ["health"], ["inspect", "/dev/x"]]
)
def test_a_host_whose_python_fails_is_not_taken_for_damaged(
    hosts: Simulation, run: Command, tmp_path: Path, words: list[str]
) -> None:
    """An import that fails ends with 1 as well, before anything is answered."""
    path = str(inventory(tmp_path / "hosts.toml", 1))
    hosts.answer = lambda host, words: (b"", 1)
    done = run("fleet", "-H", path, *words)
    assert done.exit_code == 11 and "host00000: failed" in done.stdout


def test_each_word_is_quoted_for_the_shell_there() -> None:
    seen = []

    class Session:
        def execute(self, command: str, data: bytes, take: Callable[[bytes], None], deadline: float) -> Ended:
            seen.append(command)
            return Ended(1, b"sudo: a password is required\n")

        def close(self) -> None:
            return

    host = Host("one", "192.0.2.1", become=True, python="/opt/a b/python3", cache="/x;reboot $(id)")
    ended = list(Run([host], status("a;b"), connect=lambda _: Session(), tool=tool(), jobs=1))
    words = shlex.split(seen[0])
    assert words[:6] == ["sudo", "-n", "--", "/opt/a b/python3", "-I", "-c"]
    assert words[9:11] == ["/x;reboot $(id)", "run"] and words[12:] == ["status", "a;b", "--json"]
    assert isinstance(ended[-1], Outcome)
    assert ended[-1].sentence == "Python did not run there: sudo: a password is required"


def tool() -> Once:
    return Once(lambda: Blob.of("tool", b"tool"))


def test_a_defect_with_one_host_leaves_the_others_alone() -> None:
    def connect(host: Host) -> Any:
        if host.name == "one":
            raise ZeroDivisionError("odd")
        return Simulation().connect(host)

    run = Run([HOST, Host("two", "192.0.2.2")], status(None), connect=connect, tool=tool(), jobs=1)
    states = {event.host: event.state for event in run if isinstance(event, Outcome)}
    assert states == {"one": State.FAILED, "two": State.OK}


def test_interrupted_what_waits_is_not_begun() -> None:
    hosts, begun, go_on = Simulation(), threading.Event(), threading.Event()

    def entered() -> None:
        begun.set()
        assert go_on.wait(30)

    hosts.entered = entered
    those = [Host(str(number), "192.0.2.1") for number in range(5)]
    run = Run(those, status(None), connect=hosts.connect, tool=tool(), jobs=1)

    def events() -> Iterator[Event]:
        for event in run:
            if begun.is_set():
                run.stop.pull()
                go_on.set()
            yield event

    ended = [event for event in events() if isinstance(event, Outcome)]
    assert [outcome.state for outcome in ended] == [State.STOPPED] * 5
    assert hosts.opened == 1


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def test_a_stream_comes_as_it_is(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    path = str(inventory(tmp_path / "hosts.toml", 1))
    event = {"time": 1.5, "name": "data", "action": "REMAP", "sector": 8}
    hosts.answer = lambda host, words: (lines(event, event), 0)
    told = [json.loads(line) for line in run("fleet", "-H", path, "watch", "--json").stdout.splitlines()]
    assert told[0] == told[1] == {"type": "event", "host": "host00000", "document": event}
    assert [document["type"] for document in told[2:]] == ["host", "summary"]

    finding = {"type": "finding", "kind": "pending", "sector": 8, "sectors": 8}
    summary = {"type": "summary", "name": "data", "ending": "finished", "found": 1, "pending": 2}
    hosts.answer = lambda host, words: (lines(finding, summary), 1)
    done = run("fleet", "-H", path, "scrub", "data", "--rate", "1M")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "host00000: type=finding kind=pending sector=8 sectors=8",
        "host00000: damaged: data: finished, 1 found, 2 pending",
        "1 host: 1 damaged",
    ]
    hosts.answer = lambda host, words: (lines(event) + b"x" * (2 << 20), 0)
    done = run("fleet", "-H", path, "watch")
    assert done.exit_code == 11 and "a line of its answer is too long" in done.stdout


def test_it_asks_before_it_makes_anything(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    path = inventory(tmp_path / "hosts.toml", 2)
    lacking = run("fleet", "-H", str(path), "create")
    assert lacking.exit_code == 2 and "host00000 has no devices" in lacking.stderr
    devices = (
        "[[hosts.host00000.devices]]\nname = 'data'\nmain = '/dev/sdb'\nspare = '/dev/sdc'\nformat = true\n"
    )
    path.write_text(path.read_text() + devices)
    done = run("fleet", "-H", str(path), "create", "--on", "host00000", answer="n\n")
    assert done.exit_code == 10 and hosts.opened == 0
    assert "host00000: data of /dev/sdb and /dev/sdc; overwriting what is on the spare" in done.stderr
    assert "Make 1 device?" in done.stderr


OWN, OTHERS = "/dev/dm-remap", "/dev/ext4"
"""Spares with metadata, and with a file system."""


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("spare", "code"), [(OWN, 4), (OWN, 5), (OTHERS, 5), (OTHERS, 7)])
def test_what_was_a_spare_is_never_formatted_whatever_the_file_says(
    hosts: Simulation, run: Command, tmp_path: Path, spare: str, code: int, dry_run: bool
) -> None:
    path = inventory(tmp_path / "hosts.toml", 1)
    devices = f"[[hosts.host00000.devices]]\nname='data'\nmain='/dev/sdb'\nspare='{spare}'\nformat=true\n"
    path.write_text(path.read_text() + devices)
    created: list[list[str]] = []

    def answer(_: Host, words: list[str]) -> tuple[Any, int]:
        if words[0] == "list":
            return [], 0
        created.append(words)
        made = {"name": "data", "path": "/dev/mapper/data", "warnings": [], "metadata": words[-2] == OWN}
        # What is refused with 5 may be busy, and only for the moment.
        return made, 0 if "--format" in words else code

    hosts.answer = answer
    done = run("fleet", "-H", str(path), "create", "--dry-run" if dry_run else "--yes")
    formats = (spare, code) == (OTHERS, 5)
    assert done.exit_code == (0 if formats else 11), done.output
    assert "--format" not in created[0]
    formatted = [words for words in created if {"--format", "--yes"} <= set(words)]
    assert len(formatted) == (formats and not dry_run)


def test_watching_takes_a_connection_to_each(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    done = run("fleet", "-H", str(inventory(tmp_path / "hosts.toml", 11)), "watch")
    assert done.exit_code == 2 and "--jobs 11" in done.stderr and hosts.opened == 0


@pytest.mark.parametrize("name", ["-x", "a b", "\x1b[31m", "control", "", "../x"])
@pytest.mark.parametrize("command", ["status", "health", "scrub", "watch"])
def test_names_are_looked_at_before_anybody_is_asked(
    hosts: Simulation, run: Command, tmp_path: Path, command: str, name: str
) -> None:
    done = run("fleet", "-H", str(inventory(tmp_path / "hosts.toml", 1)), command, "--", name)
    assert done.exit_code == 2 and hosts.opened == 0


# What is copied


def test_the_tool_is_the_same_bytes_each_time_and_needs_nothing_else(tmp_path: Path) -> None:
    import subprocess

    first = bundle.tool()
    assert first == bundle.tool()
    path = tmp_path / "tool"
    path.write_bytes(first.data)
    for words in (["--version"], ["module", "status", "--json"], ["fleet", "--help"]):
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-S", "-B", str(path), *words], capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away takes root")
def test_a_directory_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    mine = far.private(str(tmp_path))
    assert mine.stat().st_mode & 0o777 == 0o700
    mine.rmdir()
    mine.symlink_to(tmp_path)
    with pytest.raises((far.Refused, FileExistsError)):
        far.private(str(tmp_path))
    mine.unlink()
    mine.mkdir(0o700)
    os.chown(mine, 1, 1)
    with pytest.raises(far.Refused, match="must be a directory of user"):
        far.private(str(tmp_path))
    os.chown(mine, 0, 0)
    tmp_path.chmod(0o777)
    with pytest.raises(far.Refused, match="others can write to"):
        far.private(str(tmp_path))
    tmp_path.chmod(0o1777)
    assert far.private(str(tmp_path)) == mine


def test_a_module_is_put_where_load_finds_it() -> None:
    from pycontrol.service.module import MODULE, cache_dir

    path = far.where("", "module", "")
    assert path == cache_dir(os.uname().release) / f"{MODULE}.ko"


# What is noted


def test_a_state_survives_a_torn_line_and_is_of_one_command(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with opened(path, ["create"]) as journal:
        journal.add("one", Note(State.OK, "made"))
        journal.add("two", Note(State.LOST, "cut"))
        journal.add("three", Note(State.DAMAGED, "worse"))
        with pytest.raises(Busy), opened(path, ["create"]):
            pass
    whole = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with opened(path, ["create"]) as journal:
            lines = whole[:cut].count(b"\n")
            assert set(journal.done) == {"one", "three"} & set(("", "one", "two", "three")[1:lines])
            journal.add("four", Note(State.OK, ""))
        with opened(path, ["create"]) as journal:
            assert "four" in journal.done
    with pytest.raises(UsageError, match="is the state of 'fleet create'"), opened(path, ["scrub", "data"]):
        pass
    path.write_text("something of mine\n")
    with pytest.raises(UsageError, match="is not the state of a run"), opened(path, ["create"]):
        pass
    assert path.read_text() == "something of mine\n"


def test_a_state_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "else")
    from pycontrol.errors import AccessDenied

    with pytest.raises(AccessDenied), opened(tmp_path / "link", ["create"]):
        pass
    assert not os.path.lexists(tmp_path / "else")


def test_what_cannot_be_noted_is_not_gone_on_with(hosts: Simulation, run: Command, tmp_path: Path) -> None:
    path, state = str(inventory(tmp_path / "hosts.toml", 200)), tmp_path / "state"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Room for the first line and a part of the second one.
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, limits[1]))
    try:
        done = run("fleet", "-H", path, "status", "--jobs", "2", "--resume", str(state))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.exit_code == 6 and "cannot be written" in done.stderr
    assert hosts.opened < 100 and hosts.open == 0
    # What there is of a line does not count, and is no harm.
    done = run("fleet", "-H", path, "status", "--resume", str(state))
    assert done.exit_code == 0 and "before" not in done.stdout


# What is loaded


def module(release: str = "6.1.0-9", machine: int = 62, start: bytes = b"\x7fELF\x02\x01\x01") -> bytes:
    head = start.ljust(16, b"\0") + struct.pack("<HH", 1, machine)
    return head + b"\0license=GPL\0vermagic=" + release.encode() + b" SMP preempt mod_unload \0"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (module("6.1.0-10"), "is for kernel 6.1.0-10, and 6.1.0-9 runs there"),
        (module("6.1.0-9x"), "is for kernel"),
        (module(machine=183), "not for a machine of kind x86_64"),
        (module(start=b"#!/bin/sh"), "not a kernel module"),
        (b"\x7fELF", "not a kernel module"),
    ],
)
def test_a_module_for_something_else_is_not_kept(tmp_path: Path, data: bytes, sentence: str) -> None:
    store = Store(Blob.of("source", b"source"), tmp_path)
    store.put(KERNEL, module())
    assert store.get(KERNEL) == module()
    with pytest.raises(HostFailure, match=sentence):
        store.put(KERNEL, data)
    assert store.get(KERNEL) == module()
    (kept,) = tmp_path.rglob("*.ko")
    kept.write_bytes(data)
    with pytest.raises(HostFailure, match=sentence):
        store.get(KERNEL)
    assert store.get(Kernel("6.1.0-10", "x86_64")) is None


def test_a_host_with_an_odd_kernel_names_no_file_here() -> None:
    class Odd:
        facts = type("Facts", (), {"release": "../../etc", "machine": "x86_64"})

    with pytest.raises(HostFailure, match="not a kernel release"):
        modules.kernel_of(Odd())  # type: ignore[arg-type]
