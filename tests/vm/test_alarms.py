"""Do the alarms ring?  Bugs planted in the module, each caught by ordinary use of it.

Every patch in planted/KERNEL/ puts one bug into a copy of kernel/.  The module is run on that
debug kernel; the harness must complain about the planted one, in the words below, and not
about the clean one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Guest, KernelWarning, Machine, VMError
from target import create, extents, message, remapped, remove, status

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# Compiling comes on top, and debug kernels are slow.
pytestmark = pytest.mark.timeout(1200)

# What the kernel says, by the name of the patch.
WORDS = {
    "address-out-of-bounds": "BUG: KASAN: slab-out-of-bounds in .*dm_remap_v4",
    "address-use-after-free": "BUG: KASAN: (slab-)?use-after-free in .*dm_remap_v4",
    "leak-of-extents": "leaks of the module",
    "leak-of-leaves": "leaks of the module",
    "lock-order": "possible circular locking dependency",
    "lock-without-irq": "inconsistent lock state",
    "race-of-counters": "BUG: KCSAN: data-race in .*dm_remap_v4",
    "race-of-lookups": "BUG: KCSAN: data-race in .*dm_remap_v4",
    "sleep-in-lookup": "sleeping function called from invalid context",
    "sleep-under-spinlock": "sleeping function called from invalid context",
    "undefined-index": "UBSAN: array-index-out-of-bounds in .*dm-remap-v4",
    "undefined-shift": "UBSAN: shift-out-of-bounds in .*dm-remap-v4",
}


def debug_kernel(kind: str) -> Path:
    """Its directory, if it has been built: that takes too long to be done by a test."""
    done = subprocess.run([ROOT / "ci/debug-kernel", "--cached", kind], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        pytest.skip(f"there is no {kind} kernel yet: ci/debug-kernel {kind} makes one")
    return Path(done.stdout.strip())


def build(kind: str, patch: Path | None, scratch: Path) -> Path:
    """The module for a debug kernel, made from a copy of kernel/ with a patch applied.

    One directory serves all patches, so that make compiles only what differs.
    """
    kernel = debug_kernel(kind)
    sources = scratch / "kernel"
    shutil.copytree(ROOT / "kernel", sources)
    if patch:
        subprocess.run(["patch", "-p1", "--fuzz=0", "-i", patch], cwd=sources, check=True)
    work = kernel.with_name(f"{kernel.name}-planted")
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for source in sources.iterdir():
            copy = work / source.name
            if not copy.exists() or copy.read_bytes() != source.read_bytes():
                shutil.copyfile(source, copy)
        environment = os.environ | {"DM_REMAP_KERNEL": kind}
        subprocess.run([ROOT / "ci/make", work, "-s", "-j2"], check=True, env=environment)
        built = (work / "dm-remap-v4.ko").read_bytes()
    # ci/payload knows a module by its path, which must tell different ones apart.
    module = scratch / hashlib.sha256(built).hexdigest()[:16] / "dm-remap-v4.ko"
    module.parent.mkdir()
    module.write_bytes(built)
    return module


def a_device_s_life(guest: Guest) -> None:
    """Make it, write over bad sectors, read, flush, move blocks there and back, remove it."""
    main = guest.machine.main
    main.fail([1003, 1010], on="both")
    device = create(guest)
    guest.write(device, 1000, bytes(range(256)) * 32)
    assert guest.read(device, 1000, 16) == bytes(range(256)) * 32
    guest.flush(device)
    message(guest, "remap", 5000, 8)
    message(guest, "unmap", 5000, 8)
    assert status(guest).mode == "rw"
    remove(guest)
    create(guest)
    assert remapped(extents(guest)) == [1003, 1010]
    assert guest.read(device, 1000, 16) == bytes(range(256)) * 32
    remove(guest)


def a_busy_device(guest: Guest) -> None:
    """Move blocks there and back while others are read beside them, from a fast disk."""
    guest.run("modprobe", "brd", "rd_nr=1", "rd_size=16384")
    device = create(guest, main="/dev/ram0")
    message(guest, "remap", 5000, 8)
    load = guest.start(
        *("fio", "--name=load", f"--filename={device}", "--ioengine=psync", "--direct=1", "--rw=randread"),
        *("--bs=512", "--numjobs=2", "--thread", "--time_based", "--runtime=3600", "--output=/tmp/fio"),
        timeout=3600,
    )
    for _ in range(40):
        message(guest, "remap", 6000, 8)
        message(guest, "unmap", 6000, 8)
        guest.machine.check_console()
    load.kill()
    load.wait(check=False)
    remove(guest)


SCENARIOS: dict[str, Callable[[Guest], None]] = {"kasan": a_device_s_life, "kcsan": a_busy_device}
PATCHES = sorted(HERE.glob("planted/*/*.patch"))
PLANTED = [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in PATCHES]


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_clean_module_raises_no_alarm(kind: str, machine: Callable[..., Machine], tmp_path: Path) -> None:
    box = machine(kernel=kind, module=build(kind, None, tmp_path))
    SCENARIOS[kind](box.boot())
    box.check_console()
    box.check_leaks()


@pytest.mark.parametrize("patch", PLANTED)
def test_a_planted_bug_raises_its_alarm(patch: Path, machine: Callable[..., Machine], tmp_path: Path) -> None:
    kind = patch.parent.name
    box = machine(kernel=kind, module=build(kind, patch, tmp_path))
    guest = box.boot()
    with pytest.raises(KernelWarning, match=WORDS[patch.stem]):
        try:
            SCENARIOS[kind](guest)
        except KernelWarning:
            raise
        except (AssertionError, OSError, VMError):
            pass  # The bug may break anything.  What counts is what the kernel says.
        box.check_console()
        box.check_leaks()
    box.kill()
    box.forgive()
