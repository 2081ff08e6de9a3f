"""A device of files and a fake kernel, for the tests of what moves it to other devices.

The kernel looks at the spare when a table is resumed, as the real one does, and keeps the
statistics that tell which areas were written.
"""

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.dm import ioctl
from pycontrol.metadata import Kind, Record
from pycontrol.service import devices, live
from tests.conftest import MIB, Disks
from tests.fakes import FakeKernel, _Answer

UUID_ = UUID(int=77)
MAIN = 32 * MIB
PIECE = 64 << 10
SECTORS = MAIN // 512
MAPPED = tuple(range(1000, 41000, 400))
"""Main sectors at which 8 sectors live on the spare, from data start on."""
PENDING = 50_000
"""Main sector of 8 that cannot be read, where a test asks for it."""


@dataclass
class MovingKernel(FakeKernel):
    """``spares`` gives the file behind a device number."""

    spares: dict[str, str] = field(default_factory=dict)
    writes: dict[int, int] = field(default_factory=dict)
    """Writes counted by area."""
    region: tuple[int, int] | None = None
    """Sectors, and sectors of an area."""
    at_count: Callable[[int], None] = lambda number: None
    """Called before the counts are told, with how often they were."""
    told: int = 0
    extents: str = "none"
    step: Callable[[str], None] = lambda label: None
    """Called before each ioctl; may raise."""

    def __call__(self, fd: int, number: int, buffer: bytearray) -> int:
        self.step(f"ioctl {number & 0xFF}")
        return super().__call__(fd, number, buffer)

    def _resume(self, name: str, uuid: str, flags: int, event: int, *rest: object) -> _Answer:
        device = self._find(name, uuid)
        if device.pending is not None:
            device.live, device.pending = device.pending, None
        for _, _, kind, params in device.live or []:
            if kind == "dm-remap-v4" and not valid(self.spares[params.split()[1]]):
                device.suspended = True
                raise OSError(errno.EINVAL, "the metadata is refused")
        return super()._resume(name, uuid, flags, event, *rest)

    def _DM_TABLE_CLEAR(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        device.pending = None
        return None, flags, device

    def _DM_TABLE_STATUS(self, name: str, uuid: str, flags: int, *rest: object) -> _Answer:
        if not flags & 1 << 12:
            return super()._DM_TABLE_STATUS(name, uuid, flags, *rest)
        device = self._find(name, uuid)
        live, device.live = device.live, device.pending
        out, flags, _ = super()._DM_TABLE_STATUS(name, uuid, flags, *rest)
        device.live = live
        return out, flags, device

    def reply(self, words: str) -> str | None:
        """What the device answers to a message."""
        kind, *rest = words.split()
        if kind == "@stats_list":
            return "" if self.region is None else f"3: 0+{self.region[0]} {self.region[1]} {rest[0]} -\n"
        if kind == "@stats_create":
            length, step = int(rest[0].removeprefix("0+")), int(rest[1])
            self.region, self.writes = (length, step), {}
            return "3"
        if kind == "@stats_delete":
            self.region = None
            return None
        if kind == "@stats_print":
            assert self.region and rest[0] == "3"
            first, count = int(rest[1]), int(rest[2])
            if first == 0:
                self.told += 1
                self.at_count(self.told)
            step = self.region[1]
            areas = range(first, min(first + count, -(-self.region[0] // step)))
            return "".join(
                f"{at * step}+{step} 9 9 9 9 {self.writes.get(at, 0)} 0 0 0 0 0 0 0 0\n" for at in areas
            )
        return self.extents if kind == "list" else None

    def wrote(self, sector: int) -> None:
        """A write ended there."""
        assert self.region
        area = sector // self.region[1]
        self.writes[area] = self.writes.get(area, 0) + 1


def valid(path: str) -> bool:
    """Whether the kernel would take it for a spare."""
    try:
        metadata.load(reader(path), Path(path).stat().st_size)
    except metadata.MetadataError:
        return False
    return True


def reader(path: str) -> metadata.Read:
    data = Path(path).read_bytes()
    return lambda offset, length: data[offset : offset + length]


def loaded(path: str) -> metadata.Loaded:
    return metadata.load(reader(path), Path(path).stat().st_size)


def store(path: str | Path, image: bytes | bytearray) -> None:
    """Let the file hold that, with holes for zeros: thousands of worlds are made of these."""
    with Path(path).open("wb") as file:
        file.truncate(len(image))
        for at in range(0, len(image), PIECE):
            piece = image[at : at + PIECE]
            if piece.count(0) < len(piece):
                file.seek(at)
                file.write(piece)


def put(path: str, blocks: list[tuple[int, bytes]]) -> None:
    with Path(path).open("r+b") as file:
        for offset, data in blocks:
            file.seek(offset)
            file.write(data)


def content(sector: int, version: int = 0) -> bytes:
    """What main sector ``sector`` holds, 512 bytes."""
    return random.Random(sector * 1000 + version).randbytes(512)


def as_table(state: metadata.Loaded) -> str:
    """What the message ``list`` says of this state."""
    lines = [
        f"{each.main} {each.sectors} " + (f"{each.spare} remap" if each.kind is Kind.REMAP else "- pending")
        for each in state.extents
    ]
    return "\n".join(lines) or "none"


class Device:
    """/dev/mapper/data, of the files main and spare, with what each sector holds."""

    def __init__(self, kernel: MovingKernel, disks: Disks, top: Path, *, pending: bool = False) -> None:
        self.kernel, self.disks, self.top = kernel, disks, top
        self.main = self.disk("main", MAIN)
        self.spare = self.disk("spare", 8 * MIB)
        start = metadata.data_start()
        records = [Record(main, start + 8 * at, 8, Kind.REMAP, 0, 5) for at, main in enumerate(MAPPED)]
        if pending:
            records.append(Record(PENDING, 0, 8, Kind.PENDING, 1, 6))
        blocks = metadata.encode_image(
            records, uuid=UUID_, main_sectors=SECTORS, spare_sectors=8 * MIB // 512, time=1, sequence=9,
            cursor=start + 8 * len(MAPPED), main_id="", name="data",
        )  # fmt: skip
        put(self.spare, blocks)
        self.versions: dict[int, int] = {}
        for at, main in enumerate(MAPPED):
            put(self.spare, [((start + 8 * at) * 512, self.expected(main, 8))])
        put(self.main, [(sector * 512, content(sector)) for sector in (0, 1, 777, SECTORS - 1)])
        kernel.add("data", f"DMREMAP-{UUID_}", (0, SECTORS, "dm-remap-v4", self.table(self.spare)))
        kernel.extents = as_table(loaded(self.spare))
        kernel.answer = kernel.reply

    def disk(self, name: str, size: int, **facts: object) -> str:
        """A further device."""
        path = self.disks.make(name, size, **facts)
        number = str(self.disks.number(path))
        (self.top / "dev/block").mkdir(parents=True, exist_ok=True)
        (self.top / "dev/block" / number).symlink_to(path)
        self.kernel.spares[number] = path
        self.disks.known[str(self.top / "dev/block" / number)] = self.disks.known[path]
        return path

    def table(self, spare: str) -> str:
        return f"{self.disks.number(self.main)} {self.disks.number(spare)} 4 copies 5 spacing 256"

    @property
    def live(self) -> tuple[int, int, str, str]:
        [line] = self.kernel.devices["data"].live or []
        return line

    def expected(self, sector: int, count: int) -> bytes:
        return b"".join(content(at, self.versions.get(at, 0)) for at in range(sector, sector + count))

    def write(self, sector: int) -> None:
        """Somebody writes the 8 remapped sectors at ``sector`` anew, on the present spare."""
        for at in range(sector, sector + 8):
            self.versions[at] = self.versions.get(at, 0) + 1
        extent = next(each for each in loaded(self.spare).extents if each.main == sector)
        put(self.spare, [(extent.spare * 512, self.expected(sector, 8))])
        self.kernel.wrote(sector)

    def check(self, spare: str, lost: list[int] | None = None) -> None:
        """The spare has everything, but for the lost sectors, which are pending."""
        state = loaded(spare)
        data = Path(spare).read_bytes()
        found: dict[int, bytes] = {}
        pending = set()
        for each in state.extents:
            for at in range(each.sectors):
                if each.kind is Kind.PENDING:
                    pending.add(each.main + at)
                else:
                    found[each.main + at] = data[(each.spare + at) * 512 : (each.spare + at + 1) * 512]
        wanted = {at for main in MAPPED for at in range(main, main + 8)} - set(lost or [])
        assert set(found) == wanted
        assert pending - set(range(PENDING, PENDING + 8)) == set(lost or [])
        for at in wanted:
            assert found[at] == self.expected(at, 1), f"sector {at} differs"


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MovingKernel:
    """A kernel in place of the one that is installed, and files where devices are looked for."""
    made = MovingKernel(targets={"dm-remap-v4": (1, 0, 0), "linear": (1, 4, 0)})
    before = ioctl.Control.__init__

    def init(self: ioctl.Control, *_: object) -> None:
        before(self)
        self._ioctl = made

    monkeypatch.setattr(ioctl.Control, "__init__", init)
    monkeypatch.setattr(live, "DEV", tmp_path / "dev")
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")
    monkeypatch.setattr(devices, "MAPPER_DIR", tmp_path / "dev")
    return made


def bad_sectors(monkeypatch: pytest.MonkeyPatch, path: str, sectors: set[int]) -> None:
    """Direct reads of these sectors of a file fail."""
    import os

    real = os.preadv
    inode = Path(path).stat().st_ino

    def preadv(fd: int, buffers: list[memoryview], offset: int, *rest: int) -> int:
        length = sum(map(len, buffers))
        if os.fstat(fd).st_ino == inode and sectors.intersection(
            range(offset // 512, -(-(offset + length) // 512))
        ):
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, buffers, offset, *rest)

    monkeypatch.setattr(os, "preadv", preadv)
