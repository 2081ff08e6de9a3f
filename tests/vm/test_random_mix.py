"""A seeded random mix matches a model, on the device and on both images."""

import hashlib
import json
import random
import time
from collections.abc import Callable

import pytest
from harness import Machine

from pycontrol import metadata

MiB = 1 << 20
SIZE = 64 * MiB
REQUESTS = 20_000


def logical_content(box: Machine) -> bytes:
    """What the pair of images holds, put together by the offline codec alone."""
    spare = box.spare.read(0, box.spare.size // 512)
    content = bytearray(box.main.read(0, SIZE // 512))
    loaded = metadata.load(lambda at, length: spare[at : at + length], len(spare))
    for extent in loaded.extents:
        assert extent.kind is metadata.Kind.REMAP
        data = spare[extent.spare * 512 : (extent.spare + extent.sectors) * 512]
        content[extent.main * 512 : (extent.main + extent.sectors) * 512] = data
    return bytes(content)


def requests(box: Machine) -> int:
    counters = box.main.counters()
    return counters["reads"] + counters["writes"]


# Two and a half minutes alone; its limit is for a busy host.
@pytest.mark.timeout(900)
def test_random_mix_matches_the_model(machine: Callable[..., Machine]) -> None:
    box = machine(main=SIZE, spare=64 * MiB, power_cuts=False)
    guest = box.boot()
    table = f"0 {SIZE // 512} dm-remap-v4 {guest.main} {guest.spare}"
    guest.run("dmsetup", "create", "mixed", "--table", table)

    job = guest.start(
        "python3",
        "-c",
        "import json; from guest.mixer import mix; "
        f"print(json.dumps(mix('mixed', {SIZE}, 512, {REQUESTS}, seed=4)))",
        timeout=800,
    )
    # Sectors go bad for writing all the while: those remap themselves.
    rng = random.Random(4)
    errors = []
    for part in range(10):
        while requests(box) < part * REQUESTS // 20:
            time.sleep(0.01)
        box.main.fail(rng.sample(range(SIZE // 512), 20), on="write")
        errors.append(int(guest.run("dmsetup", "status", "mixed").out.split()[9]))
    assert len(set(errors)) > 5, errors
    outcome = json.loads(job.wait().out)
    assert outcome["wrong"] == []
    assert outcome["requests"] >= REQUESTS
    assert outcome["moves"] > 20
    status = guest.run("dmsetup", "status", "mixed").out.split()
    assert status[-2:] == ["rw", "-"]
    assert int(status[9]) > 0, "no write error was met"

    # udev may look at it still: it was written to.
    guest.run("dmsetup", "remove", "--retry", "mixed")
    box.power_off()
    content = logical_content(box)
    hashes = [hashlib.sha256(content[at : at + MiB]).hexdigest() for at in range(0, SIZE, MiB)]
    assert hashes == outcome["hashes"]
