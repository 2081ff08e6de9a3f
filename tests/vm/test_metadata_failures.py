"""A spare that fails under its own metadata: nothing acknowledged is lost, and status says how it is."""

import errno

import pytest
from harness import Guest, Machine
from harness.disk import Kind
from target import create, events, extents, message, refused, remapped, remove, status

SLOT = 256  # Sectors from one copy to the next.


def sector_of(seed: int) -> bytes:
    return bytes([seed]) * 512


def fail_copies(machine: Machine, copies: list[int], on: Kind = "write") -> None:
    """Headers of these copies can't be written any more."""
    machine.spare.fail([copy * SLOT + i for copy in copies for i in range(8)], on=on)


@pytest.mark.parametrize("copies", [[0], [3], [1, 3], [0, 4]], ids=str)
def test_a_minority_of_copies_can_be_lost(guest: Guest, copies: list[int]) -> None:
    box = guest.machine
    device = create(guest)
    message(guest, "remap", 1000)
    fail_copies(box, copies)
    box.main.fail([2000, 3000], on="write")
    with events(guest) as told:
        guest.write(device, 2000, sector_of(1))
        told("COPY_LOST")
    now = status(guest)
    assert (now.valid, now.errors, now.mode, now.check) == (5 - len(copies), ("degraded",), "rw", "-")
    # The next commit does not even try them.
    before = box.spare.counters()["bad_writes"]
    guest.write(device, 3000, sector_of(2))
    assert box.spare.counters()["bad_writes"] == before

    box.power_cut(seed=sum(copies))
    guest = box.boot()
    create(guest)
    assert remapped(extents(guest)) == [1000, 2000, 3000]
    assert guest.read(device, 2000) == sector_of(1) and guest.read(device, 3000) == sector_of(2)
    assert status(guest).valid == 5 - len(copies)
    box.spare.heal()
    with events(guest) as told:
        assert message(guest, "repair") == f"Repaired {len(copies)} copies"
        told("COPY_MENDED")
    assert (status(guest).valid, status(guest).errors) == (5, ())


def test_what_was_lost_while_the_device_was_suspended_is_told(guest: Guest) -> None:
    device = create(guest)
    guest.run("dmsetup", "suspend", "mapped")
    fail_copies(guest.machine, [0, 2, 4], on="both")
    with events(guest) as told:
        guest.run("dmsetup", "resume", "mapped")
        told("COPY_LOST")
        told("MODE")
    assert (status(guest).valid, status(guest).mode) == (2, "ro")
    guest.machine.spare.heal()
    with events(guest) as told:
        guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
        told("MODE")
    assert (status(guest).valid, status(guest).mode) == (5, "rw")
    guest.write(device, 1000, sector_of(1))


def test_what_suspending_mended_is_told(guest: Guest) -> None:
    create(guest)
    fail_copies(guest.machine, [0, 2, 4])
    assert refused(guest, "remap", 1000)
    assert (status(guest).valid, status(guest).mode) == (2, "ro")
    guest.machine.spare.heal()
    with events(guest) as told:
        guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
        told("COPY_MENDED")
        told("MODE")


@pytest.mark.parametrize("reload", [False, True], ids=["resume", "reload"])
def test_that_a_device_can_t_be_resumed_is_told(guest: Guest, reload: bool) -> None:
    create(guest)
    guest.run("dmsetup", "suspend", "mapped")
    if reload:
        guest.sh('dmsetup reload mapped --table "$(dmsetup table mapped)"')
    guest.machine.spare.die(on="read")
    with events(guest) as told:
        assert guest.run("dmsetup", "resume", "mapped", check=False).rc != 0
        told("MODE")
    assert status(guest).mode == "Fail"
    guest.machine.spare.revive()
    with events(guest) as told:
        guest.run("dmsetup", "resume", "mapped")
        told("MODE")
    assert status(guest).mode == "rw"


