"""What the follower makes of uevents, DM events and the list of devices."""

import errno
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import cast

import pytest

from pycontrol.dm.ioctl import Control
from pycontrol.service.tell import follow as follow_module
from pycontrol.service.tell import uevents
from pycontrol.service.tell.follow import GRACE, Follower
from pycontrol.service.tell.notice import Notice
from pycontrol.service.tell.uevents import KernelUevents
from tests.fakes import Device, PolledKernel

OURS = (0, 1000, "dm-remap-v4", "8:0 8:16")


class Polled(Control):
    """A control node whose descriptor is the fake kernel's."""

    def __init__(self, kernel: PolledKernel) -> None:
        super().__init__(kernel)
        self._polled = kernel

    def fileno(self) -> int:
        return self._polled.control


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kernel() -> Iterator[PolledKernel]:
    made = PolledKernel()
    yield made
    made.close()


@pytest.fixture
def r0(kernel: PolledKernel) -> Device:
    return kernel.add("r0", "DMREMAP-1", OURS)


def follow(kernel: PolledKernel, *names: str, clock: Clock | None = None) -> Follower:
    return Follower(
        Polled(kernel), KernelUevents(kernel.socket), frozenset(names), monotonic=clock or Clock()
    )


def said(notices: list[Notice]) -> list[tuple[str, str, int | None]]:
    return [(notice.event.name, notice.event.action, notice.lost) for notice in notices]


def readable(follower: Follower) -> bool:
    return any(select.select([number], [], [], 0)[0] for number in follower.descriptors)


def test_the_devices_there_are_come_first(kernel: PolledKernel, r0: Device) -> None:
    kernel.add("root", "LVM-1", (0, 8, "linear", "8:1 0"))
    kernel.add("half-made", "DMREMAP-2")
    (notice,) = follow(kernel).start()
    assert (notice.event.name, notice.event.action, notice.event.device) == ("r0", "PRESENT", "dm-0")
    assert notice.state is not None and notice.state.mode == "rw"


