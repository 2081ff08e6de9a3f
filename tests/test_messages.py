"""Messages to the target whose answers programs get taken apart."""

from collections.abc import Callable

import pytest

import pycontrol
from pycontrol import Control, Copies, Moved, RemapError
from pycontrol.errors import BrokenError, TargetRefused, UsageError, WrongDevice
from tests.fakes import FakeKernel

# As kernel/dm-remap-v4-message.c writes them.
ANSWERS = {
    "remap 8": "Remapped 1 sectors",
    "remap 8 8": "Remapped 6 sectors, 2 unreadable and pending",
    "unmap 8 8": "Unmapped 8 sectors",
    "pending 8 8": "7 sectors are pending",
    "sync": "Saved, sequence 18446744073709551615",
    "repair": "Repaired 2 copies",
    "restore": "4 of 5 copies are good, sequence 9",
    "rearm": "Armed",
    "clear_stats": "Cleared",
    "stats": "read_errors 1\nwrite_errors 2\nsalvaged 3\nlost 4\n",
    "cache_stats": "commits 5\nflushes 18446744073709551615\n",
}


@pytest.fixture
def control(kernel: FakeKernel) -> Control:
    kernel.add("r0", "DMREMAP-1", (0, 1000, "dm-remap-v4", "8:0 8:16"))
    kernel.answer = lambda words: ANSWERS[words]
    return Control()


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda c: pycontrol.remap(c, "r0", 8), Moved(1, 0, ANSWERS["remap 8"])),
        (lambda c: pycontrol.remap(c, "r0", 8, 8), Moved(6, 2, ANSWERS["remap 8 8"])),
        (lambda c: pycontrol.unmap(c, "r0", 8, 8), Moved(8, 0, ANSWERS["unmap 8 8"])),
        (lambda c: pycontrol.pending(c, "r0", 8, 8), 7),
        (lambda c: pycontrol.sync(c, "r0"), (1 << 64) - 1),
        (lambda c: pycontrol.repair(c, "r0"), 2),
        (lambda c: pycontrol.reread(c, "r0"), Copies(4, 5, 9)),
        (lambda c: pycontrol.rearm(c, "r0"), None),
        (lambda c: pycontrol.clear_counters(c, "r0"), None),
        (
            lambda c: pycontrol.counters(c, "r0"),
            {
                "read_errors": 1, "write_errors": 2, "salvaged": 3, "lost": 4,
                "commits": 5, "flushes": (1 << 64) - 1,
            },
        ),
    ],
)  # fmt: skip
def test_answers_are_taken_apart(control: Control, call: Callable[[Control], object], result: object) -> None:
    assert call(control) == result


@pytest.mark.parametrize(
    "call",
    [
        lambda c: pycontrol.remap(c, "r0", 8, 8, at=600),
        lambda c: pycontrol.pending(c, "r0", 8, 8, at=600),
        lambda c: pycontrol.sync(c, "r0", at=600),
        lambda c: pycontrol.repair(c, "r0", at=600),
        lambda c: pycontrol.reread(c, "r0", at=600),
        lambda c: pycontrol.rearm(c, "r0", at=600),
        lambda c: pycontrol.counters(c, "r0", at=600),
        lambda c: pycontrol.clear_counters(c, "r0", at=600),
    ],
)
def test_they_go_to_the_target_that_is_meant(
    kernel: FakeKernel, control: Control, call: Callable[[Control], object]
) -> None:
    call(control)
    assert kernel.messages and {sector for sector, _ in kernel.messages} == {600}


@pytest.mark.parametrize("answer", ["", "Armed", "Remapped x sectors", "Remapped ٣ sectors", "Saved"])
def test_an_answer_that_is_none_of_ours(kernel: FakeKernel, control: Control, answer: str) -> None:
    kernel.answer = lambda words: answer
    for call in (pycontrol.sync, pycontrol.repair, pycontrol.reread):
        with pytest.raises(BrokenError, match="may differ in version"):
            call(control, "r0")
    with pytest.raises(BrokenError, match="may differ in version"):
        pycontrol.remap(control, "r0", 8)


def test_errors_are_of_one_tree(kernel: FakeKernel, control: Control) -> None:
    for sector, count in ((-1, None), (1 << 64, None), (8, 0), (8, (1 << 64) - 1)):
        with pytest.raises(UsageError):
            pycontrol.remap(control, "r0", sector, count)
    for at in (-1, 1 << 64):
        with pytest.raises(UsageError):
            pycontrol.sync(control, "r0", at=at)
    assert kernel.messages == []
    with pytest.raises(WrongDevice):
        pycontrol.sync(control, "none")
    kernel.fail["DM_TARGET_MSG"] = 22
    with pytest.raises(TargetRefused):
        pycontrol.sync(control, "r0")
    # Past the services: the boundary's own, of the same tree.
    with pytest.raises(RemapError, match="DM_TARGET_MSG"):
        control.message(pycontrol.status(control, "r0").info.name, "sync")  # type: ignore[arg-type]
