"""ruff and mypy over everything, files of a size that can be read, and patches that apply."""

import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    pytest.importorskip("ruff")
    check("ruff", "check", "pycontrol", "tests", "ci")


def test_what_is_public_is_documented() -> None:
    pytest.importorskip("ruff")
    # Modules, classes, methods, functions, packages; tests and ci/ speak for themselves.
    check("ruff", "check", "--select", "D100,D101,D102,D103,D104", "pycontrol")


def test_mypy() -> None:
    pytest.importorskip("mypy")
    check("mypy", "--strict", "pycontrol", "tests")


def test_most_files_are_short() -> None:
    long = [path.name for path in TOP.glob("pycontrol/**/*.py") if len(path.read_text().splitlines()) > 320]
    assert long == []


@pytest.mark.parametrize("patch", sorted(TOP.glob("tests/vm/planted/*/*.patch")), ids=lambda path: path.stem)
def test_a_planted_bug_still_applies(patch: Path) -> None:
    """Only a debug kernel shows that it is caught, see vm/test_alarms.py."""
    command = ("patch", "-p1", "--fuzz=0", "--dry-run", "-d", TOP / "kernel", "-i", patch)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
