"""``dmremapctl spare replace``: what it refuses, what moves, and that nothing is invented."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DevNumber
from pycontrol.errors import Busy
from pycontrol.metadata import Condition, Geometry, Kind, Mark
from pycontrol.service import blockdev
from pycontrol.service.identity import Identity
from pycontrol.service.move import newdevice
from pycontrol.service.move import replace as replacing
from tests.conftest import MIB, Disks, Run
from tests.moving import MAPPED, SECTORS, UUID_, Device, MovingKernel, bad_sectors, loaded, put, valid


@pytest.mark.parametrize("size", [2, 8, 30])
def test_everything_moves_to_a_spare_of_another_size(
    device: Device, run: Run, size: int, moving: MovingKernel
) -> None:
    new = device.disk("new", size * MIB)
    result = run("spare", "replace", "data", new, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told.pop("seconds") > 0
    assert told == {
        "name": "data", "old": device.spare, "new": new, "dry_run": False,
        "sectors": 8 * len(MAPPED), "copied": 8 * len(MAPPED), "loses": [], "lost": [], "warnings": [],
    }  # fmt: skip
    device.check(new)
    state = loaded(new)
    assert state.intact and state.spare_sectors == size * MIB // 512 and state.uuid == UUID_
    assert state.sequence > 9 and state.name == "data"
    assert device.live == (0, SECTORS, "dm-remap-v4", device.table(new))
    assert not moving.devices["data"].suspended and moving.region is None
    with pytest.raises(metadata.OutOfService, match="retired"):
        loaded(device.spare)


def test_it_asks(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB)
    before = Path(new).read_bytes()
    result = run("spare", "replace", "data", new, answer="n\n")
    assert result.exit_code == 10 and "instead of" in result.stderr
    assert Path(new).read_bytes() == before and valid(device.spare)


def test_a_dry_run_changes_nothing(device: Device, run: Run, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, [(0, b"data")])
    calls = len(moving.calls)
    shown = run("spare", "replace", "data", new, "--dry-run", "--overwrite").stdout
    assert f"would move {8 * len(MAPPED)} sectors" in shown and "would overwrite data of unknown" in shown
    told = json.loads(run("spare", "replace", "data", new, "--dry-run", "--overwrite", "--json").stdout)
    assert told["dry_run"] is True and told["loses"] == ["data of unknown kind"]
    assert not {"suspend", "DM_TABLE_LOAD", "resume"} & set(moving.calls[calls:])
    assert Path(new).read_bytes()[:4] == b"data" and valid(device.spare)


def test_what_is_written_meanwhile_is_copied_again(device: Device, run: Run, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)

    def write(number: int) -> None:
        # Before each look at the counts, while I/O goes on, and once more just before it stands still.
        device.write(MAPPED[number])
        device.write(MAPPED[50])

    moving.at_count = write
    assert run("spare", "replace", "data", new, "--yes", "--pause", "0.1").exit_code == 0
    assert moving.told >= 3
    device.check(new)


def test_remaps_that_come_meanwhile_move_too(device: Device, run: Run, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)
    state = loaded(device.spare)
    gone, kept = state.extents[3], [each for at, each in enumerate(state.extents) if at != 3]
    place = 6000

    def change(number: int) -> None:
        if number != 2:
            return
        records = [metadata.Record(*each) for each in kept]
        records.append(metadata.Record(gone.main, place, gone.sectors, Kind.REMAP))
        blocks = metadata.encode_image(
            records, uuid=state.uuid, main_sectors=SECTORS, spare_sectors=state.spare_sectors, time=2,
            sequence=12, cursor=place + 8, segments=state.header.segments,
        )  # fmt: skip
        put(device.spare, blocks)
        put(device.spare, [(place * 512, device.expected(gone.main, gone.sectors))])

    moving.at_count = change
    assert run("spare", "replace", "data", new, "--yes", "--pause", "0.1").exit_code == 0
    device.check(new)


def test_what_cannot_be_read_is_pending(device: Device, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    new = device.disk("new", 8 * MIB)
    start = metadata.data_start()
    bad_sectors(monkeypatch, device.spare, {start + 3, start + 80})
    result = run("spare", "replace", "data", new, "--yes", "--json")
    assert result.exit_code == 1, result.stderr
    told = json.loads(result.stdout)
    lost = [MAPPED[0] + 3, MAPPED[10]]
    assert told["lost"] == [[at, 1] for at in lost] and told["sectors"] == 8 * len(MAPPED) - 2
    device.check(new, lost)
    assert loaded(new).lost == 2


def test_what_was_done_is_said_for_people(device: Device, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    new = device.disk("new", 8 * MIB)
    bad_sectors(monkeypatch, device.spare, {metadata.data_start() + 3})
    result = run("spare", "replace", "data", new, "--yes")
    assert result.exit_code == 1
    shown = result.stdout
    for words in (f"799 sectors live on {new}", "I/O stood still", f"  {MAPPED[0] + 3} 1\n", "is retired"):
        assert words in shown


def test_what_was_pending_stays_so(moving: MovingKernel, disks: Disks, tmp_path: Path, run: Run) -> None:
    device = Device(moving, disks, tmp_path, pending=True)
    new = device.disk("new", 8 * MIB)
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0
    device.check(new)
    assert [(each.main, each.sectors) for each in loaded(new).extents if each.kind is Kind.PENDING] == [
        (50_000, 8)
    ]


def test_a_spare_that_cannot_be_read_at_all_ends_it(
    device: Device, run: Run, monkeypatch: pytest.MonkeyPatch, moving: MovingKernel
) -> None:
    new = device.disk("new", 8 * MIB)

    def die(number: int) -> None:
        if number == 2:
            device.write(MAPPED[0])
            bad_sectors(monkeypatch, device.spare, set(range(8 * MIB // 512)))

    moving.at_count = die
    result = run("spare", "replace", "data", new, "--yes")
    assert result.exit_code in (3, 4, 6), result.stderr
    assert valid(device.spare) and not valid(new)
    assert device.live[3] == device.table(device.spare) and not moving.devices["data"].suspended


def test_hot_data_is_not_waited_for_without_end(device: Device, run: Run, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)

    def write_all(number: int) -> None:
        for main in MAPPED:
            device.write(main)

    moving.at_count = write_all
    result = run("spare", "replace", "data", new, "--yes", "--pause", "0.1")
    # 400 KiB take no tenth of a second: the switch comes, and I/O stood still for all of it.
    assert result.exit_code == 0, result.stderr
    device.check(new)


@pytest.mark.parametrize("when", [1, 2])
def test_a_device_that_vanishes_ends_it(device: Device, run: Run, moving: MovingKernel, when: int) -> None:
    new = device.disk("new", 8 * MIB)

    def vanish(number: int) -> None:
        if number == when:
            moving.fail = dict.fromkeys(("DM_TARGET_MSG", "DM_DEV_STATUS", "suspend", "resume"), errno.ENXIO)

    moving.at_count = vanish
    result = run("spare", "replace", "data", new, "--yes")
    assert result.exit_code in (4, 9) and result.stderr.count("\n") == 1
    assert valid(device.spare) and not valid(new)


@pytest.mark.parametrize("when", [1, 2])
def test_interrupted_nothing_has_happened(device: Device, run: Run, moving: MovingKernel, when: int) -> None:
    new = device.disk("new", 8 * MIB)

    def interrupt(number: int) -> None:
        if number == when:
            raise KeyboardInterrupt

    moving.at_count = interrupt
    result = run("spare", "replace", "data", new, "--yes", "--pause", "0.1")
    assert result.exit_code == 10 and "interrupted" in result.stderr
    assert valid(device.spare) and not valid(new) and not moving.devices["data"].suspended
    assert moving.region is None
    # What it left on the new spare is in nobody's way, and nobody takes it for a spare.
    told = run("create", "other", device.main, new, "--yes")
    assert told.exit_code == 4 and "was not finished" in told.stderr
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0
    device.check(new)


# What is refused; nothing is written then.


def refused(device: Device, run: Run, code: int, words: str, *arguments: str) -> None:
    files = [Path(path) for path in device.kernel.spares.values()]
    before = [path.read_bytes() for path in files]
    result = run("spare", "replace", *arguments, "--yes")
    assert result.exit_code == code, result.stderr
    assert words in result.stderr and result.stderr.count("\n") == 1
    assert [path.read_bytes() for path in files] == before
    assert device.live[3] == device.table(device.spare)


def test_no_device_or_not_ours(device: Device, run: Run, moving: MovingKernel) -> None:
    new = device.disk("new", 8 * MIB)
    moving.add("other", "", (0, 8, "linear", "8:0 0"))
    refused(device, run, 4, "no such device", "nothing", new)
    refused(device, run, 4, "not one of dm-remap", "other", new)


def test_main_or_the_spare_itself(device: Device, run: Run) -> None:
    refused(device, run, 4, "in use here already", "data", device.main)
    refused(device, run, 4, "in use here already", "data", device.spare)


def test_what_lies_on_the_device_itself(
    device: Device, run: Run, tmp_path: Path, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = DevNumber(253, device.kernel.devices["data"].minor)
    tops = tmp_path / "sys/dev/block"
    monkeypatch.setattr(blockdev, "SYSFS", tmp_path / "sys")

    def stacked(number: DevNumber, *on: DevNumber) -> Path:
        for each in on:
            (tops / str(number) / "slaves" / str(each)).mkdir(parents=True)
            (tops / str(number) / "slaves" / str(each) / "dev").write_text(f"{each}\n")
        return tops / str(number)

    refused(device, run, 4, "is data itself", "data", device.disk("alias", 8 * MIB, dev=itself))
    crypt, volume = device.disk("crypt", 8 * MIB), device.disk("volume", 8 * MIB)
    stacked(disks.number(crypt), DevNumber(9, 9), itself)
    stacked(disks.number(volume), disks.number(crypt))
    refused(device, run, 4, "lies on data", "data", crypt)
    refused(device, run, 4, "lies on data", "data", volume)
    # A partition of a loop device, whose file is on a file system on that volume.
    part, loop = device.disk("part", 8 * MIB), tops / "7:0"
    for place in (loop / "loop", loop / "p1"):
        place.mkdir(parents=True)
    (loop / "loop/backing_file").write_text(f"{device.main}\n")
    (loop / "p1/partition").touch()
    (tops / str(disks.number(part))).symlink_to(loop / "p1")
    on = Path(device.main).stat().st_dev
    stacked(DevNumber(os.major(on), os.minor(on)), disks.number(volume))
    refused(device, run, 4, "lies on data", "data", part)
    # What is not known is no reason.
    (loop / "loop/backing_file").write_text(f"{tmp_path}/gone (deleted)\n")
    assert run("spare", "replace", "data", part, "--yes").exit_code == 0
    device.check(part)


def test_too_small(device: Device, run: Run) -> None:
    refused(device, run, 4, "too small", "data", device.disk("new", MIB + 200 * 512))


def test_larger_logical_blocks(device: Device, run: Run) -> None:
    refused(device, run, 4, "logical blocks of 4096", "data", device.disk("new", 8 * MIB, logical_block=4096))


def test_read_only_and_empty(device: Device, run: Run) -> None:
    refused(device, run, 4, "read-only", "data", device.disk("new", 8 * MIB, readonly=True))
    refused(device, run, 4, "no size", "data", device.disk("none", 0))


def test_in_use(device: Device, run: Run) -> None:
    refused(device, run, 5, "mounted on /mnt", "data", device.disk("new", 8 * MIB, mounts=("/mnt",)))


def test_somebodys_data(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, [(4096, b"precious")])
    refused(device, run, 5, "data of unknown kind", "data", new)
    put(new, [(0x438, b"\x53\xef")])
    refused(device, run, 5, "ext2/3/4", "data", new)
    assert run("spare", "replace", "data", new, "--yes", "--overwrite").exit_code == 0
    device.check(new)


def test_data_anywhere_in_a_large_region(device: Device, disks: Disks) -> None:
    new = device.disk("new", 30 * MIB)
    put(new, [(700 << 10, b"precious")])
    with pytest.raises(Busy, match="data of unknown kind"):
        newdevice.holdings(disks.known[new], 20 * MIB, UUID_, overwrite=False)
    assert newdevice.holdings(disks.known[new], 640 << 10, UUID_, overwrite=False) == []


def test_what_came_there_while_it_was_asked(device: Device) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, [(4096, b"precious")])
    with Control() as control:
        decided = replacing.plan(control, "data", new, overwrite=True)
        put(new, [(0x438, b"\x53\xef")])
        before = Path(new).read_bytes()
        with pytest.raises(Busy, match=r"carries ext2/3/4 .* by now"):
            replacing.carry_out(control, decided)
        assert Path(new).read_bytes() == before and device.live[3] == device.table(device.spare)
        # What was agreed to is lost, and what is gone is no obstacle.
        decided = replacing.plan(control, "data", new, overwrite=True)
        put(new, [(0x438, bytes(2)), (4096, bytes(8))])
        replacing.carry_out(control, decided)
    device.check(new)


def test_metadata_of_another_device(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB)
    from uuid import UUID

    put(new, metadata.fresh(uuid=UUID(int=5), main_sectors=999, spare_sectors=8 * MIB // 512, time=1))
    refused(device, run, 5, "dm-remap metadata", "data", new)


def marks() -> list[tuple[int, bytes]]:
    """What a replacement of this device's spare that was interrupted leaves."""
    return metadata.marked(Mark(Condition.UNFINISHED, UUID_, 5, "elsewhere"), Geometry(5, 256))


