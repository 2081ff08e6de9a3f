"""Write what ci/matrix found on one kernel into the table of docs/kernels.md."""

import re
import sys
from pathlib import Path

from tally import Tally

BEGIN, END = "<!-- written by ci/matrix -->\n", "<!-- end -->"
HEAD = """\
| Name | Kernel | Compiler | W=1 | sparse | clang | passed | failed | skipped | reports |
|---|---|---|---|---|---|---|---|---|---|
"""
ORDER = ["6.1", "6.12", "newest", "kasan", "kcsan"]


def with_row(page: str, name: str, cells: list[str]) -> str:
    """The page with that kernel's row new and the others as they were."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    rows = {row.split("|")[1].strip(): row for row in re.findall(r"^\| [\dnk].*\n", table, re.MULTILINE)}
    rows[name] = f"| {' | '.join([name, *cells])} |\n"
    return before + BEGIN + HEAD + "".join(rows[key] for key in ORDER if key in rows) + END + after


def main(
    page: str, name: str, version: str, compiler: str, w1: str, sparse: str, clang: str, *reports: str
) -> int:
    counts = [w1, sparse, clang]
    tally = sum((Tally.read(Path(report)) for report in reports), Tally())
    found = [tally.failed, tally.skipped, tally.complaints]
    path = Path(page)
    cells = [version, compiler, *counts, *map(str, (tally.passed, *found))]
    path.write_text(with_row(path.read_text(), name, cells))
    return 0 if tally.passed and not tally.failed and set(counts) <= {"0", "-"} else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
