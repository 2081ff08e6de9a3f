"""The boundary against a fake control node that behaves like dm-ioctl.c."""

import errno

import pytest

from pycontrol.dm import flow
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.errors import CookieError, DmIoctlError, DmReplyError
from pycontrol.dm.ioctl import Control, remove_retrying
from pycontrol.dm.types import DmName, DmUuid, TargetLine
from tests.fakes import FakeKernel, FakeSemaphores

LINE = TargetLine(0, 1000, "dm-remap-v4", "8:0 8:16")
NAME, UUID = DmName("r0"), DmUuid("DMREMAP-1")


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    monkeypatch.setattr(flow, "ensure_node", lambda name, dev: made.append(f"+{name} {dev}"))
    monkeypatch.setattr(flow, "drop_node", lambda name: made.append(f"-{name}"))
    return made


def cookies(semaphores: FakeSemaphores) -> flow.MakeCookie:
    return lambda: Cookie(enabled=True, semaphores=semaphores, sleep=lambda seconds: None)


def test_bring_up_is_create_load_resume_with_one_cookie(nodes: list[str]) -> None:
    kernel, semaphores = FakeKernel(), FakeSemaphores()
    with Control(kernel) as control:
        info = flow.bring_up(control, NAME, UUID, [LINE], cookie=cookies(semaphores))
    assert kernel.calls == ["DM_DEV_CREATE", "DM_TABLE_LOAD", "resume"]
    assert kernel.devices["r0"].live == [(0, 1000, "dm-remap-v4", "8:0 8:16")]
    assert (info.name, info.uuid, info.has_table, str(info.dev)) == ("r0", "DMREMAP-1", True, "253:0")
    [cookie], [key] = kernel.cookies, semaphores.keys
    assert key >> 16 == 0x0D4D
    assert cookie & 0xFFFF == key & 0xFFFF != 0
    assert cookie >> 16 == 0x40, "the event is the primary source and no rule is switched off"
    assert semaphores.values == {} and nodes == ["+r0 253:0"]


def test_without_udev_the_rules_leave_the_nodes_to_us(nodes: list[str]) -> None:
    kernel = FakeKernel()
    with Control(kernel) as control:
        flow.bring_up(control, NAME, UUID, [LINE], cookie=lambda: Cookie(enabled=False))
        flow.take_down(control, NAME, cookie=lambda: Cookie(enabled=False))
    assert [value >> 16 for value in kernel.cookies] == [0x43, 0x43]
    assert [value & 0xFFFF for value in kernel.cookies] == [0, 0]
    assert nodes == ["+r0 253:0", "-r0"]


@pytest.mark.parametrize("step", ["DM_TABLE_LOAD", "resume"])
def test_a_half_made_device_is_removed_again(step: str) -> None:
    kernel, semaphores = FakeKernel(fail={step: errno.EINVAL}), FakeSemaphores()
    with Control(kernel) as control, pytest.raises(DmIoctlError) as caught:
        flow.bring_up(control, NAME, UUID, [LINE], cookie=cookies(semaphores))
    assert caught.value.errno == errno.EINVAL and "r0" in caught.value.asked
    assert kernel.devices == {}
    assert kernel.calls[-1] == "DM_DEV_REMOVE"
    assert semaphores.values == {}, "a cookie was left behind"


def test_a_device_of_that_name_is_not_removed_by_a_failed_create() -> None:
    kernel = FakeKernel()
    kernel.add("r0", "OTHER-1", (0, 8, "linear", "8:0 0"))
    with Control(kernel) as control, pytest.raises(DmIoctlError):
        flow.bring_up(control, NAME, UUID, [LINE], cookie=lambda: Cookie(enabled=False))
    assert kernel.devices["r0"].uuid == "OTHER-1"


def test_a_semaphore_that_cannot_be_made_takes_the_device_down() -> None:
    class Full(FakeSemaphores):
        def create(self, key: int) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    kernel, full = FakeKernel(), Full()
    calls = iter([full])

    def first_fails() -> Cookie:
        semaphores = next(calls, None)
        return Cookie(enabled=semaphores is not None, semaphores=semaphores)

    with Control(kernel) as control, pytest.raises(CookieError):
        flow.bring_up(control, NAME, UUID, [LINE], cookie=first_fails)
    assert kernel.devices == {}


def test_an_event_that_was_not_sent_is_not_waited_for() -> None:
    kernel, semaphores = FakeKernel(uevents=False), FakeSemaphores(udev=False)
    with Control(kernel) as control:
        flow.bring_up(control, NAME, UUID, [LINE], cookie=cookies(semaphores))
        flow.take_down(control, NAME, cookie=cookies(semaphores))
    assert kernel.devices == {} and semaphores.destroyed == [1, 2]


