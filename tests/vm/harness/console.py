"""The guest's console: where its kernel complains."""

import re
from pathlib import Path

from .errors import KernelWarning

# What no test may provoke.  In the kernel's words, so that a line can be looked up.
COMPLAINTS = re.compile(
    r"WARNING: |BUG: |BUG at |BUG \S+ \(|Oops|Call Trace:|KASAN|UBSAN|leak detector disabled"
    r"|possible (circular|recursive|irq) |inconsistent lock state|suspicious RCU usage"
    r"|blocked for more than|soft lockup|rcu: INFO|Kernel panic|general protection fault"
    r"|refcount_t: |list_(add|del) corruption|sleeping function called|DEBUG_LOCKS_WARN_ON"
)

# A report of KCSAN, whose first line names the two functions that raced.
RACE = re.compile(r"BUG: KCSAN: .*")
RACE_END = re.compile(r"={60}")
OURS = "[dm_remap_v4]"


# The agent asks for this when a command takes too long: who is stuck, and where.
ASKED_FOR = re.compile(r"sysrq: Show Blocked State")


def _without_others_races(lines: list[str]) -> list[str]:
    """Leave out data races between two other parts of the kernel: it has many."""
    kept, skipping = [], False
    for line in lines:
        if RACE.search(line):
            skipping = OURS not in line
        if not skipping:
            kept.append(line)
        elif RACE_END.search(line):
            skipping = False
    return kept


class Console:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._checked = path.stat().st_size
        self._ignored: list[re.Pattern[str]] = []

    def text(self) -> str:
        """All of it, over all boots of the machine."""
        return self.path.read_text(errors="replace")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    def unchecked(self) -> str:
        """What was added since the last check."""
        with self.path.open("rb") as f:
            f.seek(self._checked)
            return f.read().decode(errors="replace")

    def ignore(self, pattern: re.Pattern[str]) -> None:
        """Leave out of all checks what the test itself makes the kernel say."""
        self._ignored.append(pattern)

    def forgive(self) -> None:
        self._checked = self.path.stat().st_size

    def complaint(self) -> str:
        """What the kernel has complained about since the last check, with what follows.

        What comes behind a list of the blocked tasks is not judged: it is full of traces.
        """
        text = self.unchecked()
        for pattern in self._ignored:
            text = pattern.sub("", text)
        lines = _without_others_races(ASKED_FOR.split(text)[0].splitlines())
        for i, line in enumerate(lines):
            if COMPLAINTS.search(line):
                return "\n".join(lines[max(0, i - 3) : i + 60])
        return ""

    def check(self) -> None:
        """Raise KernelWarning if the kernel has complained since the last check."""
        complaint = self.complaint()
        self.forgive()
        if complaint:
            raise KernelWarning(f"the guest's kernel complains:\n{complaint}")
