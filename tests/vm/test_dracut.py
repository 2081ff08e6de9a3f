"""dracut with our module: what is in the initramfs, and that it finds a root file system on dm-remap."""

import subprocess
from pathlib import Path

import pytest
from harness.machine import CI
from rootfs import Debian

TOP = CI.parent
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def made() -> Path:
    """What ``ci/dracut`` made: with-systemd and without-systemd, each with initrd and tree."""
    done = subprocess.run([CI / "dracut"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def libraries(program: Path) -> list[str]:
    """Names of the shared libraries that a program needs."""
    done = subprocess.run(["objdump", "-p", program], capture_output=True, text=True, check=True)
    return [line.split()[1] for line in done.stdout.splitlines() if line.split()[:1] == ["NEEDED"]]


@pytest.mark.parametrize("kind", ["with-systemd", "without-systemd"])
def test_what_is_in_the_initramfs(made: Path, kind: str) -> None:
    tree = made / kind / "tree"
    activator = tree / "usr/lib/dm-remap/activator"
    assert activator.stat().st_mode & 0o111
    for library in libraries(activator):
        assert list(tree.glob(f"usr/lib/**/{library}")), library
    assert "virtio-main" in (tree / "etc/dmremaptab").read_text()
    rules = {path.name: path for path in tree.glob("usr/lib/udev/rules.d/*")}
    ours = TOP / "boot/udev/61-dm-remap.rules"
    assert rules[ours.name].read_bytes() == ours.read_bytes()
    # What names /dev/mapper, and answers who made the device.
    assert {"95-dm-notify.rules"} <= rules.keys()
    # With what it needs, as modprobe will look for it.
    (modules,) = tree.glob("usr/lib/modules/*")
    depends = (modules / "modules.dep").read_text()
    (line,) = (line for line in depends.splitlines() if "dm-remap-v4.ko" in line.partition(":")[0])
    needed = line.replace(":", "").split()
    assert any("dm-bufio" in name for name in needed) and any("dm-mod" in name for name in needed)
    assert [name for name in needed if not (modules / name).is_file()] == []
    units = [
        tree / "usr/lib/systemd/system-generators/dm-remap-generator",
        tree / "usr/lib/systemd/system/dm-remap.target",
        tree / "usr/lib/systemd/system/sysinit.target.wants/dm-remap.target",
    ]
    assert [unit.is_symlink() or unit.exists() for unit in units] == [kind == "with-systemd"] * 3
    if kind == "with-systemd":
        assert (tree / "usr/lib/systemd/system" / units[2].readlink()).name == "dm-remap.target"
        assert (units[0].parent / units[0].readlink()).resolve() == activator.resolve()


class DracutDebian(Debian):
    """The machine of ``ci/rootfs``, with another initramfs for its first kernel."""

    initrd = Path()

    def _from_boot(self, file: str) -> str:
        return str(self.initrd) if file.startswith("initrd.img-") else super()._from_boot(file)


def test_the_root_file_system_is_found(made: Path, tmp_path: Path) -> None:
    debian = DracutDebian(tmp_path)
    debian.initrd = made / "with-systemd/initrd"
    try:
        old, _ = debian.kernels
        (modules,) = made.glob("with-systemd/tree/usr/lib/modules/*")
        assert modules.name == old
        debian.start(old)
        told = debian.wait_for_its_end()
        assert told["kernel"] == old and told["failed"] == ""
        assert told["root"].startswith("/dev/mapper/root rw") and " dm-remap-v4 " in told["table"]
        assert told["ballast"] == "good good"
        assert "dracut-" in debian.said() or "Starting dracut" in debian.said()
        debian.check_clean("root")
        debian.console.check()
    finally:
        # Shown if the test has failed.
        print(debian.console.tail(200))
        debian.close()
