"""The module builds without a word from the compiler, nor from sparse."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources, so that the tree stays clean."""
    return shutil.copytree(TOP / "kernel", tmp_path / "kernel")


def complaints(check: str, sources: Path) -> str:
    done = subprocess.run(
        [TOP / "ci/complaints", check, str(sources)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (sources / "dm-remap-v4.ko").exists()
    return done.stdout


def test_the_module_builds_without_warnings_at_w1(sources: Path) -> None:
    assert complaints("w1", sources) == ""


def test_sparse_finds_nothing(sources: Path) -> None:
    assert complaints("sparse", sources) == ""


@pytest.mark.parametrize(
    ("check", "function", "complaint"),
    [
        ("w1", "static int unused(void) { return 0; }", "defined but not used"),
        ("sparse", "int sum(__le64 x); int sum(__le64 x) { return x + 1; }", "restricted __le64 degrades"),
    ],
)
def test_a_mistake_would_be_found(sources: Path, check: str, function: str, complaint: str) -> None:
    with (sources / "dm-remap-v4-map.c").open("a") as file:
        file.write(function + "\n")
    said = complaints(check, sources).splitlines()
    assert len(said) == 1 and complaint in said[0]
