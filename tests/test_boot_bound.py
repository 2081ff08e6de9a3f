"""What is said before a device moves that /etc/dmremaptab lists."""

import json
from pathlib import Path

import pytest

from pycontrol.service.boot import bound, tab
from tests.conftest import MIB, Run
from tests.evacuation import Mapped
from tests.moving import MAIN, UUID_, Device

UNIT = r"dm-remap@root\x2d1.service"


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the table and systemd's directories are looked for."""
    monkeypatch.setattr(tab, "PATH", tmp_path / "dmremaptab")
    monkeypatch.setattr(bound, "SYSTEMD", tmp_path / "systemd")
    for name in ("generator", "system"):
        (tmp_path / "systemd" / name).mkdir(parents=True)
    return tmp_path


def test_nothing_is_said_of_a_device_that_is_not_listed(top: Path) -> None:
    assert bound.evacuating("root-1") == bound.replacing("root-1") == []
    tab.PATH.write_text("other /dev/sda /dev/sdb\nroot-1 /dev/sdc\n")
    assert bound.evacuating("root-1") == bound.replacing("root-1") == []
    tab.PATH.write_bytes(b"#" * (tab.MAX_FILE + 1))
    assert bound.evacuating("root-1") == []


def test_what_is_to_be_changed_in_the_table(top: Path) -> None:
    tab.PATH.write_text("\nroot-1 /dev/sda /dev/sdb initramfs\n")
    [said] = bound.evacuating("root-1")
    assert "lists root-1 in line 2: take the line out" in said and "daemon-reload" in said
    assert "name the new spare" in bound.replacing("root-1")[0]
    tab.PATH.write_text(f"root-1 /dev/sda UUID={UUID_}\n")
    assert bound.replacing("root-1") == []


def test_that_systemd_would_stop_it_until_it_is_unbound(top: Path) -> None:
    tab.PATH.write_text(f"root-1 /dev/sda UUID={UUID_}\n")
    (top / "systemd/generator" / UNIT).write_text("[Unit]\n")
    [said] = bound.replacing("root-1")
    assert UNIT in said and "docs/boot.md" in said
    assert len(bound.evacuating("root-1")) == 2
    (top / "systemd/system" / UNIT).write_text("[Unit]\n")
    assert bound.replacing("root-1") == []


@pytest.mark.parametrize("words", [("evacuate", "data"), ("spare", "replace", "data")], ids=" ".join)
def test_the_commands_say_it_before_they_ask(
    device: Device, run: Run, top: Path, words: tuple[str, ...]
) -> None:
    tab.PATH.write_text("data /dev/sda /dev/sdb\n")
    (top / "systemd/generator/dm-remap@data.service").write_text("[Unit]\n")
    new = Mapped(device, MAIN + MIB).new
    told = json.loads(run(*words, new, "--dry-run", "--json").stdout)
    assert ["unbind it" in each for each in told["warnings"]] == [True, False]
    result = run(*words, new, answer="n\n")
    assert result.exit_code == 10
    assert "lists data in line 1" in result.stderr and "dm-remap@data.service" in result.stderr
