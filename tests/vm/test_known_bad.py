"""Lists of bad blocks in and out, and filling what was lost from a copy, against the real target."""

import inspect
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from command import ctl, ok
from harness import Guest, Machine
from target import extents, message, pending, remapped

Machines = Callable[..., Machine]

DEVICE = "/dev/mapper/mapped"
LIST = "/tmp/list"
HERE = "/tmp/here"
PER_MESSAGE = 511
PER_COMMIT = 118  # Records that fit into a header; a commit may be made for each.
DAMAGED, WRONG_DEVICE, BUSY = 1, 4, 5
MiB = 1 << 20

# Ten thousand blocks take their time without KVM.
pytestmark = pytest.mark.timeout(900)


def commits(guest: Guest) -> int:
    lines = dict(line.split() for line in message(guest, "cache_stats").splitlines())
    return int(lines["commits"])


def run(guest: Guest, *words: str) -> str:
    """What a command prints that may take its time."""
    return guest.dmremapctl(*words, timeout=240).out


def give_up(guest: Guest, sectors: list[int]) -> None:
    """Make sectors pending; in order, as a list that somebody wrote."""
    guest.push("".join(f"{sector}\n" for sector in sectors), LIST)
    run(guest, "import", "mapped", "--list", LIST, "--no-read", "--yes")


def fill(guest: Guest, *options: str, code: int = 0) -> Any:
    words = ("fill", "mapped", "--from", guest.devices["copy"], "--yes", "--json", *options)
    done = ctl(guest, *words)
    assert done.rc == code, done
    return json.loads(done.out)


