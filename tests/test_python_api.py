"""The package as programs use it: its names, their types, and the examples of docs/python.md."""

import ast
import inspect
import re
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import click
import pytest

import pycontrol
from pycontrol import errors
from pycontrol.cli.main import COMMANDS
from pycontrol.metadata import Record
from tests.fakes import FakeKernel
from tests.inservice import DATA, NOW, in_service
from tests.test_fill import LOST, Rig, content, rig

TOP = Path(__file__).resolve().parents[1]
PAGE = (TOP / "docs/python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TABLE = dict(re.findall(r"^\| `([a-z -]+)` \| (.+) \|$", PAGE, re.MULTILINE))
"""Of the page: the functions for each command."""

NAMESPACES = {"meta": pycontrol.meta, "module": pycontrol.module}

__all__ = ["rig"]  # A fixture.


# Names


def imported_for_mypy() -> dict[str, tuple[str, str]]:
    """What the package says to type checkers: module and name there, by the name it has here."""
    tree = ast.parse(Path(inspect.getfile(pycontrol)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_name_is_what_type_checkers_are_told() -> None:
    told = imported_for_mypy()
    plain = {"TARGET", "UUID_PREFIX", "__version__"}
    assert set(told) | plain == set(pycontrol.__all__) <= set(dir(pycontrol))
    for name, (module, attribute) in told.items():
        expected = getattr(import_module(module), attribute, None)
        assert getattr(pycontrol, name) is (expected or import_module(f"{module}.{attribute}")), name


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="'pycontrol' has no attribute 'frobnicate'"):
        _ = pycontrol.frobnicate  # type: ignore[attr-defined]


def in_a_new_process(source: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-B", "-c", source], cwd=TOP, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_import_costs_nothing_and_a_name_what_it_needs() -> None:
    said = "print(*(name for name in sys.modules if name.startswith('pycontrol')))"
    assert in_a_new_process(f"import sys, pycontrol; dir(pycontrol); {said}") == ["pycontrol"]
    loaded = in_a_new_process(f"import sys; from pycontrol import devices; {said}")
    assert "pycontrol.service.devices" in loaded
    assert not [name for name in loaded if ".cli" in name or ".metadata" in name or ".move" in name]
    everything = "from pycontrol import *; print(callable(create), callable(meta.check))"
    assert in_a_new_process(everything) == ["True", "True"]


def test_there_is_one_tree_of_errors() -> None:
    for path in (TOP / "pycontrol").rglob("*.py"):
        if path.name == "far.py":
            continue  # It runs on another host, alone.
        module = import_module(".".join(path.relative_to(TOP).with_suffix("").parts))
        for name, found in vars(module).items():
            ours = isinstance(found, type) and found.__module__ == module.__name__
            if ours and issubclass(found, Exception) and not name.startswith("_"):
                internal = issubclass(found, (click.ClickException, ValueError))
                assert internal or issubclass(found, errors.RemapError), f"{module.__name__}.{name}"


# The page


def commands() -> list[str]:
    """Every command; those of a group behind its name, or the group where the page names that."""
    found: list[str] = []
    for name, (place, _) in COMMANDS.items():
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, click.Group) and name not in TABLE:
            found += [f"{name} {each}" for each in command.list_commands(click.Context(command))]
        else:
            found.append(name)
    return found


def functions(owner: ModuleType, names: list[str]) -> set[str]:
    return {name for name in names if isinstance(getattr(owner, name), FunctionType)}


def test_each_command_has_its_function_or_a_reason() -> None:
    assert set(TABLE) == set(commands())
    named: set[str] = set()
    for command, text in TABLE.items():
        assert text.startswith("none: ") or re.search(r"`[a-z_.]+`", text), command
        named |= set(re.findall(r"`([\w.]+)`", text))
    for name in named - {"lines"}:
        owner, _, attribute = name.rpartition(".")
        assert hasattr(NAMESPACES[owner] if owner else pycontrol, attribute), name
    there = functions(pycontrol, pycontrol.__all__)
    there |= {f"meta.{name}" for name in functions(pycontrol.meta, pycontrol.meta.__all__)}
    assert there <= named, "the page does not name them"


def test_every_function_says_what_it_takes_returns_and_raises() -> None:
    for owner in (pycontrol, pycontrol.meta):
        for name in functions(owner, owner.__all__):
            found = inspect.signature(getattr(owner, name))
            assert getattr(owner, name).__doc__, name
            assert found.return_annotation is not inspect.Signature.empty, name
            assert all(each.annotation is not each.empty for each in found.parameters.values()), name


def test_the_page_has_the_tree_of_errors() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    ours = {name for name, found in vars(errors).items() if isinstance(found, type)}
    assert ours - named == {"RemapError"}


def test_the_examples_are_well_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    for number, text in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(text)
    files = sorted(map(str, tmp_path.glob("*.py")))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *files],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_example(number: int, **constants: object) -> dict[str, Any]:
    """Run an example, as it stands on the page but for the constants it begins with."""
    source = EXAMPLES[number]
    for name, value in constants.items():
        source, count = re.subn(rf"^{name} = .*$", f"{name} = {value!r}", source, flags=re.MULTILINE)
        assert count == 1, name
    names: dict[str, Any] = {"PosixPath": Path}
    exec(compile(source, f"docs/python.md, example {number + 1}", "exec"), names)
    return names


def test_the_nightly_check_mails_on_change_only(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[EmailMessage] = []

    class Server:
        def __init__(self, host: str) -> None:
            assert host == "localhost"

        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *_: object) -> None:
            return

        def send_message(self, mail: EmailMessage) -> None:
            sent.append(mail)

    monkeypatch.setattr(smtplib, "SMTP", Server)
    device = in_service(kernel, tmp_path, monkeypatch)
    state = tmp_path / "verdicts.json"
    for _ in range(2):
        run_example(0, STATE=state)
    assert [mail["Subject"] for mail in sent] == ["dm-remap: data good"]
    device.put([Record(64, 0, 8, 2, 1, NOW)])
    for _ in range(2):
        run_example(0, STATE=state)
    assert len(sent) == 2 and sent[1]["Subject"] == "dm-remap: data watch"
    assert "data: " in sent[1].get_content() and "8 sectors" in sent[1].get_content()


def test_a_list_is_taken_over_and_what_was_lost_is_filled(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Blocks 50 and 51 are sectors 100 to 103; two of them cannot be read, and the backup has them.
    rig.target.unreadable = {101, 102}
    for sector in rig.target.unreadable:
        rig.write(sector, LOST)
    bad = tmp_path / "bad.txt"
    bad.write_text("50\n51\n")
    run_example(1, NAME="r0", BAD=str(bad), IMAGE=str(rig.copy))
    assert capsys.readouterr().out.splitlines() == [
        "2 sectors are safe on the spare, 2 cannot be read",
        "sectors 101 to 102 are as in the backup",
    ]
    assert set(rig.target.remapped) == {100, 103} and not rig.target.lost
    assert [rig.read(sector) for sector in (101, 102)] == [content(101), content(102)]


def test_a_spare_that_is_too_small_for_the_list(rig: Rig, kernel: FakeKernel, tmp_path: Path) -> None:
    kernel.status_line = "999/1000 0 0 5/5 1 0 0 0 0 0 0 rw -"
    bad = tmp_path / "bad.txt"
    bad.write_text("50\n")
    with pytest.raises(SystemExit, match="room for 1 sectors only"):
        run_example(1, NAME="r0", BAD=str(bad), IMAGE=str(rig.copy))
    assert not rig.target.remapped


def test_where_the_remaps_lie(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = in_service(kernel, tmp_path, monkeypatch)
    device.put([Record(4096, DATA + 8, 16, 1, 1, NOW), Record(64, 0, 8, 2, 1, NOW)])
    run_example(2, IMAGE=str(device.image))
    assert device.loaded is not None
    assert capsys.readouterr().out.splitlines() == [
        f"{device.loaded.uuid}: sequence {device.loaded.sequence}, 5 of 5 copies good",
        "sector 64, 8 sectors: pending",
        f"sector 4096, 16 sectors: spare sector {DATA + 8}",
    ]
    with pytest.raises(SystemExit, match="there is no device behind"):
        run_example(2, IMAGE=str(tmp_path / "none.img"))


# What no command and no example shows
