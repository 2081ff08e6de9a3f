"""activate, deactivate, remove --retry and leave."""

import errno
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName
from pycontrol.errors import Busy
from pycontrol.service import blockdev, portions, removal
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.move.underway import underway
from tests.conftest import MIB, Disks, Run
from tests.moving import MAPPED, PENDING, SECTORS, UUID_, Device, MovingKernel, bad_sectors, put


def test_activate_and_deactivate(device: Device, run: Run, moving: MovingKernel) -> None:
    moving.devices.clear()
    before = Path(device.spare).read_bytes()
    told = json.loads(run("activate", "data", device.main, device.spare, "--relocate-weak", "--json").stdout)
    assert (told["name"], told["records"], told["finished"]) == ("data", len(MAPPED), False)
    assert told["table"].endswith("5 copies 5 spacing 256 relocate_weak")
    assert device.live[1] == SECTORS
    assert run("deactivate", "data").stdout == "deactivated data\n"
    assert "activated" in run("activate", "data", device.main, device.spare).stdout
    assert json.loads(run("deactivate", "data", "--json").stdout) == {"name": "data", "removed": True}
    assert Path(device.spare).read_bytes() == before and moving.devices == {}


def test_activate_never_formats(device: Device, run: Run, moving: MovingKernel) -> None:
    moving.devices.clear()
    blank = device.disk("blank", 8 * MIB)
    result = run("activate", "data", device.main, blank)
    assert result.exit_code == 4 and "holds no metadata" in result.stderr
    other = device.disk("other", 16 * MIB)
    result = run("activate", "data", other, device.spare)
    assert result.exit_code == 4 and "belongs to a main device" in result.stderr
    assert moving.devices == {} and Path(blank).read_bytes() == bytes(8 * MIB)


