"""boot/ as tests see it: its programs, and a machine of files for them to look at."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

from pycontrol import metadata
from tests.user_build import SANITIZERS, TOP

SECTORS = 8192
"""Of a main device and of a spare."""
ONE = UUID("d14f3388-114f-4e99-90e3-64c0bffa5a8a")


@cache
def built() -> Path:
    """The directory with the programs; made only when a source has changed."""
    done = subprocess.run([TOP / "ci/boot"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@dataclass
class Ran:
    code: int
    out: str
    err: str


def run(
    program: str, *words: str | Path, given: bytes = b"", environment: Mapping[str, str] | None = None
) -> Ran:
    """A program of the build under the sanitizers, with these variables as udev would set them."""
    done = subprocess.run(
        [built() / f"{program}-asan", *map(str, words)],
        input=given,
        env={"PATH": os.environ["PATH"], **SANITIZERS, **(environment or {})},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def spare(uuid: UUID, main_id: str = "", *, main_sectors: int = SECTORS, copies: int = 5) -> bytearray:
    """A fresh spare."""
    blocks = metadata.encode_image(
        [], uuid=uuid, main_sectors=main_sectors, spare_sectors=SECTORS, time=1, main_id=main_id,
        name="data", copies=copies,
    )  # fmt: skip
    image = bytearray(SECTORS * 512)
    for offset, block in blocks:
        image[offset : offset + len(block)] = block
    return image


class Machine:
    """Disks as files, with what sysfs and udev tell of them; ``tab`` is its dmremaptab."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.tab = top / "etc/dmremaptab"
        self.tab.parent.mkdir(parents=True)
        self.numbers = 0

    def disk(self, name: str, content: bytes = bytes(SECTORS * 512), **udev: str) -> Path:
        """A disk, and what udev's database has of it."""
        number = f"8:{16 * self.numbers}"
        self.numbers += 1
        shown, node = self.top / "sys/class/block" / name, self.top / "dev" / name
        for directory in (
            shown,
            self.top / "sys/dev/block" / number,
            self.top / "run/udev/data",
            node.parent,
        ):
            directory.mkdir(parents=True, exist_ok=True)
        (shown / "dev").write_text(f"{number}\n")
        lines = "".join(f"E:{key}={value}\n" for key, value in udev.items())
        (self.top / f"run/udev/data/b{number}").write_text(f"I:12345\n{lines}")
        node.write_bytes(content)
        return node

    def activator(self, *words: str, **environment: str) -> Ran:
        """The activator, looking at nothing but this."""
        where = ("--root", str(self.top), "--tab", str(self.tab))
        return run("activator", words[0], *where, *words[1:], environment=environment)


def pair(top: Path) -> Machine:
    """A machine with a main device, its spare, and a line for them."""
    made = Machine(top)
    made.disk("sda", ID_WWN="0x5000", ID_SERIAL_SHORT="A B")
    made.disk("sdb", bytes(spare(ONE, "wwn:0x5000 serial:AB")))
    made.tab.write_text(f"data /dev/sda UUID={ONE}\n")
    return made


def damage(image: bytearray, *copies: int) -> bytearray:
    """A spare with a wrong byte in the headers of these copies."""
    for copy in copies:
        image[copy * 0x20000 + 100] ^= 1
    return image
