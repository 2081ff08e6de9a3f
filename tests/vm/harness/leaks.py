"""Memory that the module has lost, as the kernel's leak detector (kmemleak) sees it."""

from typing import TYPE_CHECKING

from .errors import KernelWarning

if TYPE_CHECKING:
    from .guest import Guest

# kmem_cache_create() of 6.1 loses the name of its sysfs object if the directory for it can't be
# made: an injected fault shows it under dm_bufio_client_create().
_NOT_OURS = "] sysfs_slab_add+"


def check(guest: "Guest") -> None:
    """Raise KernelWarning if memory that the module allocated can't be reached any more."""
    found = guest.call(_scan, timeout=180)
    leaks = found.split("unreferenced object ")[1:]
    ours = [leak for leak in leaks if "[dm_remap_v4]" in leak and _NOT_OURS not in leak]
    if ours:
        raise KernelWarning(f"{len(ours)} leaks of the module, among them:\n" + "\n".join(ours[:5]))


def _scan() -> str:
    """In the guest: look for leaks, and give the kernel's report."""
    import subprocess
    import time
    from pathlib import Path

    detector = Path("/sys/kernel/debug/kmemleak")
    if not detector.exists():
        subprocess.run(["mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug"], check=True)
    # Lost is what two scans did not find, unchanged in between and older than 5 s.
    detector.write_text("scan")
    time.sleep(5)
    detector.write_text("scan")
    return detector.read_text()
