"""The functions of ``docs/python.md`` that ask the target something, against the real one."""

from typing import Any

from harness import Guest
from target import create, pending, remapped
from target import extents as listed

FIRST, COUNT = 1000, 3000
UNREADABLE = [1500, 2504, 2505]


def moved(sector: int, count: int) -> Any:
    import pycontrol

    told: list[int] = []
    with pycontrol.Control() as control:
        there = pycontrol.remap(control, "mapped", sector, count, advance=told.append)
        again = pycontrol.remap(control, "mapped", sector)
    return {"there": [there.sectors, there.pending, there.answer], "again": again.sectors, "told": told}


def back(sector: int, count: int) -> Any:
    import pycontrol

    with pycontrol.Control() as control:
        done = pycontrol.unmap(control, "mapped", sector, count)
        one = pycontrol.unmap(control, "mapped", sector)
    return [done.sectors, done.pending, done.answer, one.sectors]


def asked() -> Any:
    import pycontrol

    with pycontrol.Control() as control:
        given_up = pycontrol.pending(control, "mapped", 8, 16), pycontrol.pending(control, "mapped", 16)
        before = pycontrol.sync(control, "mapped")
        copies = pycontrol.reread(control, "mapped")
        mended = pycontrol.repair(control, "mapped")
        pycontrol.rearm(control, "mapped")
        counted = pycontrol.counters(control, "mapped")
        pycontrol.clear_counters(control, "mapped")
        cleared = pycontrol.counters(control, "mapped")
        [(start, count)] = [(each.sector, each.sectors) for each in pycontrol.extents(control, "mapped")]
    return {
        "pending": given_up,
        "sync": before,
        "reread": [copies.good, copies.copies, copies.sequence],
        "repair": mended,
        "counters": counted,
        "cleared": cleared,
        "extents": [start, count],
    }


def refused(sector: int, count: int) -> Any:
    import pycontrol
    from pycontrol.errors import TargetRefused

    said: list[str] = []
    with pycontrol.Control() as control:
        for ask in (pycontrol.remap, pycontrol.unmap, pycontrol.pending):
            try:
                ask(control, "mapped", sector, count)
            except TargetRefused as error:
                said.append(str(error))
    return said


def test_many_sectors_there_and_back(guest: Guest) -> None:
    create(guest)
    guest.machine.main.fail(UNREADABLE, on="read")
    done = guest.call(moved, FIRST, COUNT)
    good = COUNT - len(UNREADABLE)
    assert done["there"] == [good, 3, f"Remapped {good} sectors, 3 unreadable and pending"]
    # How many messages these took is a matter of time.
    assert sum(done["told"]) == COUNT and done["told"][0] < COUNT and done["again"] == 0
    now = listed(guest)
    assert pending(now) == UNREADABLE
    assert sorted(remapped(now) + pending(now)) == list(range(FIRST, FIRST + COUNT))

    guest.machine.main.heal()
    guest.write("/dev/mapper/mapped", FIRST, bytes(512 * COUNT))
    assert guest.call(back, FIRST, COUNT) == [COUNT, 0, f"Unmapped {COUNT} sectors", 0]
    assert listed(guest) == []


def test_what_is_counted_and_kept(guest: Guest) -> None:
    create(guest)
    told = guest.call(asked)
    assert told["pending"] == [16, 1] and told["extents"] == [8, 16]
    good, copies, sequence = told["reread"]
    assert (good, copies, told["repair"]) == (5, 5, 0) and sequence >= told["sync"]
    names = {"read_errors", "write_errors", "salvaged", "lost", "commits", "flushes"}
    assert names <= told["counters"].keys() == told["cleared"].keys()
    assert told["counters"]["commits"] and told["counters"]["lost"] == 16
    assert told["cleared"]["lost"] == 0


def test_a_refusal_has_the_kernels_sentence_and_changes_nothing(guest: Guest) -> None:
    create(guest)
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    said = guest.call(refused, size - 1000, 1001)
    assert len(said) == 3 and all(
        each.endswith("the range ends behind the end of the device") for each in said
    )
    assert listed(guest) == []
