"""One disk from its first bad sector to its successor, with dmremapctl alone.

What each byte must be is known on the host all the time: it is right, or reported as lost.
The spare is replaced under load with power cuts; DM_REMAP_POWER_CUTS says how many (3),
DM_REMAP_SEED which, and where the disk fails.
"""

import json
import os
import random
from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
from accounting import BLOCK, PER_BLOCK, SECTOR, ranges
from command import ctl, ok
from harness import Machine
from harness.disk import MiB
from journey import DAMAGED, DEVICE, LISTED, NAME, RAW, RUN, SIZE, WATCHED, Journey, Sectors
from load import Load, beside
from replacing import replace_the_spare, replace_while_written

CUTS = int(os.environ.get("DM_REMAP_POWER_CUTS", "3"))
SEED = int(os.environ.get("DM_REMAP_SEED", "1"))

HERE, AWAY = "/tmp/here", "/tmp/away"  # Where the device is mounted, and the disk with the rescue image.
IMAGE, MAP = f"{AWAY}/main.img", f"{AWAY}/main.map"
BAD_BLOCKS, GIVEN_UP = "/tmp/bad.txt", "/tmp/lost.txt"
FILES, FILE_SIZE = 8, MiB
LISTED_BAD = 20  # Blocks in the list of bad ones that really are.
BUSY = 5


def _write(path: str, seed: int, size: int) -> None:
    """In the guest: a file of known bytes, in its old place if it has one, on stable storage."""
    import os
    import random

    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(fd, random.Random(seed).randbytes(size))
    os.fsync(fd)
    os.close(fd)


def _overwrite(path: str, runs: list[list[int]]) -> None:
    """In the guest: other bytes in these sectors of a file."""
    import os

    fd = os.open(path, os.O_WRONLY)
    for first, count in runs:
        os.pwrite(fd, b"not rescued     " * 32 * count, first * 512)
    os.fsync(fd)
    os.close(fd)


@pytest.mark.timeout(600 + 60 * CUTS)
def test_the_whole_journey(machine: Callable[..., Machine], capsys: pytest.CaptureFixture[str]) -> None:
    disks = {"other": 72 * MiB, "new": 80 * MiB, "rescue": 96 * MiB}
    journey = Journey(machine(main=SIZE, spare=64 * MiB, extra=disks), SEED)
    journey.box.boot()
    protect(journey)
    watch_writes_fail(journey)
    make_rescue_image(journey, bad := read_damage(journey))
    watch_reads_fail(journey, bad["seen"])
    find_the_rest(journey, bad["latent"])
    import_what_is_known(journey, bad["listed"])
    fill(journey, bad["kept"])
    move_much(journey)
    replace_while_written(journey)
    counts = replace_the_spare(journey, CUTS, SEED)
    move_away(journey)
    with capsys.disabled():
        print(f"\n{counts}")


