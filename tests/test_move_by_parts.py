"""``remap`` and ``unmap`` of many sectors: in parts, so that somebody can break off."""

import errno
import json

import pytest

import pycontrol
from pycontrol import Moved
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev, portions
from pycontrol.service.blockdev import BlockDevice
from tests.conftest import Disks, Run
from tests.fake_target import FakeTarget
from tests.fakes import FakeKernel

SECTORS = 100_000
BLOCK = 8


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every message is quick."""
    monkeypatch.setattr(portions, "monotonic", lambda: 0.0)


@pytest.fixture
def target(kernel: FakeKernel, disks: Disks) -> FakeTarget:
    """The device r0 and its target, with 4096-byte blocks."""
    kernel.add("r0", "DMREMAP-1", (0, SECTORS, "dm-remap-v4", "8:0 8:16"))
    kernel.answer = made = FakeTarget(SECTORS, BLOCK)
    dev = DevNumber(253, 0)
    disks.known["/dev/mapper/r0"] = BlockDevice("/dev/mapper/r0", dev, SECTORS * 512, BLOCK * 512)
    return made


def test_there_and_back_again(target: FakeTarget, run: Run) -> None:
    target.unreadable = {100, 5000, 40_000}
    result = run("remap", "r0", "8", "50000")
    assert result.stdout == "Remapped 49997 sectors, 3 unreadable and pending\n"
    assert [words.split()[1:] for words in target.sent] == [
        ["8", "64"], ["72", "512"], ["584", "4096"], ["4680", "32768"], ["37448", "12560"],
    ]  # fmt: skip
    assert set(target.remapped) | target.lost == set(range(8, 50_008))
    target.lost.clear()
    assert json.loads(run("unmap", "r0", "8", "50000", "--json").stdout) == {
        "name": "r0", "answer": "Unmapped 49997 sectors",
    }  # fmt: skip
    assert not target.remapped


@pytest.mark.parametrize("node", [True, False])
@pytest.mark.parametrize(("sector", "count"), [(4, 800), (8, 801), (8, SECTORS), (SECTORS, 800)])
def test_what_is_refused_is_refused_as_a_whole(
    target: FakeTarget, monkeypatch: pytest.MonkeyPatch, run: Run, sector: int, count: int, node: bool
) -> None:
    def none(path: str) -> BlockDevice:
        raise WrongDevice(f"{path} does not exist")

    if not node:
        monkeypatch.setattr(blockdev, "look", none)
    assert run("remap", "r0", str(sector), str(count)).exit_code == 9
    assert target.sent == [f"remap {sector} {count}"] and not target.remapped


def test_an_interruption_between_two_messages(target: FakeTarget, run: Run) -> None:
    def interrupted(words: str) -> None:
        if len(target.sent) == 2:
            raise KeyboardInterrupt

    target.before = interrupted
    result = run("remap", "r0", "0", "50000")
    assert result.exit_code == 10 and "what was done stays" in result.stderr
    assert set(target.remapped) == set(range(576))
    target.before = lambda words: None
    assert run("remap", "r0", "0", "50000").stdout == "Remapped 49424 sectors\n"


@pytest.mark.parametrize(("error", "code"), [(errno.EBUSY, 5), (errno.ENOSPC, 9)])
def test_an_error_says_how_far_it_is(target: FakeTarget, run: Run, error: int, code: int) -> None:
    def failing(words: str) -> None:
        if len(target.sent) == 2:
            raise OSError(error, "for a reason")

    target.before = failing
    result = run("remap", "r0", "0", "50000")
    assert result.exit_code == code
    assert "after 576 of 50000 sectors, which stay as they are now" in result.stderr


def test_programs_are_told_how_far_it_is(target: FakeTarget) -> None:
    told: list[int] = []
    with pycontrol.Control() as control:
        done = pycontrol.remap(control, "r0", 0, 5000, advance=told.append)
    assert done == Moved(5000, 0, "Remapped 5000 sectors") and told == [64, 512, 4096, 328]
