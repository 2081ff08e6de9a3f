"""The parts that moving is made of: places, rounds, counts, marks, and the standstill."""

import json
import os
import time
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.dm import stats
from pycontrol.dm.errors import DmReplyError
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName, TargetLine
from pycontrol.errors import Busy, DeviceIoError
from pycontrol.metadata import Condition, Geometry, Mark
from pycontrol.service.directio import direct
from pycontrol.service.move import written
from pycontrol.service.move.placement import NoRoom, Piece, Placement
from pycontrol.service.move.rounds import Next, Rounds
from pycontrol.service.move.settle import settle
from pycontrol.service.move.standstill import standstill
from tests.conftest import MIB, Run
from tests.moving import Device, MovingKernel, valid

DATA = DmName("data")


# Places on the new spare.


def test_what_stays_keeps_its_place_and_is_not_copied_again() -> None:
    placement = Placement(100, 200)
    placement.follow([(0, 8, 5000), (50, 8, 5008)])
    assert placement.pieces == [Piece(0, 8, 5000, 100), Piece(50, 8, 5008, 108)]
    assert placement.waiting == [(0, 8), (50, 58)]
    placement.waiting = []
    # One is cut in the middle by another remap, one is gone, one is new.
    placement.follow([(0, 2, 5000), (2, 2, 6000), (4, 4, 5004), (70, 8, 5016)])
    assert placement.pieces == [
        Piece(0, 2, 5000, 100), Piece(2, 2, 6000, 124), Piece(4, 4, 5004, 104), Piece(70, 8, 5016, 116),
    ]  # fmt: skip
    assert placement.waiting == [(2, 4), (70, 78)]
    assert placement.of([(1, 5), (75, 90)]) == [
        Piece(1, 1, 5001, 101), Piece(2, 2, 6000, 124), Piece(4, 1, 5004, 104), Piece(75, 3, 5021, 121),
    ]  # fmt: skip


def test_neighbours_that_join_keep_their_places() -> None:
    placement = Placement(100, 200)
    placement.follow([(0, 8, 5000)])
    placement.waiting = []
    placement.follow([(0, 16, 5000)])
    assert [(piece.main, piece.sectors, piece.new) for piece in placement.pieces] == [
        (0, 8, 100),
        (8, 8, 108),
    ]
    assert placement.waiting == [(8, 16)]


def test_places_follow_the_old_spare_so_that_long_runs_are_copied() -> None:
    placement = Placement(100, 200)
    placement.follow([(0, 8, 5016), (50, 8, 5000), (90, 8, 5008)])
    assert [piece.new for piece in sorted(placement.pieces, key=lambda piece: piece.old)] == [100, 108, 116]


def test_places_that_became_free_are_used_when_room_runs_out() -> None:
    placement = Placement(100, 116)
    placement.follow([(0, 8, 5000)])
    placement.waiting = []
    placement.follow([(20, 8, 5008)])
    placement.follow([(20, 8, 5008), (40, 8, 5016)])
    assert [piece.new for piece in placement.pieces] == [100, 108]
    assert placement.waiting == [(20, 28), (40, 48)]
    with pytest.raises(NoRoom):
        placement.follow([(0, 17, 5000)])


# When to stop.


def test_little_is_left_for_the_switch() -> None:
    rounds = Rounds(5.0)
    assert rounds.decide(1 << 30) is Next.COPY
    rounds.did(1 << 30, 10.0)
    assert rounds.standstill(1 << 30) == pytest.approx(10.0)
    assert rounds.decide(1 << 29) is Next.COPY
    assert rounds.decide(1 << 24) is Next.SWITCH


def test_what_does_not_shrink_is_taken_if_it_is_short_enough() -> None:
    for longest, expected in ((5.0, Next.SWITCH), (1.0, Next.GIVE_UP)):
        rounds = Rounds(longest)
        rounds.did(100 << 20, 1.0)
        assert rounds.decide(1 << 30) is Next.COPY
        assert rounds.decide(300 << 20) is Next.COPY
        assert rounds.decide(290 << 20) is expected


