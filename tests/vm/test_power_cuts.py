"""Power cuts at random moments, under a file system, on a disk that keeps growing bad sectors.

Five of them; DM_REMAP_POWER_CUTS says how many, DM_REMAP_SEED which.
"""

import os
import random
from collections.abc import Callable

import pytest
from harness import Machine
from harness.disk import MiB
from target import create, extents, pending, remapped, status

CUTS = int(os.environ.get("DM_REMAP_POWER_CUTS", "5"))
SEED = int(os.environ.get("DM_REMAP_SEED", "1"))
MOUNT = "mkdir -p /tmp/m; mount /dev/mapper/mapped /tmp/m"


def _write_durably(path: str, size: int, seed: int) -> str:
    """In the guest: a file on stable storage, with its name; gives its hash."""
    import hashlib
    import os
    import random
    from pathlib import Path

    data = random.Random(seed).randbytes(size)
    with Path(path).open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    directory = os.open(Path(path).parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    return hashlib.sha256(data).hexdigest()


def _hashes(directory: str) -> dict[str, str]:
    """In the guest: of every file there, read from the disk."""
    import hashlib
    from pathlib import Path

    Path("/proc/sys/vm/drop_caches").write_text("3")
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(directory).glob("kept-*")}


@pytest.mark.timeout(120 + 60 * CUTS)
def test_every_file_that_was_synced_outlives_power_cuts(
    machine: Callable[..., Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(SEED)
    box = machine(main=128 * MiB, spare=32 * MiB)
    guest = box.boot()
    device = create(guest)
    guest.sh(f"mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {device}; {MOUNT}")
    kept: dict[str, str] = {}
    bad_sectors: set[int] = set()
    for cut in range(CUTS):
        # Half of what is written is lost to the page cache, the journal and the disk's own cache.
        guest.start_sh(
            """
            n=0
            while :; do
                n=$((n + 1))
                head -c 200000 /dev/urandom >/tmp/m/noise-$((n % 7))
                [ $((n % 3)) != 0 ] || sync -f /tmp/m
                [ $((n % 5)) != 0 ] || rm -f /tmp/m/noise-*
            done
            """,
            timeout=600,
        )
        for _ in range(rng.randrange(2, 12)):
            for bad in rng.sample(range(128 * MiB // 512 - 8), 40):
                bad_sectors.update(range(bad, bad + rng.choice([1, 1, 3, 8])))
            box.main.fail(bad_sectors, on="write")
            name = f"kept-{rng.randrange(24)}"
            # Not known to be the old one or the new one, if the cut comes now.
            kept.pop(name, None)
            kept[name] = guest.call(
                _write_durably, f"/tmp/m/{name}", rng.randrange(1, 600_000), rng.getrandbits(32)
            )
        box.power_cut(seed=rng.getrandbits(32))

        guest = box.boot()
        create(guest)
        now = status(guest)
        assert (now.mode, now.valid, now.lost) == ("rw", 5, 0)
        # Mounting replays the journal; then there is nothing left to mend.
        guest.sh(f"{MOUNT}; umount /tmp/m; e2fsck -fn {device}; {MOUNT}")
        found = guest.call(_hashes, "/tmp/m")
        assert {name: found.get(name) for name in kept} == kept, f"cut {cut}"
    listed = extents(guest)
    assert pending(listed) == [] and len(remapped(listed)) > 10
    with capsys.disabled():
        print(f"\n{CUTS} power cuts, {len(kept)} files whole, {len(remapped(listed))} sectors remapped")