def test_what_was_found_and_can_t_be_made_durable_is_not_written_to(guest: Guest) -> None:
    """It is in one copy alone, of a commit that nobody was told of: the next load may not find it."""
    box = guest.machine
    device = create(guest)
    guest.write(device, 2000, sector_of(1))
    remove(guest)
    before = box.spare.read(0, 5 * SLOT)
    create(guest)
    message(guest, "remap", 2000)
    remove(guest)
    after = box.spare.read(0, 5 * SLOT)
    box.spare.write(0, before)
    box.spare.write(2 * SLOT, after[2 * SLOT * 512 : 3 * SLOT * 512])
    box.spare.die(on="write", flush=False)
    create(guest)
    assert remapped(extents(guest)) == [2000] and status(guest).mode == "ro"
    assert message(guest, "health").startswith("failing: all writes are refused")
    for sector in 2000, 3000:
        with pytest.raises(OSError) as failure:
            guest.write(device, sector, sector_of(2))
        assert failure.value.errno == errno.EIO
    assert guest.read(device, 2000) == sector_of(1)
    assert refused(guest, "repair") and refused(guest, "repair", "anyway")
    with pytest.raises(OSError):
        guest.write(device, 3000, sector_of(2))
    box.spare.revive()
    message(guest, "repair")
    assert (status(guest).mode, status(guest).valid) == ("rw", 5)
    for _ in range(2):
        for sector in 2000, 3000:
            guest.write(device, sector, sector_of(3))
            assert guest.read(device, sector) == sector_of(3)
        remove(guest)
        create(guest)


@pytest.mark.parametrize("also", ["nothing else", "a header can't be read", "no flush"])
def test_a_spare_that_can_t_be_written_any_more_serves_what_it_has(guest: Guest, also: str) -> None:
    """As memory cards do at their end.  If that may not be all there is, the owner has to decide."""
    box = guest.machine
    device = create(guest)
    message(guest, "remap", 1000)
    guest.write(device, 1000, sector_of(1))
    remove(guest)
    if also == "a header can't be read":
        fail_copies(box, [3], on="read")
    box.spare.die(on="write", flush=also == "no flush")
    create(guest)
    assert (status(guest).mode, remapped(extents(guest))) == ("ro", [1000])
    assert guest.read(device, 1000) == sector_of(1)
    if also != "nothing else":
        with pytest.raises(OSError):
            guest.write(device, 2000, sector_of(2))
        assert refused(guest, "repair")
        with pytest.raises(OSError):
            guest.write(device, 2000, sector_of(2))
        if also == "no flush":
            box.spare.revive()
        assert refused(guest, "repair", "anyway") == (also != "no flush")
        if also == "no flush":
            with pytest.raises(OSError):
                guest.flush(device)  # What the spare may have lost is told once.
    guest.write(device, 2000, sector_of(2))
    guest.flush(device)
    if also == "nothing else":
        guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
        guest.write(device, 3000, sector_of(3))
    assert guest.read(device, 1000) == sector_of(1) and guest.read(device, 2000) == sector_of(2)
    remove(guest)
    box.spare.revive()
    box.spare.heal()
    create(guest)
    assert guest.read(device, 1000) == sector_of(1) and guest.read(device, 2000) == sector_of(2)


