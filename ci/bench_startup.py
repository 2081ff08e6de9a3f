"""What a start of ``dmremapctl`` costs, beside ``python -c "import click"``.

``ci/bench-startup`` runs it.  Command and yardstick are run in turns, and the ratio of their
CPU times taken for each pair, so that what else the machine does weighs on both.
"""

import argparse
import statistics
import sys

from ci.cost import bytecode_elsewhere, run
from tests.startup import program

YARDSTICK = ["-c", "import click"]
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "--version": (["-m", "pycontrol", "--version"], 1.5),
    "status": (["-c", program("status")], 2.0),
    "status --json": (["-c", program("status", "--json")], 2.0),
    "list": (["-c", program("list")], None),
}
"""What is run, and how many times the yardstick it may cost, if there is a limit."""


def main() -> int:
    """Measure and print; 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=40, metavar="N")
    options = parser.parse_args()
    too_much = 0
    with bytecode_elsewhere():
        for name, (arguments, limit) in COMMANDS.items():
            run(*arguments), run(*YARDSTICK)  # The bytecode is made here.
            pairs = ((run(*arguments), run(*YARDSTICK)) for _ in range(options.pairs))
            ratios = [one.seconds / other.seconds for one, other in pairs]
            found = statistics.median(ratios)
            too_much += limit is not None and found > limit
            print(f"{name:<14} {found:5.2f}" + (f" (limit {limit})" if limit else ""), flush=True)
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
