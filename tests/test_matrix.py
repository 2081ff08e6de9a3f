"""The table that ci/matrix writes, and the line with which ci/test ends."""

import subprocess
import sys
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[1] / "ci"

PAGE = """\
Before.

<!-- written by ci/matrix -->
| Name | old heading |
|---|---|
| 6.1 | as it was |
| kasan | as it was |
<!-- end -->

After.
"""

REPORT = """\
<testsuites><testsuite errors="1" failures="1" skipped="1" tests="6">
<testcase name="good"/><testcase name="better"/><testcase name="best"/>
<testcase name="not here"><skipped message="why"/></testcase>
<testcase name="bad"><failure message="no">E  harness.errors.KernelWarning: BUG: KASAN</failure></testcase>
<testcase name="broken"><error message="no">E  KeyError: 'x'</error></testcase>
</testsuite></testsuites>
"""

CLEAN = '<testsuites><testsuite errors="0" failures="0" skipped="0" tests="4"/></testsuites>'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def report(directory: Path, text: str) -> str:
    path = directory / f"{len(list(directory.iterdir()))}.xml"
    path.write_text(text)
    return str(path)


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-B", str(CI / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_row_is_written_and_the_rest_of_the_page_stays(page: Path) -> None:
    reports = report(page.parent, REPORT), report(page.parent, CLEAN)
    done = run("matrix.py", str(page), "6.12", "6.12.1", "gcc 12", *"000", *reports)
    assert done.returncode == 1, done.stderr
    before, table, after = page.read_text().replace("<!-- end -->", "-->").split("-->")
    assert (before, after) == (PAGE.split("-->")[0], "\n\nAfter.\n")
    assert table.splitlines()[3:] == [
        "| 6.1 | as it was |",
        "| 6.12 | 6.12.1 | gcc 12 | 0 | 0 | 0 | 7 | 2 | 1 | 1 |",
        "| kasan | as it was |",
    ]


@pytest.mark.parametrize(("warnings", "status"), [("0", 0), ("-", 0), ("1", 1), ("fails", 1)])
def test_a_warning_makes_it_fail(page: Path, warnings: str, status: int) -> None:
    done = run("matrix.py", str(page), "6.1", "6.1.1", "gcc", "0", warnings, "0", report(page.parent, CLEAN))
    assert done.returncode == status, done.stderr


def test_the_runs_are_added_up(tmp_path: Path) -> None:
    done = run("tally.py", report(tmp_path, REPORT), report(tmp_path, CLEAN))
    assert done.stdout == "7 passed, 2 failed, 1 skipped\n"


FAILED = """\
<testsuites><testsuite errors="0" failures="2" skipped="1" tests="9">
<testcase classname="tests.test_a" name="one"><failure message="no">E  KeyError</failure></testcase>
<testcase classname="tests.test_a" name="two"><failure message="no">E  CommandTimedOut</failure></testcase>
</testsuite></testsuites>
"""
AGAIN = """\
<testsuites><testsuite errors="0" failures="1" skipped="0" tests="2">
<testcase classname="tests.test_a" name="one"><failure message="no">E  KeyError</failure></testcase>
<testcase classname="tests.test_a" name="two"/>
</testsuite></testsuites>
"""


def test_a_second_attempt_counts_and_is_told(tmp_path: Path) -> None:
    first = report(tmp_path, FAILED)
    assert run("tally.py", "--worth-another", first).returncode == 0
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / Path(first).name).write_text(AGAIN)
    assert run("tally.py", first).stdout == (
        "unsteady: tests.test_a.two passed only at its second attempt\n7 passed, 1 failed, 1 skipped\n"
    )


MANY = CLEAN.replace('failures="0"', 'failures="4"')
BROKEN = CLEAN.replace('errors="0"', 'errors="4"')


@pytest.mark.parametrize("said", [REPORT, CLEAN, MANY, BROKEN], ids=["kernel", "clean", "many", "broken"])
def test_no_second_attempt(said: str, tmp_path: Path) -> None:
    """Not where the kernel had a word, nothing failed, or this is no matter of chance."""
    assert run("tally.py", "--worth-another", report(tmp_path, said)).returncode == 1
