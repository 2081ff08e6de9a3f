"""``dmremapctl scan``: what sysfs, /proc, udev and smartctl know, and what is made of it."""

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.dm.types import DevNumber
from pycontrol.errors import WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.contents import examine
from pycontrol.service.find import disks, judge, scan, smart, smartctl
from pycontrol.service.find.judge import Content, Fit, Need
from pycontrol.service.find.smart import Smart
from tests.conftest import MIB, Run
from tests.fake_sysfs import FakeSysfs
from tests.fakes import FakeKernel
from tests.faults import unreadable
from tests.terminal import Terminal
from tests.test_smart import DYING_ATA, HEALTHY_ATA, program

GIB = 1 << 30


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel) -> FakeSysfs:
    """No disks yet, and no smartctl."""
    made = FakeSysfs(tmp_path / "tree")

    def number(path: str) -> DevNumber:
        try:
            return made.numbers[Path(path).name]
        except KeyError:
            raise WrongDevice(f"{path} does not exist") from None

    monkeypatch.setattr(disks, "PLACES", made.places)
    monkeypatch.setattr(blockdev, "number", number)
    monkeypatch.setattr(smartctl, "SEARCH", str(tmp_path))
    return made


def known(tree: FakeSysfs) -> dict[str, disks.Disk]:
    return {disk.name: disk for disk in disks.find(tree.places)}


def scanned(main: str | None = None, health: dict[str, Smart] | None = None) -> dict[str, scan.Entry]:
    def ask(path: str) -> Smart:
        return (health or {}).get(Path(path).name, Smart(passed=True))

    return {entry.disk.name: entry for entry in scan.scan(None, main, ask=ask)}


# Facts


def test_a_disk_with_partitions(tree: FakeSysfs) -> None:
    tree.disk(
        "sdb", 4 * GIB, vendor="ATA     ", model="WDC WD40EFRX-68N", rotational=True, logical_block=4096
    )
    tree.partition("sdb", 1, GIB)
    tree.partition("sdb", 10, GIB)
    tree.partition("sdb", 2, GIB)
    found = known(tree)
    assert list(found) == ["sdb", "sdb1", "sdb2", "sdb10"]
    disk, part = found["sdb"], found["sdb10"]
    assert (disk.kind, disk.size, disk.model, disk.rotational) == (
        "disk", 4 * GIB, "ATA WDC WD40EFRX-68N", True,
    )  # fmt: skip
    assert disk.partitions == ("sdb1", "sdb2", "sdb10") and disk.disk == "sdb"
    assert (part.kind, part.disk, part.logical_block, part.rotational) == ("partition", "sdb", 4096, True)
    assert part.partition and not disk.partition
    assert disk.path == str(tree.dev / "sdb") and disk.dev == tree.numbers["sdb"]


def test_disks_are_in_the_order_people_expect(tree: FakeSysfs) -> None:
    for name in ("sdaa", "sdb", "sda"):
        tree.disk(name, GIB)
    assert list(known(tree)) == ["sda", "sdb", "sdaa"]


def test_use_by_mounts_of_partitions_holders_and_swap(tree: FakeSysfs) -> None:
    for name in ("sda", "sdb", "sdc", "sdd"):
        tree.disk(name, GIB)
    tree.partition("sda", 1, GIB)
    tree.partition("sdc", 1, GIB)
    tree.mount("sda1", "/home\\040here")
    tree.mapped("vg-lv", "LVM-1", GIB, "sdb")
    tree.swap("sdc1")
    found = known(tree)
    assert found["sda"].use == found["sda1"].use == "mounted on /home here"
    assert found["sdb"].use == "in use by vg-lv" and not found["sdb"].remapped_by
    assert found["sdc"].use == found["sdc1"].use == "used for swapping"
    assert found["sdd"].use == ""
    assert found["dm-0"].path == str(tree.dev / "mapper/vg-lv") and found["dm-0"].kind == "dm"


