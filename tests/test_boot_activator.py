"""boot/, the program without Python: which halves it joins, which it refuses, and what it says."""

import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.service import signatures
from pycontrol.service.remains import put_since
from tests.boot_build import ONE, SECTORS, Machine, Ran, damage, pair, run, spare

OTHER = UUID(int=78)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A main device and its spare."""
    return pair(tmp_path)


def activate(machine: Machine, *words: str) -> Ran:
    return machine.activator("activate", "--dry-run", *(words or ("--all",)))


TABLE = f"data DMREMAP-{ONE} rw 0 {SECTORS} dm-remap-v4 8:0 8:16 4 copies 5 spacing 256\n"


# What a pair must be


@pytest.mark.parametrize("how", [f"UUID={ONE}", "/dev/sdb"])
def test_a_pair_is_joined(machine: Machine, how: str) -> None:
    machine.tab.write_text(f"data /dev/sda {how}\n")
    assert activate(machine) == Ran(0, TABLE, "")
    assert activate(machine, "data") == Ran(0, TABLE, "")


def test_options_are_in_the_table(machine: Machine) -> None:
    machine.tab.write_text(f"data /dev/sda UUID={ONE} ro,relocate-weak,noauto\n")
    assert activate(machine, "data").out == (
        f"data DMREMAP-{ONE} ro 0 {SECTORS} dm-remap-v4 8:0 8:16 5 copies 5 spacing 256 relocate_weak\n"
    )
    assert activate(machine) == Ran(0, "", "")


def test_the_initramfs_needs_few(machine: Machine) -> None:
    assert activate(machine, "--initramfs") == Ran(0, "", "")
    assert activate(machine, "--initramfs", "data").out == TABLE
    assert activate(machine, "--initramfs", "vg-root") == Ran(0, "", "")
    machine.tab.write_text(f"data /dev/sda UUID={ONE} initramfs\n")
    assert activate(machine, "--initramfs").out == TABLE


@pytest.mark.parametrize("copies", [(0,), (0, 1, 2, 3), (1, 2, 3, 4), (0, 2, 4)])
def test_one_good_header_is_enough(machine: Machine, copies: tuple[int, ...]) -> None:
    machine.disk("sdc")
    (machine.top / "dev/sdb").write_bytes(damage(spare(ONE), *copies))
    assert activate(machine).out == TABLE


def test_without_any_header_there_is_no_spare(machine: Machine) -> None:
    (machine.top / "dev/sdb").write_bytes(damage(spare(ONE), 0, 1, 2, 3, 4))
    done = activate(machine)
    assert done.code == 4 and f"no spare with the metadata uuid {ONE} is there" in done.err
    machine.tab.write_text("data /dev/sda /dev/sdb\n")
    done = activate(machine)
    assert done.code == 4 and "/dev/sdb holds no metadata" in done.err


@pytest.mark.parametrize(
    ("header", "info", "counts"),
    [
        (2**63, 1, True),
        (1, 2**63, True),
        (2**63 + 1, 1, False),
        (1, 2**63 + 1, False),
        (2**64 - 1, 2**64 - 1, False),
    ],
)
def test_a_sequence_number_that_cannot_be_does_not_count(
    machine: Machine, header: int, info: int, counts: bool
) -> None:
    """As the kernel and ``pycontrol.metadata`` have it."""
    image, at = spare(ONE, "wwn:0x5000 serial:AB"), 3 * 0x20000
    newest = metadata.decode_header(bytes(image[at : at + 4096]))
    identity = metadata.decode_info(bytes(image[at + 4096 : at + 8192]))
    if header > 1:
        newest = replace(newest, sequence=header, main_sectors=5)
    if info > 1:
        identity = replace(identity, sequence=info, main_id="wwn:0x6000")
    image[at : at + 8192] = metadata.encode_header(newest) + metadata.encode_info(identity)
    (machine.top / "dev/sdb").write_bytes(image)
    done = activate(machine)
    assert done.code == (4 if counts else 0) and (counts or done.out == TABLE), done.err


def test_the_newest_header_counts(machine: Machine) -> None:
    image = spare(ONE)
    at = slice(3 * 0x20000, 3 * 0x20000 + 4096)
    newer = replace(metadata.decode_header(bytes(image[at])), sequence=9, main_sectors=5)
    image[at] = metadata.encode_header(newer)
    (machine.top / "dev/sdb").write_bytes(image)
    done = activate(machine)
    assert done.code == 4 and f"/dev/sda has {SECTORS} sectors, but had 5" in done.err


def test_one_copy_has_a_shadow(machine: Machine) -> None:
    image = spare(ONE, copies=1)
    image[50] ^= 1
    (machine.top / "dev/sdb").write_bytes(image)
    assert "copies 1" in activate(machine).out


# A former spare that was put to other use

SINCE = {
    "ext2/3/4": [(0, bytes(4096)), (0x438, b"\x53\xef")],
    "xfs": [(0, b"XFSB".ljust(4096, b"\0"))],
    "GPT": [(510, b"\x55\xaa"), (512, b"EFI PART")],
    "LVM physical volume": [(0, bytes(4096)), (1024, b"LABELONE")],
    "swap": [(0, bytes(4096)), (8192 - 10, b"SWAPSPACE2")],
    "MBR partition table": [(100, b"x"), (510, b"\x55\xaa")],
    # These leave the first header whole.
    "md raid 1.2": [(4096, b"\xfc\x4e\x2b\xa9")],
    "bcache": [(0x1018, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"))],
    "btrfs": [(0x10040, b"_BHRfS_M")],
}


def put(image: bytearray, blocks: list[tuple[int, bytes]]) -> bytes:
    for at, data in blocks:
        image[at : at + len(data)] = data
    return bytes(image)


@pytest.mark.parametrize("kind", SINCE)
def test_a_former_spare_is_left_to_its_new_use(machine: Machine, kind: str) -> None:
    former = put(spare(ONE), SINCE[kind])
    (machine.top / "dev/sdb").write_bytes(former)
    words = f"/dev/sdb carries {kind}, and further on what is left of a spare"
    done = activate(machine)
    assert (done.code, done.out) == (5, "") and f"{words}; 'dmremapctl meta repair" in done.err
    told = machine.activator("probe", "/dev/sdb")
    assert (told.code, told.out) == (0, "") and f"data: /dev/sdb carries {kind}, and further on" in told.err
    # Also where only what is wrong is to be said.
    machine.tab.write_text(f"data /dev/sda UUID={ONE} nofail\n")
    quiet = machine.activator("activate", "--dry-run", "--all", "--quiet")
    assert quiet.code == 5 and words in quiet.err
    machine.tab.write_text("data /dev/sda /dev/sdb\n")
    done = activate(machine)
    assert (done.code, done.out) == (5, "") and words in done.err
    assert machine.activator("probe", "/dev/sdb") == Ran(0, "", "")
    # It is no copy of the one that is.
    (machine.top / "dev/sdb").write_bytes(spare(ONE))
    machine.disk("sdc", former)
    machine.tab.write_text(f"data /dev/sda UUID={ONE}\n")
    assert activate(machine) == Ran(0, TABLE, "")


@pytest.mark.parametrize(
    ("copies", "spoilt"),
    [
        (5, []),
        (5, [(0, b"\xff" * 4096)]),
        (5, [(100, b"damage"), (0x438, b"\x53\xef")]),
        (5, [(SECTORS * 512 - 512, b"EFI PART")]),
        (5, [(0x438, b"\x53\xef")]),
    ],
)
def test_a_spare_stays_one_whatever_it_looks_like(
    machine: Machine, copies: int, spoilt: list[tuple[int, bytes]]
) -> None:
    (machine.top / "dev/sdb").write_bytes(put(spare(ONE, copies=copies), spoilt))
    assert activate(machine).out == TABLE


def test_both_programs_see_the_same_formats(machine: Machine) -> None:
    """Every format of :mod:`pycontrol.service.signatures` at its place, alone."""
    fixed = [(entry.offset, entry.magic) for entry in signatures._FIXED]
    fixed += [(page - 10, magic) for page in signatures._SWAP_PAGES for magic in signatures._SWAP]
    fixed += [(offset, b"LABELONE") for offset in range(0, 2048, 512)]
    region = metadata.Geometry(5, 256).region * 512
    for first in (b"", bytes(4096)):
        for at, magic in fixed:
            image = put(spare(ONE), [(0, first), (at, magic)])
            (machine.top / "dev/sdb").write_bytes(image)
            since = put_since(lambda at, length, image=image: image[at : at + length], region)  # type: ignore[misc]
            told = machine.activator("probe", "/dev/sdb").out
            assert bool(since) is ("ROLE=spare" not in told), (at, magic, since)


def test_a_copy_of_another_size_is_not_taken_for_it(machine: Machine) -> None:
    for name in ("sda0", "sdz"):
        machine.disk(name, bytes(spare(ONE)) + bytes(1 << 20))
        assert activate(machine) == Ran(0, TABLE, "")
    # Without the true one it is said what is wrong.
    (machine.top / "dev/sdb").write_bytes(bytes(SECTORS * 512))
    (machine.top / "sys/class/block/sda0/size").write_text("0\n")
    done = activate(machine)
    assert done.code == 4 and "/dev/sdz has" in done.err


def test_who_wants_one_device_is_not_told_of_other_lines_by_the_code(machine: Machine) -> None:
    machine.tab.write_text(f"wrong\ndata /dev/sda UUID={ONE}\n")
    done = activate(machine, "data")
    assert (done.code, done.out) == (0, TABLE) and ":1: it has 1 fields" in done.err
    assert activate(machine).code == 2


def _wrong_size(machine: Machine) -> None:
    (machine.top / "dev/sda").write_bytes(bytes(SECTORS * 512 - 4096))


def _shrunk(machine: Machine) -> None:
    (machine.top / "dev/sdb").write_bytes(bytes(spare(ONE))[:-4096])


def _other_disk(machine: Machine) -> None:
    (machine.top / "run/udev/data/b8:0").write_text("E:ID_WWN=0x6\nE:ID_SERIAL_SHORT=AB\n")


def _other_serial(machine: Machine) -> None:
    (machine.top / "run/udev/data/b8:0").write_text("E:ID_SERIAL=\x1b[31mZ\n")


def _not_finished(machine: Machine) -> None:
    _features(machine, 1 << 31, 0)


def _newer(machine: Machine) -> None:
    _features(machine, 4, 0)


def _newer_for_writing(machine: Machine) -> None:
    _features(machine, 0, 4)


def _features(machine: Machine, incompat: int, ro_compat: int) -> None:
    image = spare(ONE)
    for at in range(0, 5 * 0x20000, 0x20000):
        header = metadata.decode_header(bytes(image[at : at + 4096]))
        image[at : at + 4096] = metadata.encode_header(
            replace(header, incompat=incompat, ro_compat=ro_compat)
        )
    (machine.top / "dev/sdb").write_bytes(image)


def _same_device(machine: Machine) -> None:
    (machine.top / "dev/link").symlink_to("sdb")
    machine.tab.write_text(f"data /dev/link UUID={ONE}\n")


def _protected(machine: Machine) -> None:
    (machine.top / "dev/sdb").chmod(0o400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_wrong_size, f"/dev/sda has {SECTORS - 8} sectors, but had {SECTORS} when"),
        (_shrunk, f"/dev/sdb has {SECTORS - 8} sectors, but had {SECTORS} when"),
        (_other_disk, "belongs to another main device (wwn 0x5000, but /dev/sda has 0x6)"),
        (_other_serial, "another main device (serial AB, but /dev/sda has \\x1b[31mZ)"),
        (_not_finished, "'dmremapctl activate' with both devices"),
        (_newer, "features that a newer dm-remap is needed for"),
        (_newer_for_writing, "allow this dm-remap only to read"),
        (_same_device, "main device and spare are the same device"),
        (_protected, "is write-protected; the option degraded or ro"),
    ],
)
def test_a_pair_that_is_refused(machine: Machine, change: Callable[[Machine], None], words: str) -> None:
    change(machine)
    done = activate(machine)
    assert (done.code, done.out) == (4, "") and words in done.err
    assert len(done.err.splitlines()) == 1


def test_what_may_be_read_only(machine: Machine) -> None:
    _newer_for_writing(machine)
    machine.tab.write_text(f"data /dev/sda UUID={ONE} ro\n")
    assert f"{ONE} ro 0" in activate(machine).out
    _protected(machine)
    machine.tab.write_text(f"data /dev/sda UUID={ONE} degraded\n")
    (machine.top / "dev/sdb").chmod(0o600)
    (machine.top / "dev/sdb").write_bytes(spare(ONE))
    assert f"{ONE} rw 0" in activate(machine).out
    _protected(machine)
    assert f"{ONE} ro 0" in activate(machine).out


def test_identity_is_that_of_sysfs_where_udev_knows_none(machine: Machine) -> None:
    (machine.top / "run/udev/data/b8:0").unlink()
    assert activate(machine).code == 0
    serial = machine.top / "sys/dev/block/8:0/serial"
    serial.write_text("A  B\n")
    assert activate(machine).code == 0
    serial.write_text("other\n")
    assert "serial AB, but /dev/sda has other" in activate(machine).err


# What is missing, and what is there twice


def test_what_is_missing_is_named(machine: Machine) -> None:
    (machine.top / "dev/sda").unlink()
    more = f"more /dev/sdx UUID={OTHER} nofail,timeout=0\n"
    machine.tab.write_text(f"data /dev/sda UUID={ONE} timeout=0\n{more}")
    done = activate(machine, "--wait", "--all")
    assert done.code == 4
    assert done.err.splitlines() == [
        "dm-remap: data is not started: /dev/sda is not there",
        "dm-remap: more is not started: /dev/sdx is not there",
    ]
    machine.tab.write_text(more)
    assert activate(machine).code == 0


def test_one_that_is_missing_does_not_stop_the_others(machine: Machine) -> None:
    machine.tab.write_text(f"gone /dev/sdx /dev/sdy\nwrong line\ndata /dev/sda UUID={ONE}\n")
    done = activate(machine)
    assert (done.code, done.out) == (2, TABLE)
    assert done.err.splitlines()[0].startswith(f"dm-remap: {machine.tab}:2: it has 2 fields")


@pytest.mark.parametrize("how", [f"UUID={ONE}", "/dev/sdb"])
@pytest.mark.parametrize("first", [True, False], ids=["whole", "first header damaged"])
def test_a_copy_of_the_spare_is_refused(machine: Machine, how: str, first: bool) -> None:
    machine.disk("sdc", bytes(spare(ONE) if first else damage(spare(ONE), 0)))
    machine.disk("sdd", bytes(spare(OTHER)))
    machine.tab.write_text(f"data /dev/sda {how}\n")
    done = activate(machine)
    assert (done.code, done.out) == (5, "")
    assert "/dev/sdb" in done.err and "/dev/sdc" in done.err and "/dev/sdd" not in done.err
    assert f"have the metadata uuid {ONE}; one is a copy of the other" in done.err


def test_what_is_part_of_something_else_is_no_copy(machine: Machine) -> None:
    """The halves of a mirror and the paths of multipath begin like the whole."""
    machine.disk("sdc", bytes(spare(ONE)))
    (machine.top / "sys/class/block/sdc/holders/md0").mkdir(parents=True)
    assert activate(machine).out == TABLE


def test_what_cannot_be_a_spare_is_not_opened(machine: Machine) -> None:
    for name in ("sr0", "ram0", "dm-0", "dm-1"):
        machine.disk(name, bytes(spare(ONE)))
    for name, fact, value in (("dm-0", "uuid", f"DMREMAP-{ONE}"), ("dm-1", "suspended", "1")):
        (machine.top / f"sys/class/block/{name}/dm").mkdir()
        (machine.top / f"sys/class/block/{name}/dm/{fact}").write_text(f"{value}\n")
    assert activate(machine).out == TABLE


@pytest.mark.parametrize(
    "words",
    [(), ("activate",), ("activate", "--all", "x"), ("probe",), ("tab", "x"), ("fly",), ("tab", "--no")],
)
def test_wrong_usage(words: tuple[str, ...]) -> None:
    done = run("activator", *words)
    assert done.code == 2 and "usage: activator activate" in done.err


def test_a_name_that_is_not_in_the_table(machine: Machine) -> None:
    done = activate(machine, "other")
    assert done.code == 2 and "has no device 'other'" in done.err


# Whatever lies on a disk


def test_no_spare_is_too_strange(tmp_path: Path) -> None:
    """Bytes changed in headers and info blocks, half of them with a CRC that fits."""
    choose = random.Random(3)
    image = spare(ONE, "wwn:0x5000")
    (tmp_path / "spare").write_bytes(image)
    places = [copy * 0x20000 + block * 4096 for copy in range(5) for block in (0, 1)]
    changes = []
    for number in range(600):
        for place in choose.sample(places, choose.randrange(1, 8)):
            block = bytearray(image[place : place + 4096])
            for _ in range(choose.randrange(1, 4)):
                block[choose.choice((*range(0x138), *range(0x1C, 0x60)))] = choose.choice(
                    (0, 255, choose.randrange(256))
                )
            if number % 2:
                block[0x18:0x1C] = bytes(4)
                block[0x18:0x1C] = zlib.crc32(block).to_bytes(4, "little")
            changes += [
                f"{place + at} {byte}"
                for at, (byte, was) in enumerate(zip(block, image[place:], strict=False))
                if byte != was
            ]
        changes.append("0 -1")
    done = run("fuzz", tmp_path / "spare", given="\n".join(changes).encode())
    assert done.code == 0, done.err
    found = int(done.out.split("found=")[1])
    assert done.out.startswith("spares=600 ") and 100 < found < 600
