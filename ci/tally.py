"""Add up the reports of pytest: ci/tally.py REPORT...

A report is what pytest --junitxml writes, one for each run.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

# What the harness raises when the kernel has complained.
COMPLAINTS = ("KernelWarning", "KernelPanic")


@dataclass(frozen=True)
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    complaints: int = 0  # failures in which the kernel had a word

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

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.complaints + other.complaints,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


if __name__ == "__main__":
    print(sum((Tally.read(Path(name)) for name in sys.argv[1:]), Tally()))
