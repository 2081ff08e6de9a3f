"""Which uevents are ours, and what is made of them."""

from pathlib import Path

import pytest

from pycontrol.service import watch

BASE = {"ACTION": "change", "SUBSYSTEM": "block", "DEVNAME": "dm-1", "DM_NAME": "r0", "DM_UUID": "DMREMAP-1"}


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"DM_TARGET": "dm-remap-v4", "DM_ACTION": "PENDING"}, "PENDING"),
        ({"DM_COOKIE": "4194400"}, "RESUMED"),
        ({"ACTION": "remove"}, "REMOVED"),
        ({}, None),
        ({"DM_TARGET": "multipath", "DM_ACTION": "PATH_FAILED", "DM_UUID": "mpath-1"}, None),
        ({"DM_UUID": "LVM-1", "ACTION": "remove"}, None),
        ({"ACTION": "remove", "SUBSYSTEM": "bdi"}, None),
    ],
)
def test_which_events_are_ours(changes: dict[str, str], action: str | None) -> None:
    event = watch.parse(BASE | changes, 5.0)
    assert (event.action if event else None) == action


@pytest.mark.parametrize("word", ["", "-1", "1e3", "٣", "9" * 21, "0x10"])
def test_numbers_that_are_none_become_none(word: str) -> None:
    event = watch.parse(BASE | {"DM_TARGET": "dm-remap-v4", "DM_ACTION": "REMAP", "DM_SECTOR": word}, 5.0)
    assert event is not None and event.sector is None


def test_a_device_that_goes_and_comes_back_stays_watched() -> None:
    stream = [
        BASE | {"ACTION": "remove"},
        BASE | {"DM_NAME": "r1", "ACTION": "remove"},
        BASE | {"DM_COOKIE": "1", "DEVNAME": "dm-9"},
    ]
    seen = list(watch.events(stream, "r0", clock=lambda: 1.5))
    assert [(event.action, event.device, event.time) for event in seen] == [
        ("REMOVED", "dm-1", 1.5),
        ("RESUMED", "dm-9", 1.5),
    ]


def test_count_ends_the_stream_without_reading_on() -> None:
    source = iter([BASE | {"ACTION": "remove"}] * 5)
    assert len(list(watch.events(source, count=2))) == 2
    assert len(list(source)) == 3


def test_the_kernel_is_listened_to_where_no_udev_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    udev: watch.Source = [{"from": "udev"}]
    kernel: watch.Source = [{"from": "kernel"}]
    monkeypatch.setattr(watch, "udev_source", lambda: udev)
    monkeypatch.setattr(watch, "kernel_source", lambda: kernel)
    assert watch.open_source(tmp_path / "control") == ("kernel", kernel)
    (tmp_path / "control").touch()
    assert watch.open_source(tmp_path / "control") == ("udev", udev)
