"""From facts to a verdict.  No I/O and no clock here: both are among the facts.

Damage is judged by how it grows, never by how much there is: a disk with ten thousand
old remaps and no new one is good.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pycontrol.service.status import TargetStatus
from pycontrol.service.view.growth import Growth
from pycontrol.service.view.outlook import Outlook, accelerating, outlook
from pycontrol.service.view.picture import counted
from pycontrol.service.view.when import local_day

BRISK: Final = 10
"""New places a day, over a week, above which a disk is given up."""

ACT_DAYS: Final = 30
"""A spare that is full within these is to be acted upon now."""

FAILING_DAYS: Final = 2
NEARLY_FULL: Final = 0.9

_LEAVE: Final = "bring the backup up to date and move to another disk"


class Level(IntEnum):
    """How bad it is; the larger the worse."""

    GOOD = 0
    WATCH = 1
    """Look again soon; nothing is urgent."""
    ACT = 2
    """Do now what the reasons say."""
    FAILING = 3
    """Protection has ended, or is about to: get the data off."""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Reason:
    """One sentence with what to do next; ``kind`` is a word for programs."""

    level: Level
    kind: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one target.  Sectors of 512 bytes, times in seconds since 1970."""

    name: str
    now: float
    status: TargetStatus
    pending_sectors: int
    """At this moment."""
    growth: Growth | None = None
    """None if the records could not be read, and then ``unread`` says why."""
    unread: str = ""
    suspended: bool = False
    readonly: bool = False
    """The table was loaded read-only, so that the mode is ``ro`` on purpose."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst of the reasons, which come worst first."""

    level: Level
    reasons: tuple[Reason, ...]
    outlook: Outlook | None
    """When the spare is full, if it fills at all."""


def judge(facts: Facts) -> Verdict:
    """The verdict on one target; there is always a reason."""
    growth = facts.growth
    ahead = outlook(facts.status, growth, facts.now) if growth else None
    found = [*_service(facts), *_metadata(facts), *_pending(facts), *_history(facts)]
    if growth:
        found += _growth(growth)
    found += _spare(facts, ahead)
    if not found:
        found.append(_good(facts))
    found.sort(key=lambda reason: -reason.level)
    return Verdict(found[0].level, tuple(found), ahead)


def no_table(name: str) -> Verdict:
    """The verdict on a device that has nothing to send requests to."""
    sentence = (
        f"The device has no table and every request to it fails: 'dmremapctl remove {name}', and create or"
        " activate it again."
    )
    return Verdict(Level.FAILING, (Reason(Level.FAILING, "no_table", sentence),), None)


def _service(facts: Facts) -> list[Reason]:
    """Whether the target still does its work."""
    name, state = facts.name, facts.status
    found = []
    if state.mode == "Fail":
        found.append(
            Reason(
                Level.FAILING,
                "mode",
                "The metadata was refused, nothing is protected: the kernel log says why, and"
                " 'dmremapctl meta check' on the spare what is wrong.",
            )
        )
    if state.mode == "ro" and facts.readonly:
        found.append(
            Reason(
                Level.WATCH,
                "mode",
                "The device is read-only and remaps nothing new: activate it for writing to protect it.",
            )
        )
    elif state.mode == "ro":
        found.append(
            Reason(
                Level.FAILING,
                "mode",
                "Remaps are served, but new bad sectors are not taken over any more, nor is any write if the"
                " kernel log says that the metadata found could not be made durable: run"
                f" 'dmremapctl message {name} repair', and replace the spare if that fails.",
            )
        )
    if "breaker" in state.errors:
        found.append(
            Reason(
                Level.FAILING,
                "breaker",
                "Errors all over the main device tripped the breaker and nothing is remapped: check cable and"
                f" power, then 'dmremapctl message {name} rearm', or move the data to another disk.",
            )
        )
    if facts.suspended:
        found.append(
            Reason(
                Level.ACT,
                "suspended",
                "The device is suspended and all requests wait: find out who suspended it, and resume it.",
            )
        )
    return found


def _metadata(facts: Facts) -> list[Reason]:
    name, state = facts.name, facts.status
    found = []
    bad = state.copies - state.valid_copies
    if bad and state.mode != "Fail":
        few = 2 * (state.valid_copies - 1) <= state.copies
        found.append(
            Reason(
                Level.ACT if few else Level.WATCH,
                "copies",
                f"{bad} of {state.copies} copies of the metadata are damaged"
                f"{', one more and nothing can be recorded' if few else ''}: run"
                f" 'dmremapctl message {name} repair', and replace the spare if they fail again.",
            )
        )
    if state.needs_check:
        found.append(
            Reason(
                Level.ACT,
                "needs_check",
                "A change could not be recorded on the spare: run"
                f" 'dmremapctl message {name} repair', then check the file system.",
            )
        )
    return found