def test_an_event_is_told_with_the_state_after_it(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    kernel.status_line = "16/4096 2 3 4/5 77 3 9 8 24 0 1 degraded ro needs_check"
    kernel.tell(r0, "PENDING", 41, 1000, 8, 1)
    assert readable(follower)
    (notice,) = follower.step()
    assert (notice.event.sector, notice.event.sectors, notice.event.seqnum) == (1000, 8, 41)
    assert notice.state is not None
    assert (notice.state.state, notice.state.pending_extents) == ("ro degraded needs_check", 3)
    assert notice.line == (
        "r0: PENDING sector 1000 (8 sectors); ro degraded needs_check, 2 remapped, 3 pending,"
        " spare 0.4% used, 4/5 copies"
    )
    assert not readable(follower) and follower.step() == []


def test_gaps_in_the_numbers_are_counted(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    # The first number is the start: what was told before nobody could hear.
    for number in (41, 42, 47, 48):
        kernel.tell(r0, "REMAP", number, 8 * number, 8, 1)
    remap, lost = ("r0", "REMAP", None), ("r0", "EVENTS_LOST", 4)
    assert said(follower.step()) == [remap, remap, lost, remap, remap]


def test_a_new_target_counts_from_one(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    for number in (7, 1, 2, 1, 3):
        kernel.tell(r0, "REMAP", number, 0, 8, 1)
    lost = [notice.lost for notice in follower.step() if notice.event.action == "EVENTS_LOST"]
    assert lost == [1], "1 after 7 and 1 after 2 begin anew; 3 after 1 misses one"


def test_two_targets_in_a_table_count_for_themselves(kernel: PolledKernel) -> None:
    both = kernel.add("both", "DMREMAP-2", OURS, (1000, 8, "dm-remap-v4", "8:0 8:32"))
    follower = follow(kernel)
    follower.start()
    for number in (7, 1, 8, 2):
        kernel.tell(both, "REMAP", number, 0, 8, 1)
    assert {notice.event.action for notice in follower.step()} == {"REMAP"}


def test_a_device_that_comes_is_told_before_its_events(kernel: PolledKernel) -> None:
    follower = follow(kernel)
    assert follower.start() == []
    r0 = kernel.add("r0", "DMREMAP-1")
    kernel.dm_event()
    assert follower.step() == [], "without a table it is none of ours yet"
    r0.live = [OURS]
    kernel.tell(r0, "REMAP", 2, 0, 8, 1)
    assert said(follower.step()) == [
        ("r0", "RESUMED", None),
        # It was there from the beginning, so number one is known to be missing.
        ("r0", "EVENTS_LOST", 1),
        ("r0", "REMAP", None),
    ]


def test_a_device_that_went_has_the_last_word(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    kernel.tell(r0, "REMAP", 9, 0, 8, 1)
    # Gone from the list; the kernel's event of that may come late, or be lost.
    del kernel.devices["r0"]
    kernel.dm_event()
    assert said(follower.step()) == [("r0", "REMAP", None), ("r0", "REMOVED", None)]
    kernel.uevent("remove", 0)
    assert follower.step() == [] and follower.devices == {}


def test_a_flood_does_not_hide_what_a_device_said_last(
    kernel: PolledKernel, r0: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (follow_module, uevents):
        monkeypatch.setattr(module, "BATCH", 3)
    follower = follow(kernel)
    follower.start()
    for number in range(8):
        kernel.uevent("change", 9, NUMBER=number)
    kernel.tell(r0, "PENDING", 3, 0, 8, 1)
    del kernel.devices["r0"]
    assert said(follower.step()) == [("r0", "PENDING", None), ("r0", "REMOVED", None)]


def test_a_number_that_is_given_to_another_device(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    kernel.tell(r0, "REMAP", 9, 0, 8, 1)
    kernel.uevent("remove", 0)
    del kernel.devices["r0"]
    kernel.minors = 0
    r1 = kernel.add("r1", "DMREMAP-7", OURS)
    kernel.tell(r1, "PENDING", 1, 0, 8, 1)
    assert said(follower.step()) == [
        ("r0", "REMAP", None),
        ("r0", "REMOVED", None),
        ("r1", "RESUMED", None),
        ("r1", "PENDING", None),
    ]
    # The same without an event of the removal.
    del kernel.devices["r1"]
    kernel.minors = 0
    kernel.add("r2", "DMREMAP-8", OURS)
    assert said(follower.step()) == [("r1", "REMOVED", None), ("r2", "RESUMED", None)]


def test_a_device_that_is_renamed_is_the_same(kernel: PolledKernel, r0: Device) -> None:
    follower = follow(kernel)
    follower.start()
    kernel.tell(r0, "REMAP", 5, 0, 8, 1)
    del kernel.devices["r0"]
    r0.name = "r9"
    kernel.devices["r9"] = r0
    kernel.tell(r0, "REMAP", 6, 0, 8, 1)
    notices = follower.step()
    assert said(notices) == [("r0", "REMAP", None), ("r9", "REMAP", None)]
    assert follower.devices["dm-0"].info.name == "r9"


def test_only_the_named_are_followed(kernel: PolledKernel, r0: Device) -> None:
    other = kernel.add("other", "DMREMAP-2", OURS)
    follower = follow(kernel, "r0", "r5")
    assert said(follower.start()) == [("r0", "PRESENT", None)]
    kernel.tell(other, "REMAP", 1, 0, 8, 1)
    kernel.uevent("remove", 1)
    assert follower.step() == []
    kernel.add("r5", "DMREMAP-5", OURS)
    assert said(follower.step()) == [("r5", "RESUMED", None)]


def test_a_dm_event_without_a_uevent_is_one_that_was_lost(kernel: PolledKernel, r0: Device) -> None:
    clock = Clock()
    follower = follow(kernel, clock=clock)
    follower.start()
    kernel.dm_event(r0)
    assert readable(follower)
    assert follower.step() == [] and not readable(follower)
    assert follower.deadline == clock.now + GRACE
    clock.now += GRACE
    kernel.status_line = "16/4096 2 3 5/5 77 3 9 8 24 0 0 rw -"
    (notice,) = follower.step()
    assert (notice.event.name, notice.event.action, notice.lost) == ("r0", "EVENTS_LOST", None)
    assert "some, the state was read again" in notice.line and "3 pending" in notice.line
    assert follower.deadline is None


def test_what_is_still_in_the_buffer_is_not_lost(
    kernel: PolledKernel, r0: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (follow_module, uevents):
        monkeypatch.setattr(module, "BATCH", 2)
    clock = Clock()
    follower = follow(kernel, clock=clock)
    follower.start()
    kernel.dm_event(r0)
    for number in range(4):
        kernel.uevent("change", 9, NUMBER=number)
    kernel.tell(r0, "REMAP", 1, 0, 8, 1)
    steps = []
    for _ in range(3):
        steps.append(said(follower.step()))
        clock.now += GRACE
    assert steps == [[], [], [("r0", "REMAP", None)]]


@pytest.mark.parametrize("late", [False, True], ids=["uevent first", "DM event first"])
def test_a_uevent_in_time_leaves_no_timer(kernel: PolledKernel, r0: Device, late: bool) -> None:
    follower = follow(kernel)
    follower.start()
    if late:
        kernel.dm_event(r0)
        follower.step()
        assert follower.deadline is not None
    kernel.tell(r0, "REMAP", 1, 0, 8, 1)
    follower.step()
    kernel.dm_event(r0)
    follower.step()
    assert follower.deadline is None


class Overflowing:
    """A netlink socket whose buffer was too small: the next read says so, the others go on."""

    def __init__(self, under: socket.socket) -> None:
        self.under = under
        self.overflows = 1

    def setblocking(self, flag: bool) -> None:
        self.under.setblocking(flag)

    def fileno(self) -> int:
        return self.under.fileno()

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if self.overflows:
            self.overflows -= 1
            raise OSError(errno.ENOBUFS, "No buffer space available")
        # Netlink's address: the kernel is port 0, group 1.
        return self.under.recv(size), (0, 1)


def test_an_overflow_is_told_and_the_truth_is_read(kernel: PolledKernel, r0: Device) -> None:
    source = KernelUevents(cast(socket.socket, Overflowing(kernel.socket)))
    follower = Follower(Polled(kernel), source)
    follower.start()
    kernel.tell(r0, "REMAP", 5, 0, 8, 1)
    kernel.status_line = "16/4096 9 0 5/5 77 3 9 8 24 0 0 rw -"
    lost, remap = follower.step()
    assert (lost.event.action, lost.event.name, lost.lost) == ("EVENTS_LOST", "", None)
    assert lost.line == "EVENTS_LOST some, the state was read again"
    assert remap.state is not None and remap.state.remapped_extents == 9
    kernel.tell(r0, "REMAP", 9, 0, 8, 1)
    assert said(follower.step()) == [("r0", "EVENTS_LOST", 3), ("r0", "REMAP", None)]


def test_after_an_overflow_it_is_not_asked_for_every_event(kernel: PolledKernel, r0: Device) -> None:
    source = KernelUevents(cast(socket.socket, Overflowing(kernel.socket)))
    follower = Follower(Polled(kernel), source, monotonic=Clock())
    follower.start()
    kernel.dm_event(r0)
    assert said(follower.step()) == [("", "EVENTS_LOST", None)] and follower.deadline is None


def test_ten_thousand_events_in_a_burst(kernel: PolledKernel, r0: Device) -> None:
    """None lost, as their numbers tell, and the sums exact; other devices' events in between."""
    follower = follow(kernel)
    follower.start()
    total = 10_000

    def burst() -> None:
        for number in range(1, total + 1):
            kernel.tell(r0, ("REMAP", "PENDING")[number % 2], number, 8 * number, number % 7, number % 5)
            if number % 10 == 0:
                kernel.uevent("change", 77, ID_FS_TYPE="ext4")

    sender = threading.Thread(target=burst, daemon=True)
    sender.start()
    seen: Counter[str] = Counter()
    numbers: list[int | None] = []
    while len(numbers) < total:
        select.select([follower.descriptors[0]], [], [], 60)
        for notice in follower.step():
            assert notice.event.action != "EVENTS_LOST"
            numbers.append(notice.event.seqnum)
            seen[f"{notice.event.action} sectors"] += notice.event.sectors or 0
            seen[f"{notice.event.action} extents"] += notice.event.extents or 0
    sender.join()
    assert numbers == list(range(1, total + 1))
    for parity, action in enumerate(("REMAP", "PENDING")):
        mine = [number for number in range(1, total + 1) if number % 2 == parity]
        assert seen[f"{action} sectors"] == sum(number % 7 for number in mine)
        assert seen[f"{action} extents"] == sum(number % 5 for number in mine)