def test_it_is_said_how_long_the_switch_would_take() -> None:
    rounds = Rounds(0.1)
    rounds.did(100 << 20, 1.0)
    assert rounds.again("data", 90 << 20) and rounds.again("data", 50 << 20)
    with pytest.raises(Busy, match=r"^data is written faster .* for 0\.5 s; .*--pause$"):
        rounds.again("data", 45 << 20)


# Counts of writes.


def test_much_metadata_is_no_surprise_when_it_stands_still() -> None:
    rounds = Rounds(5.0)
    rounds.did(100 * MIB, 1.0)
    rounds.takes_besides(0.1)
    assert rounds.standstill(0) == 0.0
    rounds.takes_besides(6.0)
    assert [rounds.decide(0) for _ in range(2)] == [Next.COPY, Next.COPY]
    with pytest.raises(Busy, match=r"I/O on data .* for 6\.0 s"):
        rounds.again("data", 0)
    # Enough for the one and the other, though not for less than a tenth of it.
    enough = Rounds(7.0, left=[0, 0])
    enough.takes_besides(6.0)
    assert enough.again("data", 0) is False


def test_areas_are_not_too_many() -> None:
    assert written.area_sectors(1000, 2) == 128
    assert written.area_sectors(8 << 30, 2) == 131072  # 4 TiB
    assert written.area_sectors(8 << 30, 256) * 2300 >= 8 << 30
    assert written.processors(Path("/nonexistent")) == 64


def test_possible_processors(tmp_path: Path) -> None:
    for words, number in (("0-7\n", 8), ("0\n", 1), ("0-3,8-15\n", 16), ("?", 64)):
        (tmp_path / "possible").write_text(words)
        assert written.processors(tmp_path / "possible") == number


def test_counts_are_asked_for_in_parts(device: Device, moving: MovingKernel) -> None:
    with Control() as control:
        region = stats.create(control, DATA, 10_000 * 128 - 5, 128, "test")
        assert region.areas == 10_000
        moving.wrote(5000 * 128)
        counts = stats.writes(control, DATA, region)
        assert counts == [0] * 5000 + [1] + [0] * 4999
        assert stats.of_program(control, DATA, "test") == [3]
        look = written.Written(control, DATA, region, 10_000 * 128 - 5)
        assert look.between([0] * 10_000, counts) == [(640_000, 640_128)]
        assert look.between([0] * 10_000, [0] * 9_999 + [1]) == [(9_999 * 128, 10_000 * 128 - 5)]


def test_counts_that_are_not_as_documented(device: Device, moving: MovingKernel) -> None:
    region = stats.Region(0, 8, 2)
    for answer in ("", "0+8 1 2\n8+8 1 2\n", "0+8 1 2 3 4 x\n8+8 1 2 3 4 5\n"):
        moving.answer = lambda words, answer=answer: answer  # type: ignore[misc]
        with Control() as control, pytest.raises(DmReplyError):
            stats.writes(control, DATA, region)


# Marks.


@pytest.mark.parametrize("condition", list(Condition))
def test_a_mark_is_read_as_it_was_written(condition: Condition) -> None:
    mark = Mark(condition, UUID(int=3), 1234, "/dev/sdb (wwn:0x5000 serial:\udcffX)")
    block = metadata.encode_mark(mark)
    assert len(block) == 4096 and metadata.decode_mark(block) == mark
    for at in (0, 12, 100):
        assert metadata.decode_mark(block[:at] + b"?" + block[at + 1 :]) is None
    assert metadata.decode_mark(bytes(4096)) is None
    assert metadata.decode_mark(b"dm-remap: hello\ncrc 00000000\n".ljust(4096, b"\0")) is None


