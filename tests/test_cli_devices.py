"""list, status, remove, remap, unmap, message and watch through the command line."""

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontrol.cli import main as entry
from pycontrol.cli import streams
from pycontrol.cli.exitcodes import MEANING, ExitCode
from pycontrol.service import blockdev
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.tell import watch
from tests.conftest import Run
from tests.fakes import FakeKernel

OURS = (0, 1000, "dm-remap-v4", "8:0 8:16 2 copies 5")


@pytest.fixture
def r0(kernel: FakeKernel) -> FakeKernel:
    kernel.add("root", "LVM-xyz", (0, 8, "linear", "8:1 0"))
    kernel.add("r0", "DMREMAP-1", OURS)
    kernel.status_line = "16/4096 2 1 4/5 77 3 9 8 24 2 copies 5 1 degraded ro needs_check"
    return kernel


def test_list_shows_ours_and_those_made_by_dmsetup(r0: FakeKernel, run: Run) -> None:
    r0.add("bare", "", (0, 8, "linear", "8:1 0"), (8, 8, "dm-remap-v4", "8:2 8:3"))
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == ["bare", "r0"]
    assert rows[1] == {
        "name": "r0", "path": "/dev/mapper/r0", "uuid": "DMREMAP-1", "dev": "253:1", "open": 0,
        "main": "8:0", "spare": "8:16", "mode": "ro",
    }  # fmt: skip
    table = run("list").stdout
    assert "r0" in table and "253:1" in table and "root" not in table


def test_status_json_has_the_documented_keys_and_the_kernels_values(r0: FakeKernel, run: Run) -> None:
    [device] = json.loads(run("status", "r0", "--json").stdout)
    [target] = device.pop("targets")
    assert device == {
        "name": "r0", "path": "/dev/mapper/r0", "uuid": "DMREMAP-1", "dev": "253:1", "open": 0, "event_nr": 0,
        "suspended": False, "readonly": False, "deferred_remove": False, "doing": "",
    }  # fmt: skip
    assert target == {
        "start": 0, "length": 1000, "main": "8:0", "spare": "8:16", "features": ["copies", "5"],
        "used_sectors": 16, "total_sectors": 4096, "remapped_extents": 2, "pending_extents": 1,
        "valid_copies": 4, "copies": 5, "sequence": 77, "read_errors": 3, "write_errors": 9,
        "sectors_salvaged": 8, "sectors_lost": 24, "errors": ["degraded"], "mode": "ro",
        "needs_check": True, "healthy": False,
    }  # fmt: skip


def test_status_for_people(r0: FakeKernel, run: Run) -> None:
    shown = run("status").stdout
    for words in ("/dev/mapper/r0", "4 of 5 copies valid", "2 extents", "ro degraded needs_check", "24 lost"):
        assert words in shown


def test_status_line_of_another_version_is_told(r0: FakeKernel, run: Run) -> None:
    r0.status_line = "something else"
    result = run("status", "r0")
    assert result.exit_code == 6 and "not as documented" in result.stderr


@pytest.mark.parametrize(
    "command", [("status",), ("remove",), ("message", "sync"), ("remap", "8"), ("unmap", "8")]
)
@pytest.mark.parametrize(("name", "words"), [("gone", "no such device"), ("root", "not one of dm-remap")])
def test_no_or_wrong_device(
    r0: FakeKernel, run: Run, command: tuple[str, ...], name: str, words: str
) -> None:
    result = run(command[0], name, *command[1:])
    assert result.exit_code == 4 and words in result.stderr, result.stderr
    assert set(r0.devices) == {"root", "r0"} and r0.messages == []


@pytest.mark.parametrize(
    "command", [("list",), ("status", "r0"), ("remove", "r0"), ("message", "r0", "sync")]
)
@pytest.mark.parametrize(("code", "expected"), [(errno.EACCES, 6), (errno.ENOENT, 7)])
def test_no_permission_and_no_device_mapper(
    run: Run, command: tuple[str, ...], code: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str | Path, flags: int, *rest: int) -> int:
        if str(path) == "/dev/mapper/control":
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    result = run(*command)
    assert result.exit_code == expected, result.stderr
    assert result.stderr.startswith("dmremapctl: ") and result.stderr.count("\n") == 1


