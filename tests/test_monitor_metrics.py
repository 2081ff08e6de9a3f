"""The text for Prometheus, and the file that carries it."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pycontrol.dm.types import DeviceInfo, DevNumber, DmFlags
from pycontrol.errors import UsageError
from pycontrol.service.devices import RemapDevice, RemapTarget
from pycontrol.service.status import TargetStatus, TargetTable
from pycontrol.service.tell.metrics import Counters, render
from pycontrol.service.tell.notice import LEVELS, Notice
from pycontrol.service.tell.textfile import TextFile
from pycontrol.service.tell.watch import Event

TOP = Path(__file__).resolve().parents[1]
CALLS = {"ok": 3, "failed": 1, "timeout": 0}
_METRIC = re.compile(r"([a-z_]+)(?:\{(.*)\})? ([0-9]+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def device(name: str, *lines: str, minor: int = 0) -> RemapDevice:
    info = DeviceInfo(name, f"DMREMAP-{minor}", DevNumber(253, minor), 0, 0, len(lines), DmFlags.NONE)
    table = TargetTable("8:0", "8:16")
    targets = [RemapTarget(1000 * n, 1000, table, TargetStatus.parse(line)) for n, line in enumerate(lines)]
    return RemapDevice(info, tuple(targets))


def event(action: str, sectors: int, extents: int, name: str = "r0", lost: int | None = None) -> Notice:
    return Notice(Event(1.0, name, "", action, "dm-0", 1, 0, sectors, extents), None, lost)


def parse(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], int]:
    """Of the exposition format what is used here, strictly; also promtool's rules of naming."""
    samples: dict[tuple[str, frozenset[tuple[str, str]]], int] = {}
    kinds: dict[str, str] = {}
    helped, metric = "", ""
    assert text.endswith("\n") and "\n\n" not in text
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped, about = line[7:].split(" ", 1)
            assert about.endswith(".") and "\\" not in about
        elif line.startswith("# TYPE "):
            metric, kind = line[7:].split()
            assert metric == helped and metric not in kinds, "HELP, TYPE and samples stand together, once"
            kinds[metric] = kind
            assert (kind == "counter") == metric.endswith("_total")
            assert not metric.endswith(("_count", "_sum", "_bucket")) and kind not in metric
        else:
            found = _METRIC.fullmatch(line)
            assert found and found[1] == metric, line
            labels = _LABEL.findall(found[2] or "")
            assert ",".join(f'{key}="{value}"' for key, value in labels) == (found[2] or "")
            key = (found[1], frozenset(labels))
            assert key not in samples, line
            samples[key] = int(found[3])
    return samples


def value(text: str, metric: str, **labels: str) -> int:
    return parse(text)[f"dmremap_{metric}", frozenset(labels.items())]


def test_every_figure_of_a_device() -> None:
    text = render(
        [device("r0", "16/4096 2 3 4/5 77 6 9 8 24 0 1 degraded ro needs_check")], Counters(), CALLS
    )
    figures = {
        "remapped_extents": 2, "pending_extents": 3, "spare_used_bytes": 8192, "spare_size_bytes": 2097152,
        "metadata_copies": 5, "metadata_valid_copies": 4, "read_errors_total": 6, "write_errors_total": 9,
        "salvaged_bytes_total": 4096, "lost_bytes_total": 12288, "healthy": 0, "needs_check": 1,
    }  # fmt: skip
    assert {name: value(text, name, device="r0") for name in figures} == figures
    assert [value(text, "mode", device="r0", mode=mode) for mode in ("rw", "ro", "Fail")] == [0, 1, 0]
    words = ("degraded", "spare_full", "breaker", "metadata")
    assert [value(text, "error", device="r0", error=word) for word in words] == [1, 0, 0, 0]
    info = {"device": "r0", "uuid": "DMREMAP-0", "main": "8:0", "spare": "8:16"}
    assert value(text, "device_info", **info) == value(text, "monitor_up") == 1
    assert [value(text, "hook_calls_total", result=result) for result in CALLS] == [3, 1, 0]


def test_targets_are_added_up_and_the_worst_mode_counts() -> None:
    two = device("r0", "1/10 2 3 5/5 9 1 1 1 1 0 0 rw -", "2/10 4 5 2/3 9 1 1 1 1 0 1 newer Fail -")
    text = render([two], Counters(), CALLS)
    assert value(text, "pending_extents", device="r0") == 8
    assert value(text, "metadata_copies", device="r0") == 8
    assert value(text, "mode", device="r0", mode="Fail") == 1
    assert value(text, "error", device="r0", error="newer") == 1, "words to come are told, too"