def test_a_marked_spare_is_refused_in_its_own_words() -> None:
    for condition, words in ((Condition.RETIRED, "moved to there"), (Condition.UNFINISHED, "from there")):
        for copies in (1, 5):
            image = bytearray(8 * MIB)
            mark = Mark(condition, UUID(int=3), 1, "there")
            for offset, block in metadata.marked(mark, Geometry(copies, 256)):
                image[offset : offset + 4096] = block
            image[:4096] = b"?" * 4096 if copies > 1 else bytes(image[:4096])
            with pytest.raises(metadata.OutOfService, match=words):
                metadata.load(lambda offset, length: bytes(image[offset : offset + length]), 8 * MIB)  # noqa: B023


def test_waves_leave_one_half_whole() -> None:
    places = [(at, b"") for at in range(5)]
    assert metadata.waves(places) == [[(1, b""), (3, b"")], [(0, b""), (2, b""), (4, b"")]]
    assert metadata.waves(places[:1]) == [[(0, b"")]]


# I/O.


def test_a_disk_that_ends_early_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(8192))
    with direct(str(tmp_path / "disk"), write=True) as disk:
        disk.store([(4096, b"x" * 4096)])
        assert disk.bytes_at(0, 8192) == bytes(4096) + b"x" * 4096
        with pytest.raises(OSError, match="it ends there"):
            disk.read(8192, 4096)
    with direct(str(tmp_path / "disk")) as disk, pytest.raises(DeviceIoError, match="writing"):
        disk.write(0, bytes(4096))


# The standstill.


def test_a_failure_while_it_stands_still_lets_it_go_on(device: Device, moving: MovingKernel) -> None:
    before = device.live
    with Control() as control, pytest.raises(ZeroDivisionError), standstill(control, DATA) as still:
        assert moving.devices["data"].suspended
        still.load(TargetLine(0, 8, "linear", "8:0 0"))
        raise ZeroDivisionError
    assert not moving.devices["data"].suspended
    assert device.live == before and moving.devices["data"].pending is None


def test_a_guard_lets_it_go_on_when_the_program_is_killed(
    device: Device, moving: MovingKernel, tmp_path: Path
) -> None:
    log = tmp_path / "log"

    def note(label: str) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {label}\n")

    moving.step = note
    child = os.fork()
    if child == 0:
        with Control() as control, standstill(control, DATA):
            note("killed")
            os._exit(9)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 60
    while True:
        lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
        guard = [words[1] for words in lines if words[0] != str(child)]
        # Suspend and resume are one ioctl, number 6.
        if "ioctl 6" in guard or time.monotonic() > deadline:
            break
    assert "killed" in [words[1] for words in lines]
    assert guard[-1] == "ioctl 6", lines


# What a killed program has left.


@pytest.fixture
def standing(device: Device, moving: MovingKernel) -> str:
    """The device stands still; the new spare's path."""
    new = device.disk("new", 8 * MIB)
    moving.devices["data"].suspended = True
    moving.region = (65536, 128)
    return new


def test_the_old_spare_is_taken_up_again_if_it_is_valid(
    device: Device, moving: MovingKernel, standing: str
) -> None:
    before = device.live
    moving.devices["data"].pending = [(0, 65536, "dm-remap-v4", device.table(standing))]
    with Control() as control:
        settled = settle(control, "data", standing)
    assert settled is not None and settled.on == device.spare
    assert device.live == before and not moving.devices["data"].suspended and moving.region is None


