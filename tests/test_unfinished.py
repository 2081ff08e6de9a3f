"""A device that a killed command has left without a table is no obstacle, one that is being made is."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName
from pycontrol.service import rundir
from pycontrol.service.move.underway import underway
from pycontrol.service.unfinished import clear_unfinished
from tests import claims
from tests.conftest import MIB, Disks, Run
from tests.fakes import FakeKernel


@pytest.fixture
def pair(disks: Disks) -> tuple[str, str]:
    return disks.make("main", 64 * MIB), disks.make("spare", 8 * MIB)


@pytest.fixture
def claimed(kernel: FakeKernel, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    claims.install(kernel, disks, monkeypatch)


@pytest.mark.usefixtures("claimed")
def test_what_a_killed_create_has_left_is_cleared_away(
    kernel: FakeKernel, run: Run, pair: tuple[str, str]
) -> None:
    left = kernel.add("r0", "DMREMAP-1")
    left.pending = [(0, 1, "dm-remap-v4", "8:0 8:16")]
    assert run("create", "r0", *pair, "--dry-run").exit_code == 0
    assert kernel.devices["r0"] is left
    other = run("create", "r1", *pair, "--yes")
    assert other.exit_code == 5 and "in use" in other.stderr
    result = run("create", "r0", *pair, "--yes")
    assert result.exit_code == 0, result.stderr
    assert kernel.devices["r0"] is not left and kernel.devices["r0"].live


def test_what_is_left_under_another_name_is_named(
    kernel: FakeKernel, run: Run, pair: tuple[str, str]
) -> None:
    kernel.fail["DM_TABLE_LOAD"] = errno.EINVAL
    assert run("create", "r0", *pair, "--yes").exit_code == 9
    kernel.fail.clear()
    with open(pair[1], "rb") as file:  # noqa: PTH123
        data = file.read()
    ours = metadata.load(lambda at, length: data[at : at + length], len(data)).uuid
    kernel.add("r0", f"DMREMAP-{ours}")
    result = run("create", "r1", *pair, "--yes")
    assert result.exit_code == 5 and "'dmremapctl remove r0'" in result.stderr
    assert run("create", "r0", *pair, "--yes").exit_code == 0


CHANGING = {"DM_DEV_CREATE", "DM_DEV_REMOVE", "DM_TABLE_LOAD", "DM_TABLE_CLEAR", "suspend", "resume"}


@pytest.mark.parametrize("holder", ["r0", "dm-0"])
def test_a_dry_run_changes_nothing_though_the_table_left_behind_holds_both(
    kernel: FakeKernel, run: Run, disks: Disks, pair: tuple[str, str], holder: str, tmp_path: Path
) -> None:
    left = kernel.add("r0", "DMREMAP-1")
    for path in pair:
        disks.known[path] = replace(disks.known[path], holders=(holder,))
    before = [Path(path).read_bytes() for path in pair]
    result = run("create", "r0", *pair, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert kernel.devices == {"r0": left} and not CHANGING & set(kernel.calls)
    assert [Path(path).read_bytes() for path in pair] == before
    assert not (tmp_path / "locks").exists()


def test_another_holder_is_in_the_way(
    kernel: FakeKernel, run: Run, disks: Disks, pair: tuple[str, str]
) -> None:
    kernel.add("r0", "DMREMAP-1")
    disks.known[pair[1]] = replace(disks.known[pair[1]], holders=("r0", "md0"))
    result = run("create", "r0", *pair, "--dry-run")
    assert result.exit_code == 5 and "in use by md0" in result.stderr


@pytest.mark.parametrize("umask", [0o077, 0o022, 0])
def test_the_directory_of_the_locks_has_one_mode(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        rundir.make(tmp_path / "run")
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    # What is there is the administrator's.
    (tmp_path / "run").chmod(0o700)
    rundir.make(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("uuid", "lines", "opened"),
    [
        ("LVM-1", (), 0),
        ("", (), 0),
        ("DMREMAP-1", ((0, 8, "dm-remap-v4", "8:0 8:16"),), 0),
        ("DMREMAP-1", (), 1),
    ],
)
def test_what_is_somebody_elses_or_in_use_stays(
    kernel: FakeKernel, uuid: str, lines: tuple[tuple[int, int, str, str], ...], opened: int
) -> None:
    kernel.add("r0", uuid, *lines).open_count = opened
    with Control() as control:
        assert not clear_unfinished(control, DmName("r0"))
    assert "r0" in kernel.devices


def test_what_is_being_made_stays(kernel: FakeKernel, run: Run, pair: tuple[str, str]) -> None:
    kernel.add("r0", "DMREMAP-1")
    with underway(DmName("r0"), "create"):
        result = run("create", "r0", *pair, "--yes")
    assert result.exit_code == 5 and "busy with create" in result.stderr
    assert "r0" in kernel.devices


def test_a_spare_that_another_command_takes_is_busy(
    kernel: FakeKernel, run: Run, pair: tuple[str, str]
) -> None:
    with underway(DmName("8:16"), "create of r1"):
        result = run("create", "r0", *pair, "--yes")
    assert result.exit_code == 5 and "create of r1" in result.stderr
    assert not kernel.devices
    with open(pair[1], "rb") as file:  # noqa: PTH123
        assert not any(file.read(MIB))
