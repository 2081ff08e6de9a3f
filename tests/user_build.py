"""The user-space build of kernel/, and its programs as tests see them."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
MUTATIONS = TOP / "tests/user/mutations"

# The first report ends a program, and its exit status is not that of a failed check.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1",
    "TSAN_OPTIONS": "halt_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@cache
def built() -> Path:
    """The directory with the programs; made only when a source has changed."""
    done = subprocess.run([TOP / "ci/user-build"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@dataclass
class Ran:
    status: int
    output: str

    def figures(self) -> dict[str, int]:
        """The last line of a program that found nothing: ``name=number ...``."""
        assert self.status == 0, self.output
        return {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", self.output)}


def run(program: str, *arguments: str | int, given: str = "", timeout: float = 800) -> Ran:
    """A program of the build; ``given`` is its standard input."""
    done = subprocess.run(
        [built() / program, *map(str, arguments)],
        input=given,
        env=os.environ | SANITIZERS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def run_with_second_opinion(program: str, *arguments: str | int, one_in: int = 1, given: str = "") -> Ran:
    """The program, with the Python codec beside it on one in so many disks."""
    command = [sys.executable, "-B", "-m", "tests.second_opinion", "--one-in", one_in, program, *arguments]
    done = subprocess.run(
        [str(each) for each in command],
        cwd=TOP,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


def mutations(*programs: str) -> list[str]:
    """``program/mutation`` for each bug that can be planted for those programs."""
    found = [str(path.relative_to(MUTATIONS).with_suffix("")) for path in MUTATIONS.glob("*/*.sed")]
    return sorted(name for name in found if name.split("/")[0] in programs)


def caught_as(mutation: str) -> str:
    """What the program must say that finds it."""
    found = re.search(r"^# Caught as: (.*)$", (MUTATIONS / f"{mutation}.sed").read_text(), re.M)
    assert found, f"{mutation} does not say how it is caught"
    return found[1]


def seeds(mutation: str) -> list[int]:
    """With which a random program finds it, of those tried, or else the first few."""
    found = re.search(r"^# Seed: (\d+)$", (MUTATIONS / f"{mutation}.sed").read_text(), re.M)
    return [int(found[1])] if found else list(range(1, 9))
