"""A command imports what it needs and nothing else: read from the list of imports."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.startup import program

TOP = Path(__file__).resolve().parents[1]

START = {"", ".cli", ".cli.exitcodes", ".cli.main", ".cli.streams"}
KERNEL = {".dm", ".dm.codec", ".dm.errors", ".dm.ioctl", ".dm.types"}
DEVICES = {
    *START, *KERNEL, ".cli.arguments", ".cli.devices", ".cli.output", ".text", ".errors", ".sizes",
    ".service", ".service.devices", ".service.kernel", ".service.status",
}  # fmt: skip
# Of Python's own, beyond what click and the fake kernel (dataclasses, struct) import.
PYTHON = {"locale", "unicodedata", "fcntl"}
HELP = {"click._textwrap", "textwrap", "shutil", "bz2", "lzma", "zlib"}
JSON = {"json", "json.decoder", "json.encoder", "json.scanner"}


def imported(*arguments: str, kernel: bool) -> set[str]:
    """Modules that a command imports, beyond those of click; not those in C beneath Python's own."""
    source = program(*arguments, kernel=kernel, modules=True)
    done = subprocess.run(
        [sys.executable, "-B", "-c", source], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = set(done.stderr.split())
    assert "pycontrol.cli.main" in found
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize(
    ("arguments", "ours", "others"),
    [
        (["--version"], START, PYTHON),
        (["--help"], START, PYTHON | HELP),
        (["status"], DEVICES, PYTHON),
        (["status", "r0"], DEVICES, PYTHON),
        (["status", "--json"], DEVICES, PYTHON | JSON),
        (["list", "--json"], DEVICES, PYTHON | JSON),
    ],
    # Of the arguments alone: sets have no order that two processes agree on.
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_is_imported_that_is_not_needed(
    arguments: list[str], ours: set[str], others: set[str]
) -> None:
    found = imported(*arguments, kernel=".dm" in ours)
    assert found - others - {f"pycontrol{name}" for name in ours} == set()


@pytest.mark.parametrize(("arguments", "rich"), [(["list"], True), (["module", "status"], False)])
def test_libraries_are_left_alone(arguments: list[str], rich: bool) -> None:
    """A table is drawn by rich; none of these needs udev or the metadata."""
    found = imported(*arguments, kernel=True)
    assert "pycontrol.metadata" not in found
    libraries = {"rich", "pyudev", "crcmod", "fabric"}
    libraries &= {name.partition(".")[0] for name in found}
    assert libraries <= ({"rich"} if rich else set())
