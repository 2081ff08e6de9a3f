"""What every command does alike where things go wrong: walked from the tree of commands.

A command that has no line in tests/hostile_commands.py makes the first test fail.
"""

import json
import os
import re
import resource
import signal
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pycontrol.cli.main import cli
from tests.hostile_commands import CASES, COMMANDS, Case, of_line
from tests.hostile_process import isolated
from tests.hostile_traps import Trap
from tests.hostile_world import Outcome, prepare

TOP = Path(__file__).resolve().parents[1]
DOCS = "\n".join((TOP / f"docs/{name}.md").read_text() for name in ("dmremapctl", "meta", "monitor"))
ESCAPES = re.compile(r"\x1b")

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
with_name = pytest.mark.parametrize(
    "case", [case for case in CASES if case.name_at is not None], ids=lambda case: case.line
)


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    prepare()


def clean(outcome: Outcome) -> None:
    """No defect showed, and nothing that a terminal would obey."""
    text = outcome.out + outcome.err
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert all(char == "\n" or char.isprintable() for char in text), repr(text)


def failed(outcome: Outcome, *codes: int) -> None:
    """It ended with one of these codes, and said why in a sentence."""
    clean(outcome)
    assert outcome.code in codes, outcome
    assert len(outcome.sentences) == 1, outcome.err
    assert not re.search(r"\bErrno\b|\bNone\b|<.*object", outcome.err), outcome.err


def test_every_command_has_a_case() -> None:
    assert {of_line(case.line) for case in CASES} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_the_keys_of_json(name: str) -> None:
    words = CliRunner().invoke(cli, [*name.split(), "--help"]).output
    called = name.replace("meta inspect", "inspect")
    assert "Example" in words and re.search(rf"^ +(.*; )?dmremapctl {called}\b", words, re.MULTILINE)
    assert "--json" in words and re.search(r"JSON( keys)?: |as JSON|Keys of --json", words)
    assert "Exit codes:" in words


# What is missing


@each_case
@pytest.mark.parametrize("missing", ["device_mapper", "target", "root"])
def test_something_is_missing(case: Case, missing: str, tmp_path: Path) -> None:
    def work() -> Outcome:
        world = case.world(tmp_path / "world")
        getattr(world, f"without_{missing}")()
        return world.run(*case.words(world))

    code = case.needs.value[["device_mapper", "target", "root"].index(missing)]
    outcome = isolated(work)
    if code:
        failed(outcome, code)
        assert outcome.out == ""
    else:
        clean(outcome)
        assert outcome.code in (0, case.code) and not outcome.sentences


# Names

NAMES = ["", ".", "..", "a/b", "a b", "\x1b[31mred", "a\nb", "\x9b2J", "\u202eevil", "\udcff", "x" * 200]
NAMES += [
    "[red]",
    "-x",
    "-\x1b[2J",
    "--no\nsuch",
    "%s",
    "{0}",
    "../../etc/passwd",
    "control",
    "/dev/sda",
    "';",
]
ABSENT = ["nothing", "--", "/dev/mapper/nothing", "other"]


@with_name
def test_names_that_are_none_or_not_ours(case: Case, tmp_path: Path) -> None:
    names = NAMES if case.makes or case.waits else NAMES + ABSENT

    def work() -> tuple[dict[str, object], list[Outcome]]:
        world = case.world(tmp_path / "world")
        before, told = world.state(), []
        for name in names:
            words = case.words(world)
            assert case.name_at is not None
            # Behind '--' whatever it is it is no option.
            words[case.name_at : case.name_at + 1] = ["--", name] if name == "--" else [name]
            told.append(world.run(*words))
        return before, told

    before, told = isolated(work)
    for name, outcome in zip(names, told, strict=True):
        try:
            failed(outcome, 2, 4)
            assert outcome.out == ""
            assert outcome.state == before
        except AssertionError as error:
            raise AssertionError(f"{name!r}: {error}") from error


# Standard output


@each_case
@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_standard_output_is_full_or_nobody_reads_it(
    case: Case, option: tuple[str, ...], tmp_path: Path
) -> None:
    def work(where: str) -> Outcome:
        world = case.world(tmp_path / where)
        out = None
        if where == "full":
            out = os.open("/dev/full", os.O_WRONLY)
        elif where == "unread":
            reader, out = os.pipe()
            os.close(reader)
        return world.run(*case.words(world, *option), out=out)

    usual = isolated(lambda: work("usual"))
    clean(usual)
    assert usual.code == case.code
    full, unread = isolated(lambda: work("full")), isolated(lambda: work("unread"))
    if usual.out:
        failed(full, 6)
        assert "standard output cannot be written: No space left" in full.err
        assert unread.code == 6 and not unread.sentences
        clean(unread)
    else:
        assert full.code == unread.code == case.code
    # Nothing is undone or left out for that.
    assert full.state == unread.state == usual.state


