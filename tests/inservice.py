"""A device in service, for the tests of what looks at one: a fake kernel and a real spare image."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pycontrol.metadata import Loaded, Record
from pycontrol.service import live
from tests.fakes import FakeKernel
from tests.test_metadata_images import MAIN, UUID_A, spare

NOW = 1_790_000_000
DAY = 86400
SPARE = 8192
DATA = 2048
"""Where a spare's data begins, with the defaults."""


@dataclass
class InService:
    """``records`` are on its spare, and its target lists what they add up to."""

    kernel: FakeKernel
    image: Path
    loaded: Loaded | None = None
    errors: tuple[str, ...] = ()
    mode: str = "rw"
    check: str = "-"
    valid: int = 5
    used: int | None = None
    total: int = 0

    def put(self, records: Iterable[Record], **options: object) -> None:
        """Replace what the spare holds, and the map of the target with it."""
        made = spare(records, **{"spare_sectors": SPARE} | options)
        self.image.write_bytes(made.flat())
        self.loaded = made.load()
        self.kernel.answer = self.answer
        self.tell()

    def tell(self) -> None:
        """Make the status line say what holds now."""
        assert self.loaded is not None
        extents = self.loaded.extents
        used = self.loaded.used_sectors if self.used is None else self.used
        total = self.total or self.loaded.spare_sectors - DATA
        counts = [sum(each.kind == kind for each in extents) for kind in (1, 2)]
        words = [f"{used}/{total}", *counts, f"{self.valid}/5", 9, 3, 4, 5, 6]
        words += [0, len(self.errors), *self.errors, self.mode, self.check]
        self.kernel.status_line = " ".join(map(str, words))

    def answer(self, words: str) -> str | None:
        """The message ``list``, as msg_list() of kernel/dm-remap-v4-message.c answers it."""
        command, *numbers = words.split()
        assert command == "list" and self.loaded is not None
        begin, most = map(int, numbers)
        assert begin % 8 == 0 and begin < self.loaded.main_sectors
        lines: list[str] = []
        for extent in self.loaded.extents:
            end = extent.main + extent.sectors
            if end <= begin:
                continue
            if len(lines) == most:
                return "".join(lines) + f"next {extent.main}\n"
            cut = max(0, begin - extent.main)
            place = f"{extent.spare + cut} remap" if extent.kind == 1 else "- pending"
            lines.append(f"{extent.main + cut} {extent.sectors - cut} {place}\n")
        return "".join(lines) or "none\n"


def in_service(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InService:
    """The device ``data`` with the main device 8:0 and the spare 8:16, which is fresh."""
    kernel.add("data", f"DMREMAP-{UUID_A}", (0, MAIN, "dm-remap-v4", "8:0 8:16 2 copies 5"))
    (tmp_path / "dev/block").mkdir(parents=True)
    monkeypatch.setattr(live, "DEV", tmp_path / "dev")
    monkeypatch.setattr(live, "SYSFS", tmp_path / "sys")
    made = InService(kernel, tmp_path / "dev/block/8:16")
    made.put(())
    return made
