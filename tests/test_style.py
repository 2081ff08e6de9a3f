"""ruff and mypy over everything, and imports that stay lazy."""

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


def test_mypy() -> None:
    pytest.importorskip("mypy")
    check("mypy", "--strict", "pycontrol", "tests")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["module", "status"], ["list", "--json"], ["status", "--json"]]
)
def test_nothing_heavy_is_imported_for(arguments: list[str]) -> None:
    """These commands need no table, no udev and no netlink."""
    program = (
        "import sys\n"
        "from pycontrol.cli.main import cli\n"
        f"sys.argv = ['dmremapctl', *{arguments!r}]\n"
        "try: cli()\n"
        "except SystemExit: pass\n"
        "heavy = {'rich', 'pyudev', 'pyroute2', 'crcmod', 'fabric', 'pycontrol.metadata'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_most_files_are_short() -> None:
    long = [path.name for path in TOP.glob("pycontrol/**/*.py") if len(path.read_text().splitlines()) > 320]
    assert long == []