GPT = [(0, bytes(4096)), (510, b"\x55\xaa"), (512, b"EFI PART")]


@pytest.mark.parametrize(
    ("since", "words"),
    [
        (GPT, "GPT at byte 512"),
        ([(0, b"XFSB".ljust(4096, b"\0"))], "xfs"),
        ([(0, b"whatever".ljust(4096, b"\0"))], "data of unknown kind"),
        # A table that leaves the boot code in its place.
        ([(510, b"\x55\xaa"), (512, b"EFI PART")], "GPT at byte 512"),
        # This leaves the first block alone.
        ([(4096, b"\xfc\x4e\x2b\xa9")], "md raid 1.2"),
        ([(0, bytes(4096)), (0x10040, b"_BHRfS_M")], "btrfs"),
    ],
    ids=["GPT", "xfs", "unknown", "GPT behind", "md", "btrfs"],
)
def test_what_was_put_over_the_marks_of_an_interrupted_replacement(
    device: Device, run: Run, since: list[tuple[int, bytes]], words: str
) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, [*marks(), *since])
    refused(device, run, 5, words, "data", new)
    # The disk of an evacuation has one mark.
    disk = device.disk("disk", 32 * MIB)
    put(disk, [marks()[0], *since])
    if since[0][0]:
        with pytest.raises(Busy, match=words):
            newdevice.holdings(device.disks.known[disk], MIB, UUID_, overwrite=False)


