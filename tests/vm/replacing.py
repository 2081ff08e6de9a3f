"""Replacing the spare to and fro under load, while the disk goes on failing and the power goes."""

import json
import random
from collections import Counter
from functools import partial

from accounting import PER_BLOCK
from command import ctl, ok
from gate import Gate
from harness import Machine
from harness.disk import MiB
from journey import DEVICE, NAME, RUN, Journey, Sectors
from load import Load, beside, cut_off

PATIENT = ("--pause", "8")
"""Seconds: an emulated processor takes its time to write down what lives on the spare.  With more than
this all of it would be copied at a standstill, and the gate would have no end."""


def replace_while_written(journey: Journey) -> None:
    """From "spare" to "other", half of which is there when blocks of that half are written anew."""
    guest, model = journey.guest, journey.model
    lost = {sector // PER_BLOCK for sector in journey.pending}
    half = range(RUN.start // PER_BLOCK, RUN.start // PER_BLOCK + len(RUN) // PER_BLOCK // 2)
    blocks = [block for block in journey.unlisted if block in half and block not in lost][:20]
    load = Load(model, DEVICE, blocks, seed=0)
    load.batch(guest, blocks)
    gate = Gate(guest, "other", at=12 * MiB)
    words = ("spare", "replace", NAME, gate.path, "--yes", "--json", *PATIENT)
    job = guest.start("dmremapctl", *words, timeout=300)
    gate.wait_for(model.block(block) for block in blocks)
    load.batch(guest, blocks)
    gate.open()
    done = json.loads(job.wait().out)
    assert (done["sectors"], done["lost"], done["warnings"]) == (len(journey.remapped), [], [])
    assert done["copied"] >= done["sectors"] + len(blocks) * PER_BLOCK
    model.check(guest, DEVICE)
    ok(guest, "remove", NAME)
    gate.remove()
    ok(guest, "activate", NAME, guest.main, guest.devices["other"])


def replace_the_spare(journey: Journey, cuts: int, seed: int) -> str:
    """From "other" to "spare", once to its end, then with power cuts at random moments.

    Always run again; says what came of it.  A moment is a number of requests to the new
    spare, up to as many as the first replacement took.
    """
    box, rng = journey.box, random.Random(seed)
    lost = {sector // PER_BLOCK for sector in journey.pending}
    blocks = [block for block in [*journey.listed, *journey.unlisted] if block not in lost]
    load = Load(journey.model, DEVICE, blocks, seed)
    old, new = "other", "spare"
    before = _requests(box, new)
    done = beside(load, box.guest, *_words(box, new))
    assert (done["sectors"], done["lost"], done["warnings"]) == (len(journey.remapped), [], [])
    requests = _requests(box, new) - before
    old, new = new, old
    journey.model.check(box.guest, DEVICE)

    # All parts of the work are met, in any order.
    moments = [(number + rng.random()) / cuts for number in range(cuts)]
    rng.shuffle(moments)
    outcomes: Counter[str] = Counter()
    bad: Sectors = set()
    for moment in moments:
        # The disk goes on failing, and what is on the spare changes while it is copied.
        for block in rng.sample(journey.unlisted, 3):
            bad |= journey.run(block)
        box.main.fail(bad, on="write")
        reached = partial(_reached, box, new, _requests(box, new) + round(moment * requests))
        result = cut_off(load, box, *_words(box, new), moment=reached)
        box.power_cut(seed=rng.getrandbits(32))
        box.boot()
        working = activate_what_works(box, [old, new])
        journey.model.check(box.guest, DEVICE)
        if working == old:
            assert result is None, "it had ended, and is not there"
            outcomes["as before"] += 1
            continue
        outcomes["finished" if result else "on the new spare"] += 1
        old, new = new, old
    beside(load, box.guest, *_words(box, new))
    journey.model.check(box.guest, DEVICE)
    (state,) = ok(box.guest, "status", NAME)
    target = state["targets"][0]
    assert (target["mode"], target["valid_copies"], target["errors"]) == ("rw", 5, [])
    assert cuts < 4 or len(outcomes) > 1, outcomes
    return f"{cuts} power cuts: {dict(outcomes)}, {load.batches} batches of writes acknowledged"


def _words(box: Machine, new: str) -> tuple[str, ...]:
    return "spare", "replace", NAME, box.guest.devices[new], "--yes", *PATIENT


def _requests(box: Machine, disk: str) -> int:
    counters = box.disks[disk].counters()
    return counters["writes"] + counters["flushes"]


def _reached(box: Machine, disk: str, limit: int) -> bool:
    return _requests(box, disk) >= limit


def activate_what_works(box: Machine, spares: list[str]) -> str:
    """Bring the device up with the one spare that it can be brought up with."""
    guest = box.guest
    working = []
    said = []
    for name in spares:
        done = ctl(guest, "activate", NAME, guest.main, guest.devices[name])
        said.append(str(done))
        if done.rc == 0:
            working.append(name)
            ok(guest, "remove", NAME)
    assert len(working) == 1, said
    ok(guest, "activate", NAME, guest.main, guest.devices[working[0]])
    return working[0]