def protect(journey: Journey) -> None:
    """scan, create, ext4, files."""
    guest = journey.guest
    guest.run("mkfs.ext4", "-q", "-F", guest.devices["rescue"])
    guest.wait_for_udev(guest.devices["rescue"])
    seen = {row["path"]: row for row in ok(guest, "scan", "--main", guest.main)}
    best = next(iter(seen.values()))
    assert (best["path"], best["spare"]) == (guest.spare, "good")
    assert (seen[guest.main]["size"], seen[guest.main]["use"]) == (SIZE, "")
    assert "ext4" in seen[guest.devices["rescue"]]["spare_reasons"][0]

    # It may wait for a device that is not there yet.
    guest.start_sh(
        f"echo $$ >{WATCHED}.pid; exec dmremapctl watch {NAME} --json >{WATCHED}.out 2>{WATCHED}.err",
        timeout=3600,
    )
    guest.sh(f"until grep -qs watching {WATCHED}.err; do sleep 0.1; done")
    made = ok(guest, "create", NAME, guest.main, best["path"], "--yes")
    assert made["formatted"]
    assert {row["path"]: row for row in ok(guest, "scan")}[guest.main]["need"] == "protected"
    assert journey.health()["verdict"] == "good"
    guest.sh(
        f"""
        mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 {DEVICE} {RAW // 1024}k
        mkdir {HERE}; mount {DEVICE} {HERE}
        """
    )
    for number in range(FILES):
        write_file(journey, number)
    guest.run("sync")
    # Nothing lives on the spare: the disk itself shows where the files are.
    journey.model.put(0, journey.box.main.read(0, RAW // SECTOR))


def write_file(journey: Journey, number: int) -> None:
    seed = journey.rng.getrandbits(32)
    journey.guest.call(_write, f"{HERE}/file{number}", seed, FILE_SIZE)
    journey.files[f"file{number}"] = random.Random(seed).randbytes(FILE_SIZE)


def watch_writes_fail(journey: Journey) -> None:
    """Bad sectors that are written: nothing is lost, the disk is to be watched."""
    guest, box = journey.guest, journey.box
    bad = journey.places(0, 1, raw=4)
    box.main.fail(set().union(*bad), on="write")
    raw = [min(run) // PER_BLOCK for run in bad[:4]]
    Load(journey.model, DEVICE, journey.listed, SEED).batch(guest, raw)
    blocks_of = journey.blocks_of_files()
    for number in (0, 1):
        write_file(journey, number)
    for run in bad:
        journey.happened("REMAP", run)
    journey.check_told()
    journey.check_shown()
    said = journey.health()
    assert (said["verdict"], said["day"]["places"]) == ("watch", len(bad))

    # The file system is as the disk has it, but for those sectors; and they are as written.
    guest.run("umount", HERE)
    journey.model.put(0, box.main.read(0, RAW // SECTOR))
    for name in ("file0", "file1"):
        for at, block in zip(range(0, FILE_SIZE, BLOCK), blocks_of[name], strict=True):
            journey.model.put(block * PER_BLOCK, journey.files[name][at : at + BLOCK])
    journey.model.check(guest, DEVICE)
    guest.run("e2fsck", "-fn", DEVICE)


def read_damage(journey: Journey) -> dict[str, Any]:
    """Where reading will fail: what somebody reads, what nobody reads, what a list knows.

    The rescue image has some of it (`kept`), as it was made before.
    """
    seen, latent = journey.places(2, 3, raw=3), journey.places(4, 5, raw=6)
    # A list of bad blocks of 1 KiB, of which some can be read but for their second half.
    listed = [4 * block + 1 for block in journey.listed]
    hard = [{2 * number + 1} for number in listed[:LISTED_BAD]]
    every = [*seen, *latent, *hard]
    lost = [min(run) if len(run) > 2 else max(run) for run in every[::3]]
    return {
        "seen": seen,
        "latent": latent,
        "listed": (listed, hard),
        "lost": set(lost),
        "kept": set().union(*every) - set(lost),
    }


def make_rescue_image(journey: Journey, bad: dict[str, Any]) -> None:
    """A copy of the disk, as ddrescue leaves it when it could not read some sectors."""
    guest = journey.guest
    guest.sh(
        f"""
        mkdir {AWAY}; mount {guest.devices["rescue"]} {AWAY}
        dd if={DEVICE} of={IMAGE} bs=1M iflag=direct conv=fsync status=none
        """
    )
    guest.call(_overwrite, IMAGE, ranges(bad["lost"]))
    lines = ["# Mapfile. Created by GNU ddrescue version 1.27", "0x00000000     +               1"]
    at = 0
    for (first, count), status in zip(ranges(bad["lost"]), cycle("-/*?"), strict=False):
        lines.append(f"0x{at:08X}  0x{first * SECTOR - at:08X}  +")
        lines.append(f"0x{first * SECTOR:08X}  0x{count * SECTOR:08X}  {status}")
        at = (first + count) * SECTOR
    lines.append(f"0x{at:08X}  0x{SIZE - at:08X}  +")
    guest.push("\n".join(lines) + "\n", MAP)


def watch_reads_fail(journey: Journey, bad: list[Sectors]) -> None:
    """Bad sectors that are read: they are pending, and somebody has to act."""
    guest, box = journey.guest, journey.box
    guest.sh(f"mount -o ro,noload {DEVICE} {HERE}")
    box.main.fail(set().union(*bad), on="read")
    for number in (2, 3):
        assert guest.run("cat", f"{HERE}/file{number}", check=False).rc == 1
    for run in bad[:3]:
        with pytest.raises(OSError):
            guest.read(DEVICE, min(run) // PER_BLOCK * PER_BLOCK, PER_BLOCK)
    for run in bad:
        journey.happened("PENDING", run)
    journey.check_told()
    journey.check_shown()
    said = journey.health()
    assert said["verdict"] == "act" and "pending" in [reason["kind"] for reason in said["reasons"]]


def find_the_rest(journey: Journey, bad: list[Sectors]) -> None:
    """scrub finds what nobody has read yet, and nothing else."""
    latent = set().union(*bad)
    journey.box.main.fail(latent, on="read")
    done = ctl(journey.guest, "scrub", NAME, "--rate", 0, "--json")
    *found, summary = map(json.loads, done.out.splitlines())
    assert done.rc == DAMAGED and summary["ending"] == "finished", done
    assert [(each["sector"], each["sectors"]) for each in found] == ranges(latent)
    for run in bad:
        journey.happened("PENDING", run)
    assert summary["pending"] == len(journey.pending)
    journey.check_told()
    journey.check_shown()
    journey.model.check(journey.guest, DEVICE)


def import_what_is_known(journey: Journey, known: tuple[list[int], list[Sectors]]) -> None:
    """Blocks of a list are moved before anything trips over them; some are bad in part."""
    guest = journey.guest
    listed, hard = known
    journey.box.main.fail(set().union(*hard), on="read")
    guest.push("".join(f"{block}\n" for block in listed), BAD_BLOCKS)
    asked = ok(guest, "import", NAME, "--badblocks", BAD_BLOCKS, "--dry-run")
    assert asked["new"] == 2 * LISTED
    journey.check_shown()
    done = ok(guest, "import", NAME, "--badblocks", BAD_BLOCKS)
    assert (done["remapped"], done["pending"], done["left"]) == (2 * LISTED - LISTED_BAD, LISTED_BAD, 0)
    for run in hard:
        journey.happened("PENDING", run)
    for block in listed:
        journey.happened("REMAP", {2 * block, 2 * block + 1} - journey.pending)
    journey.check_told()
    journey.check_shown()
    journey.model.check(guest, DEVICE)


def fill(journey: Journey, kept: Sectors) -> None:
    """From the rescue image, what it has; the rest is named."""
    guest = journey.guest
    words = ("fill", NAME, "--from", IMAGE, "--map", MAP, "--freeze", "--yes", "--json")
    lost = journey.pending - kept
    assert lost
    for dry in (True, False):
        done = ctl(guest, *words, *(["--dry-run"] if dry else []))
        told = json.loads(done.out)
        assert done.rc == DAMAGED, done
        assert (told["pending"], told["filled"], told["healed"]) == (len(journey.pending), len(kept), 0)
        assert [(each["sector"], each["sectors"]) for each in told["lost"]] == ranges(lost)
        if dry:
            journey.check_shown()
    damaged = {
        f"{HERE}/{name}": sum(sector // PER_BLOCK in blocks for sector in lost)
        for name, blocks in journey.blocks_of_files().items()
    }
    named = {file["path"]: file["sectors"] for file in told["files"]}
    assert named == {path: sectors for path, sectors in damaged.items() if sectors} and len(named) == 2
    assert told["elsewhere"] == len(lost) - sum(named.values())
    for first, count in ranges(kept):
        journey.happened("REMAP", range(first, first + count))
    assert journey.pending == lost
    journey.check_told()
    journey.check_shown()
    journey.model.check(guest, DEVICE)
    assert journey.health()["verdict"] in ("act", "failing")
    guest.sh(f"kill -INT $(cat {WATCHED}.pid); umount {HERE} {AWAY}")


def move_much(journey: Journey) -> None:
    """A region that nobody trusts any more: so much that it takes time to copy it."""
    here = set(RUN)
    ok(journey.guest, "message", NAME, "remap", RUN.start, len(RUN))
    journey.remapped |= here - journey.pending
    journey.check_shown()
    journey.model.check(journey.guest, DEVICE)


def move_away(journey: Journey) -> None:
    """To a healthy disk under load; what is lost is zeroes there, and listed."""
    guest, box, model = journey.guest, journey.box, journey.model
    lost = journey.pending
    load = Load(model, DEVICE, journey.unlisted, SEED + 1)
    new = guest.devices["new"]
    refused = ctl(guest, "evacuate", NAME, new, "--yes")
    assert refused.rc == BUSY and f"{len(lost)} sectors" in refused.err, refused
    done = beside(load, guest, "evacuate", NAME, new, "--give-up-lost", GIVEN_UP, "--yes")
    assert (done["lost"], done["warnings"]) == ([list(each) for each in ranges(lost)], [])
    listed = [line.split() for line in guest.run("cat", GIVEN_UP).out.splitlines()]
    assert [(int(first), int(count)) for first, count in listed] == ranges(lost)
    for sector in lost:
        model.put(sector, bytes(SECTOR))
    model.lost = set()
    load.batch(guest)
    model.check(guest, DEVICE)

    guest.sh(f"e2fsck -fn {DEVICE}; mkdir -p {HERE}; mount -o ro {DEVICE} {HERE}; ls {HERE}")
    guest.run("umount", HERE)
    assert ok(guest, "remove", NAME) == {"name": NAME, "removed": True}
    # The old pair is never put together again.
    for spare in ("spare", "other"):
        assert ctl(guest, "activate", NAME, guest.main, guest.devices[spare]).rc != 0
    box.power_off()
    same = box.disks["new"].read(0, SIZE // SECTOR) == model.data
    assert same, "the new disk differs from what was written"
