"""``dmremapctl create``: every refusal by code and sentence, with nothing changed."""

import errno
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

import pytest

from pycontrol import metadata
from pycontrol.dm.ioctl import Control
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import create
from pycontrol.service.identity import Identity
from pycontrol.service.kernellog import KernelLog
from tests.conftest import MIB, Disks, Run
from tests.fakes import FakeKernel
from tests.faults import unreadable

MAIN_SECTORS = 64 * MIB // 512


@pytest.fixture
def main(disks: Disks) -> str:
    return disks.make("main", 64 * MIB, identity=Identity(wwn="0x5000", serial="M1"))


@pytest.fixture
def spare(disks: Disks) -> str:
    return disks.make("spare", 8 * MIB, identity=Identity(wwn="0x6000", serial="S1"))


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def put(path: str, blocks: list[tuple[int, bytes]]) -> None:
    with Path(path).open("r+b") as file:
        for offset, data in blocks:
            file.seek(offset)
            file.write(data)


def image(main_id: str = "wwn:0x5000 serial:M1", **changes: int) -> list[tuple[int, bytes]]:
    values = {"main_sectors": MAIN_SECTORS, "spare_sectors": 8 * MIB // 512, "copies": 5, "spacing": 256}
    return metadata.fresh(
        uuid=uuid.UUID(int=77), block_size=512, main_id=main_id, name="old", time=1, **(values | changes)
    )


def loaded(path: str) -> metadata.Loaded:
    data = Path(path).read_bytes()
    return metadata.load(lambda offset, length: data[offset : offset + length], len(data))


def test_of_a_disk_with_partitions_it_is_said_that_the_device_shows_none(
    kernel: FakeKernel, run: Run, disks: Disks, spare: str
) -> None:
    main = disks.make("main", 64 * MIB, partitions=("sda1", "sda2"))
    result = run("create", "r0", main, spare, "--dry-run")
    assert result.exit_code == 0
    assert "has partitions (sda1, sda2), and the kernel makes none" in " ".join(result.stderr.split())
    assert "r0" not in kernel.devices
    # Only when it is made: whoever activates it knows.
    assert run("create", "r0", main, spare, "--yes").exit_code == 0
    assert run("remove", "r0").exit_code == 0
    assert "has partitions" not in " ".join(run("create", "r0", main, spare).stderr.split())


def test_a_blank_spare_is_formatted_and_the_device_comes_up(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    result = run("create", "r0", main, spare, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    state = loaded(spare)
    assert told["formatted"] is True and told["uuid"] == f"DMREMAP-{state.uuid}"
    assert kernel.devices["r0"].uuid == told["uuid"]
    assert kernel.devices["r0"].live == [(0, MAIN_SECTORS, "dm-remap-v4", "8:0 8:16 4 copies 5 spacing 256")]
    assert (state.main_sectors, state.spare_sectors) == (MAIN_SECTORS, 8 * MIB // 512)
    assert (state.main_id, state.name, state.copies) == ("wwn:0x5000 serial:M1", "r0", 5)


def test_geometry_and_features_reach_metadata_and_table(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    result = run(
        "create", "r0", main, spare, "--yes", "--copies", "3", "--spacing", "256K", "--relocate-weak"
    )
    assert result.exit_code == 0, result.stderr
    [(_start, _length, _type, params)] = kernel.devices["r0"].live or []
    assert params == "8:0 8:16 5 copies 3 spacing 512 relocate_weak"
    assert (loaded(spare).copies, loaded(spare).spacing) == (3, 512)


def test_the_larger_logical_block_is_recorded(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    spare = disks.make("spare4k", 8 * MIB, logical_block=4096)
    assert run("create", "r0", main, spare, "--yes").exit_code == 0
    assert loaded(spare).block_size == 4096


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 10), ("", 10)])
def test_it_asks_before_it_formats(
    kernel: FakeKernel, run: Run, main: str, spare: str, answer: str, code: int
) -> None:
    before = digest(spare)
    result = run("create", "r0", main, spare, answer=answer)
    assert result.exit_code == code
    assert "Format it" in result.stderr
    assert (digest(spare) == before) is (code != 0)
    assert ("r0" in kernel.devices) is (code == 0)


def test_its_own_metadata_is_activated_without_asking_or_writing(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    put(spare, image(copies=3, spacing=512))
    before = digest(spare)
    result = run("create", "r0", main, spare, "--json", answer="")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["formatted"] is False
    assert kernel.devices["r0"].uuid == f"DMREMAP-{uuid.UUID(int=77)}"
    assert "copies 3 spacing 512" in (kernel.devices["r0"].live or [(0, 0, "", "")])[0][3]
    assert digest(spare) == before


@pytest.mark.parametrize("recorded", ["", "serial:M1", "wwn:0x5000"])
def test_an_identity_partly_known_does_not_hinder(
    kernel: FakeKernel, run: Run, main: str, spare: str, recorded: str
) -> None:
    put(spare, image(recorded))
    assert run("create", "r0", main, spare).exit_code == 0


@pytest.mark.parametrize(
    ("blocks", "code", "words"),
    [
        (image("wwn:0x7777"), 4, "belongs to another main device (wwn 0x7777"),
        (image("serial:ZZ"), 4, "belongs to another main device (serial ZZ"),
        (image(main_sectors=MAIN_SECTORS - 8), 4, "belongs to a main device of 131064 sectors"),
        (image(spare_sectors=16 * MIB // 512), 4, ""),
        ([(0x438, b"\x53\xef")], 5, "carries ext2/3/4 at byte 1080"),
        ([(4086, b"SWAPSPACE2")], 5, "carries swap"),
        ([(7 * MIB, b""), (8 * MIB - 512, b"EFI PART")], 5, "carries GPT (backup)"),
        ([(600 << 10, b"secret")], 5, "carries data in its first 640 KiB"),
    ],
    ids=["other wwn", "other serial", "other main size", "other spare size", "ext4", "swap", "gpt", "data"],
)
def test_a_spare_that_is_not_for_this_main_is_refused_untouched(
    kernel: FakeKernel,
    run: Run,
    main: str,
    spare: str,
    blocks: list[tuple[int, bytes]],
    code: int,
    words: str,
) -> None:
    put(spare, blocks)
    before = digest(spare)
    result = run("create", "r0", main, spare, "--yes")
    assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert result.stderr.startswith("dmremapctl: ") and result.stderr.count("\n") == 1
    assert digest(spare) == before and kernel.devices == {}


def test_corrupt_metadata_is_refused_with_its_own_code(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    put(spare, [(offset, data[:40] + b"\xff" * 8 + data[48:]) for offset, data in image()])
    before = digest(spare)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 3, result.stderr
    assert "beyond recovery" in result.stderr and digest(spare) == before and kernel.devices == {}


def test_format_overwrites_after_naming_what_is_lost(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    put(spare, [*image(), (0x438, b"\x53\xef"), (600 << 10, b"secret")])
    before = digest(spare)
    refused = run("create", "r0", main, spare, "--format", answer="n\n")
    assert refused.exit_code == 10 and digest(spare) == before
    assert "ext2/3/4" in refused.stderr and str(uuid.UUID(int=77)) in refused.stderr
    assert run("create", "r0", main, spare, "--format", "--yes").exit_code == 0
    assert loaded(spare).uuid != uuid.UUID(int=77)
    assert b"secret" not in Path(spare).read_bytes()


def test_what_udev_knows_counts_as_well(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    from pycontrol.service.signatures import Signature

    spare = disks.make("zfs", 8 * MIB, known_as=(Signature("zfs_member\x1b[2J", -1),))
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 5 and "carries zfs_member\\x1b[2J" in result.stderr


def test_other_geometry_than_recorded_is_refused(kernel: FakeKernel, run: Run, main: str, spare: str) -> None:
    put(spare, image())
    result = run("create", "r0", main, spare, "--copies", "3")
    assert result.exit_code == 2 and "formatted with 5 copies" in result.stderr


@pytest.mark.parametrize(
    "options",
    [("--copies", "0"), ("--copies", "9"), ("--spacing", "100K"), ("--spacing", "16K"), ("--spacing", "32M"),
     ("--spacing", "much"), ("--copies", "two")],
)  # fmt: skip
def test_geometry_out_of_range_is_usage(
    kernel: FakeKernel, run: Run, main: str, spare: str, options: tuple[str, str]
) -> None:
    before = digest(spare)
    assert run("create", "r0", main, spare, "--yes", *options).exit_code == 2
    assert digest(spare) == before and kernel.devices == {}


@pytest.mark.parametrize("name", ["a/b", "control", "", "x" * 128, "two words"])
def test_a_bad_name_is_usage(kernel: FakeKernel, run: Run, main: str, spare: str, name: str) -> None:
    assert run("create", name, main, spare, "--yes").exit_code == 2
    assert kernel.devices == {}


def test_no_such_device_and_not_a_block_device(kernel: FakeKernel, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    gone = run("create", "r0", str(tmp_path / "gone"), str(tmp_path / "file"))
    assert gone.exit_code == 4 and "does not exist" in gone.stderr
    plain = run("create", "r0", str(tmp_path / "file"), str(tmp_path / "gone"))
    assert plain.exit_code == 4 and "is not a block device" in plain.stderr
    assert kernel.calls == []


def test_main_and_spare_the_same(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    result = run("create", "r0", main, main, "--yes")
    assert result.exit_code == 4 and "the same device" in result.stderr


def test_the_same_disk_by_two_names(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    other = disks.make("other", 8 * MIB, identity=Identity(wwn="0x5000"))
    before = digest(other)
    result = run("create", "r0", main, other, "--yes")
    assert result.exit_code == 4 and "same disk by two names" in result.stderr
    assert digest(other) == before


def test_the_same_partition_by_two_names(kernel: FakeKernel, run: Run, disks: Disks) -> None:
    same = Identity(wwn="0x5000", part="p1")
    main = disks.make("a1", 64 * MIB, disk="a", partition=True, identity=same)
    other = disks.make("b1", 8 * MIB, disk="b", partition=True, identity=same)
    result = run("create", "r0", main, other, "--yes", "--format")
    assert result.exit_code == 4 and "same disk by two names" in result.stderr
    assert digest(other) == digest(disks.make("zero", 8 * MIB))


def test_a_partition_of_main_overlaps_it(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    part = disks.make("main1", 8 * MIB, disk="main", partition=True)
    result = run("create", "r0", main, part, "--yes")
    assert result.exit_code == 4 and "overlap" in result.stderr


def test_two_partitions_of_one_disk_only_warn(kernel: FakeKernel, run: Run, disks: Disks) -> None:
    first = disks.make("a1", 64 * MIB, disk="a", partition=True)
    second = disks.make("a2", 8 * MIB, disk="a", partition=True)
    result = run("create", "r0", first, second, "--yes")
    assert result.exit_code == 0 and "if it fails, both fail" in result.stderr
    assert "r0" in kernel.devices


@pytest.mark.parametrize(
    ("size", "code"), [(1 * MIB, 4), (MIB + (640 << 10), 4), (MIB + (640 << 10) + 4096, 0)]
)
def test_the_smallest_spare(
    kernel: FakeKernel, run: Run, disks: Disks, main: str, size: int, code: int
) -> None:
    spare = disks.make("small", size)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == code, result.stderr
    assert ("is too small" in result.stderr) is (code == 4)


@pytest.mark.parametrize("which", ["main", "spare"])
@pytest.mark.parametrize(
    ("facts", "words"),
    [({"mounts": ("/mnt/a\x1b",)}, "mounted on /mnt/a\\x1b"), ({"holders": ("vg-lv",)}, "in use by vg-lv")],
)
def test_mounted_or_held(
    kernel: FakeKernel, run: Run, disks: Disks, which: str, facts: dict[str, tuple[str, ...]], words: str
) -> None:
    paths = {
        name: disks.make(name, size, **(facts if name == which else {}))
        for name, size in (("main", 64 * MIB), ("spare", 8 * MIB))
    }
    result = run("create", "r0", paths["main"], paths["spare"], "--yes")
    assert result.exit_code == 5 and words in result.stderr and "\x1b" not in result.stderr
    assert kernel.devices == {}


def test_busy_though_nobody_is_seen(
    kernel: FakeKernel, run: Run, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def held(path: str, flags: int, *rest: int) -> int:
        if path == spare and flags & os.O_EXCL:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", held)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 5 and "is in use" in result.stderr and kernel.devices == {}


def test_a_read_only_spare(kernel: FakeKernel, run: Run, disks: Disks, main: str) -> None:
    result = run("create", "r0", main, disks.make("ro", 8 * MIB, readonly=True), "--yes")
    assert result.exit_code == 4 and "read-only" in result.stderr


def test_a_name_in_use(kernel: FakeKernel, run: Run, main: str, spare: str) -> None:
    kernel.add("r0", "OTHER", (0, 8, "linear", "8:0 0"))
    before = digest(spare)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 5 and "named r0 already" in result.stderr and digest(spare) == before


def test_not_root(
    kernel: FakeKernel, run: Run, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 6 and "root" in result.stderr and kernel.calls == []


def test_module_not_loaded(kernel: FakeKernel, run: Run, main: str, spare: str) -> None:
    kernel.targets = {"linear": (1, 4, 0)}
    before = digest(spare)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 7 and "dmremapctl module load" in result.stderr and digest(spare) == before


def test_kernel_too_old(kernel: FakeKernel, run: Run, main: str, spare: str) -> None:
    kernel.interface = (4, 35, 0)
    before = digest(spare)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 8 and "4.35.0" in result.stderr and digest(spare) == before


@pytest.mark.parametrize("step", ["DM_TABLE_LOAD", "resume"])
def test_refused_by_the_target_with_its_sentence(
    kernel: FakeKernel, run: Run, main: str, spare: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.fail[step] = errno.EINVAL
    monkeypatch.setattr(KernelLog, "sentence", lambda self: "Zoned devices are not supported\x07 (-EINVAL)")
    put(spare, image())
    result = run("create", "r0", main, spare)
    assert result.exit_code == 9
    assert "Zoned devices are not supported\\x07 (-EINVAL)" in result.stderr
    assert kernel.devices == {}, "the half-made device stayed"


def test_a_write_error_while_formatting_activates_nothing(
    kernel: FakeKernel, run: Run, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwritev", fails)
    result = run("create", "r0", main, spare, "--yes")
    assert result.exit_code == 6 and "Input/output error" in result.stderr and kernel.devices == {}


# What is on main.


def mark(condition: metadata.Condition) -> list[tuple[int, bytes]]:
    made = metadata.Mark(condition, uuid.UUID(int=7), 1, "/dev/elsewhere")
    return metadata.marked(made, metadata.Geometry(5, 256))


@pytest.mark.parametrize(
    "blocks",
    [
        image(main_sectors=8 * MIB // 512, spare_sectors=MAIN_SECTORS),
        # Its first copy is damaged, and the disk once had a GPT.
        [(0, b"\xff" * 8), *image()[1:], (64 * MIB - 512, b"EFI PART")],
        [(offset, data[:40] + b"\xff" * 8 + data[48:]) for offset, data in image()],
        mark(metadata.Condition.UNFINISHED),
    ],
    ids=["valid", "a copy damaged", "beyond recovery", "unfinished"],
)
def test_a_main_that_is_a_spare_is_refused_even_with_format(
    kernel: FakeKernel, run: Run, main: str, spare: str, blocks: list[tuple[int, bytes]]
) -> None:
    put(main, blocks)
    before = digest(main), digest(spare)
    for options in ((), ("--format",)):
        result = run("create", "r0", main, spare, "--yes", *options)
        assert result.exit_code == 4 and "are the names swapped?" in result.stderr
    assert (digest(main), digest(spare)) == before and kernel.devices == {}


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (mark(metadata.Condition.RETIRED), "retired: what it held has moved to /dev/elsewhere"),
        ([*image(), (0, bytes(4096)), (0x438, b"\x53\xef")], "ext2/3/4 at byte 1080"),
    ],
    ids=["retired", "since overwritten"],
)
def test_a_main_that_was_a_spare_once_is_told_of(
    kernel: FakeKernel, run: Run, main: str, spare: str, blocks: list[tuple[int, bytes]], words: str
) -> None:
    put(main, blocks)
    before = digest(spare)
    refused = run("create", "r0", main, spare, answer="n\n")
    assert refused.exit_code == 10 and words in refused.stderr and digest(spare) == before
    assert run("create", "r0", main, spare, answer="y\n").exit_code == 0


def test_a_main_with_bad_sectors_is_looked_at_as_far_as_it_can_be(
    kernel: FakeKernel, run: Run, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreadable(monkeypatch, main, *range(0, MIB, metadata.BLOCK))
    assert run("create", "r0", main, spare, "--yes").exit_code == 0


@pytest.mark.parametrize("words", [(), ("--copies", "8")])
def test_a_spare_that_cannot_be_read_is_not_taken_for_blank(
    kernel: FakeKernel,
    run: Run,
    main: str,
    spare: str,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
) -> None:
    bad = 0xA3000 if words else 0x5000
    put(spare, [(bad + metadata.BLOCK, b"precious")])
    before = digest(spare)
    unreadable(monkeypatch, spare, bad)
    refused = run("create", "r0", main, spare, *words, "--yes")
    assert refused.exit_code == 6 and f"{spare} cannot be read" in refused.stderr
    assert digest(spare) == before and not kernel.devices


def test_a_valid_spare_of_a_device_on_devices_of_ours_is_activated(
    kernel: FakeKernel, run: Run, main: str, spare: str
) -> None:
    # The device is the spare of another one, so main begins with that one's metadata.
    put(main, image("wwn:0x7777", main_sectors=8192, spare_sectors=MAIN_SECTORS))
    put(spare, image())
    assert run("create", "r0", main, spare).exit_code == 0


@pytest.mark.parametrize("command", ["create", "activate"])
@pytest.mark.parametrize(
    ("since", "words"),
    [
        ([(0, bytes(4096)), (0, b"XFSB")], "xfs"),
        ([(510, b"\x55\xaa"), (512, b"EFI PART")], "GPT"),
        # This leaves the first header whole.
        ([(4096, b"\xfc\x4e\x2b\xa9")], "md raid 1.2"),
    ],
    ids=["xfs", "GPT", "md"],
)
def test_a_former_spare_that_was_put_to_other_use_is_not_taken_up(
    kernel: FakeKernel, run: Run, main: str, spare: str, command: str, since: list[tuple[int, bytes]],
    words: str,
) -> None:  # fmt: skip
    """The kernel would mend its first header, over what is there now."""
    put(spare, [*image(), *since])
    before = digest(spare)
    refused = run(command, "r0", main, spare)
    assert refused.exit_code == 5 and words in refused.stderr and "meta repair --in-place" in refused.stderr
    assert digest(spare) == before and not kernel.devices
    # Unless that is what its owner wants.
    backup = f"{spare}.backup"
    assert run("meta", "repair", "--in-place", spare, "--backup", backup, "--yes").exit_code == 0
    assert run(command, "r0", main, spare).exit_code == 0


def test_what_udev_alone_knows_is_not_mended_either(
    kernel: FakeKernel, run: Run, main: str, disks: Disks
) -> None:
    spare = disks.make("spare", 8 * MIB, known_as=("ceph_bluestore",))
    put(spare, [*image(), (0, b"bluestore block device".ljust(4096, b"\0"))])
    refused = run("create", "r0", main, spare)
    assert refused.exit_code == 5 and "ceph_bluestore" in refused.stderr


@pytest.mark.parametrize(
    ("changes", "spoilt"),
    [
        # What lives on it may look like anything, and so may a record in half a header.
        ({}, [(100, b"damage"), (0x438, b"\x53\xef"), (8 * MIB - 512, b"EFI PART")]),
        ({}, [(0, b"\xff" * 4096)]),
        # Behind a small region there is what was there before.
        ({"copies": 1, "spacing": 64}, [(100, b"damage"), (0x10040, b"_BHRfS_M")]),
    ],
)
def test_a_spare_whose_first_header_is_damaged_is_taken_up(
    kernel: FakeKernel, run: Run, main: str, spare: str, changes: dict[str, int],
    spoilt: list[tuple[int, bytes]],
) -> None:  # fmt: skip
    put(spare, [*image("wwn:0x5000 serial:M1", **changes), *spoilt])
    assert run("create", "r0", main, spare).exit_code == 0


@pytest.mark.parametrize("command", ["create", "activate"])
def test_a_spare_whose_first_block_cannot_be_read_is_taken_up(
    kernel: FakeKernel, run: Run, main: str, spare: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spare, image())
    unreadable(monkeypatch, spare, 0)
    done = run(command, "r0", main, spare)
    assert done.exit_code == 0, done.stderr


def test_a_copy_of_the_spare_is_refused(
    kernel: FakeKernel, run: Run, disks: Disks, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(spare, image())
    copy = disks.make("copy", 8 * MIB)
    put(copy, image())
    monkeypatch.setattr("pycontrol.service.boot.halves.every_device", lambda: [main, spare, copy])
    refused = run("create", "r0", main, spare)
    assert refused.exit_code == 5 and "have one metadata uuid" in refused.stderr and not kernel.devices
    # One that was put to other use is none.
    put(copy, [(0, b"XFSB".ljust(4096, b"\0"))])
    assert run("create", "r0", main, spare).exit_code == 0


# What the user agreed to.


@pytest.mark.parametrize("format_", [False, True])
@pytest.mark.parametrize(
    "blocks", [[(0x10040, b"_BHRfS_M")], image(), [(600 << 10, b"secret")]], ids=["btrfs", "spare", "data"]
)
def test_what_comes_while_the_question_stands_is_not_overwritten(
    kernel: FakeKernel, main: str, spare: str, blocks: list[tuple[int, bytes]], format_: bool
) -> None:
    with Control() as control:
        decided = create.plan(control, "r0", main, spare, create.Options(format=format_))
        assert decided.loses == ()
        put(spare, blocks)
        before = digest(spare)
        with pytest.raises(Busy, match="look at it again"):
            create.carry_out(control, decided)
    assert digest(spare) == before and kernel.devices == {}


def test_a_main_that_becomes_a_spare_while_the_question_stands(
    kernel: FakeKernel, main: str, spare: str
) -> None:
    with Control() as control:
        decided = create.plan(control, "r0", main, spare)
        put(main, image(main_sectors=8 * MIB // 512, spare_sectors=MAIN_SECTORS))
        before = digest(spare)
        with pytest.raises(WrongDevice, match="are the names swapped"):
            create.carry_out(control, decided)
    assert digest(spare) == before and kernel.devices == {}


def test_both_devices_are_held_until_the_table_names_them(
    kernel: FakeKernel, run: Run, main: str, spare: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    load = FakeKernel._DM_TABLE_LOAD

    def look(self: FakeKernel, *words: Any) -> Any:
        links = Path("/proc/self/fd").iterdir()
        held.extend(str(link.readlink()) for link in links if link.is_symlink())
        return load(self, *words)

    monkeypatch.setattr(FakeKernel, "_DM_TABLE_LOAD", look)
    assert run("create", "r0", main, spare, "--yes").exit_code == 0
    assert {main, spare} <= set(held)
