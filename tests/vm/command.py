"""dmremapctl as the tests call it when they call it often."""

import json
from typing import Any

from harness import Guest, Result


def ctl(guest: Guest, *words: str | int) -> Result:
    """Run dmremapctl as a child of the agent, which has imported it: a start takes a second."""
    argv = [str(word) for word in words]
    said = guest.call(_forked, argv)
    return Result(f"dmremapctl {' '.join(argv)}", said["rc"], said["out"], said["err"])


def _forked(argv: list[str]) -> dict[str, Any]:
    import importlib
    import os
    import pkgutil
    import sys
    import tempfile
    import traceback

    import pycontrol

    for module in pkgutil.walk_packages(pycontrol.__path__, "pycontrol."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull) as nothing:  # noqa: PTH123
        child = os.fork()
        if child == 0:
            code = 70
            try:
                for number, file in enumerate((nothing, out, err)):
                    os.dup2(file.fileno(), number)
                sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, "r" if n == 0 else "w") for n in range(3))
                sys.argv = ["dmremapctl", *argv]
                importlib.import_module("pycontrol.cli.main").main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return {"rc": code, "out": out.read().decode(), "err": err.read().decode()}


def ok(guest: Guest, *words: str | int) -> Any:
    """The JSON that a command prints when it succeeds."""
    done = ctl(guest, *words, "--json")
    assert done.rc == 0, done
    return json.loads(done.out)
