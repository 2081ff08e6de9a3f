"""Add up the reports of pytest: ci/tally.py REPORT...

A report is what pytest --junitxml writes, one for each run.  A file of the same name in again/
beside it is the report of its failed tests' second attempt, which counts in their place.

ci/tally.py --worth-another REPORT runs nothing and writes nothing: it succeeds if so few tests
failed, and none with a word from the kernel, that a second attempt may tell something.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

# What the harness raises when the kernel has complained.
COMPLAINTS = ("KernelWarning", "KernelPanic")
FEW = 3


@dataclass(frozen=True)
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    complaints: int = 0  # failures in which the kernel had a word

    second: tuple[str, ...] = ()  # tests that passed only then

    @classmethod
    def read(cls, report: Path) -> "Tally":
        suites = list(ET.parse(report).iter("testsuite"))

        def count(name: str) -> int:
            return sum(int(suite.get(name, 0)) for suite in suites)

        failed, skipped = count("failures") + count("errors"), count("skipped")
        said = [e.text or "" for suite in suites for tag in ("failure", "error") for e in suite.iter(tag)]
        return cls(
            passed=count("tests") - failed - skipped,
            failed=failed,
            skipped=skipped,
            complaints=sum(any(word in text for word in COMPLAINTS) for text in said),
        )

    @classmethod
    def read_both(cls, report: Path) -> "Tally":
        """Of the first attempt and, if there was one, of the second."""
        first, again = cls.read(report), report.parent / "again" / report.name
        if not again.exists():
            return first
        second = cls.read(again)
        names = (
            f"{case.get('classname')}.{case.get('name')}"
            for case in ET.parse(again).iter("testcase")
            if case.find("failure") is None and case.find("error") is None
        )
        return cls(
            first.passed + second.passed,
            second.failed,
            first.skipped + second.skipped,
            first.complaints + second.complaints,
            tuple(names),
        )

    @property
    def worth_another(self) -> bool:
        return 0 < self.failed <= FEW and not self.complaints

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.complaints + other.complaints,
            self.second + other.second,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def main(*arguments: str) -> int:
    if arguments[:1] == ("--worth-another",):
        return 0 if Tally.read(Path(arguments[1])).worth_another else 1
    tally = sum((Tally.read_both(Path(name)) for name in arguments), Tally())
    for name in tally.second:
        print(f"unsteady: {name} passed only at its second attempt")
    print(tally)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