def test_what_is_under_dm_remap_by_sysfs_alone(tree: FakeSysfs) -> None:
    tree.disk("sda", GIB)
    tree.disk("sdb", GIB)
    tree.partition("sdb", 1, GIB)
    tree.mapped("data", "DMREMAP-1", GIB, "sda", "sdb1")
    found = known(tree)
    assert found["sda"].remapped_by == found["sdb"].remapped_by == found["sdb1"].remapped_by == ("data",)
    assert found["dm-0"].ours and not found["sda"].ours


def test_what_is_left_out(tree: FakeSysfs) -> None:
    tree.disk("ram0", GIB)
    tree.disk("zram0", GIB)
    tree.disk("sr0", GIB)
    tree.disk("sdx", 0)
    tree.disk("loop0", GIB, readonly=True, directory="loop")
    tree.disk("loop1", GIB, directory="loop")
    tree.disk("md0", GIB, directory="md")
    (tree.sys / "class/block/gone").symlink_to(tree.sys / "nowhere")
    assert {disk.name: disk.kind for disk in disks.find(tree.places)} == {"loop1": "loop", "md0": "md"}


def test_names_with_a_slash_and_plugs(tree: FakeSysfs) -> None:
    tree.disk("cciss!c0d0", GIB)
    tree.disk("sdu", GIB, under="devices/pci0000:00/usb1/1-1/block")
    found = known(tree)
    assert found["cciss!c0d0"].path == str(tree.dev / "cciss/c0d0")
    assert found["sdu"].removable and not found["cciss!c0d0"].removable


def test_udev_knows_more(tree: FakeSysfs) -> None:
    tree.disk("sda", GIB)
    tree.partition("sda", 1, GIB)
    for name in ("sda", "sda1"):
        tree.udev[str(tree.numbers[name])] = {
            "ID_MODEL": "WDC_X", "ID_SERIAL_SHORT": "S1", "ID_WWN": "0x5000", "ID_PART_TABLE_TYPE": "gpt",
        }  # fmt: skip
    tree.udev[str(tree.numbers["sda1"])]["ID_FS_TYPE"] = "ext4"
    found = known(tree)
    assert (found["sda"].model, found["sda"].identity.serial, found["sda"].identity.wwn) == (
        "WDC_X", "S1", "0x5000",
    )  # fmt: skip
    assert found["sda"].known_as == ("gpt",) and found["sda1"].known_as == ("ext4",)


def test_one_by_its_number(tree: FakeSysfs) -> None:
    tree.disk("sda", GIB, model="M")
    found = disks.of_number(tree.numbers["sda"], tree.places)
    assert found and found.name == "sda" and found.model == "M"
    assert disks.of_number(DevNumber(99, 9), tree.places) is None


def test_no_sysfs(tmp_path: Path) -> None:
    with pytest.raises(WrongDevice, match="is /sys mounted"):
        disks.find(disks.Places(tmp_path / "none"))


# Contents


def contents(tree: FakeSysfs, name: str) -> judge.Contents:
    return examine(known(tree)[name])


def test_what_lies_on_a_device(tree: FakeSysfs) -> None:
    for name in ("blank", "ext", "data", "spare", "broken"):
        tree.disk(name, 64 * MIB)
    tree.put("ext", 0x438, b"\x53\xef")
    tree.put("data", 600 << 10, b"secret")
    image = metadata.fresh(
        uuid=UUID(int=7), main_sectors=GIB // 512, spare_sectors=64 * MIB // 512, copies=5, spacing=256,
        block_size=512, main_id="serial:M1", name="data\x1b", time=1,
    )  # fmt: skip
    for offset, data in image:
        tree.put("spare", offset, data)
        tree.put("broken", offset, data[:40] + b"\xff" * 8 + data[48:])
    # As our own rule marks each spare: what it is for is still asked of itself.
    tree.udev[str(tree.numbers["spare"])] = {"ID_FS_TYPE": "dm_remap_member"}
    assert contents(tree, "blank") == judge.Contents(Content.BLANK)
    assert contents(tree, "ext") == judge.Contents(Content.SOMETHING, "ext2/3/4 at byte 1080")
    assert contents(tree, "data") == judge.Contents(Content.SOMETHING, "data in its first 640 KiB")
    assert contents(tree, "spare") == judge.Contents(
        Content.METADATA, "data\\x1b, main serial:M1", main_id="serial:M1", main_size=GIB
    )
    assert contents(tree, "broken").kind is Content.SOMETHING
    assert "not as it should be" in contents(tree, "broken").words