@pytest.mark.parametrize("case", [case for case in CASES if "{out}" in case.line], ids=lambda case: case.line)
def test_no_room_for_a_file(case: Case, tmp_path: Path) -> None:
    def work() -> tuple[dict[str, object], Outcome]:
        world = case.world(tmp_path / "world")
        before, words = world.state(), case.words(world)
        reader, writer = os.pipe()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # No file may become longer: that is as good as a file system that is full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
        outcome = world.run(*words, out=writer, err=writer)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return before, replace(outcome, err=os.read(reader, 1 << 16).decode())

    before, outcome = isolated(work)
    failed(outcome, 6)
    assert outcome.state == before, "something is left"


# Terminals and encodings


@each_case
def test_any_terminal_and_encoding_will_do(case: Case, tmp_path: Path) -> None:
    from tests.hostile_terminals import SCREENS, shown

    for name, screen in SCREENS.items():
        outcome = isolated(lambda: shown(case, tmp_path / name, screen))  # noqa: B023
        text = outcome.out + outcome.err
        assert outcome.code == case.code, (name, outcome)
        assert "Traceback" not in text and "\ufffd" not in text, (name, text)
        # Nothing is cut off for want of room.
        assert "\u2026" not in text, (name, text)
        assert not screen.ascii or text.isascii(), (name, text)
        assert screen.escapes or not ESCAPES.search(text), (name, text)
        assert screen.colour or not re.search(r"\x1b\[[0-9;]*\b[349][0-7]m", text), (name, text)


# JSON


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value)
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@each_case
def test_json_and_nothing_else(case: Case, tmp_path: Path) -> None:
    def work() -> Outcome:
        world = case.world(tmp_path / "world")
        return world.run(*case.words(world, "--json"))

    outcome = isolated(work)
    clean(outcome)
    assert outcome.code == case.code
    try:
        documents = [json.loads(outcome.out)]
    except ValueError:
        documents = [json.loads(line) for line in outcome.out.splitlines()]
    assert documents or case.line.startswith("meta dump"), "no JSON"
    command = COMMANDS[of_line(case.line)]
    known = command.get_help(click.Context(command)) + DOCS
    unknown = {key for document in documents for key in keys(document)} - set(re.findall(r"\w+", known))
    assert not unknown


# ^C, and devices that vanish


def points(case: Case, top: Path, **what: bool) -> tuple[dict[str, object], Outcome, int]:
    """How things stand before and after, and how many points there are to be caught at."""

    def work() -> tuple[dict[str, object], Outcome, int]:
        world = case.world(top)
        before = world.state()
        trap = Trap(world, 0, lambda: None, **what)
        outcome = world.run(*case.words(world))
        return before, outcome, trap.count

    return isolated(work)


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 1 to ``count``, evenly, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + at * (count - 1) // (most - 1) for at in range(most)})


@each_case
def test_interrupted_at_any_moment(case: Case, tmp_path: Path) -> None:
    before, done, count = points(case, tmp_path / "first", files=True)
    after = done.state
    # What changes something is stopped at more points than what only looks.
    for at in spread(count, 14 if before != after else 4):

        def work(at: int = at) -> tuple[Outcome, Outcome | None]:
            world = case.world(tmp_path / str(at))
            Trap(world, at, lambda: signal.raise_signal(signal.SIGINT), files=True)
            outcome = world.run(*case.words(world))
            if outcome.code in (0, case.code) or outcome.state == after != before:
                return outcome, None
            return outcome, world.run(*case.words(world))

        outcome, again = isolated(work)
        where = f"point {at} of {count}"
        clean(outcome)
        assert outcome.code in (10, case.interrupted, case.code), (where, outcome)
        assert len(outcome.sentences) == (outcome.code == 10 and not outcome.out), (where, outcome)
        assert outcome.code != case.code or outcome.state == after, (where, outcome)
        if outcome.state not in (before, after):
            assert case.stays and case.stays in outcome.err, (where, outcome, before)
        assert again is None or (again.code == case.code and again.state == after), (where, outcome, again)


@each_case
def test_devices_vanish_at_any_moment(case: Case, tmp_path: Path) -> None:
    _, _, count = points(case, tmp_path / "first")
    for at in spread(count, 6):

        def work(at: int = at) -> Outcome:
            world = case.world(tmp_path / str(at))
            Trap(world, at, world.kernel.devices.clear)
            return world.run(*case.words(world))

        outcome = isolated(work)
        clean(outcome)
        if outcome.code != case.code:
            failed(outcome, 4)
