"""``dmremapctl meta`` beside the kernel: the same bytes, a spare in use, an old spare that comes alive."""

import json
import struct
from pathlib import Path

from command import ctl
from harness import Guest
from target import Extent, create, extents, message, remove, status

from pycontrol.metadata import SECTOR, Snapshot, load
from pycontrol.metadata.dump import read_dump, to_text
from pycontrol.metadata.legacy import crc_v42
from pycontrol.metadata.sanity import segments_of

OLD_SIZE = 84288  # of a structure of v4.2


def restored_alike(image: Path) -> int:
    """Dump and restore what the kernel wrote: every byte of metadata is the same. How many records?"""
    with image.open("rb") as file:

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        loaded = load(read, image.stat().st_size)
        snapshot = read_dump(to_text(Snapshot.of(loaded)))
        made = dict([*snapshot.blocks(), *snapshot.headers()])
        ranges = [(0, snapshot.geometry.region), *segments_of(snapshot.geometry, snapshot.header)]
        for start, sectors in ranges:
            for offset in range(start * SECTOR, (start + sectors) * SECTOR, 4096):
                assert read(offset, 4096) == made.pop(offset, bytes(4096)), f"byte {offset}"
    assert not made
    return len(loaded.records)


def old_structure(main_sectors: int, *entries: tuple[int, int]) -> bytes:
    structure = bytearray(OLD_SIZE)
    struct.pack_into("<IIQQIIII", structure, 0, 0x444D5234, 4, 2, 1_700_000_000, 0, 0, OLD_SIZE, 0)
    struct.pack_into("<QQI", structure, 0x78, main_sectors, 16384, 512)
    struct.pack_into("<II", structure, 0x128, len(entries), 2048)
    for number, (main, spare) in enumerate(entries):
        struct.pack_into("<QQQIIHH", structure, 0x138 + 40 * number, main, spare, 10**9, 0, 1, 1, 2)
    struct.pack_into("<I", structure, 0x18, crc_v42(bytes(structure)))
    return bytes(structure)


def test_meta_and_the_kernel_agree(guest: Guest) -> None:
    create(guest, "spacing", 64)
    # On a busy host the minute may be over while nothing must be written but by what is tested.
    guest.sh("echo 0 >/sys/module/dm_remap_v4/parameters/dm_remap_autosave_enabled")
    for sector in range(0, 2 * 300, 2):
        message(guest, "test_remap", sector, 4096 + sector)
    guest.run("sync")
    before = guest.machine.spare.counters()["writes"]
    looked = ctl(guest, "meta", "check", "--json", guest.spare)
    found = json.loads(looked.out)
    assert (looked.rc, found["verdict"], found["records"]) == (0, "clean", 300), looked
    assert found["in_use"] == "in use by mapped"
    assert ctl(guest, "meta", "repair", "--in-place", "--yes", guest.spare).rc == 5
    assert guest.machine.spare.counters()["writes"] == before
    remove(guest)
    assert restored_alike(guest.machine.spare.image) == 300

    # A spare of v4.2 takes the place of ours.
    sectors = int(guest.run("blockdev", "--getsz", guest.main).out)
    guest.push(old_structure(sectors, (1000, 5000), (1001, 5001), (3000, 7)), "/tmp/old.img")
    guest.run("truncate", "-s", "8M", "/tmp/old.img")
    guest.sh("printf precious | dd of=/tmp/old.img bs=512 seek=5000 conv=notrunc")
    done = ctl(guest, "meta", "import-legacy", "--yes", "--force", "/tmp/old.img", guest.spare)
    assert done.rc == 1 and "main sector 3000 is pending" in done.err, done
    create(guest)
    assert extents(guest)[1] == Extent(3000, 1, None)
    assert (status(guest).used, status(guest).pending, status(guest).valid) == (2, 1, 5)
    assert guest.read("/dev/mapper/mapped", 1000)[:8] == b"precious"
    remove(guest)