@pytest.mark.parametrize("copies", [[0, 2, 4], [0, 1, 3], [1, 2, 3], [0, 1, 2, 3, 4]], ids=str)
def test_without_a_majority_nothing_new_is_remapped(guest: Guest, copies: list[int]) -> None:
    box = guest.machine
    device = create(guest)
    guest.write(device, 1000, sector_of(7) * 8)
    message(guest, "remap", 1000, 8)
    guest.write(device, 2000, sector_of(3))
    fail_copies(box, copies)
    box.main.fail(2000, on="write")
    with events(guest) as told:
        with pytest.raises(OSError) as failure:
            guest.write(device, 2000, sector_of(4))
        assert failure.value.errno == errno.EIO
        told("MODE")
    now = status(guest)
    assert (now.mode, now.check) == ("ro", "needs_check") and "metadata" in now.errors
    # What was remapped is served, also for writing.
    guest.write(device, 1001, sector_of(8))
    assert guest.read(device, 1000, 3) == sector_of(7) + sector_of(8) + sector_of(7)
    assert refused(guest, "remap", 5000)
    with pytest.raises(OSError):
        guest.write(device, 2000, sector_of(5))
    guest.flush(device)

    box.power_cut(seed=len(copies))
    guest = box.boot()
    create(guest)
    assert remapped(extents(guest)) == list(range(1000, 1008))
    assert guest.read(device, 1000, 3) == sector_of(7) + sector_of(8) + sector_of(7)
    assert guest.read(device, 2000) == sector_of(3)
    # Recorded, if there was a copy that could be written.
    assert status(guest).check == ("needs_check" if len(copies) < 5 else "-")

    box.spare.heal()
    message(guest, "repair")
    now = status(guest)
    assert (now.valid, now.mode, now.check, now.errors) == (5, "rw", "-", ())
    remove(guest)
    create(guest)
    assert status(guest).check == "-"
    guest.write(device, 2000, sector_of(6))
    assert guest.read(device, 2000) == sector_of(6)
    assert remapped(extents(guest)) == [*range(1000, 1008), 2000]


