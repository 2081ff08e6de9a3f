"""Hysteresis: what is gathered, when it is due, and that no figure is lost."""

from pycontrol.service.tell.bursts import Burst, Bursts
from pycontrol.service.tell.notice import Notice
from pycontrol.service.tell.watch import Event


def notice(sectors: int = 8, extents: int = 1, sector: int | None = 1000, lost: int | None = None) -> Notice:
    event = Event(1.0, "r0", "DMREMAP-1", "REMAP", "dm-0", 1, sector, sectors, extents)
    return Notice(event, None, lost)


def figures(burst: Burst) -> tuple[int, int, int, int | None, int]:
    return burst.count, burst.extents, burst.sectors, burst.sector, burst.lost


def due(bursts: Bursts[str], now: float) -> Burst:
    found = bursts.due(now)
    assert found is not None
    return found[1]


def test_a_burst_becomes_one_call_with_exact_sums() -> None:
    bursts = Bursts[str](5, 60)
    for number in range(1, 101):
        bursts.add("r0 REMAP", notice(number, 2, 10_000 - number), 100 + number / 100)
    assert bursts.deadline == 105.01 and bursts.due(105) is None
    assert figures(due(bursts, 105.01)) == (100, 200, 5050, 9900, 0)
    assert bursts.due(1e9) is None and bursts.deadline is None, "nothing is told twice, and no timer is left"


def test_a_storm_is_told_ever_more_rarely_and_then_as_at_first() -> None:
    bursts = Bursts[str](5, 30)
    calls, counted = [], 0
    for now in range(200):
        bursts.add("r0 REMAP", notice(), now)
        if found := bursts.due(now):
            calls.append(now)
            counted += found[1].count
    # Windows of 5, 10, 20, 30, 30 ... seconds.
    assert calls == [5, 15, 35, 65, 95, 125, 155, 185]
    assert counted == 186
    due(bursts, 300)
    # Quiet for a whole window: it begins anew with the shortest.
    bursts.add("r0 REMAP", notice(), 331)
    assert bursts.deadline == 336


def test_an_event_in_the_window_after_a_call_waits_for_its_end() -> None:
    bursts = Bursts[str](5, 60)
    bursts.add("r0 REMAP", notice(), 0)
    due(bursts, 5)
    bursts.add("r0 REMAP", notice(), 14)
    assert bursts.deadline == 15


def test_classes_and_devices_are_kept_apart() -> None:
    bursts = Bursts[str](5, 60)
    bursts.add("r0 REMAP", notice(), 0)
    bursts.add("r1 REMAP", notice(), 1)
    bursts.add("r0 REMAP", notice(), 2)
    first, second = bursts.due(10), bursts.due(10)
    assert first and second
    assert [(key, burst.count) for key, burst in (first, second)] == [("r0 REMAP", 2), ("r1 REMAP", 1)]


def test_without_a_window_each_event_is_due_at_once() -> None:
    bursts = Bursts[str](0, 0)
    for _ in range(3):
        bursts.add("r0 REMAP", notice(), 7)
        assert figures(due(bursts, 7)) == (1, 1, 8, 1000, 0)


def test_what_waits_grows() -> None:
    """A burst that is due and not taken, for no hook is free, takes in what follows."""
    bursts = Bursts[str](5, 60)
    bursts.add("r0 REMAP", notice(), 0)
    bursts.add("r0 REMAP", notice(), 50)
    assert due(bursts, 51).count == 2


def test_closing_makes_all_due() -> None:
    bursts = Bursts[str](3600, 3600)
    bursts.add("r0 REMAP", notice(), 0)
    bursts.close()
    assert due(bursts, 0).count == 1


def test_events_without_sectors_have_no_lowest_one() -> None:
    bursts = Bursts[str](5, 60)
    bursts.add("r0 MODE", notice(0, 1, 0), 0)
    bursts.add("r0 MODE", notice(0, 0, None, lost=3), 0)
    assert figures(due(bursts, 5)) == (2, 1, 0, None, 3)
