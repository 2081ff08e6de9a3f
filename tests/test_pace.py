"""The bounded rate, by a clock that only moves when it is told to."""

from pycontrol.service.find.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def paced(clock: Clock, rate: int) -> Pace:
    return Pace(rate, clock=clock, sleep=clock.sleep)


def test_the_rate_holds_whatever_the_work_takes() -> None:
    clock = Clock()
    pace = paced(clock, 1000)
    begun = clock.now
    for number in range(100):
        clock.now += 0.002 if number % 2 else 0.06
        pace.wait(100)
    # The first piece is worked off before anything is waited for.
    assert abs(clock.now - begun - 100 * 100 / 1000) < 0.11


def test_work_slower_than_the_rate_is_not_slowed() -> None:
    clock = Clock()
    pace = paced(clock, 1000)
    for _ in range(10):
        clock.now += 0.3
        pace.wait(100)
    assert clock.slept == []


def test_time_lost_is_not_made_up_for() -> None:
    clock = Clock()
    pace = paced(clock, 1000)
    pace.wait(100)
    clock.now += 3600
    pace.wait(100)
    stalled = clock.now
    for _ in range(10):
        pace.wait(100)
    assert abs(clock.now - stalled - 1.0) < 1e-6


def test_no_limit() -> None:
    clock = Clock()
    for _ in range(10):
        paced(clock, 0).wait(1 << 40)
    assert clock.slept == []


def test_a_long_wait_ends_when_somebody_wants_to_stop() -> None:
    clock = Clock()
    pace = paced(clock, 1)
    pace.wait(1)
    begun = clock.now
    pace.wait(1000, lambda: clock.now >= begun + 5)
    assert 5 <= clock.now - begun < 6
