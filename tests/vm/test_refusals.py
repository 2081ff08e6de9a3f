"""A spare that is not this device's: refused with a sentence, and not a byte is written."""

from dataclasses import replace
from uuid import UUID

import pytest
from harness import Guest
from target import create, message, remove

from pycontrol.metadata import decode_header, encode_header
from tests.test_meta_legacy import ACTIVE, v3, v42

SLOT = 256  # Sectors of the spare from one copy of the metadata to the next.


def made(guest: Guest) -> None:
    """Give the spare the metadata of this pair, with a remap."""
    create(guest)
    message(guest, "remap", 1000)
    remove(guest)


def part(guest: Guest, device: str, sectors: int) -> str:
    guest.run("dmsetup", "create", "part", "--table", f"0 {sectors} linear {device} 0")
    return "/dev/mapper/part"


def refusal(guest: Guest, *options: str, main: str = "", spare: str = "") -> str:
    """The sentence with which the kernel refuses a device, and its spare is not written."""
    disk = guest.machine.spare
    disk.clear_counters()
    table = f"0 2048 dm-remap-v4 {main or guest.main} {spare or guest.spare}"
    done = guest.run("dmsetup", "create", "mapped", *options, "--table", table, check=False)
    assert done.rc != 0 and "Invalid argument" in done.err, done
    counted = disk.counters()
    assert [counted[kind] for kind in ("writes", "zeroes", "trims")] == [0, 0, 0]
    # The uevent of the mode may come too late for a device that is gone at once.
    log = guest.sh("dmesg | grep ': mapped: ' | grep -v 'removed before this was told: MODE$'").out
    *_, sentence, mode = (line.partition(": mapped: ")[2] for line in log.splitlines())
    assert mode == "now in mode Fail: its metadata can't be loaded"
    return sentence


def test_a_spare_of_a_main_device_of_another_size(guest: Guest) -> None:
    made(guest)
    half = part(guest, guest.main, 262_144)
    assert refusal(guest, main=half) == "The spare belongs to a main device of another size"


def test_a_spare_that_has_another_size_by_now(guest: Guest) -> None:
    made(guest)
    half = part(guest, guest.spare, 65_536)
    assert refusal(guest, spare=half) == "The spare has not the size its metadata was made for"


def test_a_spare_of_a_device_with_another_uuid(guest: Guest) -> None:
    made(guest)
    other = refusal(guest, "--uuid", f"DMREMAP-{UUID(int=7)}")
    assert other == "The spare carries the metadata of another device (other uuid)"


def test_a_spare_with_a_feature_that_is_not_known(guest: Guest) -> None:
    made(guest)
    spare = guest.machine.spare
    for place in range(0, 5 * SLOT, SLOT):
        header = decode_header(spare.read(place, 8))
        spare.write(place, encode_header(replace(header, incompat=1 << 31)))
    assert refusal(guest) == "The spare uses a format feature that this version does not know"


def test_a_spare_damaged_in_every_copy(guest: Guest) -> None:
    made(guest)
    for place in range(0, 5 * SLOT, SLOT):
        guest.machine.spare.write(place + 7, b"damaged!" * 64)
    assert refusal(guest) == "The metadata is damaged in every copy; look with dmremapctl inspect"


def test_a_spare_that_is_not_blank(guest: Guest) -> None:
    """Whatever it is, and be it a byte in the last block of the region."""
    guest.machine.spare.write(5 * SLOT - 1, bytes(511) + b"?")
    assert refusal(guest) == "The spare is not blank; use another one or dmremapctl create --format"


@pytest.mark.parametrize(
    ("image", "version"),
    [(v42([(1000, 5000, 10, ACTIVE)]), "v4.2"), (v3([(1000, 5000)]), "v3.0")],
    ids=["v4.2", "v3.0"],
)
def test_an_old_spare(guest: Guest, image: bytes, version: str) -> None:
    guest.machine.spare.write(0, image)
    assert refusal(guest) == f"The spare holds dm-remap {version} metadata; import it with dmremapctl"