def test_remove(r0: FakeKernel, run: Run) -> None:
    assert json.loads(run("remove", "/dev/mapper/r0", "--json").stdout) == {"name": "r0", "removed": True}
    assert set(r0.devices) == {"root"}


def test_remove_of_a_device_in_use_names_the_user(
    r0: FakeKernel, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    r0.devices["r0"].open_count = 1
    monkeypatch.setattr(blockdev, "mounts", lambda dev, *_: ("/mnt\x1b",) if str(dev) == "253:1" else ())
    result = run("remove", "r0")
    assert result.exit_code == 5 and "mounted on /mnt\\x1b" in result.stderr
    monkeypatch.setattr(blockdev, "mounts", lambda dev, *_: ())
    result = run("remove", "r0")
    assert result.exit_code == 5 and "still open" in result.stderr
    assert "r0" in r0.devices


def test_remove_deferred(r0: FakeKernel, run: Run) -> None:
    r0.devices["r0"].open_count = 1
    assert json.loads(run("remove", "r0", "--deferred", "--json").stdout)["removed"] is False
    assert r0.devices["r0"].deferred


@pytest.mark.parametrize(
    ("words", "sent", "answer"),
    [
        (("remap", "r0", "1000"), "remap 1000", "Remapped 1 sectors"),
        (("remap", "r0", "1000", "8"), "remap 1000 8", "Remapped 7 sectors, 1 unreadable and pending"),
        (("unmap", "r0", "7", "1"), "unmap 7 1", "Unmapped 1 sectors"),
    ],
)
def test_messages_as_the_target_wants_them(
    r0: FakeKernel, run: Run, words: tuple[str, ...], sent: str, answer: str
) -> None:
    r0.answer = lambda said: answer if said == sent else None
    result = run(*words)
    assert result.stdout == f"{answer}\n"
    assert r0.messages == [(0, sent)]
    assert json.loads(run(*words, "--json").stdout)["answer"] == answer


def test_any_message_and_its_answer_in_lines(r0: FakeKernel, run: Run) -> None:
    r0.answer = lambda said: f"did {said}\x1b\nsecond line"
    words = "message", "r0", "test_remap", "1000", "5000"
    assert run(*words).stdout == "did test_remap 1000 5000\\x1b\nsecond line\n"
    assert r0.messages == [(0, "test_remap 1000 5000")]
    assert json.loads(run(*words, "--json").stdout)["answer"] == "did test_remap 1000 5000\x1b\nsecond line"


def test_an_answer_of_another_version_is_said(r0: FakeKernel, run: Run) -> None:
    r0.answer = lambda said: "Moved \x1b 7 things"
    result = run("remap", "r0", "7")
    assert result.exit_code == 6 and r"'Moved \x1b 7 things', which is not as documented" in result.stderr


def test_a_message_is_addressed_to_the_target_at_a_sector(r0: FakeKernel, run: Run) -> None:
    run("message", "r0", "sync", "--sector", "600")
    assert r0.messages == [(600, "sync")]


@pytest.mark.parametrize(
    "words",
    [("remap", "r0", "-1"), ("remap", "r0", "8", "0"), ("remap", "r0", "x"), ("message", "r0"),
     ("message", "r0", "two words"), ("remap", "r0", str(1 << 64)), ("unmap", "r0", "9", str(1 << 64)),
     ("message", "r0", "sync", "--sector", str(1 << 64))],
)  # fmt: skip
def test_bad_arguments_send_nothing(r0: FakeKernel, run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2
    assert r0.messages == []


@pytest.mark.parametrize("word", ["\udcff", "s\u00e9ance", "\u0661"])
def test_words_that_the_target_cannot_know_are_refused_in_one_sentence(
    r0: FakeKernel, run: Run, word: str
) -> None:
    """What is no text comes from the command line as surrogates."""
    result = run("message", "r0", "list", word)
    assert result.exit_code == 2 and r0.messages == []
    assert result.stderr.startswith("dmremapctl: ") and result.stderr.count("\n") == 1
    assert "ASCII" in result.stderr


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (errno.EINVAL, "sector 9999 is beyond the device", 9),
        # Nobody else is blamed for it, as for a table that is refused so.
        (errno.EBUSY, "the device is suspended, resume it first", 5),
    ],
)
def test_a_refused_message_brings_the_kernels_sentence(
    r0: FakeKernel, run: Run, monkeypatch: pytest.MonkeyPatch, error: int, sentence: str, code: int
) -> None:
    r0.fail["DM_TARGET_MSG"] = error
    monkeypatch.setattr(KernelLog, "sentence", lambda self: sentence)
    result = run("remap", "r0", "9999")
    assert result.exit_code == code and result.stderr.endswith(f": {sentence}\n")


