"""When the spare will be full, as far as that can be told, and whether damage gathers speed."""

from dataclasses import dataclass
from typing import Final

from pycontrol.service.status import TargetStatus
from pycontrol.service.view.growth import DAY, Growth
from pycontrol.service.view.when import local_day

FEW: Final = 5
"""Places found, below which a rate is a guess."""

MANY: Final = 30
BURST: Final = 10
"""New places, below which nothing is said to gather speed."""

CENTURY: Final = 36500


@dataclass(frozen=True, slots=True)
class Outlook:
    """The spare's last day, by the rates of the last day, week and month; in days from now."""

    days: float
    """By the rate of the last week, or of the last month if nothing failed in that."""
    earliest: float
    latest: float
    places: int
    """On how many places that failed this rests."""
    day: str
    """``days`` as a local date."""

    @property
    def certainty(self) -> str:
        """``guess``, ``rough`` or ``fair``."""
        return "guess" if self.places < FEW else "rough" if self.places < MANY else "fair"

    @property
    def words(self) -> str:
        """For people, with how far it may be trusted: ``in about 12 days (2026-12-03), ...``."""
        if self.days > CENTURY:
            return "in more than a century at this rate"
        when = f"in about {_span(self.days)} ({self.day})"
        if self.latest > 1.5 * self.earliest:
            when += f", by other rates from {_span(self.earliest)} to {_span(self.latest)}"
        return f"{when}, {_TRUST[self.certainty]}"


_TRUST: Final = {
    "guess": "a guess from very few events",
    "rough": "a rough estimate from few events",
    "fair": "if it goes on like this",
}


def _span(days: float) -> str:
    if days < 2:
        hours = max(1, round(days * 24))
        return f"{hours} hour" if hours == 1 else f"{hours} hours"
    if days < 90:
        return f"{days:.0f} days"
    if days < 730:
        return f"{days / 30.44:.0f} months"
    return f"{days / 365.25:.0f} years" if days <= CENTURY else "more than a century"


def outlook(state: TargetStatus, growth: Growth, now: float) -> Outlook | None:
    """When the free sectors are used up; None if nothing failed in the last 30 days.

    Remaps take one sector of the spare for each sector of main; places of the spare that fail
    are lost for good; what the records themselves take is left out.
    """
    free = max(0, state.total_sectors - state.used_sectors)
    windows = (growth.week, growth.month, growth.day)
    rates = [(window.sectors + window.bad_spare) / window.days for window in windows]
    if not any(rates):
        return None
    expected = next(rate for rate in rates if rate)
    base = growth.week if rates[0] else growth.month
    days = [free / rate for rate in rates if rate]
    left = free / expected
    return Outlook(
        days=left,
        earliest=min(days),
        latest=max(days),
        places=base.places,
        day=local_day(now + left * DAY) if left <= CENTURY else "",
    )


def accelerating(growth: Growth) -> bool:
    """The last day, or the last week, had more than twice the rate of the time before it."""
    day, week, month = growth.day, growth.week, growth.month
    before_day = (week.places - day.places) / (week.days - day.days)
    before_week = (month.places - week.places) / (month.days - week.days)
    fast_day = day.places >= BURST and day.places > 2 * before_day
    return fast_day or (week.places >= BURST and week.per_day > 2 * before_week)
