"""``dmremapctl meta import-legacy``: the new spare has no sector in common with the old one."""

import os
import stat
from pathlib import Path

import pytest

from pycontrol.service.offline import legacy
from tests.conftest import Disks, Run
from tests.test_meta_legacy import ACTIVE, SPARE, v42


@pytest.fixture
def places(disks: Disks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    """Files that pass for a disk, two partitions of it and a loop device, whose file is ``image``."""
    nodes = {
        disks.make("sdd", 512 * SPARE, disk="sdd"),
        disks.make("sdd1", 512 * SPARE, disk="sdd", partition=True),
        disks.make("sdd2", 512 * SPARE, disk="sdd", partition=True),
        disks.make("loop0", 512 * SPARE, disk="loop0"),
        disks.make("loop0p1", 512 * SPARE, disk="loop0", partition=True),
    }
    (tmp_path / "image").write_bytes(bytes(512 * SPARE))
    told = tmp_path / "sys/block/loop0/loop/backing_file"
    told.parent.mkdir(parents=True)
    told.write_text(f"{tmp_path / 'image'}\n")
    real = Path.stat

    def looked(self: Path, **options: bool) -> os.stat_result:
        found = real(self, **options)
        if str(self) not in nodes:
            return found
        number = disks.known[str(self)].dev
        more = {"st_rdev": os.makedev(number.major, number.minor)}
        return os.stat_result((found.st_mode & 0o777 | stat.S_IFBLK, *found[1:10]), more)

    monkeypatch.setattr(Path, "stat", looked)
    monkeypatch.setattr(legacy, "SYSFS", tmp_path / "sys")
    return disks


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sdd", "sdd1"), ("sdd1", "sdd"), ("image", "loop0"), ("image", "loop0p1"), ("loop0", "image"),
        ("loop0", "loop0p1"),
    ],
)  # fmt: skip
def test_what_overlaps_is_refused(places: Disks, run: Run, old: str, new: str) -> None:
    (places.top / old).write_bytes(v42([(1000, 5000, 1, ACTIVE)]))
    before = [(places.top / name).read_bytes() for name in (old, new)]
    result = run("meta", "import-legacy", "--force", "--yes", str(places.top / old), str(places.top / new))
    assert result.exit_code == 4 and "overlap" in result.stderr
    assert [(places.top / name).read_bytes() for name in (old, new)] == before


def test_an_old_spare_that_is_not_there(places: Disks, run: Run) -> None:
    result = run("meta", "import-legacy", "--yes", str(places.top / "none"), str(places.top / "sdd1"))
    assert result.exit_code == 4 and "there is no device" in result.stderr


def test_two_partitions_do_not(places: Disks, run: Run) -> None:
    old, new = places.top / "sdd1", places.top / "sdd2"
    old.write_bytes(v42([(1000, 5000, 1, ACTIVE)]))
    assert run("meta", "import-legacy", "--yes", str(old), str(new)).exit_code == 0
    assert run("meta", "check", str(new)).exit_code == 0