def test_help_tells_every_exit_code_in_every_command(run: Run) -> None:
    commands: list[tuple[str, ...]] = [
        (),
        ("create",),
        ("remove",),
        ("list",),
        ("status",),
        ("remap",),
        ("watch",),
    ]
    for command in commands:
        shown = run(*command, "--help").stdout
        for code in ExitCode:
            assert MEANING[code] in shown, (command, code)


def test_exit_codes_are_the_promised_numbers() -> None:
    assert [code.value for code in ExitCode] == list(range(13)) and set(MEANING) == set(ExitCode)


def test_a_fault_of_the_tool_is_not_taken_for_damage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entry, "cli", lambda **_: [][0])
    for name in ("prepare", "finished"):
        monkeypatch.setattr(streams, name, lambda *code: code and code[0])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 12 and "IndexError" in capsys.readouterr().err


def test_unknown_command_is_usage(run: Run) -> None:
    assert run("frobnicate").exit_code == 2


@pytest.fixture
def uevents(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    played: list[dict[str, str]] = []

    def source() -> Iterator[dict[str, str]]:
        yield from played
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "open_source", lambda: ("fake", source()))
    return played


def event(action: str, name: str = "r0", **more: str) -> dict[str, str]:
    return {"ACTION": "change", "SUBSYSTEM": "block", "DEVNAME": "/dev/dm-1", "DM_TARGET": "dm-remap-v4",
            "DM_ACTION": action, "DM_NAME": name, "DM_UUID": "DMREMAP-1"} | more  # fmt: skip


def test_watch_prints_json_lines_until_interrupted(run: Run, uevents: list[dict[str, str]]) -> None:
    uevents += [
        event("REMAP", DM_SEQNUM="7", DM_SECTOR="1000", DM_SECTORS="8", DM_EXTENTS="1"),
        event("MODE"),
        event("MODE", "r1"),
    ]
    result = run("watch", "r0", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert first.pop("time") > 0
    assert first == {"name": "r0", "uuid": "DMREMAP-1", "action": "REMAP", "device": "dm-1", "seqnum": 7,
                     "sector": 1000, "sectors": 8, "extents": 1}  # fmt: skip
    assert (second["action"], second["sector"]) == ("MODE", None)


def test_watch_ends_after_count(run: Run, uevents: list[dict[str, str]]) -> None:
    uevents += [event("REMAP"), event("PENDING"), event("UNMAP")]
    shown = run("watch", "--count", "2").stdout
    assert "REMAP" in shown and "PENDING" in shown and "UNMAP" not in shown


def test_watch_says_how_scattered_the_sectors_are(run: Run, uevents: list[dict[str, str]]) -> None:
    uevents += [
        event("REMAP", DM_SECTOR="1000", DM_SECTORS="16", DM_EXTENTS="2"),
        event("PENDING", DM_SECTOR="8", DM_SECTORS="1", DM_EXTENTS="1"),
        event("SPARE_FULL", DM_SECTOR="0", DM_SECTORS="0", DM_EXTENTS="1"),
    ]
    shown = [line.split(maxsplit=2)[2] for line in run("watch").stdout.splitlines()]
    assert shown == [
        "REMAP sector 1000 (16 sectors in 2 extents)",
        "PENDING sector 8 (1 sectors)",
        "SPARE_FULL",
    ]


def test_watch_shows_hostile_values_escaped(run: Run, uevents: list[dict[str, str]]) -> None:
    uevents.append(event("[red]\x1b[2J", "r0\n[bold]", DM_SECTOR="9\x1b"))
    shown = run("watch").stdout
    assert "r0\\x0a[bold] [red]\\x1b[2J" in shown and "\x1b" not in shown and shown.count("\n") == 1