def test_events_are_counted_exactly() -> None:
    counters = Counters()
    for sectors in range(100):
        counters.add(event("REMAP", sectors, 2))
    counters.add(event("MODE", 0, 1, name="r1"))
    for lost in (3, None, 4):
        counters.add(event("EVENTS_LOST", 0, 0, lost=lost))
    text = render([], counters, CALLS)
    remap = {"device": "r0", "action": "REMAP"}
    assert value(text, "events_total", **remap) == 100
    assert value(text, "event_extents_total", **remap) == 200
    assert value(text, "event_bytes_total", **remap) == 4950 * 512
    assert value(text, "events_total", device="r1", action="MODE") == 1
    assert value(text, "events_lost_total", device="r0") == 7
    assert value(text, "event_overflows_total") == 1


def test_counters_of_a_device_begin_at_zero() -> None:
    """A series that begins with its first event has no increase in the eyes of Prometheus."""
    text = render([device("r0", "1/10 2 3 5/5 9 1 1 1 1 0 0 rw -")], Counters(), CALLS)
    actions = {dict(labels)["action"] for name, labels in parse(text) if name == "dmremap_event_bytes_total"}
    assert actions == set(LEVELS) - {"PRESENT", "RESUMED", "REMOVED", "EVENTS_LOST"}
    for action in actions:
        for metric in ("events_total", "event_extents_total", "event_bytes_total"):
            assert value(text, metric, device="r0", action=action) == 0
    assert value(text, "events_lost_total", device="r0") == 0


def test_states_that_device_mapper_knows() -> None:
    line = "1/10 2 3 5/5 9 1 1 1 1 0 0 ro -"
    for flags in (DmFlags.NONE, DmFlags.SUSPEND, DmFlags.READONLY):
        plain = device("r0", line)
        text = render([replace(plain, info=replace(plain.info, flags=flags))], Counters(), CALLS)
        assert value(text, "suspended", device="r0") == (flags == DmFlags.SUSPEND)
        assert value(text, "readonly", device="r0") == (flags == DmFlags.READONLY)
        # The kernel has no map then.
        assert ("dmremap_pending_extents" in text) == ("dmremap_remapped_extents" in text)
        assert ("dmremap_pending_extents" in text) == (flags != DmFlags.SUSPEND)


def test_labels_are_escaped() -> None:
    name = 'a"b\\c\nd,e="}\udcff'
    text = render([device(name, "1/10 2 3 5/5 9 1 1 1 1 0 0 rw -")], Counters(), CALLS)
    assert value(text, "healthy", device='a\\"b\\\\c\\nd,e=\\"}\\\\xff') == 0
    text.encode()


def test_the_documentation_names_every_metric() -> None:
    counters = Counters()
    counters.add(event("REMAP", 8, 1))
    counters.add(event("EVENTS_LOST", 0, 0, lost=1))
    text = render([device("r0", "1/10 2 3 5/5 9 1 1 1 1 0 0 rw -")], counters, CALLS)
    page = (TOP / "docs/prometheus.md").read_text()
    assert {name for name, _ in parse(text)} == set(re.findall(r"^\| `(dmremap_[a-z_]+)", page, re.M))


def test_the_file_is_replaced_as_a_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "dmremap.prom"
    file = TextFile(path)
    umask = os.umask(0o077)
    try:
        assert file.write("one\n")
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644
    first = path.stat().st_ino
    with path.open() as reader:
        assert not file.write("one\n") and path.stat().st_ino == first
        assert file.write("two\n") and path.stat().st_ino != first
        assert reader.read() == "one\n", "who reads the old one reads all of it"
    assert [each.name for each in tmp_path.iterdir()] == ["dmremap.prom"]
    path.unlink()
    assert not file.write("two\n") and file.write("two\n", anew=True) and path.read_text() == "two\n"


def test_a_file_that_cannot_be_written_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "dmremap.prom"
    file = TextFile(path)
    file.write("one\n")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            file.write("two\n")
    assert path.read_text() == "one\n" and [each.name for each in tmp_path.iterdir()] == ["dmremap.prom"]
    assert file.write("two\n"), "the next time it is tried again"


def test_a_link_somebody_put_there_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".x.prom.new").symlink_to(victim)
    TextFile(tmp_path / "x.prom").write("one\n")
    assert victim.read_text() == "precious"
    assert (tmp_path / "x.prom").read_text() == "one\n" and not (tmp_path / "x.prom").is_symlink()


def test_a_name_the_collector_would_pass_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.prom"):
        TextFile(tmp_path / "dmremap.txt")
