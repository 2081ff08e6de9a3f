"""The module builds without a word from the compiler."""

import shutil
import subprocess
from pathlib import Path

from harness.machine import CI


def test_the_module_builds_without_warnings_at_w1(tmp_path: Path) -> None:
    done = subprocess.run(
        [CI / "kernel"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    headers = Path(done.stdout.splitlines()[-1]) / "headers"
    sources = shutil.copytree(CI.parent / "kernel", tmp_path / "kernel")
    build = subprocess.run(
        ["make", "-C", sources, f"KDIR={headers}", "W=1"], capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stderr
    assert (sources / "dm-remap-v4.ko").exists()
    # The cloud kernel's headers come without the vmlinux that BTF would need.
    said = [
        line
        for line in build.stderr.splitlines()
        if line.strip() and "Skipping BTF" not in line and "make" not in line.split(":")[0]
    ]
    assert said == []