def test_ten_thousand_blocks_are_imported_and_exported_exactly(guest: Guest) -> None:
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    blocks = int(guest.run("blockdev", "--getsize64", guest.main).out) // 1024
    picked = random.Random(5)
    listed = picked.sample(range(blocks), 10_000)
    wanted = sorted(sector for block in listed for sector in (2 * block, 2 * block + 1))
    unreadable = sorted(2 * block + 1 for block in listed[:50])
    samples = {2 * block: bytes([block % 251]) * 1024 for block in listed[50:60]}
    for sector, data in samples.items():
        guest.write(DEVICE, sector, data)
    guest.machine.main.fail(unreadable, on="read")
    guest.push("".join(f"{block}\n" for block in listed), LIST)
    before = commits(guest)
    told = json.loads(run(guest, "import", "mapped", "--badblocks", LIST, "--json"))
    made = commits(guest) - before
    ranges = len(told["ranges"])
    # Each block that cannot be read cuts a range in three.
    records = ranges + 2 * len(unreadable)
    most = -(-ranges // PER_MESSAGE) + 2 * -(-records // PER_COMMIT)
    assert made <= most
    assert (told["remapped"], told["pending"], told["left"]) == (20_000 - 50, 50, 0)
    now = extents(guest)
    assert pending(now) == unreadable
    assert sorted(remapped(now) + unreadable) == wanted
    for sector, data in samples.items():
        assert guest.read(DEVICE, sector, 2) == data

    exported = run(guest, "export", "mapped", "--badblocks")
    assert exported == "".join(f"{block}\n" for block in sorted(listed))
    # Into a new pair, without asking the disk for anything.
    guest.run("rm", "-f", "/tmp/export")
    run(guest, "export", "mapped", "-o", "/tmp/export")
    ok(guest, "remove", "mapped")
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes", "--format")
    failed = guest.machine.main.counters()["bad_reads"]
    before = commits(guest)
    run(guest, "import", "mapped", "--list", "/tmp/export", "--no-read", "--yes")
    assert commits(guest) - before <= most
    assert pending(extents(guest)) == wanted
    assert guest.machine.main.counters()["bad_reads"] == failed
    assert run(guest, "export", "mapped", "--badblocks") == exported


def test_a_map_file_in_and_out(guest: Guest) -> None:
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    size = int(guest.run("blockdev", "--getsize64", guest.main).out)
    text = f"""\
# Mapfile. Created by GNU ddrescue version 1.27
0x00100000     /               1
#      pos        size  status
0x00000000  0x00100000  +
0x00100000  0x00000200  -
0x00100200  0x00000600  /
0x00100800  4096        *
0x00101800  0x00100000  ?
0x00201800  {size - 0x201800}  +
"""
    guest.push(text, LIST)
    ok(guest, "import", "mapped", "--ddrescue", LIST, "--no-read", "--yes")
    assert pending(extents(guest)) == list(range(2048, 2060))
    lines = ctl(guest, "export", "mapped", "--ddrescue").out.splitlines()
    assert [line.split() for line in lines if not line.startswith("#")][1:] == [
        ["0x00000000", "0x00100000", "+"],
        ["0x00100000", "0x00001800", "-"],
        ["0x00101800", f"0x{size - 0x101800:08X}", "+"],
    ]
    # A map of a larger disk is refused as a whole.
    guest.push(text + f"{size} 512 -\n", LIST)
    done = ctl(guest, "import", "mapped", "--ddrescue", LIST, "--yes")
    assert done.rc == WRONG_DEVICE and "of another disk" in done.err
    assert pending(extents(guest)) == list(range(2048, 2060))


def test_fill_from_a_mirror_that_fails_itself(machine: Machines) -> None:
    box = machine(main=16 * MiB, extra={"copy": 16 * MiB})
    guest = box.boot()
    copy = guest.devices["copy"]
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    guest.sh(
        f"""
        dd if=/dev/urandom of={copy} bs=1M count=16 conv=fsync status=none
        dd if={copy} of={DEVICE} bs=1M conv=fsync status=none
        """
    )
    lost = [*range(1000, 1100), 5000, *range(20_000, 24_000), 32_767]
    give_up(guest, lost)
    for wrong, words in ((guest.main, "its main device"), (guest.spare, "its spare"), (DEVICE, "itself")):
        done = ctl(guest, "fill", "mapped", "--from", wrong, "--yes")
        assert done.rc == WRONG_DEVICE and words in done.err
    guest.sh("rm -f /tmp/open")
    job = guest.start_sh(f"exec 3<{DEVICE}; touch /tmp/open; exec sleep 600", timeout=600)
    guest.sh("until [ -e /tmp/open ]; do sleep 0.1; done")
    done = ctl(guest, "fill", "mapped", "--from", copy, "--yes")
    assert done.rc == BUSY and "open in another program" in done.err
    job.kill()
    assert pending(extents(guest)) == lost

    bad = [1003, 1004, 5000, 21_234]
    box.disks["copy"].fail(bad, on="read")
    told = fill(guest, code=DAMAGED)
    assert (told["pending"], told["filled"], told["healed"]) == (len(lost), len(lost) - 4, 0)
    assert [(e["sector"], e["sectors"]) for e in told["lost"]] == [(1003, 2), (5000, 1), (21_234, 1)]
    assert pending(extents(guest)) == bad
    box.disks["copy"].heal()
    assert fill(guest)["filled"] == 4
    assert extents(guest) and pending(extents(guest)) == []
    guest.run("cmp", copy, DEVICE)


def blocks_of(path: str) -> list[int]:
    """In the guest: the sector of each 4 KiB block of a file, by FIBMAP."""
    import fcntl
    import os
    import struct

    fd = os.open(path, os.O_RDONLY)
    found = []
    for block in range(os.fstat(fd).st_size // 4096):
        buffer = bytearray(struct.pack("=i", block))
        fcntl.ioctl(fd, 1, buffer)
        found.append(struct.unpack("=i", buffer)[0] * 8)
    os.close(fd)
    return found


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_files_that_are_still_damaged_are_named(machine: Machines, kind: str) -> None:
    box = machine(main=320 * MiB, extra={"copy": 320 * MiB})
    guest = box.boot()
    copy = guest.devices["copy"]
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    guest.sh(
        f"""
        mkfs.{kind} -q {"-F -b 4096" if kind == "ext4" else "-f"} {DEVICE}
        mkdir -p {HERE}; mount {DEVICE} {HERE}; mkdir {HERE}/dir
        for name in whole half dir/gone; do
            dd if=/dev/urandom of={HERE}/$name bs=64K count=4 conv=fsync status=none
        done
        sha256sum {HERE}/whole {HERE}/half >/tmp/sums
        """
    )
    whole, half, gone = (guest.call(blocks_of, f"{HERE}/{name}") for name in ("whole", "half", "dir/gone"))
    chosen = [whole[3], half[0], half[10], gone[7]]
    for sector in chosen:
        guest.write(copy, sector, guest.read(DEVICE, sector, 8))
    # The copy has all of one file, half of a block of the next, and nothing of the third.
    box.disks["copy"].fail([half[10] + 2, *range(gone[7], gone[7] + 8)], on="read")
    free = 320 * MiB // 512 - 8
    give_up(guest, [*(s + n for s in chosen for n in range(8)), free])
    box.disks["copy"].fail(free, on="read")
    guest.sh("echo 3 >/proc/sys/vm/drop_caches")
    assert guest.sh(f"cat {HERE}/half >/dev/null", check=False).rc == 1

    done = ctl(guest, "fill", "mapped", "--from", copy, "--yes")
    assert done.rc == BUSY and f"is mounted on {HERE}; unmount it, or use --freeze" in done.err
    assert len(pending(extents(guest))) == 33
    told = fill(guest, "--freeze", code=DAMAGED)
    assert [(file["path"], file["sectors"], file["ranges"]) for file in told["files"]] == [
        (f"{HERE}/dir/gone", 8, [[7 * 4096, 8 * 4096]]),
        (f"{HERE}/half", 1, [[10 * 4096 + 1024, 10 * 4096 + 1536]]),
    ]
    assert (told["filled"], told["elsewhere"], told["unseen"]) == (33 - 10, 1, [])
    # It is thawed, and what was filled is there.
    guest.sh(f"echo more >{HERE}/dir/new; sync; echo 3 >/proc/sys/vm/drop_caches")
    sums = guest.run("sha256sum", "-c", "/tmp/sums", check=False).out
    assert f"{HERE}/whole: OK" in sums and f"{HERE}/half: FAILED" in sums
    box.disks["copy"].heal()
    assert fill(guest, "--freeze")["files"] == []
    guest.sh("echo 3 >/proc/sys/vm/drop_caches; sha256sum --quiet -c /tmp/sums")


def rewrite(path: str) -> None:
    """In the guest: write every block of a file anew, in random order, past the page cache.

    A hundred at once, the others while others of them are filled.
    """
    import mmap
    import os
    import random
    import time
    from pathlib import Path

    mapped = Path("/sys/kernel/dm_remap/mapped/active_mappings")
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    order = list(range(os.fstat(fd).st_size // 4096))
    random.Random(9).shuffle(order)
    buffer = mmap.mmap(-1, 4096)
    buffer[:] = b"N" * 4096
    for number, block in enumerate(order):
        if number == 100:
            own = mapped.read_text()
            Path("/tmp/begun").touch()
            while mapped.read_text() == own:
                time.sleep(0.01)
        os.pwrite(fd, buffer, block * 4096)
    os.close(fd)


def test_what_the_file_system_writes_meanwhile_is_never_overwritten(machine: Machines) -> None:
    box = machine(main=64 * MiB, extra={"copy": 64 * MiB})
    guest = box.boot()
    copy = guest.devices["copy"]
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    guest.sh(
        f"""
        head -c 64M /dev/zero | tr '\\0' O | dd of={copy} bs=1M iflag=fullblock conv=fsync status=none
        mkfs.ext4 -q -F -b 4096 {DEVICE}
        mkdir -p {HERE}; mount {DEVICE} {HERE}
        dd if=/dev/urandom of={HERE}/file bs=1M count=12 conv=fsync status=none
        """
    )
    sectors = sorted(guest.call(blocks_of, f"{HERE}/file"))
    guest.push("".join(f"{sector} 8\n" for sector in sectors), LIST)
    run(guest, "import", "mapped", "--list", LIST, "--no-read", "--yes")
    guest.push(f"{inspect.getsource(rewrite)}\nrewrite('{HERE}/file')\n", "/tmp/rewrite.py")
    writer = guest.start("python3", "/tmp/rewrite.py", timeout=200)
    guest.sh("until [ -e /tmp/begun ]; do sleep 0.1; done", timeout=200)
    told = fill(guest, "--freeze")
    writer.wait()
    assert told["filled"] > 0 and told["filled"] + told["healed"] == told["pending"]
    guest.sh("sync; echo 3 >/proc/sys/vm/drop_caches")
    left = guest.sh(f"tr -d N <{HERE}/file | wc -c").out
    assert int(left) == 0, f"{left} bytes are old"
