"""dmremapctl as the tests call it when they call it often."""

import json
from typing import Any

from harness import Guest, Result


def ctl(guest: Guest, *words: str | int) -> Result:
    """Run dmremapctl as a child of the agent, which has imported it: a start takes a second."""
    argv = [str(word) for word in words]
    # The first call imports all of it, on a busy host for a while.
    said = guest.call(_forked, argv, timeout=240)
    return Result(f"dmremapctl {' '.join(argv)}", said["rc"], said["out"], said["err"])


def _forked(argv: list[str]) -> dict[str, Any]:
    import importlib

    children = importlib.import_module("guest.children")
    found: dict[str, Any] = children.end(children.begin(argv, limit=0))
    return found


def ok(guest: Guest, *words: str | int) -> Any:
    """The JSON that a command prints when it succeeds."""
    done = ctl(guest, *words, "--json")
    assert done.rc == 0, done
    return json.loads(done.out)
