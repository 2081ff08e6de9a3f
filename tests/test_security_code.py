"""What the program may do at all, read from its source: no shell, few programs, no code from data."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
SOURCES = sorted((TOP / "pycontrol").rglob("*.py"))

STARTERS = {
    "service/module.py",  # make, modprobe
    "service/find/smartctl.py",  # smartctl
    "service/tell/hooks.py",  # what the administrator named with --hook, and sendmail
    "service/fleet/far.py",  # this program, on the far side
}
"""Every file that starts programs: a new one is to be thought about here and in docs/security.md."""

STARTS = {"run", "Popen", "call", "check_call", "check_output", "create_subprocess_exec"}
FORBIDDEN = {
    "os": {"system", "popen", "execl", "execlp", "execv", "execvp", "spawnl", "spawnlp", "spawnv", "spawnvp"},
    "subprocess": {"getoutput", "getstatusoutput"},
    "asyncio": {"create_subprocess_shell"},
    "tempfile": {"mktemp"},
}
MODULES = {"pickle", "marshal", "shelve", "yaml", "dill", "pty", "commands"}
OPENERS = {"opened", "direct", "open_direct", "open_device", "locked"}

each_file = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TOP)))


def calls(path: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Module or object, function, and the call itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                owner = node.func.value
                yield owner.id if isinstance(owner, ast.Name) else "", node.func.attr, node
            elif isinstance(node.func, ast.Name):
                yield "", node.func.id, node


def place(path: Path) -> str:
    return path.relative_to(TOP / "pycontrol").as_posix()


@each_file
def test_no_shell_and_no_code_from_data(path: Path) -> None:
    for owner, name, call in calls(path):
        where = f"line {call.lineno}: {owner}.{name}"
        assert name not in FORBIDDEN.get(owner, ()), where
        assert owner or name not in {"eval", "exec", "compile", "__import__"}, where
        for option in call.keywords:
            assert option.arg not in {"shell", "preexec_fn", "executable"}, where
    for node in ast.walk(ast.parse(path.read_text())):
        imported = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in imported} & MODULES, f"{imported}"


def test_the_programs_that_are_started_are_named() -> None:
    found = {
        place(path) for path in SOURCES for owner, name, _ in calls(path)
        if (owner in {"subprocess", "asyncio"} and name in STARTS)
    }  # fmt: skip
    assert found == STARTERS


@each_file
def test_a_command_is_a_list_of_words(path: Path) -> None:
    for owner, name, call in calls(path):
        if owner == "subprocess" and name in STARTS:
            first = call.args[0]
            assert not isinstance(first, (ast.Constant, ast.JoinedStr, ast.BinOp)), f"line {call.lineno}"


def _may_write(call: ast.Call) -> bool:
    words = ast.unparse(call)
    return "write=True" in words or "exclusive=True" in words or "O_RDWR" in words or "O_EXCL" in words


def _by_name(call: ast.Call) -> bool:
    """The argument is the name of something that is known by more than its name."""
    return isinstance(call.args[0], ast.Attribute) and call.args[0].attr == "path"


def test_a_device_that_was_looked_at_is_opened_as_such() -> None:
    opening = [
        (place(path), call) for path in SOURCES for _, name, call in calls(path)
        if name in OPENERS and _may_write(call)
    ]  # fmt: skip
    assert len(opening) > 5
    assert [where for where, call in opening if _by_name(call)] == []


def test_only_looking_tells_what_a_device_is() -> None:
    makers = {place(path) for path in SOURCES for _, name, _ in calls(path) if name == "BlockDevice"}
    assert makers == {"service/blockdev.py", "cli/arguments.py"}, "the latter has a type of that name"


def test_every_claim_names_a_test_that_is_there() -> None:
    page = (TOP / "docs/security.md").read_text()
    there = {path.stem.rpartition("_")[2]: path.read_text() for path in TOP.glob("tests/test_security_*.py")}
    for line in page.splitlines():
        for where, names in re.findall(r"(output|files|code|images): ((?:`test_\w+`(?:, )?)+)", line):
            for name in re.findall(r"test_\w+", names):
                assert f"def {name}(" in there[where], name
    named = set(re.findall(r"test_\w+", page))
    for where, source in there.items():
        missing = set(re.findall(r"^def (test_\w+)", source, re.MULTILINE)) - named
        assert missing <= {
            "test_only_looking_tells_what_a_device_is",
            "test_every_claim_names_a_test_that_is_there",
        }, where