def test_what_was_put_over_the_marks_of_a_retired_spare(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB)
    retired = metadata.marked(Mark(Condition.RETIRED, UUID_, 5, "elsewhere"), Geometry(5, 256))
    put(new, [*retired, (0, b"whatever".ljust(4096, b"\0"))])
    refused(device, run, 5, "data of unknown kind", "data", new)
    put(new, retired)
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0


@pytest.mark.parametrize("spoilt", [[], [(0, bytes(4096))], [(0, b"dm-remap: torn".ljust(512, b"\0"))]])
def test_what_an_interrupted_replacement_has_left_is_nothing(
    device: Device, run: Run, spoilt: list[tuple[int, bytes]]
) -> None:
    new = device.disk("new", 8 * MIB)
    put(new, [*marks(), *spoilt])
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0
    device.check(new)


@pytest.mark.parametrize("readonly", [False, True])
def test_what_is_read_only_stays_so(device: Device, run: Run, moving: MovingKernel, readonly: bool) -> None:
    """As one that was started degraded, because its spare takes no more writes: that is what to replace."""
    moving.devices["data"].readonly = readonly
    new = device.disk("new", 8 * MIB)
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0
    assert moving.loads == [readonly]
    device.check(new)


def test_what_cannot_be_read_is_pending_in_blocks_of_main(
    device: Device, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A main device with larger blocks than both spares have."""
    disks = device.disks
    disks.known |= {
        path: replace(found, logical_block=4096)
        for path, found in disks.known.items()
        if found.path == device.main
    }
    records = [metadata.Record(*each) for each in loaded(device.spare).extents]
    blocks = metadata.encode_image(
        records, uuid=UUID_, main_sectors=SECTORS, spare_sectors=8 * MIB // 512, time=1, sequence=9,
        cursor=metadata.data_start() + 8 * len(MAPPED), name="data", block_size=4096,
    )  # fmt: skip
    put(device.spare, blocks)
    bad_sectors(monkeypatch, device.spare, {metadata.data_start() + 8 * 3 + 5})
    new = device.disk("new", 8 * MIB)
    result = run("spare", "replace", "data", new, "--yes")
    assert result.exit_code == 1, result.stderr
    device.check(new, list(range(MAPPED[3], MAPPED[3] + 8)))


def test_one_disk(device: Device, run: Run, disks: Disks) -> None:
    new = device.disk("new", 8 * MIB, disk="main")
    refused(device, run, 4, "overlap", "data", new)
    old = disks.known[device.spare]

    def known_as(part: str) -> None:
        known = replace(old, identity=Identity(wwn="0x1", part=part), partition=bool(part))
        disks.known |= {path: known for path, found in disks.known.items() if found.path == old.path}

    known_as("")
    twin = device.disk("twin", 8 * MIB, identity=Identity(wwn="0x1"))
    refused(device, run, 4, "the same disk by two names", "data", twin)
    # By another path there are two of each of its partitions, too.
    known_as("p1")
    for number, part in enumerate(("p1", "")):
        twin = device.disk(f"twin{number}", 8 * MIB, identity=Identity(wwn="0x1", part=part), partition=True)
        refused(device, run, 4, "the same disk by two names", "data", twin)
    other = device.disk("other", 8 * MIB, identity=Identity(wwn="0x1", part="p2"), partition=True)
    result = run("spare", "replace", "data", other, "--yes", "--dry-run")
    assert result.exit_code == 0 and "on the same disk" in result.stderr


def test_two_commands_at_once(device: Device, run: Run) -> None:
    from pycontrol.dm.types import DmName
    from pycontrol.service.devices import doing
    from pycontrol.service.move.underway import underway

    new = device.disk("new", 8 * MIB)
    assert doing("data") == ""
    with underway(DmName("data"), "evacuate, to /dev/x"):
        assert doing("data").startswith("evacuate, to /dev/x (process ")
        result = run("spare", "replace", "data", new, "--yes")
        assert "evacuate, to /dev/x (process" in run("status", "data").stdout
        [state] = json.loads(run("status", "data", "--json").stdout)
        assert state["doing"] == doing("data")
    assert result.exit_code == 5 and "busy with evacuate, to /dev/x" in result.stderr
    assert doing("data") == "" and valid(device.spare)
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0


def test_a_retired_spare_says_where_everything_went(device: Device, run: Run) -> None:
    new = device.disk("new", 8 * MIB, identity=Identity(serial="N1"))
    assert run("spare", "replace", "data", new, "--yes").exit_code == 0
    assert run("remove", "data").exit_code == 0
    for command in ("create", "activate"):
        result = run(command, "data", device.main, device.spare)
        assert result.exit_code == 4 and f"moved to {new} (serial:N1)" in result.stderr
    assert run("activate", "data", device.main, new).exit_code == 0
    # The retired one can be used again, for this device or another: it holds nothing.
    assert run("spare", "replace", "data", device.spare, "--yes").exit_code == 0
    device.check(device.spare)
    assert not valid(new)
