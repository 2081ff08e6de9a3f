"""Do the alarms ring?  Bugs planted in the module, each caught by ordinary use of it.

Every patch in planted/KERNEL/ puts one bug into a copy of kernel/.  The module is run on that
debug kernel; the harness must complain about the planted one, in the words below, and not
about the clean one.  One machine runs one after the other, until an alarm has put it out of order.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from harness import Guest, KernelWarning, Machine, VMError
from shared import SharedMachine, machines
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
    "sleep-in-lookup": "Illegal context switch in RCU-sched read-side critical section",
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
    try:
        for _ in range(40):
            message(guest, "remap", 6000, 8)
            message(guest, "unmap", 6000, 8)
            guest.machine.check_console()
    finally:
        load.kill()
        load.wait(check=False)
    remove(guest)


SCENARIOS: dict[str, Callable[[Guest], None]] = {"kasan": a_device_s_life, "kcsan": a_busy_device}
PATCHES = sorted(HERE.glob("planted/*/*.patch"))
PLANTED = [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in PATCHES]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, SharedMachine]]:
    def make(kind: str) -> Machine:
        directory = tmp_path_factory.mktemp(kind)
        # What looks for leaks looks at each page there is.
        return Machine(directory, kernel=kind, module=build(kind, None, directory), memory=512)

    shared = {kind: SharedMachine(partial(make, kind)) for kind in SCENARIOS}
    yield shared
    for one in shared.values():
        one.close()


@pytest.fixture
def boot(
    shared: dict[str, SharedMachine], request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Guest]]:
    """A function that gives a machine of that kind in which every alarm can ring."""
    used: list[SharedMachine] = []

    def get(kind: str) -> Guest:
        used.append(shared[kind])
        guest = shared[kind].guest()
        request.node.stash.setdefault(machines, []).append(guest.machine)
        return guest

    yield get
    for one in used:
        try:
            fit = one.running and in_order(one.guest())
        except VMError:
            fit = False  # A planted bug may bring it down at any time.
        if fit:
            one.tidy()
        else:
            one.close()


def in_order(guest: Guest) -> bool:
    """Forget what was found.  Or has the kernel given up watching locks, as it does after most alarms?"""
    done = guest.sh(
        """
        ! grep -q 'debug_locks: *0' /proc/lockdep_stats || exit 1
        [ ! -e /sys/kernel/debug/kmemleak ] || echo clear >/sys/kernel/debug/kmemleak
        """,
        check=False,
    )
    return done.rc == 0


def change_module(guest: Guest, module: Path) -> None:
    guest.push(module, "/tmp/dm-remap-v4.ko")
    guest.run("rmmod", "dm-remap-v4")
    guest.load_module("/tmp/dm-remap-v4.ko")


@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_clean_module_raises_no_alarm(kind: str, boot: Callable[[str], Guest]) -> None:
    guest = boot(kind)
    SCENARIOS[kind](guest)
    guest.machine.check_console()
    guest.machine.check_leaks()


@pytest.mark.parametrize("patch", PLANTED)
def test_a_planted_bug_raises_its_alarm(patch: Path, boot: Callable[[str], Guest], tmp_path: Path) -> None:
    kind = patch.parent.name
    module = build(kind, patch, tmp_path)
    guest = boot(kind)
    change_module(guest, module)
    with pytest.raises(KernelWarning, match=WORDS[patch.stem]):
        try:
            SCENARIOS[kind](guest)
        except KernelWarning:
            raise
        except (AssertionError, OSError, VMError):
            pass  # The bug may break anything.  What counts is what the kernel says.
        guest.machine.check_console()
        guest.machine.check_leaks()
    guest.machine.forgive()
