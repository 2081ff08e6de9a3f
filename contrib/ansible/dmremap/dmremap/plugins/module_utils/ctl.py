# Copyright (c) dm-remap authors
# SPDX-License-Identifier: GPL-2.0-only
"""dmremapctl as the modules call it: a list of words, never a shell, and JSON as its answer."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from ansible.module_utils.common.text.converters import to_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.module_utils.basic import AnsibleModule

OK, DAMAGED, WRONG_DEVICE, BUSY = 0, 1, 4, 5
"""Exit codes of dmremapctl; docs/dmremapctl.md has them all."""


class Failed(Exception):
    """A command that did not succeed, in one sentence."""

    def __init__(self, code: int, sentence: str, argv: list[str]) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.argv = argv


class Ctl:
    """What runs it for a module."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        places = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"]
        self._path = module.get_bin_path(module.params["executable"], required=True, opt_dirs=places)

    def __call__(self, *words: str, operands: tuple[str, ...] = (), codes: tuple[int, ...] = (OK,)) -> Any:
        """The JSON that a command prints; Failed if its exit code is none of these.

        What it warns of becomes a warning of the module.
        """
        argv = [self._path, *words, "--json", "--", *operands]
        # Nothing in a name or a path is to be expanded on the way.
        code, out, err = self._module.run_command(argv, expand_user_and_vars=False)
        lines = [line.strip() for line in to_text(err).splitlines() if line.strip()]
        for line in lines:
            if line.startswith("dmremapctl: warning: "):
                self._module.warn(line.partition("warning: ")[2])
        if code not in codes:
            last = lines[-1] if lines else f"dmremapctl ended with {code} and said nothing"
            raise Failed(code, last.removeprefix("dmremapctl: ").removeprefix("Error: "), argv)
        try:
            return json.loads(out)
        except ValueError as error:
            raise Failed(code, f"what dmremapctl printed is no JSON: {error}", argv) from error

    def devices(self) -> dict[str, Any]:
        """Every device there is, by name, as 'dmremapctl status --json' tells it."""
        return {device["name"]: device for device in self("status")}

    def health(self) -> dict[str, list[Any]]:
        """The verdicts on the targets of every device, by name."""
        found: dict[str, list[Any]] = {}
        for verdict in self("health", codes=(OK, DAMAGED)):
            found.setdefault(verdict["name"], []).append(verdict)
        return found


def argument_spec(**own: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A module's own options and those of all; documented in doc_fragments/ctl.py."""
    return {**own, "executable": {"type": "path", "default": "dmremapctl"}}


def answer(module: AnsibleModule, work: Callable[[AnsibleModule], dict[str, Any]]) -> None:
    """End with the result of a module's work, or with the one sentence of what failed."""
    try:
        module.exit_json(**work(module))
    except Failed as failure:
        module.fail_json(msg=failure.sentence, rc=failure.code, cmd=failure.argv)


def number(path: str) -> str:
    """The number of a block device, ``8:16``; empty if there is none at this path."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    if not stat.S_ISBLK(state.st_mode):
        return ""
    return f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}"
