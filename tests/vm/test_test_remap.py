"""The message test_remap: to the same place as often as one likes, and what it refuses."""

import pytest
from harness import Guest
from target import Extent, Status, create, extents, message, refused, status

CREATED = "Created test remap: bad_sector=1000 spare_sector=5000"
UNREADABLE = " pending: the block can't be read, its place is chosen when it is written"


def state(guest: Guest) -> tuple[Status, list[Extent]]:
    return status(guest), extents(guest)


def why(guest: Guest) -> str:
    """What the target said last."""
    return guest.sh("dmesg | grep ': mapped: ' | tail -n 1").out.rstrip("\n").partition(": mapped: ")[2]


def test_the_same_again_answers_the_same_and_changes_nothing(guest: Guest) -> None:
    create(guest)
    assert message(guest, "test_remap", 1000, 5000) == CREATED
    before = state(guest)
    assert message(guest, "test_remap", 1000, 5000) == CREATED
    assert state(guest) == before


def test_a_block_that_can_t_be_read_is_pending_and_takes_no_place(guest: Guest) -> None:
    create(guest)
    guest.machine.main.fail(1000, on="read")
    assert message(guest, "test_remap", 1000, 5000) == CREATED + UNREADABLE
    before = state(guest)
    assert (before[0].used, before[1]) == (0, [Extent(1000, 1, None)])
    assert message(guest, "test_remap", 1000, 5000) == CREATED + UNREADABLE
    assert state(guest) == before


@pytest.mark.parametrize(
    ("sector", "place", "sentence"),
    [
        (1000, 6000, "the block lives at another place of the spare"),
        (2000, 5000, "that place on the spare is in use, bad, or not for data"),
        (2000, 0, "that place on the spare is in use, bad, or not for data"),
        (2000, 1279, "that place on the spare is in use, bad, or not for data"),
        (2000, 2047, "that place on the spare is in use, bad, or not for data"),
        (2000, 7000, "that place on the spare can't be written"),
    ],
    ids=["moved", "used", "first_header", "metadata", "before_data", "bad"],
)
def test_what_is_refused_changes_nothing(guest: Guest, sector: int, place: int, sentence: str) -> None:
    device = create(guest)
    guest.write(device, sector, b"precious" * 64)
    message(guest, "test_remap", 1000, 5000)
    guest.machine.spare.fail(7000, on="write")
    before = state(guest)
    assert refused(guest, "test_remap", sector, place)
    assert why(guest) == sentence
    assert state(guest) == before
    assert guest.read(device, sector) == b"precious" * 64