def test_deferred_remove_of_an_open_device_waits_for_nobody(nodes: list[str]) -> None:
    kernel, semaphores = FakeKernel(), FakeSemaphores(udev=False)
    kernel.add("r0", "DMREMAP-1", (0, 8, "dm-remap-v4", "")).open_count = 1
    with Control(kernel) as control:
        info = flow.take_down(control, NAME, deferred=True, cookie=cookies(semaphores))
    assert info.deferred_remove and kernel.devices["r0"].deferred
    assert nodes == [], "the node must stay while the device does"


def test_remove_is_tried_again_while_udev_probes() -> None:
    kernel = FakeKernel()
    device = kernel.add("r0", "DMREMAP-1")
    device.open_count = 1
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            device.open_count = 0

    with Control(kernel) as control:
        remove_retrying(control, NAME, sleep=sleep)
    assert kernel.devices == {} and len(naps) == 3


def test_remove_gives_up_on_a_busy_device_and_says_so() -> None:
    kernel = FakeKernel()
    kernel.add("r0", "DMREMAP-1").open_count = 1
    with Control(kernel) as control, pytest.raises(DmIoctlError) as caught:
        remove_retrying(control, NAME, tries=3, sleep=lambda seconds: None)
    assert caught.value.errno == errno.EBUSY and kernel.calls == ["DM_DEV_REMOVE"] * 3


def test_the_buffer_is_doubled_until_the_list_fits() -> None:
    kernel = FakeKernel()
    for number in range(100):
        kernel.add(f"device{number:03}", f"DMREMAP-{number}")
    with Control(kernel) as control:
        entries = control.list_devices()
    assert [entry.name for entry in entries] == sorted(kernel.devices)
    assert entries[7].uuid == "DMREMAP-7" and str(entries[99].dev) == "253:99"
    assert kernel.sizes == [1024, 2048, 4096, 8192]


def test_a_buffer_that_never_suffices_ends_in_an_error() -> None:
    kernel = FakeKernel(answer=lambda words: "x" * (70 << 20))
    kernel.add("r0", "", (0, 8, "dm-remap-v4", ""))
    with Control(kernel) as control, pytest.raises(DmReplyError):
        control.message(NAME, "list")


def test_blocking_ioctls_keep_to_the_buffer_that_frees_the_interpreter() -> None:
    kernel = FakeKernel(answer=lambda words: "Created")
    kernel.add("r0", "DMREMAP-1", (0, 8, "dm-remap-v4", ""))
    with Control(kernel) as control:
        control.suspend(NAME)
        control.resume(NAME)
        event = control.wait(NAME, 0).event_nr
        control.message(NAME, "remap 8")
        control.remove(NAME)
    assert event == 1
    assert kernel.calls.count("DM_DEV_WAIT") == 1, "status lines that do not fit are no reason to wait again"
    assert set(kernel.sizes) == {1024}


def test_message_carries_sector_and_words_and_brings_the_answer() -> None:
    kernel = FakeKernel(answer=lambda words: "long " * 400 if words == "list 0 9" else None)
    kernel.add("r0", "", (0, 8, "dm-remap-v4", ""))
    with Control(kernel) as control:
        assert control.message(NAME, "list 0 9", sector=5) == "long " * 400
        assert control.message(NAME, "sync") == "", "what was sent must not come back as an answer"
    assert kernel.messages[0] == (5, "list 0 9")


def test_devices_are_asked_for_by_uuid_alone() -> None:
    kernel = FakeKernel()
    kernel.add("r0", "DMREMAP-1", (0, 1000, "dm-remap-v4", "8:0 8:16"))
    with Control(kernel) as control:
        info, lines = control.table(UUID)
        assert info.name == "r0" and lines == [LINE]
        assert control.status(UUID)[1][0].params == kernel.status_line
        assert [str(dev) for dev in control.deps(UUID)] == ["8:1", "7:773"]
        assert control.rename(UUID, DmName("r1")).name == "r1"


def test_target_version_falls_back_on_an_old_interface() -> None:
    kernel = FakeKernel(fail={"DM_GET_TARGET_VERSION": errno.ENOTTY})
    kernel.targets = {"linear": (1, 4, 0), "dm-remap-v4": (1, 0, 3)}
    with Control(kernel) as control:
        found = control.target_version("dm-remap-v4")
        assert found is not None and found.version == (1, 0, 3)
        assert control.target_version("thin") is None


def test_an_error_says_what_was_asked_and_what_came_back() -> None:
    with Control(FakeKernel()) as control, pytest.raises(DmIoctlError) as caught:
        control.info(NAME)
    assert str(caught.value) == "DM_DEV_STATUS (look up r0) failed: No such device or address (ENXIO)"
