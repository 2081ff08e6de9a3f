"""Times as people write them."""

import re
from datetime import datetime, timedelta
from typing import Final

from pycontrol.errors import UsageError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGO: Final = re.compile(r"([0-9]{1,9})\s*([smhdw])", re.ASCII)
_EPOCH: Final = re.compile(r"@?([0-9]{1,12})", re.ASCII)
_WORDS: Final = {"today": 0, "yesterday": 1}


def parse_time(text: str, now: float) -> float:
    """Seconds since 1970 of ``2h`` ago (s, m, h, d, w), ``yesterday``, ``today``, ``now``, ISO, or epoch.

    ISO dates are local time unless they name a zone; a day begins at its midnight.
    UsageError for anything else.
    """
    word = text.strip().lower()
    if word == "now":
        return now
    if ago := _AGO.fullmatch(word):
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        if word in _WORDS:
            day = datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0)
            return (day - timedelta(days=_WORDS[word])).timestamp()
        # fromisoformat() takes 20260101 as a date, but eight digits are a time since 1970 here.
        if epoch := _EPOCH.fullmatch(word):
            return float(epoch[1])
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"'{text}' is not a time; write it like 2h, 3d, yesterday, 2026-01-31, 2026-01-31T13:00 or"
            " @1700000000"
        ) from error


def local(seconds: float) -> str:
    """Date and time for people, ``2026-01-31 13:00:00``, local; the number where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f} s"


def local_day(seconds: float) -> str:
    """The local date alone, ``2026-01-31``, of a time in seconds since 1970."""
    return local(seconds).split(" ")[0]