def test_removal_waits_for_the_last_user(
    device: Device, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving.devices["data"].open_count = 1
    polled = []

    def let_go(label: str) -> None:
        # 16: the poll is armed, just before and after each wait.
        if label == "ioctl 16":
            polled.append(label)
            if len(polled) == 3:
                moving.devices["data"].open_count = 0

    moving.step = let_go
    device.disk("node", 0, dev=None)
    (device.top / "dev/block/253:0").touch()
    assert json.loads(run("remove", "data", "--retry", "--json").stdout) == {"name": "data", "removed": True}
    assert len(polled) == 3


def test_removal_gives_up_and_names_the_user(
    device: Device, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving.devices["data"].open_count = 1
    with Control() as control, pytest.raises(Busy, match="still open after 0 s"):
        removal.remove_waiting(control, "data", patience=0)
    monkeypatch.setattr(blockdev, "mounts", lambda dev, *_: ("/mnt",))
    result = run("deactivate", "data", "--wait", "0")
    assert result.exit_code == 5 and "mounted on /mnt" in result.stderr
    assert run("remove", "data", "--retry", "--deferred").exit_code == 2
    assert "data" in moving.devices
    moving.fail["DM_DEV_REMOVE"] = errno.ENXIO
    assert run("deactivate", "data").exit_code == 4


class Unmapping:
    """A kernel that copies back what is not stuck; ``listed`` is called when it has told the map."""

    def __init__(self, device: Device, stuck: set[int], listed: Callable[[], None] = lambda: None) -> None:
        self.device, self.stuck, self.listed = device, stuck, listed
        self.remapped = dict.fromkeys(MAPPED, 8)
        self.pending: list[str] = []
        self.asked: list[str] = []
        device.kernel.answer = self.answer

    def answer(self, words: str) -> str | None:
        kind, *numbers = words.split()
        self.asked.append(words)
        if kind == "list":
            start = int(numbers[0])
            lines = [f"{at} {n} 2048 remap" for at, n in sorted(self.remapped.items()) if at >= start]
            self.listed()
            return "\n".join([*lines, *self.pending]) or "none"
        sectors = list(map(int, numbers[::2]))
        for at in sectors:
            if at in self.stuck:
                raise OSError(errno.EINVAL, "still fails")
            self.remapped.pop(at, None)
        if not self.remapped:
            self.store([])
        return f"Unmapped {8 * len(sectors)} sectors"

    def store(self, records: list[metadata.Record]) -> None:
        """Have these on the spare."""
        blocks = metadata.encode_image(
            records, uuid=UUID_, main_sectors=SECTORS, spare_sectors=8 * MIB // 512, time=2, sequence=20,
            cursor=metadata.data_start() + 8 * len(MAPPED),
        )  # fmt: skip
        put(self.device.spare, blocks)


def test_what_stands_in_the_way_is_told(
    moving: MovingKernel, disks: Disks, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(moving, disks, tmp_path, pending=True)
    bad_sectors(monkeypatch, device.main, {MAPPED[4] + 1})
    told = json.loads(run("leave", "data", "--json").stdout)
    assert told["remapped"] == [[at, 8] for at in MAPPED] and told["failing"] == [[MAPPED[4], 8]]
    assert told["pending"] == [[PENDING, 8]] and told["users"] == ""
    moving.devices["data"].open_count = 1
    shown = run("leave", "data").stdout
    for words in (
        "800 sectors live on the spare",
        "8 sectors of them",
        "cannot be read anywhere",
        "it is open",
    ):
        assert words in shown
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 5 and "is open" in result.stderr
    moving.devices["data"].open_count = 0
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 5 and "8 sectors of data cannot be read" in result.stderr


def test_who_opens_it_for_a_moment_is_not_in_the_way(
    device: Device, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(seconds: float) -> None:
        moving.devices["data"].open_count = 0

    moving.devices["data"].open_count = 1
    monkeypatch.setattr(time, "sleep", pause)
    assert json.loads(run("leave", "data", "--json").stdout)["users"] == ""


def test_everything_goes_back_and_the_device_down(device: Device, run: Run, moving: MovingKernel) -> None:
    unmapping = Unmapping(device, set())
    assert run("leave", "data", "--do", answer="n\n").exit_code == 10 and unmapping.remapped
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 0 and "800 sectors were copied back" in result.stdout, result.stderr
    assert "alone has everything" in result.stdout
    assert unmapping.remapped == {} and moving.devices == {}


def test_a_write_in_the_last_moment_that_main_does_not_take(
    device: Device, run: Run, moving: MovingKernel
) -> None:
    unmapping = Unmapping(device, set())

    def write(label: str) -> None:
        # 4: the removal; whoever was there has closed the device.
        if label == "ioctl 4":
            unmapping.store([metadata.Record(MAPPED[0], metadata.data_start(), 8, metadata.Kind.REMAP)])

    moving.step = write
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 9 and "in the last moment" in result.stdout, result.stderr
    assert f"  {MAPPED[0]} 8\n" in result.stdout and moving.devices == {}


@pytest.mark.parametrize("kind", [metadata.Kind.REMAP, metadata.Kind.PENDING])
def test_what_comes_when_nothing_is_left_is_not_overlooked(
    device: Device, run: Run, moving: MovingKernel, kind: metadata.Kind
) -> None:
    place = metadata.data_start() if kind is metadata.Kind.REMAP else 0

    def write() -> None:
        # Told that there is nothing: from here on whoever has the device open may write.
        if not unmapping.remapped:
            unmapping.store([metadata.Record(MAPPED[0], place, 8, kind)])

    unmapping = Unmapping(device, set(), write)
    result = run("leave", "data", "--do", "--yes", "--json")
    assert result.exit_code == 9, result.stdout
    told = json.loads(result.stdout)
    assert told["remaining" if kind is metadata.Kind.REMAP else "pending"] == [[MAPPED[0], 8]]
    assert told["removed"] is True and moving.devices == {}


def test_what_becomes_pending_meanwhile_keeps_the_device(
    device: Device, run: Run, moving: MovingKernel
) -> None:
    def lose() -> None:
        if not unmapping.remapped:
            unmapping.pending = [f"{PENDING} 8 - pending"]

    unmapping = Unmapping(device, set(), lose)
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 9 and "data" in moving.devices
    assert "cannot be read" in result.stdout and f"  {PENDING} 8\n" in result.stdout


def test_a_spare_that_cannot_be_read_at_the_end_is_told(
    device: Device, run: Run, moving: MovingKernel
) -> None:
    Unmapping(device, set())

    def die(label: str) -> None:
        # 4: the removal.
        if label == "ioctl 4":
            Path(device.spare).unlink()

    moving.step = die
    result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 6 and "alone has everything" not in result.stdout
    assert "data is down, but its spare cannot be read any more" in result.stdout and moving.devices == {}
    assert "800 sectors were copied back" in result.stdout


@pytest.mark.parametrize("words", [(), ("--do", "--yes")], ids=" ".join)
def test_a_device_that_stands_still_is_not_left(
    device: Device, run: Run, moving: MovingKernel, words: tuple[str, ...]
) -> None:
    moving.devices["data"].suspended = True
    result = run("leave", "data", *words)
    assert result.exit_code == 5 and "data is suspended" in result.stderr and result.stdout == ""
    assert "data" in moving.devices and not moving.messages


@pytest.mark.parametrize("words", [(), ("--do", "--yes")], ids=" ".join)
def test_one_that_stands_still_from_now_on_is_not_left(
    device: Device, run: Run, moving: MovingKernel, words: tuple[str, ...]
) -> None:
    def suspend(label: str) -> None:
        # 14: a message.
        if label == "ioctl 14":
            moving.devices["data"].suspended = True

    moving.step = suspend
    result = run("leave", "data", *words)
    assert result.exit_code == 5 and "data is suspended" in result.stderr and result.stdout == ""
    assert "data" in moving.devices


def test_a_device_that_is_being_moved_is_not_left(device: Device, run: Run, moving: MovingKernel) -> None:
    Unmapping(device, set())
    with underway(DmName("data"), "evacuate, to /dev/sde"):
        result = run("leave", "data", "--do", "--yes")
    assert result.exit_code == 5 and "busy with evacuate, to /dev/sde" in result.stderr
    assert "data" in moving.devices


def test_a_long_range_goes_back_in_parts(device: Device, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ^C is heard, and what main does not take in one keeps no other on the spare."""
    monkeypatch.setattr(portions, "monotonic", lambda: 0.0)
    unmapping = Unmapping(device, {64})
    unmapping.remapped = {0: 64, 64: 512, 576: 4096, 4672: 328}
    result = run("leave", "data", "--do", "--yes", "--json")
    assert result.exit_code == 9 and json.loads(result.stdout)["remaining"] == [[64, 512]]
    asked = [words for words in unmapping.asked if words.startswith("unmap")]
    # The listed ranges were one range.
    assert asked == ["unmap 0 64", "unmap 64 512", "unmap 576 4096", "unmap 4672 328"]


def test_what_main_does_not_take_stays(
    device: Device, run: Run, moving: MovingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KernelLog, "sentence", lambda self: "main still fails there")
    stuck = {MAPPED[7], *MAPPED[60:90]}
    unmapping = Unmapping(device, stuck)
    result = run("leave", "data", "--do", "--yes", "--json")
    assert result.exit_code == 9
    told = json.loads(result.stdout)
    assert told["remaining"] == [[at, 8] for at in sorted(stuck)] and told["removed"] is False
    assert told["copied_back"] == 8 * (len(MAPPED) - len(stuck))
    assert set(unmapping.remapped) == stuck and "data" in moving.devices
    shown = run("leave", "data", "--do", "--yes").stdout
    assert "does not take 248 sectors" in shown and "and 11 more" in shown
    unmapping.stuck = set()
    unmapping.remapped = {}
    assert "nothing lives on the spare" in run("leave", "data").stdout
