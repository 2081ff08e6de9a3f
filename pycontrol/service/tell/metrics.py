"""The state of the devices in Prometheus' text format; docs/prometheus.md describes the metrics."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pycontrol import __version__
from pycontrol.service.devices import RemapDevice
from pycontrol.service.status import MODES
from pycontrol.service.tell.notice import EVENTS_LOST, LEVELS, PRESENT, REMOVED, RESUMED, Notice
from pycontrol.service.tell.totals import Totals, totals
from pycontrol.sizes import SECTOR

ERRORS: Final = ("degraded", "spare_full", "breaker", "metadata")
"""The target's error words."""

_ACTIONS: Final = [each for each in LEVELS if each not in (EVENTS_LOST, PRESENT, REMOVED, RESUMED)]
"""What the target tells.  Each is there from the start: increase() does not see a series begin."""


@dataclass(slots=True)
class Tally:
    """What was told of one class of events of one device.  Sectors are 512 bytes."""

    events: int = 0
    extents: int = 0
    sectors: int = 0


@dataclass(slots=True)
class Counters:
    """Everything since the monitor began, also of devices that are gone."""

    tallies: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """By name of the device and class."""
    lost: dict[str, int] = field(default_factory=dict)
    """Events that were missed, by name, as far as sequence numbers tell."""
    overflows: int = 0
    """How often events were lost before it could be told how many."""

    def add(self, notice: Notice) -> None:
        """Count an event by its device and its action, or those that were lost by their device."""
        event = notice.event
        if event.action == EVENTS_LOST:
            if notice.lost is None:
                self.overflows += 1
            else:
                self.lost[event.name] = self.lost.get(event.name, 0) + notice.lost
            return
        tally = self.tallies.setdefault((event.name, event.action), Tally())
        tally.events += 1
        tally.extents += event.extents or 0
        tally.sectors += event.sectors or 0


_FLAGS: Final[tuple[tuple[str, str, Callable[[RemapDevice], bool]], ...]] = (
    ("suspended", "Whether all requests wait.", lambda device: device.info.suspended),
    ("readonly", "Whether it was activated read-only.", lambda device: device.info.readonly),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[Totals], int]], ...]] = (
    ("healthy", "Whether there is nothing for anybody to do.", lambda s: s.healthy),
    ("needs_check", "Whether a change could not be recorded.", lambda s: s.needs_check),
    ("spare_used_bytes", "What is taken of the spare.", lambda s: s.used_sectors * SECTOR),
    ("spare_size_bytes", "What the spare has behind its metadata.", lambda s: s.total_sectors * SECTOR),
    ("metadata_copies", "Copies of the metadata.", lambda s: s.copies),
    ("metadata_valid_copies", "Copies of the metadata that are good.", lambda s: s.valid_copies),
)
_MAP: Final[tuple[tuple[str, str, Callable[[Totals], int]], ...]] = (
    ("remapped_extents", "Extents that live on the spare.", lambda s: s.remapped_extents),
    ("pending_extents", "Extents that cannot be read until they are written.", lambda s: s.pending_extents),
)
"""Not known of a suspended device."""
_COUNTERS: Final[tuple[tuple[str, str, Callable[[Totals], int]], ...]] = (
    ("read_errors_total", "Reads that failed and were looked into.", lambda s: s.read_errors),
    ("write_errors_total", "Writes that failed and were looked into.", lambda s: s.write_errors),
    ("salvaged_bytes_total", "Data that came back on a retry.", lambda s: s.sectors_salvaged * SECTOR),
    ("lost_bytes_total", "Data that became pending, ever.", lambda s: s.sectors_lost * SECTOR),
)
_TALLIES: Final[tuple[tuple[str, str, Callable[[Tally], int]], ...]] = (
    ("events_total", "Events received.", lambda t: t.events),
    ("event_extents_total", "Extents that events told of.", lambda t: t.extents),
    ("event_bytes_total", "Data that events told of.", lambda t: t.sectors * SECTOR),
)


class _Page:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def gauge(self, name: str, about: str, samples: Iterable[tuple[Mapping[str, str], int]]) -> None:
        self._metric(name, "gauge", about, samples)

    def counter(self, name: str, about: str, samples: Iterable[tuple[Mapping[str, str], int]]) -> None:
        self._metric(name, "counter", about, samples)

    def _metric(
        self, name: str, kind: str, about: str, samples: Iterable[tuple[Mapping[str, str], int]]
    ) -> None:
        found = [f"dmremap_{name}{_labels(labels)} {int(value)}" for labels, value in samples]
        if found:
            head = (f"# HELP dmremap_{name} {about}", f"# TYPE dmremap_{name} {kind}")
            self.lines.extend((*head, *found))


def render(
    devices: Iterable[RemapDevice], counters: Counters, calls: Mapping[str, int], *, up: bool = True
) -> str:
    """The whole text.  ``calls``: how many hooks ended how; ``up``: whether more is to come."""
    known = sorted(
        ((device, state) for device in devices if (state := totals(device))),
        key=lambda pair: pair[0].info.name,
    )
    states = {device.info.name: state for device, state in known}
    page = _Page()
    page.gauge("monitor_up", "Whether the monitor that wrote this runs.", [({}, up)])
    page.gauge("monitor_info", "The version of the monitor.", [({"version": __version__}, 1)])
    page.gauge("device_info", "A device and what it stands on.", [(_about(device), 1) for device, _ in known])
    page.gauge(
        "mode",
        "The mode the device is in.",
        [
            ({"device": name, "mode": mode}, state.mode == mode)
            for name, state in states.items()
            for mode in MODES
        ],
    )
    page.gauge(
        "error",
        "Whether the target reports the error.",
        [
            ({"device": name, "error": word}, word in state.errors)
            for name, state in states.items()
            for word in dict.fromkeys((*ERRORS, *state.errors))
        ],
    )
    for metric, about, flag in _FLAGS:
        page.gauge(metric, about, [({"device": device.info.name}, flag(device)) for device, _ in known])
    for metric, about, value in _GAUGES:
        page.gauge(metric, about, [({"device": name}, value(state)) for name, state in states.items()])
    going = [(device.info.name, state) for device, state in known if not device.info.suspended]
    for metric, about, value in _MAP:
        page.gauge(metric, about, [({"device": name}, value(state)) for name, state in going])
    for metric, about, value in _COUNTERS:
        page.counter(metric, about, [({"device": name}, value(state)) for name, state in states.items()])
    untold = {(name, action): Tally() for name in states for action in _ACTIONS}
    tallies = sorted((untold | counters.tallies).items())
    for metric, about, count in _TALLIES:
        page.counter(
            metric,
            about,
            [({"device": name, "action": action}, count(tally)) for (name, action), tally in tallies],
        )
    page.counter(
        "events_lost_total",
        "Events that were missed, by their sequence numbers.",
        [
            ({"device": name}, lost)
            for name, lost in sorted((dict.fromkeys(states, 0) | counters.lost).items())
        ],
    )
    page.counter("event_overflows_total", "How often events were lost.", [({}, counters.overflows)])
    page.counter(
        "hook_calls_total",
        "Programs that were called, by how they ended.",
        [({"result": result}, count) for result, count in calls.items()],
    )
    return "\n".join(page.lines) + "\n"


def _about(device: RemapDevice) -> dict[str, str]:
    first = device.targets[0].table
    return {
        "device": device.info.name,
        "uuid": device.info.uuid,
        "main": first.main,
        "spare": first.spare,
    }


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    # The format's own three escapes; what is no UTF-8 would make the collector refuse the file.
    text = value.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