def test_what_cannot_be_read_is_not_known(tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sda", 64 * MIB)
    (tree.dev / "sda").unlink()
    assert contents(tree, "sda").kind is Content.UNKNOWN and "no device behind" in contents(tree, "sda").words
    tree.disk("sdb", 64 * MIB)

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    assert contents(tree, "sdb").kind is Content.UNKNOWN
    assert "Input/output error" in contents(tree, "sdb").words


def test_what_can_be_read_in_part_is_not_blank(tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sda", 64 * MIB)
    unreadable(monkeypatch, str(tree.dev / "sda"), 0x5000)
    assert contents(tree, "sda").kind is Content.UNKNOWN
    assert "Input/output error" in contents(tree, "sda").words


# Opinions


def test_which_are_worth_protecting(tree: FakeSysfs) -> None:
    for name in ("sda", "sdb", "sdc", "sdd", "sde"):
        tree.disk(name, GIB)
    tree.partition("sda", 1, GIB)
    tree.mapped("data", "DMREMAP-1", GIB, "sde")
    found = scanned(
        health={
            "sda": smart.parse(DYING_ATA),
            "sdb": Smart(passed=True, reallocated=3),
            "sdc": smart.parse(HEALTHY_ATA),
            "sdd": Smart(problem="Unknown USB bridge\x1b"),
            "sde": Smart(passed=False),
        }
    )
    needs = {name: entry.protection.need for name, entry in found.items()}
    assert needs == {
        "sda": Need.URGENT, "sda1": Need.URGENT, "sdb": Need.ADVISED, "sdc": Need.NONE, "sdd": Need.UNKNOWN,
        "sde": Need.PROTECTED, "dm-0": Need.PROTECTED,
    }  # fmt: skip
    assert found["sdd"].protection.reasons == ("Unknown USB bridge\\x1b",)
    assert found["sde"].protection.reasons == ("its self-assessment says it is failing",)
    assert [entry.disk.name for entry in scan.by_need(found.values())] == ["sda1", "sda", "sdb", "sdd", "sdc"]


def test_which_would_make_a_good_spare(tree: FakeSysfs) -> None:
    tree.disk("main", 4 * GIB, rotational=True)
    tree.disk("good", 64 * MIB)
    tree.disk("large", 640 * MIB)
    tree.disk("worn", 64 * MIB)
    tree.disk("stick", 64 * MIB, removable=True)
    tree.disk("native", 64 * MIB, logical_block=4096)
    tree.disk("few", 32 * MIB)
    tree.disk("parted", GIB)
    tree.partition("parted", 1, 32 * MIB)
    tree.disk("tiny", MIB)
    tree.disk("used", GIB)
    tree.disk("written", GIB)
    tree.disk("locked", GIB, readonly=True)
    tree.disk("dying", GIB)
    tree.disk("loop1", 64 * MIB, directory="loop")
    tree.mount("used", "/mnt")
    tree.put("written", 510, b"\x55\xaa")
    found = scanned(
        str(tree.dev / "main"),
        {"worn": Smart(passed=True, reallocated=2), "dying": Smart(passed=False)},
    )
    judged = {
        name: (entry.as_spare.fit.value, "; ".join(entry.as_spare.reasons)) for name, entry in found.items()
    }
    assert judged == {
        "main": ("unfit", "this is the main device"),
        "good": ("good", ""),
        "large": ("good", ""),
        "worn": ("doubtful", "2 sectors reallocated by the disk"),
        "stick": ("doubtful", "removable: what lives on it is gone when it is pulled out"),
        "native": ("doubtful", judge.larger_block(4096, 512)),
        "few": ("doubtful", "small for 4 GiB: 64 MiB would be ample"),
        "parted": ("unfit", "it has partitions"),
        "parted1": ("doubtful", "small for 4 GiB: 64 MiB would be ample"),
        "tiny": ("unfit", "too small: 1 MiB, more than 1.6 MiB is needed"),
        "used": ("unfit", "mounted on /mnt"),
        "written": ("unfit", "carries boot sector at byte 510"),
        "locked": ("unfit", "read-only"),
        "dying": ("unfit", "failing itself"),
        "loop1": ("doubtful", "a file behind a loop device: it lies on some other disk"),
    }
    # The smallest of the good ones comes first: a large one is wasted on it.
    assert [entry.disk.name for entry in scan.by_fitness(found.values())][:2] == ["good", "large"]


def test_spares_on_the_same_disk(tree: FakeSysfs) -> None:
    tree.disk("sda", GIB)
    for number in (1, 2):
        tree.partition("sda", number, 100 * MIB)
    tree.disk("sdb", GIB)
    for name in ("sda", "sda1", "sda2", "sdb"):
        tree.udev[str(tree.numbers[name])] = {"ID_WWN": "0x5000"}
    found = scanned(str(tree.dev / "sda1"))
    assert found["sda2"].as_spare == judge.Fitness(
        Fit.DOUBTFUL, ("on the same disk as main: if it fails, both fail",)
    )
    assert "overlaps the main device" in found["sda"].as_spare.reasons
    assert "the same disk as the main device by another name" in found["sdb"].as_spare.reasons
    assert "overlaps the main device" in scanned(str(tree.dev / "sda"))["sda1"].as_spare.reasons


def test_a_spare_that_was_formatted_for_this_main_comes_first(tree: FakeSysfs) -> None:
    tree.disk("main", GIB, serial="M1")
    tree.disk("other", GIB, serial="M2")
    tree.disk("blank", 64 * MIB)
    tree.disk("spare", 128 * MIB)
    for offset, data in metadata.fresh(
        uuid=UUID(int=7), main_sectors=GIB // 512, spare_sectors=128 * MIB // 512, copies=5, spacing=256,
        block_size=512, main_id="serial:M1", name="data", time=1,
    ):  # fmt: skip
        tree.put("spare", offset, data)
    found = scanned(str(tree.dev / "main"))
    assert next(iter(scan.by_fitness(found.values()))).disk.name == "spare"
    assert scanned()["spare"].as_spare.reasons == ("a spare already (data, main serial:M1)",)
    other = scan.for_main(found.values(), str(tree.dev / "other"))
    (spare,) = (entry for entry in other if entry.disk.name == "spare")
    assert spare.as_spare.fit is Fit.UNFIT and "of another main device" in spare.as_spare.reasons[0]


def test_no_disk_is_woken(tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.disk("sda", GIB, asleep=True)
    tree.disk("sdb", GIB)
    opened = []
    real = os.open

    def watched(path: str, flags: int, *rest: int) -> int:
        opened.append(Path(path).name)
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", watched)
    asked = []

    def ask(path: str) -> Smart:
        asked.append(Path(path).name)
        return Smart(asleep=True, problem="asleep, not woken")

    found = {entry.disk.name: entry for entry in scan.scan(None, ask=ask)}
    assert asked == ["sdb"] and not {"sda", "sdb"} & set(opened)
    for entry in found.values():
        assert entry.as_spare == judge.Fitness(Fit.DOUBTFUL, ("asleep; what is on it was not looked at",))
        assert entry.protection == judge.Protection(Need.UNKNOWN, ("asleep, not woken",))


def test_signatures_of_udev_count_where_nothing_was_read(tree: FakeSysfs) -> None:
    tree.disk("sda", GIB, asleep=True)
    tree.udev[str(tree.numbers["sda"])] = {"ID_FS_TYPE": "zfs_member"}
    assert scanned()["sda"].as_spare == judge.Fitness(Fit.UNFIT, ("carries zfs_member",))


def test_sizes_that_are_proposed() -> None:
    assert judge.ample(GIB) == 64 * MIB
    assert judge.ample(1000 * GIB) == 10 * GIB
    assert judge.ample(100_000 * GIB) == 32 * GIB
    assert judge.spacing(8 * MIB) == 128 << 10
    for size in (64 * MIB, 200 * MIB, GIB, 10 * GIB, 1000 * GIB):
        spacing = judge.spacing(size)
        assert spacing & (spacing - 1) == 0 and 128 << 10 <= spacing <= 4 * MIB
        assert spacing == 128 << 10 or 5 * spacing <= size // 100
    assert judge.spacing(1000 * GIB) == 4 * MIB


# The command


def test_roles_by_the_target(tree: FakeSysfs, run: Run, kernel: FakeKernel) -> None:
    tree.disk("sda", GIB)
    tree.disk("sdb", GIB)
    tree.mapped("data", "DMREMAP-1", GIB, "sda", "sdb")
    numbers = tree.numbers["sda"], tree.numbers["sdb"]
    kernel.add("data", "DMREMAP-1", (0, 1000, "dm-remap-v4", "{} {}".format(*numbers)))
    rows = {row["path"]: row for row in json.loads(run("scan", "--json").stdout)}
    assert rows[str(tree.dev / "sda")]["remap"] == [{"name": "data", "role": "main"}]
    assert rows[str(tree.dev / "sdb")]["remap"] == [{"name": "data", "role": "spare"}]
    shown = run("scan").stdout
    assert "under dm-remap: main of data" in shown and "a dm-remap device" in shown
    # Without leave to ask it, sysfs still tells whose they are.
    kernel.fail["DM_LIST_DEVICES"] = 1
    rows = {row["path"]: row for row in json.loads(run("scan", "--json").stdout)}
    assert rows[str(tree.dev / "sda")]["remap"] == [{"name": "data", "role": ""}]


def test_json_has_the_documented_keys(tree: FakeSysfs, run: Run, tmp_path: Path) -> None:
    (tmp_path / "document").write_text(json.dumps(DYING_ATA))
    program(tmp_path, f"/bin/cat {tmp_path}/document")
    tree.disk("sda", GIB, model="of sysfs")
    result = run("scan", "--json")
    assert result.exit_code == 0 and result.stderr == ""
    [row] = json.loads(result.stdout)
    assert row.pop("smart") == {
        "protocol": "ATA", "passed": False, "pending": 24, "reallocated": 118, "uncorrectable": 12,
        "worn_percent": None, "power_on_hours": 41234, "temperature": 34, "asleep": False, "problem": "",
    }  # fmt: skip
    assert len(row.pop("need_reasons")) == 6
    assert row == {
        "path": str(tree.dev / "sda"), "dev": "8:0", "kind": "disk", "size": GIB, "logical_block": 512,
        "readonly": False, "removable": False, "rotational": False, "disk": "sda", "partitions": [],
        "model": "WDC WD40EFRX-68N32N0", "serial": "WD-WCC7K1234567", "wwn": "", "use": "",
        "signatures": [], "content": "unknown", "remap": [], "need": "urgent", "spare": "unfit",
        "spare_reasons": ["failing itself"],
    }  # fmt: skip


def test_for_people(tree: FakeSysfs, run: Run, tmp_path: Path) -> None:
    (tmp_path / "document").write_text(json.dumps(DYING_ATA))
    program(tmp_path, f'case $* in *sda) /bin/cat {tmp_path}/document;; *) echo "{{}}";; esac')
    tree.disk("sda", 4 * GIB, rotational=True)
    tree.disk("sdb", 4 * GIB)
    tree.partition("sdb", 1, GIB)
    tree.mount("sdb1", "/")
    told = run("scan").stdout.splitlines()
    top = tree.dev
    assert told == [
        f"{top}/sda  4 GiB  disk  rotating  WDC WD40EFRX-68N32N0  serial WD-WCC7K1234567",
        "    needs protection now: " + "; ".join(smart.parse(DYING_ATA).worries),
        "    no spare: failing itself",
        f"{top}/sdb  4 GiB  disk  (mounted on /)",
        "    no spare: it has partitions",
        f"{top}/sdb1  1 GiB  partition  (mounted on /)",
        "",
        f"To protect {top}/sda (64 MiB would be an ample spare): dmremapctl scan --main {top}/sda, then"
        " dmremapctl create --guide",
    ]


def test_with_a_main_the_good_spares_come_first(tree: FakeSysfs, run: Run) -> None:
    tree.disk("sda", 4 * GIB)
    tree.disk("sdb", 32 * MIB)
    tree.disk("sdc", 64 * MIB)
    result = run("scan", "--main", str(tree.dev / "sda"))
    paths = [line.split()[0] for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert paths == [str(tree.dev / name) for name in ("sdc", "sdb", "sda")]
    assert "smartctl is not installed" in result.stderr
    gone = run("scan", "--main", "/dev/gone")
    assert gone.exit_code == 4 and "does not exist" in gone.stderr
    tree.numbers["empty"] = DevNumber(9, 9)
    empty = run("scan", "--main", "/dev/empty")
    assert empty.exit_code == 4 and "has no size" in empty.stderr


def test_hostile_strings_are_escaped(tree: FakeSysfs, run: Run, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202e"
    tree.disk("sda", GIB, model=evil, serial=f"s{evil}")
    tree.disk("sdb", GIB)
    tree.mount("sdb", f"/mnt/{evil}")
    tree.disk("sdc", GIB)
    tree.udev[str(tree.numbers["sdc"])] = {"ID_FS_TYPE": evil}
    document: dict[str, Any] = {"smartctl": {"messages": [{"severity": "error", "string": evil}]}}
    (tmp_path / "document").write_text(json.dumps(document))
    program(tmp_path, f"/bin/cat {tmp_path}/document")
    for words in (("scan",), ("scan", "--json")):
        result = run(*words)
        assert result.exit_code == 0
        assert "\x1b" not in result.output and "\x07" not in result.output and "\u202e" not in result.output
    # Model, serial number, three problems, mount point and file system.
    assert run("scan").stdout.count("\\x1b]0;owned\\x07\\u202e") == 7


def test_no_disks(tree: FakeSysfs, run: Run) -> None:
    assert run("scan").stdout == "no disks\n"
    assert json.loads(run("scan", "--json").stdout) == []


def test_on_a_terminal_of_40_columns(tree: FakeSysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    from pycontrol.cli.main import cli

    tree.disk("sda", GIB, model="A disk with quite a long name", serial="0123456789")
    tree.disk("sdb", GIB, removable=True)
    monkeypatch.setenv("COLUMNS", "40")
    with Terminal() as terminal:
        monkeypatch.setattr(sys, "stdout", terminal.screen)
        with pytest.raises(SystemExit) as ended:
            cli(["scan"])
        shown = terminal.shown()
    assert ended.value.code == 0
    # Only a path that is longer than the terminal is wide may stick out.
    assert all(len(line) <= 40 for line in shown.splitlines() if str(tree.dev) not in line)
    assert re.search(r"a spare, but: removable", " ".join(shown.split()))


def test_smartctl_takes_no_path_from_the_environment(
    tree: FakeSysfs, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    (evil / "smartctl").write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    (evil / "smartctl").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{evil}:{os.environ['PATH']}")
    tree.disk("sda", GIB)
    assert run("scan").exit_code == 0 and not (tmp_path / "called").exists()
