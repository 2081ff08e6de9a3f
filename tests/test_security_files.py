"""Devices are known by what they are, and nobody else's files, links, events or environment are believed."""

import ctypes
import json
import os
import re
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pycontrol.dm.types import DevNumber
from pycontrol.errors import AccessDenied, Busy, DeviceIoError, UsageError, WrongDevice
from pycontrol.metadata import Geometry
from pycontrol.service import blockdev, module, trust
from pycontrol.service.blockdev import BlockDevice, seen
from pycontrol.service.directio import direct
from pycontrol.service.find import smartctl
from pycontrol.service.known.freeze import freezer
from pycontrol.service.offline.imagefile import examine, locked, write_steps
from pycontrol.service.offline.source import source, user_of
from pycontrol.service.taken import taken
from pycontrol.service.tell.hooks import Call, Runner, clean_environment
from pycontrol.service.tell.textfile import TextFile
from pycontrol.service.tell.uevents import KernelUevents
from pycontrol.service.view.replacefile import replace_text

TOP = Path(__file__).resolve().parents[1]
OTHER = 12345
"""Some other user."""


def made(path: Path, size: int = 4096) -> Path:
    path.write_bytes(bytes(size))
    return path


def looked_at(path: Path) -> BlockDevice:
    fd = os.open(path, os.O_RDONLY)
    try:
        return BlockDevice(str(path), DevNumber(8, 0), 4096, 512, seen=seen(fd, str(path)))
    finally:
        os.close(fd)


def owned_by_another(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """As if another user had made these; works without root."""
    real = os.stat_result
    numbers = {(found.st_dev, found.st_ino) for found in (path.lstat() for path in paths)}

    def changed(found: os.stat_result) -> os.stat_result:
        if (found.st_dev, found.st_ino) not in numbers:
            return found
        return real([*found[:4], OTHER, *found[5:]])

    for name in ("stat", "lstat", "fstat"):
        before = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *words, before=before, **more: changed(before(*words, **more)))


# Devices


def test_a_device_whose_name_is_anothers_by_now_is_not_opened(tmp_path: Path) -> None:
    device = looked_at(made(tmp_path / "sdb"))
    with blockdev.opened(device, write=True), direct(device), taken(device):
        pass
    made(tmp_path / "other").replace(tmp_path / "sdb")
    for opening in (blockdev.opened(device, write=True), direct(device, write=True), taken(device)):
        with pytest.raises(WrongDevice, match="not what it was"), opening:
            pass
    with pytest.raises(WrongDevice, match="not what it was"):
        blockdev.check_free(device)


def test_another_disk_in_the_same_place_is_another_device(tmp_path: Path) -> None:
    device = looked_at(made(tmp_path / "sdb"))
    assert device.seen is not None
    later = replace(device, seen=device.seen._replace(sequence=device.seen.sequence + 1))
    with pytest.raises(WrongDevice, match="not what it was"), blockdev.opened(later):
        pass


