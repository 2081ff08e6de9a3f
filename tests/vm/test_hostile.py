"""Commands that are interrupted, killed, run twice at once, or find the ground gone under their feet."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from command import ctl, ok
from harness import Guest, Result

WRONG_DEVICE, BUSY, ACCESS, NOT_LOADED, REFUSED, CANCELLED = 4, 5, 6, 7, 9, 10
INT, KILL = "SIGINT", "SIGKILL"
MOMENTS = 3
"""At which a command is struck, with each signal."""

LIST = range(4096, 4096 + 3 * 1500, 3)
"""Sectors of a list that is imported."""
DATA = b"remapped" * 64
REMAPPED = range(0, 16 * 64, 16)


def refused(done: Result, code: int, *words: str) -> None:
    """It ended with this code and one sentence."""
    assert done.rc == code, done
    lines = [line for line in done.err.splitlines() if "warning:" not in line]
    assert len(lines) == 1 and "Traceback" not in done.err, done
    assert all(word in lines[0] for word in words), done


def create(guest: Guest, spare: str) -> None:
    ok(guest, "create", "mapped", guest.main, spare, "--yes")


@pytest.fixture
def spares(guest: Guest) -> list[str]:
    """The spare disk in three parts of 16 MiB."""
    guest.run("sfdisk", "--quiet", guest.spare, stdin="label: gpt\n" + "size=16M\n" * 3)
    guest.run("udevadm", "settle")
    return [f"{guest.spare}{number}" for number in (1, 2, 3)]


# The ground is gone


def test_the_module_goes_between_two_commands(guest: Guest) -> None:
    create(guest, guest.spare)
    ok(guest, "remap", "mapped", 8)
    ok(guest, "remove", "mapped")
    guest.run("rmmod", "dm_remap_v4")
    assert ok(guest, "list") == [] and ok(guest, "status") == [] and ok(guest, "health") == []
    refused(ctl(guest, "create", "mapped", guest.main, guest.spare, "--yes"), NOT_LOADED, "module load")
    refused(ctl(guest, "activate", "mapped", guest.main, guest.spare), NOT_LOADED, "module load")
    for words in (("status",), ("remove",), ("map",), ("events",), ("export",), ("leave",), ("remap", 0)):
        command, *rest = words
        refused(ctl(guest, str(command), "mapped", *rest), WRONG_DEVICE, "no such device")
    guest.load_module()
    back = ok(guest, "create", "mapped", guest.main, guest.spare)
    assert back["formatted"] is False and back["records"] == 1


def test_udev_is_dead(guest: Guest) -> None:
    """Its socket is still there, but nobody would ever take a cookie."""
    guest.sh("kill -9 $(pidof systemd-udevd); while pidof systemd-udevd; do sleep 0.1; done")
    try:
        create(guest, guest.spare)
        guest.write("/dev/mapper/mapped", 0, DATA)
        assert guest.run("test", "-b", "/dev/mapper/mapped").rc == 0
        assert guest.sh("test -L /dev/mapper/mapped", check=False).rc == 1
        job = guest.start_sh("dmremapctl watch --count 1 --json 2>/tmp/told")
        guest.sh("until grep -qs 'watching events from kernel' /tmp/told; do sleep 0.1; done")
        ok(guest, "remap", "mapped", 64)
        assert json.loads(job.wait().out)["action"] == "REMAP"
        ok(guest, "remove", "mapped")
        assert guest.sh("test -e /dev/mapper/mapped", check=False).rc == 1
    finally:
        guest.sh("/lib/systemd/systemd-udevd --daemon; udevadm settle")
    create(guest, guest.spare)
    assert guest.sh("test -L /dev/mapper/mapped").rc == 0
    ok(guest, "remove", "mapped")


def test_the_device_vanishes_under_an_import(guest: Guest) -> None:
    create(guest, guest.spare)
    guest.push("".join(f"{sector} 1\n" for sector in LIST), "/tmp/list")
    words = ("import", "mapped", "--list", "/tmp/list")
    for delay in (0.1, 0.5, 1):
        end = guest.call(_wiped, list(words), delay, timeout=150)
        done = Result("dmremapctl import", end["rc"], end["out"], end["err"])
        if done.rc != 0:
            # A table of errors has no target of ours any more, and takes no message; on the way
            # there the device is suspended.
            refused(done, done.rc)
            assert done.rc in (WRONG_DEVICE, REFUSED) or "suspended" in done.err, done
        ok(guest, "remove", "mapped")
        create(guest, guest.spare)
        assert ok(guest, "inspect", guest.spare)["valid_copies"] == 5
    told = ok(guest, *words)
    assert (told["remapped"], told["pending"], told["left"]) == (len(LIST), 0, 0)


def _wiped(argv: list[str], delay: float) -> dict[str, Any]:
    import importlib
    import subprocess
    import time

    children = importlib.import_module("guest.children")
    child = children.begin(argv)
    time.sleep(delay)
    subprocess.run(["dmsetup", "wipe_table", "mapped"], check=True)
    found: dict[str, Any] = children.end(child)
    return found


def test_no_room_for_a_file(guest: Guest) -> None:
    create(guest, guest.spare)
    guest.push("".join(f"{sector} 1\n" for sector in LIST), "/tmp/list")
    ok(guest, "import", "mapped", "--list", "/tmp/list", "--no-read", "--yes")
    guest.sh("mkdir -p /tmp/small; mount -t tmpfs -o size=16k none /tmp/small; yes >/tmp/small/full || true")
    commands = [
        ("export", "mapped", "-o", "/tmp/small/list"),
        ("export", "mapped", "--ddrescue", "-o", "/tmp/small/map"),
        ("map", "mapped", "--svg", "/tmp/small/svg"),
        ("map", "mapped", "--html", "/tmp/small/html"),
        ("meta", "backup", guest.spare, "/tmp/small/backup"),
        ("meta", "dump", guest.spare, "-o", "/tmp/small/dump"),
    ]
    for words in commands:
        refused(ctl(guest, *words), ACCESS, "No space left on device")
        assert guest.run("ls", "-A", "/tmp/small").out == "full\n", words
    # The same from the shell.
    done = guest.sh("dmremapctl export mapped >/tmp/small/list", check=False)
    refused(done, ACCESS, "standard output cannot be written", "No space left on device")
    guest.sh("umount /tmp/small")


# Two at once


def both(guest: Guest, one: tuple[str | int, ...], other: tuple[str | int, ...]) -> list[Result]:
    """Two commands, begun as nearly at once as can be."""
    ends = guest.call(_both, [str(word) for word in one], [str(word) for word in other])
    return [Result("dmremapctl", end["rc"], end["out"], end["err"]) for end in ends]


def _both(*commands: list[str]) -> list[dict[str, Any]]:
    import importlib

    children = importlib.import_module("guest.children")
    begun = [children.begin(argv) for argv in commands]
    return [children.end(child) for child in begun]


def one_wins(ends: list[Result], *words: str) -> int:
    """Which of the two it was; the other says why not."""
    won = [at for at, end in enumerate(ends) if end.rc == 0]
    assert len(won) == 1, ends
    refused(ends[1 - won[0]], BUSY, *words)
    return won[0]


def test_two_make_the_same_device(guest: Guest, spares: list[str]) -> None:
    for _ in range(3):
        command = ("create", "mapped", guest.main, spares[0], "--yes", "--format")
        one_wins(both(guest, command, command))
        (device,) = ok(guest, "list")
        assert device["uuid"] == f"DMREMAP-{ok(guest, 'inspect', spares[0])['uuid']}"
        ok(guest, "remove", "mapped")
        # The same name with another spare, and the same spare with another name.
        others = [("mapped", spares[1]), ("other", spares[0])]
        for name, spare in others:
            won = one_wins(both(guest, command, ("create", name, guest.main, spare, "--yes", "--format")))
            (device,) = ok(guest, "list")
            ours = spare if won else spares[0]
            assert device["name"] == (name if won else "mapped")
            assert device["uuid"] == f"DMREMAP-{ok(guest, 'inspect', ours)['uuid']}"
            ok(guest, "remove", device["name"])


def test_two_scrub_or_replace_the_same_device(guest: Guest, spares: list[str]) -> None:
    create(guest, spares[0])
    ok(guest, "remap", "mapped", 0, 1024)
    # The one that begins later must meet the other at work, however late the host lets it begin.
    scrub = ("scrub", "mapped", "--rate", "40M")
    one_wins(both(guest, scrub, scrub), "already")
    ends = both(guest, *(("spare", "replace", "mapped", new, "--yes") for new in spares[1:]))
    # One that begins as the other ends finds nothing in its way, and both are right; or a spare that
    # has been retired since it looked which one there is.
    if {end.rc for end in ends} == {0, WRONG_DEVICE}:
        assert any("this spare is retired" in end.err for end in ends), ends
    elif {end.rc for end in ends} != {0}:
        one_wins(ends)
    assert ok(guest, "status", "mapped")[0]["targets"][0]["remapped_extents"] == 1


# Struck at a random moment


def strike(guest: Guest, signal: str, delay: float, *words: str | int) -> Result:
    """Run a command, and send it a signal after so many seconds."""
    end = guest.call(_strike, [str(word) for word in words], signal, delay, timeout=150)
    return Result(f"dmremapctl {' '.join(map(str, words))}", end["rc"], end["out"], end["err"])


def _strike(argv: list[str], signal: str, delay: float) -> dict[str, Any]:
    import importlib

    children = importlib.import_module("guest.children")
    found: dict[str, Any] = children.end(children.begin(argv), signal, delay)
    return found


def struck(
    guest: Guest, seed: int, prepare: Callable[[], None], words: Callable[[], tuple[str | int, ...]]
) -> Iterator[Result]:
    """The command, struck again and again; at first nothing happens, to see how long it takes."""
    rng = random.Random(seed)
    # Once to warm up.
    for _ in range(2):
        prepare()
        seconds = guest.call(_measured, [str(word) for word in words()], timeout=150)
    for signal in (INT, KILL) * MOMENTS:
        prepare()
        delay = rng.random() * seconds
        done = strike(guest, signal, delay, *words())
        print(f"{signal} after {delay:.2f} of {seconds:.2f} s: {done}")
        if signal == INT:
            assert done.rc in (0, 1, CANCELLED) and "Traceback" not in done.err, done
        yield done


def _measured(argv: list[str]) -> float:
    import importlib
    import time

    children = importlib.import_module("guest.children")
    before = time.monotonic()
    end = children.end(children.begin(argv))
    assert end["rc"] in (0, 1), end
    return time.monotonic() - before


@pytest.mark.timeout(900)
def test_create_is_struck(guest: Guest) -> None:
    words = ("create", "mapped", guest.main, guest.spare, "--yes", "--format")

    def gone() -> None:
        if ok(guest, "list"):
            ok(guest, "remove", "mapped")
        assert guest.run("dmsetup", "ls").out.strip() in ("", "No devices found")

    for done in struck(guest, 1, gone, lambda: words):
        devices = ok(guest, "list")
        working = bool(devices) and devices[0]["mode"] == "rw"
        assert done.rc != 0 or working
        if not working:
            assert ok(guest, *words)["formatted"] is True
        assert ok(guest, "inspect", guest.spare)["valid_copies"] == 5
        guest.wait_for_udev()
        guest.write("/dev/mapper/mapped", 8, DATA)


def test_create_after_one_killed_with_its_table_loaded(guest: Guest) -> None:
    """Nobody else can have the devices for sole use then, and sysfs names no holder."""
    create(guest, guest.spare)
    (device,) = ok(guest, "list")
    table = guest.run("dmsetup", "table", "mapped").out.strip()
    ok(guest, "remove", "mapped")
    guest.run("dmsetup", "create", "mapped", "--uuid", device["uuid"], "--notable")
    guest.run("dmsetup", "load", "mapped", "--table", table)
    other = ctl(guest, "create", "other", guest.main, guest.spare, "--yes")
    refused(other, BUSY, "in use")
    assert ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")["formatted"] is False
    assert ok(guest, "list")[0]["mode"] == "rw"


@pytest.mark.timeout(900)
def test_import_is_struck(guest: Guest) -> None:
    create(guest, guest.spare)
    guest.push("".join(f"{sector} 1\n" for sector in LIST), "/tmp/list")

    def none() -> None:
        listed = [each["sector"] for each in ok(guest, "export", "mapped")["extents"]]
        for at in range(0, len(listed), 400):
            ok(guest, "message", "mapped", "unmap", *(w for s in listed[at : at + 400] for w in (s, 1)))

    for _ in struck(guest, 2, none, lambda: ("import", "mapped", "--list", "/tmp/list")):
        done = ok(guest, "import", "mapped", "--list", "/tmp/list")
        assert (done["remapped"], done["pending"], done["left"]) == (len(LIST), 0, 0)


@pytest.mark.timeout(900)
def test_scrub_is_struck(guest: Guest) -> None:
    create(guest, guest.spare)
    guest.machine.main.fail(500_000, on="read")
    words = ("scrub", "mapped", "--rate", "0")
    for _ in struck(guest, 3, lambda: None, lambda: words):
        assert ok(guest, "scrub", "mapped", "--status")["running"] is False
        done = ctl(guest, *words, "--json")
        assert done.rc == 1 and json.loads(done.out.splitlines()[-1])["ending"] == "finished", done
    (extent,) = ok(guest, "export", "mapped")["extents"]
    assert extent == {"sector": 500_000, "sectors": 1, "spare": None}


@pytest.mark.timeout(900)
def test_replace_is_struck(guest: Guest, spares: list[str]) -> None:
    create(guest, spares[0])
    for sector in REMAPPED:
        ok(guest, "remap", "mapped", sector, 8)
        guest.write("/dev/mapper/mapped", sector, DATA)
    numbers = {guest.run("lsblk", "-dno", "MAJ:MIN", spare).out.strip(): spare for spare in spares}

    def spare() -> str:
        return numbers[ok(guest, "status", "mapped")[0]["targets"][0]["spare"]]

    def words() -> tuple[str | int, ...]:
        new = spares[(spares.index(spare()) + 1) % 3]
        return "spare", "replace", "mapped", new, "--yes", "--overwrite"

    before = ""

    def remember() -> None:
        nonlocal before
        before = spare()

    for _ in struck(guest, 4, remember, words):
        # Whoever stood guard lets it go on.
        while ok(guest, "status", "mapped")[0]["suspended"]:
            pass
        for sector in REMAPPED:
            assert guest.read("/dev/mapper/mapped", sector) == DATA
        if spare() == before:
            ok(guest, *words())
            assert spare() != before
        assert ok(guest, "inspect", spare())["valid_copies"] == 5
        for sector in REMAPPED:
            assert guest.read("/dev/mapper/mapped", sector) == DATA
