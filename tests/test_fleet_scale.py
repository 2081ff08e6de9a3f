"""Many hosts cost what many hosts must: so many connections at a time, and little memory each."""

import contextlib
import gc
import json
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from pycontrol.cli.main import cli
from pycontrol.service.fleet import bundle, ssh
from pycontrol.service.fleet.bundle import Blob
from tests.conftest import Run
from tests.fleet_simulated import DEVICE, Simulation, inventory

JOBS = 7
ANSWER = 128 << 10
PER_HOST = 64 << 10
"""Bytes of an answer, and those that a host may take once it is done: some answers wait to be shown."""


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    made = Simulation()
    monkeypatch.setattr(ssh, "connect", made.connect)
    # Making the real one takes more memory than many hosts do.
    monkeypatch.setattr(bundle, "tool", lambda: Blob.of("tool", b"tool"))
    return made


def test_never_more_connections_than_jobs_and_that_many(hosts: Simulation, run: Run, tmp_path: Path) -> None:
    # Nobody goes on before as many as are allowed are there.
    hosts.entered = threading.Barrier(JOBS, timeout=30).wait  # type: ignore[assignment]
    path = inventory(tmp_path / "hosts.toml", 20 * JOBS)
    done = run("fleet", "-H", str(path), "status", "--json", "--jobs", str(JOBS))
    assert done.exit_code == 0, done.output
    assert hosts.most == JOBS and hosts.open == 0 and hosts.opened == 20 * JOBS
    assert json.loads(done.stdout.splitlines()[-1])["ok"] == 20 * JOBS


def peak(path: Path, *options: str) -> int:
    """The most memory that Python objects took, beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    try:
        # Not kept by a runner of tests, as it would be otherwise.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
            assert cli(["fleet", "-H", str(path), "status", *options], standalone_mode=False) == 0
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("json_", [True, False])
def test_the_answers_are_not_kept(hosts: Simulation, tmp_path: Path, json_: bool) -> None:
    long = [DEVICE | {"more": "x" * ANSWER}]
    hosts.answer = lambda host, words: (long, 0)
    options = ("--jobs", "2", *(["--json"] if json_ else []))
    few, many = (inventory(tmp_path / f"{count}.toml", count) for count in (40, 240))
    peak(few, *options)
    grown = peak(many, *options) - peak(few, *options)
    assert grown < 200 * PER_HOST