def test_an_image_that_was_exchanged_is_not_written_to(tmp_path: Path) -> None:
    path = made(tmp_path / "spare", 1 << 20)
    destination = examine(str(path), (1 << 20) // 512, Geometry(5, 256))
    victim = made(tmp_path / "victim", 1 << 20)
    path.unlink()
    path.symlink_to(victim)
    with (
        pytest.raises(WrongDevice, match="not what it was"),
        locked(str(path), destination.seen) as fd,
    ):
        write_steps(fd, str(path), [[(0, b"x")]])
    assert not any(victim.read_bytes())


@pytest.mark.parametrize("kind", ["fifo", "directory", "character device"])
def test_what_is_neither_device_nor_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case _:
            path = Path("/dev/zero")
    for opening in (source(str(path)), locked(str(path))):
        with pytest.raises((WrongDevice, DeviceIoError)), opening:
            pass


def test_a_file_system_hidden_by_another_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(Busy, match="hidden by another mount"), freezer(str(tmp_path), dev=DevNumber(4000, 1)):
        pass


def test_names_that_are_no_text_stop_nothing(tmp_path: Path) -> None:
    # Any user may have a loop device made for a file of any name.
    place = tmp_path / "sys/block/loop0/loop"
    place.mkdir(parents=True)
    (place / "backing_file").write_bytes(b"/home/u/\xff\x1b[2J\n")
    (tmp_path / "sda/holders").mkdir(parents=True)
    (tmp_path / "dm-3/dm").mkdir(parents=True)
    (tmp_path / "dm-3/dm/name").write_bytes(b"\xff\n")
    (tmp_path / "sda/holders/dm-3").symlink_to(tmp_path / "dm-3")
    image = made(tmp_path / "image")
    fd = os.open(image, os.O_RDONLY)
    assert user_of(fd, tmp_path / "sys", tmp_path) == ""
    os.close(fd)
    assert blockdev.holders(tmp_path / "sda") == ("\udcff",)


# Files


def test_a_link_of_another_user_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_text("precious")
    (shared / "map.svg").symlink_to(victim)
    owned_by_another(monkeypatch, shared / "map.svg")
    with pytest.raises(UsageError, match="another user made"):
        replace_text(str(shared / "map.svg"), "x")
    assert victim.read_text() == "precious"


def test_modes_of_others_are_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "map.svg")
    path.chmod(0o6777)
    replace_text(str(path), "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o777, "no set-user-id, also of our own"
    owned_by_another(monkeypatch, path)
    replace_text(str(path), "x")
    assert not stat.S_IMODE(path.stat().st_mode) & 0o022


@pytest.mark.parametrize("there", ["fifo", "link", "file"])
def test_what_lies_in_the_way_of_a_textfile_is_not_written_to(there: str, tmp_path: Path) -> None:
    beside, victim = tmp_path / ".x.prom.new", made(tmp_path / "victim")
    match there:
        case "fifo":
            os.mkfifo(beside)
        case "link":
            beside.symlink_to(victim)
        case "file":
            # As a link of the other kind it is the victim's own.
            os.link(victim, beside)
    TextFile(tmp_path / "x.prom").write("one\n")
    assert (tmp_path / "x.prom").read_text() == "one\n" and not any(victim.read_bytes())


def test_nothing_that_is_made_can_be_written_by_others(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.umask(0); sys.argv = ['dmremapctl', '--version']\n"
        "from pycontrol.cli.main import main\n"
        "try:\n    main()\nfinally:\n    open(sys.stdin.readline(), 'w').close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=TOP, input=str(tmp_path / "new"), text=True, check=False
    )
    assert done.returncode == 0 and stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


# The module


@pytest.mark.parametrize("spoilt", ["nothing", "owner", "mode"])
def test_a_module_that_others_can_change_is_not_loaded(
    spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, loads = made(tmp_path / "dm-remap-v4.ko"), []
    built.chmod(0o666 if spoilt == "mode" else 0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "is_loaded", lambda: False)
    monkeypatch.setattr(module, "_load_dependencies", lambda: None)
    monkeypatch.setattr(module, "find_built", lambda release: built)
    monkeypatch.setattr(module, "_syscall", lambda number, *words: loads.append(words))
    if spoilt == "owner":
        owned_by_another(monkeypatch, built)
    if spoilt == "nothing":
        # Whatever the parameters hold: they are for the kernel to refuse.
        assert module.load(parameters=("a=\udcff",)) and isinstance(loads[0][1], ctypes.c_char_p)
        return
    with pytest.raises(AccessDenied, match="others than root can write"):
        module.load()
    assert not loads


def test_root_builds_only_where_root_alone_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place = tmp_path / "cache/6.1"
    trust.make_private(place)
    assert not stat.S_IMODE(place.stat().st_mode) & 0o022
    place.parent.chmod(0o777)
    with pytest.raises(AccessDenied, match="others than root can write"):
        trust.make_private(place)


def test_root_runs_programs_of_the_system_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/home/u/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert trust.search_path() == trust.SEARCH
    for directory in (*trust.SEARCH.split(":"), *smartctl.SEARCH.split(":")):
        assert re.fullmatch(r"(/usr|/usr/local)?/s?bin", directory)


# Events and programs


def test_events_of_others_than_the_kernel_are_not_heard() -> None:
    listening = KernelUevents()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
        words = b"change@/x\0ACTION=change\0DM_TARGET=dm-remap-v4\0DM_ACTION=MODE\0"
        try:
            sender.sendto(words, (listening._socket.getsockname()[0], 0))
        except PermissionError:
            # Without root even that is forbidden.
            return
    assert not [event for event in listening.read() if event and event.get("DM_ACTION") == "MODE"]
    listening.close()


def test_a_hook_gets_no_descriptors_and_nothing_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/private")
    out = tmp_path / "out"
    tell = "import json, os, sys; open(sys.argv[2], 'w').write(json.dumps("
    tell += "[sys.argv[3:], dict(os.environ), os.listdir('/proc/self/fd')]))"
    name = "$(touch /tmp/x); `id` --help"
    secret = os.open(made(tmp_path / "secret"), os.O_RDONLY)
    os.set_inheritable(secret, True)
    told: list[str] = []
    runner = Runner(1, 60, told.append)
    words = (sys.executable, "-c", tell, "--", str(out), "REMAP", name)
    runner.start(Call(words, clean_environment() | {"DMREMAP_NAME": name}))
    os.waitid(os.P_PIDFD, runner.descriptors[0], os.WEXITED | os.WNOWAIT)
    runner.attend()
    os.close(secret)
    arguments, environment, descriptors = json.loads(out.read_text())
    assert not told and arguments == ["REMAP", name] and environment["DMREMAP_NAME"] == name
    assert "NOTIFY_SOCKET" not in environment
    # Its three streams, the file it writes and the directory it lists.
    assert set(descriptors) <= {"0", "1", "2", "3", "4"}, descriptors
    assert str(secret) not in descriptors or secret < 5
