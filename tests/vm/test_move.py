"""Moving to another spare or another disk while the device is in use.

With power cuts: DM_REMAP_POWER_CUTS says how many (4), DM_REMAP_SEED which.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from command import ctl, ok
from gate import Gate
from guest.shadow import content
from harness import Guest, Job, Machine, Result, VMDied
from harness.disk import MiB

CUTS = int(os.environ.get("DM_REMAP_POWER_CUTS", "4"))
SEED = int(os.environ.get("DM_REMAP_SEED", "1"))

BLOCK = 8  # Sectors of a block that the writer writes.
PLACES = list(range(0, 8192, 41))  # Blocks of 4 KiB, all over 32 MiB.
SIZE = 32 * MiB
RUN = 12 * MiB // 512  # Sectors at the beginning that live on the spare: more than is left for a switch.
REMAPPED = [place for place in PLACES[::2] if place * BLOCK >= RUN]  # Behind it.
MOVED = RUN + len(REMAPPED) * BLOCK
DEVICE = "/dev/mapper/data"
DAMAGED, REFUSED, WRONG_DEVICE, BUSY = 1, 9, 4, 5

pytestmark = pytest.mark.timeout(300 + 120 * CUTS)


def _shadow(function: str, *args: Any) -> Any:
    """In the guest: a function of guest.shadow."""
    import importlib

    return getattr(importlib.import_module("guest.shadow"), function)(*args)


class Writer:
    """Writes and reads the blocks, and knows what each must hold."""

    def __init__(self, guest: Guest, first: int = 1) -> None:
        self.guest = guest
        self.numbers: dict[str, int] = guest.call(_shadow, "fill", DEVICE, PLACES, first)

    def start(self, seed: int) -> None:
        self.guest.call(_shadow, "begin", DEVICE, PLACES, seed, self.numbers)

    @contextmanager
    def working(self, seed: int = 1) -> Iterator[None]:
        """Goes on all the time; nothing may come back wrong, or fail."""
        self.start(seed)
        try:
            yield
        finally:
            said = self.guest.call(_shadow, "end", DEVICE, timeout=90)
        assert said["wrong"] == [] and said["failed"] == [], said
        self.numbers = said["numbers"]

    def durable(self) -> dict[str, int]:
        found: dict[str, int] = self.guest.call(_shadow, "durable", DEVICE)
        return found

    def check(self, failing: list[int] | None = None) -> None:
        """Every block holds what it must, but for those that cannot be read."""
        found = self.guest.call(_shadow, "check", DEVICE, self.numbers)
        assert found == {"differ": [], "failed": failing or []}


def remap(guest: Guest, places: list[int]) -> None:
    ok(guest, "message", "data", "remap", *[word for place in places for word in (place * BLOCK, BLOCK)])


def prepare(box: Machine) -> tuple[Guest, Writer]:
    """A device with remaps all over it."""
    guest = box.boot()
    ok(guest, "create", "data", guest.main, guest.spare, "--yes")
    writer = Writer(guest)
    ok(guest, "message", "data", "remap", 0, RUN)
    remap(guest, REMAPPED)
    return guest, writer


def failing(guest: Guest, code: int, *words: str) -> str:
    """What a command says that ends with this code."""
    done = ctl(guest, *words)
    assert done.rc == code, done
    return done.err


def replaced(guest: Guest, new: str) -> dict[str, Any]:
    """With little time for the switch, so that it is copied ahead; with more where that was too little.

    On a busy host it is, and that it is refused then has changed nothing.
    """
    for pause in ("0.1", "0.4", "1.6", "6.4"):
        done = ctl(guest, "spare", "replace", "data", new, "--yes", "--pause", pause, "--json")
        if done.rc != BUSY or "written faster" not in done.err:
            break
    assert done.rc == 0, done
    answer: dict[str, Any] = json.loads(done.out)
    return answer


def test_a_spare_is_replaced_under_load(machine: Callable[..., Machine]) -> None:
    box = machine(main=SIZE, spare=16 * MiB, extra={"larger": 24 * MiB, "smaller": 15 * MiB})
    guest, writer = prepare(box)
    new = guest.devices["larger"]
    with writer.working():
        done = replaced(guest, new)
    assert (done["lost"], done["warnings"]) == ([], []) and done["sectors"] == MOVED
    writer.check()
    state = ok(guest, "status", "data")[0]["targets"][0]
    assert (state["valid_copies"], state["remapped_extents"]) == (5, 1 + len(REMAPPED))
    assert "@stats" not in guest.run("dmsetup", "message", "data", "0", "@stats_list").out

    # The old one is refused by the kernel and by dmremapctl; the new one is found again.
    ok(guest, "deactivate", "data")
    table = f"0 {SIZE // 512} dm-remap-v4 {guest.main} {guest.spare}"
    assert guest.run("dmsetup", "create", "data", "--table", table, check=False).rc != 0
    guest.run("dmsetup", "remove", "data", check=False)
    assert "is not blank" in guest.run("dmesg").out
    said = failing(guest, WRONG_DEVICE, "activate", "data", guest.main, guest.spare)
    assert "retired" in said and "moved to" in said
    assert ok(guest, "activate", "data", guest.main, new)["finished"] is False
    writer.check()

    # On to one that is smaller than the first, part of which cannot be read.
    listed = guest.run("dmsetup", "message", "data", "0", "list").out.splitlines()
    sector, _, place, _ = listed[5].split()
    box.disks["larger"].fail(int(place) + 2, on="read")
    partly = ctl(guest, "spare", "replace", "data", guest.devices["smaller"], "--yes", "--json")
    assert partly.rc == DAMAGED and json.loads(partly.out)["lost"] == [[int(sector) + 2, 1]], partly
    writer.check(failing=[int(sector) // BLOCK])
    assert ok(guest, "inspect", guest.devices["smaller"])["intact"]
    # Writing heals it.
    writer = Writer(guest, first=100_000)
    writer.check()


@pytest.mark.parametrize(("command", "sectors"), [("spare replace", MOVED), ("evacuate", SIZE // 512)])
def test_what_was_copied_and_is_written_then_is_copied_again(
    machine: Callable[..., Machine], command: str, sectors: int
) -> None:
    box = machine(main=SIZE, spare=16 * MiB, extra={"new": SIZE + MiB})
    guest, writer = prepare(box)
    gate = Gate(guest, "new", at=11 * MiB)
    # Nothing but what is written before the gate is opened: there is a second round, and one only.
    words = (*command.split(), "data", gate.path, "--yes", "--json", "--pause", "0.1")
    job = guest.start("dmremapctl", *words, timeout=300)
    # The beginning of a new disk comes last.
    copied = [place for place in PLACES if MiB // 512 <= place * BLOCK < 9 * MiB // 512]
    gate.wait_for(content(place, writer.numbers[str(place)]) for place in copied)
    writer.numbers |= guest.call(_shadow, "fill", DEVICE, copied, 1000)
    gate.open()
    done = json.loads(job.wait().out)
    assert done["sectors"] == sectors and done["copied"] >= sectors + len(copied) * BLOCK
    writer.check()


def test_a_device_is_evacuated_under_load(machine: Callable[..., Machine]) -> None:
    box = machine(main=SIZE, spare=16 * MiB, extra={"healthy": SIZE + MiB})
    guest, writer = prepare(box)
    new = guest.devices["healthy"]

    # A bad sector that nobody has read yet: nothing is changed, and it is named.
    bad = (PLACES[151] + 3) * BLOCK  # On main.
    guest.write(DEVICE, bad, b"precious" * 64)
    box.main.fail(bad, on="read")
    assert f"the first is {bad}" in failing(guest, BUSY, "evacuate", "data", new, "--yes")
    said = failing(guest, BUSY, "evacuate", "data", new, "--yes", "--overwrite")
    assert "1 sectors of data cannot be read" in said
    with writer.working():
        done = ok(
            guest, "evacuate", "data", new, "--yes", "--overwrite", "--give-up-lost", "/tmp/lost"
        )  # fmt: skip
    assert done["lost"] == [[bad, 1]] and guest.run("cat", "/tmp/lost").out == f"{bad} 1\n"
    assert guest.read(DEVICE, bad) == bytes(512)
    # It goes on without the old pair, which cannot be put together again.
    box.main.die()
    box.spare.die()
    writer.check()
    with writer.working(seed=2):
        pass
    box.main.revive()
    box.spare.revive()
    assert " linear " in guest.run("dmsetup", "table", "data").out
    ok(guest, "remove", "data")
    said = failing(guest, WRONG_DEVICE, "activate", "data", guest.main, guest.spare)
    assert "retired" in said and "healthy" in said
    guest.run("dmsetup", "create", "data", "--table", f"0 {SIZE // 512} linear {new} 0")
    writer.check()


def requests(box: Machine) -> int:
    """Those that the new disk has got so far."""
    counters = box.disks["healthy"].counters()
    return counters["writes"] + counters["flushes"]


def evacuation(box: Machine) -> Job:
    words = ("evacuate", "data", box.guest.devices["healthy"], "--yes", "--overwrite")
    return box.guest.start("dmremapctl", *words, timeout=300)


def evacuated_until(box: Machine, writer: Writer, limit: int) -> tuple[dict[str, int], Result | None]:
    """The power goes at so many requests to the new disk: what was durable; the result if it had ended."""
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(evacuation(box).wait)
        while not job.done() and requests(box) < limit:
            time.sleep(0.001)
        durable = writer.durable()
        box.kill()
        try:
            return durable, job.result()
        except VMDied:
            return durable, None


def test_power_cuts_while_a_device_is_evacuated(
    machine: Callable[..., Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED + 1)
    box = machine(main=SIZE, spare=16 * MiB, extra={"healthy": SIZE})
    prepare(box)
    # As few as can be: nobody writes.
    evacuation(box).wait()
    total = requests(box)
    box.kill()

    box = machine(main=SIZE, spare=16 * MiB, extra={"healthy": SIZE})
    guest, writer = prepare(box)
    cuts = (CUTS + 1) // 2
    outcomes: list[str] = []
    while len(outcomes) < cuts and "new" not in outcomes:
        writer.start(seed=len(outcomes))
        limit = requests(box) + round((len(outcomes) + rng.random()) / cuts * total)
        durable, result = evacuated_until(box, writer, limit)
        box.power_cut(seed=rng.getrandbits(32))

        guest = box.boot()
        done = ctl(guest, "activate", "data", guest.main, guest.spare)
        outcomes.append("old" if done.rc == 0 else "new")
        if done.rc:
            assert "retired" in done.err, done
            table = f"0 {SIZE // 512} linear {guest.devices['healthy']} 0"
            guest.run("dmsetup", "create", "data", "--table", table)
        else:
            assert result is None, "it had ended, and is not there"
        found = guest.call(_shadow, "check_cut", DEVICE, durable)
        assert found["wrong"] == [], outcomes
        writer = Writer(guest, first=found["highest"] + 1)
    # The first comes before all was copied for the first time.
    assert cuts < 2 or outcomes[0] == "old"
    with capsys.disabled():
        print(f"\n{len(outcomes)} power cuts while a device was evacuated, afterwards: {' '.join(outcomes)}")


def test_the_way_back_to_the_bare_disk(guest: Guest) -> None:
    ok(guest, "create", "data", guest.main, guest.spare, "--yes")
    writer = Writer(guest)
    remap(guest, PLACES[:40])
    stuck = PLACES[3] * BLOCK
    guest.machine.main.fail(range(stuck, stuck + 2))
    # udev looks at the device after each event: that is not a user.
    outlook = ok(guest, "leave", "data")
    assert len(outlook["remapped"]) == 40 and outlook["failing"] == [[stuck, BLOCK]]
    assert (outlook["pending"], outlook["users"]) == ([], "")
    done = ctl(guest, "leave", "data", "--do", "--yes", "--json")
    assert done.rc == REFUSED, done
    told = json.loads(done.out)
    assert told["remaining"] == [[stuck, BLOCK]] and told["removed"] is False
    writer.check()
    guest.machine.main.heal()
    assert ok(guest, "leave", "data", "--do", "--yes")["removed"] is True
    guest.run("dmsetup", "create", "data", "--table", f"0 2048 linear {guest.main} 0")
    guest.run("dmsetup", "remove", "data")
    assert guest.call(_shadow, "check", guest.main, writer.numbers) == {"differ": [], "failed": []}


def test_removal_waits_for_a_short_lived_opener(guest: Guest) -> None:
    ok(guest, "create", "data", guest.main, guest.spare, "--yes")
    guest.sh("mkfs.ext4 -q -F /dev/mapper/data && mkdir -p /tmp/here && mount /dev/mapper/data /tmp/here")
    # Only once it waits does the mount go.
    done = guest.sh(
        """
        dmremapctl remove data --retry &
        until grep -qs inotify /proc/$!/fdinfo/*; do sleep 0.1; done
        umount /tmp/here
        wait $!
        """,
        timeout=120,
    )
    assert done.out == "removed data\n"
    assert ok(guest, "list") == []