def _pending(facts: Facts) -> list[Reason]:
    sectors, growth = facts.pending_sectors, facts.growth
    if not sectors:
        return []
    # What was pending once and has been written since is lost no more.
    new = min(sectors, growth.week.pending) if growth else 0
    what = f"The data of {sectors} sectors is lost until they are written"
    todo = f"restore the files they belong to, or use 'dmremapctl fill {facts.name}'"
    if new:
        return [Reason(Level.ACT, "pending", f"{what}, {new} of them since last week: {todo}.")]
    return [Reason(Level.WATCH, "pending", f"{what}, none of them new: {todo}.")]


def _history(facts: Facts) -> list[Reason]:
    growth = facts.growth
    if growth is None:
        return [
            Reason(
                Level.WATCH,
                "history",
                f"How the damage grew is not known, {facts.unread or 'the records were not read'}: look again"
                " when that is mended.",
            )
        ]
    if growth.doubtful:
        return [
            Reason(
                Level.WATCH,
                "clock",
                f"{counted(growth.doubtful, 'record')} of failures with a date that cannot be, by this"
                " clock, may be new or old: see that it is right, then run"
                f" 'dmremapctl message {facts.name} sync' and look again later.",
            )
        ]
    return []


def _growth(growth: Growth) -> list[Reason]:
    day, week, month = growth.day, growth.week, growth.month
    found = []
    rates = (
        f"{counted(day.places, 'new place')} in the last day, {week.places} in the last week,"
        f" {month.places} in the last 30 days"
    )
    if accelerating(growth):
        found.append(
            Reason(
                Level.ACT,
                "rate",
                f"The damage grows faster and faster, {rates}: {_LEAVE}.",
            )
        )
    elif week.per_day >= BRISK:
        found.append(
            Reason(
                Level.ACT,
                "rate",
                f"The disk loses {week.per_day:.0f} places a day, {rates}: {_LEAVE}.",
            )
        )
    elif week.places:
        found.append(
            Reason(
                Level.WATCH,
                "rate",
                f"The damage grows, {rates}: keep the backup up to date and look again tomorrow.",
            )
        )
    if growth.month.bad_spare:
        level = Level.ACT if growth.week.bad_spare else Level.WATCH
        found.append(
            Reason(
                level,
                "bad_spare",
                f"{growth.month.bad_spare} sectors of the spare itself failed in the last 30 days,"
                f" {growth.week.bad_spare} of them in the last week: have another spare ready.",
            )
        )
    return found


def _spare(facts: Facts, ahead: Outlook | None) -> list[Reason]:
    state, growth = facts.status, facts.growth
    replace = "replace it by a larger one ('dmremapctl spare replace')"
    if "spare_full" in state.errors or (state.total_sectors and state.used_sectors >= state.total_sectors):
        growing = bool(growth and growth.week.places)
        return [
            Reason(
                Level.FAILING if growing else Level.ACT,
                "spare_full",
                "The spare is full, new bad sectors are not taken over"
                f"{', and there are new ones' if growing else ''}: {replace}.",
            )
        ]
    if ahead and ahead.days <= ACT_DAYS:
        return [
            Reason(
                Level.FAILING if ahead.days <= FAILING_DAYS else Level.ACT,
                "exhaustion",
                f"The spare will be full {ahead.words}: {replace}.",
            )
        ]
    if state.total_sectors and state.used_sectors >= NEARLY_FULL * state.total_sectors:
        percent = 100 * state.used_sectors // state.total_sectors
        when = f"full {ahead.words}" if ahead else "and does not fill any more at present"
        sentence = f"The spare is {percent} % used, {when}: {replace}."
        return [Reason(Level.WATCH, "spare_nearly_full", sentence)]
    return []


def _good(facts: Facts) -> Reason:
    growth = facts.growth
    if growth is None or not growth.places:
        return Reason(Level.GOOD, "good", "No sector has failed so far: there is nothing to do.")
    failed, asked = growth.failures, growth.places - growth.failures
    request = f"{counted(asked, 'place')} moved or given up on request"
    if not failed:
        words = f"{request}, no other sector has failed so far"
    else:
        words = f"{counted(failed, 'place')} {'is' if failed == 1 else 'are'} damaged in all"
        if growth.month.places:
            words += f", none in the last week, the last one on {local_day(growth.last_failure)}"
        else:
            words += ", none in the last 30 days"
        if asked:
            words += f", and {request}"
    return Reason(Level.GOOD, "good", f"{words}: there is nothing to do.")
