"""The packages' test that needs a kernel of its own, in a machine: ``ci/test-package --machine``."""

import sys
import tempfile
from pathlib import Path

from harness.machine import Machine

TESTS = Path(__file__).resolve().parents[1] / "debian/tests"
# systemd makes it on an installed machine, and what bash calls <(...) needs it.
PREPARE = "ln -s /proc/self/fd /dev/fd"
# DKMS builds the module twice, with everything emulated but the compiler: see ci/package-guest.
TIMEOUT = 1800
MEMORY = 3072


class PackageMachine(Machine):
    """A machine whose root file system is another one than ``ci/guest`` makes."""

    def __init__(self, directory: Path, root: Path) -> None:
        super().__init__(directory, power_cuts=False, memory=MEMORY)
        self._root = root

    def _arguments(self, agent: Path) -> list[str]:
        """The same machine with the other root file system."""
        marked = "driver=file,node-name=root,filename="
        return [
            f"{marked}{self._root},read-only=on" if argument.startswith(marked) else argument
            for argument in super()._arguments(agent)
        ]


def main() -> int:
    """Run the test; the exit code is its own."""
    root = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as directory:
        machine = PackageMachine(Path(directory), root)
        guest = machine.boot(load_module=False)
        try:
            guest.sh(PREPARE)
            for name in ("packages.sh", "device-in-use"):
                guest.push(TESTS / name, f"/packages/{name}")
            # As at an installed machine, not as the harness's guest finds the checkout's command.
            done = guest.run(
                *("env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
                *("DM_REMAP_OLD=/packages/old", "DM_REMAP_NEW=/packages/new", "DEBIAN_KERNEL_USE_CCACHE=1"),
                *("bash", "/packages/device-in-use"),
                check=False,
                timeout=TIMEOUT,
            )
            print(done.out, done.err, sep="")
            machine.check_console()
        finally:
            machine.kill()
        print("device-in-use", "PASS" if done.rc == 0 else f"FAIL ({done.rc})")
        return done.rc


if __name__ == "__main__":
    sys.exit(main())
