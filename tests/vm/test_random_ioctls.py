"""Random ioctls from several processes at once: whatever is asked, the kernel stays well.

Five minutes on the kasan kernel, if there is one, or one on Debian's; DM_REMAP_FUZZ_SECONDS says
otherwise.
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable

import pytest
from harness import Machine
from harness.machine import CI

PROCESSES = 5


def debug_kernel() -> str | None:
    cached = subprocess.run([CI / "debug-kernel", "--cached", "kasan"], stdout=subprocess.DEVNULL)
    return None if cached.returncode else "kasan"


@pytest.mark.timeout(int(os.environ.get("DM_REMAP_FUZZ_SECONDS", "300")) * 2 + 900)
def test_random_ioctls_do_no_harm(
    machine: Callable[..., Machine], capsys: pytest.CaptureFixture[str]
) -> None:
    kernel = debug_kernel()
    seconds = int(os.environ.get("DM_REMAP_FUZZ_SECONDS", "300" if kernel else "60"))
    box = machine(power_cuts=False, kernel=kernel)
    guest = box.boot()
    guest.sh(
        f"""
        for i in 0 1; do
            echo 0 16384 linear {guest.main} $((i * 16384)) | dmsetup create main$i
            echo 0 6144 linear {guest.spare} $((i * 6144)) | dmsetup create spare$i
        done
        """
    )
    # For longer than the others, who may be waiting when their time is over.
    keeper = guest.start("python3", "-m", "guest.fuzzer", "keep", seconds + 30, timeout=seconds + 120)
    jobs = [
        guest.start(
            *("python3", "-m", "guest.fuzzer", seed, seconds, guest.main, guest.spare),
            timeout=seconds + 120,
        )
        for seed in range(PROCESSES)
    ]
    counts: Counter[str] = Counter()
    for job in jobs:
        counts.update(json.loads(job.wait().out))
    keeper.wait()
    with capsys.disabled():
        print(f"\n{sum(counts.values())} random requests in {seconds} s: {dict(sorted(counts.items()))}")
    for kind in "create", "start", "load", "resume", "suspend", "message", "io", "change_disk":
        # How often depends on what else the host does.
        assert counts[f"{kind} accepted"] > 0, kind

    # Everything can still be taken away, in good order, and works again.
    guest.sh(
        """
        for name in f0 f1 f2; do dmsetup remove --force --retry $name || true; done
        udevadm settle
        for name in main0 main1 spare0 spare1; do dmsetup remove --retry $name; done
        rmmod dm_remap_v4
        insmod /payload/dm-remap-v4.ko
        """,
        timeout=180,
    )