def test_a_spare_that_fails_for_a_while_and_comes_back(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    box.main.fail([2000, 3000, 4000], on="write")
    guest.write(device, 2000, sector_of(1))
    box.spare.die(on="write")
    with pytest.raises(OSError):
        guest.write(device, 3000, sector_of(2))
    assert guest.read(device, 2000) == sector_of(1)
    box.spare.revive()
    if status(guest).mode == "ro":
        message(guest, "repair")
    assert status(guest).mode == "rw"
    guest.write(device, 4000, sector_of(3))
    box.power_cut(seed=1)
    guest = box.boot()
    create(guest)
    assert remapped(extents(guest)) == [2000, 4000]
    assert guest.read(device, 2000) == sector_of(1) and guest.read(device, 4000) == sector_of(3)


@pytest.mark.parametrize("what", ["sync", "suspend"])
def test_counters_that_cannot_be_saved_tell_that_the_metadata_is_lost(guest: Guest, what: str) -> None:
    box = guest.machine
    create(guest)
    message(guest, "remap", 1000)
    box.spare.die(on="write")
    with events(guest) as told:
        if what == "sync":
            assert refused(guest, "sync")
        else:
            guest.sh("dmsetup suspend mapped; dmsetup resume mapped")
            assert refused(guest, "sync")
        told("MODE")
    now = status(guest)
    assert (now.mode, now.check, now.valid) == ("ro", "needs_check" if what == "sync" else "-", 0)
    box.spare.revive()
    message(guest, "repair")
    now = status(guest)
    assert (now.mode, now.check, now.valid, now.remapped) == ("rw", "-", 5, 1)
    assert message(guest, "sync").startswith("Saved")


def test_a_remap_whose_flush_fails_is_not_acknowledged(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    guest.write(device, 2000, sector_of(1))
    guest.flush(device)
    box.main.fail(2000, on="write")
    box.spare.die(on=None)
    with pytest.raises(OSError):
        guest.write(device, 2000, sector_of(2))
    box.spare.revive()
    message(guest, "repair")
    guest.write(device, 2000, sector_of(3))
    box.power_cut(seed=2)
    guest = box.boot()
    create(guest)
    assert guest.read(device, 2000) == sector_of(3)


def test_one_copy_has_its_shadow(guest: Guest) -> None:
    box = guest.machine
    device = create(guest, "copies", 1)
    box.main.fail([2000, 3000, 4000], on="write")
    for seed, sector in enumerate((2000, 3000, 4000)):
        guest.write(device, sector, sector_of(seed))
        box.power_cut(seed=seed)
        if seed == 1:  # The header itself is gone, its shadow is there.
            box.spare.write(0, b"\xff" * 4096)
        guest = box.boot()
        create(guest)
        assert guest.read(device, sector) == sector_of(seed)
    assert remapped(extents(guest)) == [2000, 3000, 4000]
    now = status(guest)
    assert (now.valid, now.copies, now.mode) == (1, 1, "rw")
    remove(guest)


def test_a_copy_that_could_not_be_read_does_not_bring_back_what_was_never_acknowledged(guest: Guest) -> None:
    """A later header in it belongs to a commit that was cut off; since then its block was used."""
    box = guest.machine
    device = create(guest)
    guest.write(device, 2000, sector_of(1))
    guest.flush(device)
    before = box.spare.read(0, 5 * SLOT)
    message(guest, "remap", 2000)
    remove(guest)
    after = box.spare.read(0, 5 * SLOT)
    guest.machine.power_off()

    # As if the cut had come when copy 2 alone was written ...
    box.spare.write(0, before)
    box.spare.write(2 * SLOT, after[2 * SLOT * 512 : 3 * SLOT * 512])
    box.spare.fail(range(2 * SLOT, 3 * SLOT), on="both")
    guest = box.boot()
    create(guest)
    # ... and it cannot be read at the next start, when the block is written on main.
    assert extents(guest) == []
    guest.write(device, 2000, sector_of(2))
    guest.flush(device)
    remove(guest)
    box.spare.heal()
    create(guest)
    assert guest.read(device, 2000) == sector_of(2)
    assert extents(guest) == [] and status(guest).valid == 5


def test_what_may_be_old_is_not_written_to(guest: Guest) -> None:
    """Copies 0 and 4 miss what is remapped last; then they are the only ones that can be read."""
    box = guest.machine
    device = create(guest)
    message(guest, "remap", 1000)
    fail_copies(box, [0, 4])
    message(guest, "remap", 2000)
    guest.write(device, 1000, sector_of(1))
    guest.write(device, 2000, sector_of(2))
    guest.write(device, 3000, sector_of(3))
    guest.flush(device)
    remove(guest)
    box.spare.heal()
    newer = box.spare.read(0, 5 * SLOT)
    box.spare.fail([copy * SLOT + i for copy in (1, 2, 3) for i in range(8)], on="read")
    create(guest)
    assert remapped(extents(guest)) == [1000]
    assert status(guest).mode == "ro"
    for sector in (1000, 2000, 3000):
        with pytest.raises(OSError) as caught:
            guest.write(device, sector, sector_of(9))
        assert caught.value.errno == errno.EIO
    assert guest.read(device, 1000) == sector_of(1) and guest.read(device, 3000) == sector_of(3)
    remove(guest)
    assert box.spare.read(0, 5 * SLOT) == newer, "nothing was written to any copy"

    # They can be read again while it is in use: what it has is not taken for the state.
    create(guest)
    box.spare.heal()
    assert refused(guest, "repair") and refused(guest, "repair", "anyway")
    remove(guest)
    create(guest)
    assert remapped(extents(guest)) == [1000, 2000]
    assert (status(guest).mode, status(guest).valid) == ("rw", 5)
    assert guest.read(device, 2000) == sector_of(2)


def test_the_owner_may_believe_a_minority(guest: Guest) -> None:
    """The others are gone for good: until then nothing is written, and then everything can be."""
    box = guest.machine
    device = create(guest)
    message(guest, "remap", 1000)
    remove(guest)
    box.spare.fail([copy * SLOT + i for copy in (0, 1, 4) for i in range(8)], on="read")
    create(guest)
    assert (status(guest).mode, remapped(extents(guest))) == ("ro", [1000])
    with pytest.raises(OSError):
        guest.write(device, 1000, sector_of(9))
    assert refused(guest, "repair") and refused(guest, "repair", "now")
    with pytest.raises(OSError):
        guest.write(device, 1000, sector_of(9))
    assert message(guest, "repair", "anyway") == "Repaired 3 copies"
    assert (status(guest).mode, status(guest).valid) == ("rw", 5)
    guest.write(device, 1000, sector_of(9))
    assert guest.read(device, 1000) == sector_of(9)