def test_the_new_spare_is_taken_if_the_old_one_is_retired(
    device: Device, moving: MovingKernel, standing: str
) -> None:
    state = metadata.load(lambda at, length: Path(device.spare).read_bytes()[at : at + length], 8 * MIB)
    records = [metadata.Record(*each) for each in state.extents]
    snapshot = metadata.moved(
        state, records, spare_sectors=8 * MIB // 512, block_size=512, end=state.header.cursor, lost=0, time=5
    )
    from tests.moving import put

    put(standing, [*snapshot.blocks(), *snapshot.headers()])
    assert not valid(standing)
    mark = Mark(Condition.RETIRED, state.uuid, 5, standing)
    put(device.spare, metadata.marked(mark, Geometry(5, 256)))
    with Control() as control:
        settled = settle(control, "data", standing)
    assert settled is not None and "finished" in settled.words and settled.on == standing
    assert valid(standing) and device.live[3] == device.table(standing)
    assert not moving.devices["data"].suspended


def test_the_new_disk_is_taken_if_the_spare_was_retired_for_it(
    device: Device, moving: MovingKernel, standing: str
) -> None:
    from tests.moving import UUID_, put

    mark = Mark(Condition.RETIRED, UUID_, 5, standing)
    put(device.spare, metadata.marked(mark, Geometry(5, 256)))
    line = (0, 65536, "linear", f"{device.disks.number(standing)} 0")
    moving.devices["data"].pending = [line]
    with Control() as control:
        settled = settle(control, "data", standing)
    assert settled is not None and settled.on == standing and device.live == line


@pytest.mark.parametrize("back", [False, True], ids=["killed", "and the old table put back"])
def test_the_new_spare_that_cannot_be_read_is_not_taken_for_a_disk(
    device: Device, moving: MovingKernel, standing: str, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    from pycontrol.errors import BrokenError
    from tests.moving import UUID_, bad_sectors, put

    # Killed when the old spare was retired for it; its headers would say that all has arrived.
    mark = Mark(Condition.RETIRED, UUID_, 5, standing)
    put(device.spare, metadata.marked(mark, Geometry(5, 256)))
    if not back:
        moving.devices["data"].pending = [(0, 65536, "dm-remap-v4", device.table(standing))]
    bad_sectors(monkeypatch, standing, set(range(2048)))
    before = device.live
    with Control() as control, pytest.raises(BrokenError, match="no spare of it can be used"):
        settle(control, "data", standing)
    assert device.live == before and moving.devices["data"].suspended


def test_another_disk_than_the_one_it_was_to_go_to_is_not_taken(
    device: Device, moving: MovingKernel, standing: str
) -> None:
    from pycontrol.errors import BrokenError
    from tests.moving import UUID_, put

    put(device.spare, metadata.marked(Mark(Condition.RETIRED, UUID_, 5, standing), Geometry(5, 256)))
    other = device.disk("other", 32 * MIB)
    moving.devices["data"].pending = [(0, 65536, "linear", f"{device.disks.number(other)} 0")]
    before = device.live
    with Control() as control, pytest.raises(BrokenError, match="no spare of it can be used"):
        settle(control, "data", standing)
    assert device.live == before


def test_nothing_that_can_be_used_is_told(device: Device, moving: MovingKernel, standing: str) -> None:
    Path(device.spare).write_bytes(b"?" * 8192)
    from pycontrol.errors import BrokenError

    with Control() as control, pytest.raises(BrokenError, match="no spare of it can be used"):
        settle(control, "data", standing)
    assert moving.devices["data"].suspended


def test_a_command_that_is_run_again_settles_it_first(
    device: Device, moving: MovingKernel, standing: str, run: Run
) -> None:
    result = run("spare", "replace", "data", standing, "--yes")
    assert result.exit_code == 0 and "retired" in result.stdout, result.stderr
    device.check(standing)
    # Killed once more, when all was decided.
    moving.devices["data"].suspended = True
    moving.region = (65536, 128)
    shown = run("spare", "replace", "data", standing, "--yes").stdout
    assert "taken up again" in shown and not moving.devices["data"].suspended
    moving.devices["data"].suspended = True
    moving.region = (65536, 128)
    told = json.loads(run("evacuate", "data", standing, "--yes", "--json").stdout)
    assert told == {"name": "data", "new": standing, "dry_run": False, "finished": True}
