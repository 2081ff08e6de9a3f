"""Repair of a spare some of whose copies cannot be written."""

from pathlib import Path

import pytest
from click.testing import Result

from pycontrol.metadata import BLOCK, Loaded
from pycontrol.metadata.repair import repair
from pycontrol.service.offline import meta
from tests.conftest import Run
from tests.faults import unreadable, unwritable
from tests.test_meta_commands import SECTORS, TABLE, Store, good, store
from tests.test_metadata_images import UUID_A, slots, spare

__all__ = ["store"]


def mended(run: Run, path: str, backup: Path) -> Result:
    return run("meta", "repair", "--in-place", "--yes", "--backup", str(backup), path)


def loaded(path: str) -> Loaded:
    found = meta.load(path)
    assert list(found.records) == TABLE
    return found


def test_a_copy_that_cannot_be_written_is_left_out(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, backup = good(), tmp_path / "backup"
    image.flip(slots()[1])
    image.flip(slots()[3])
    path = store(image)
    unwritable(monkeypatch, path, slots()[1])
    result = mended(run, path, backup)
    assert result.exit_code == 6 and result.stderr.count("\n") == 1
    for words in (
        f"copy 1 of {path} cannot be written: Input/output error",
        "the others are mended",
        str(backup),
    ):
        assert words in result.stderr
    found = loaded(path)
    assert (found.sequence, [slot.valid for slot in found.slots]) == (9 + 17, [True, False, True, True, True])
    assert backup.read_bytes() == image.flat()


def test_a_copy_that_can_be_neither_read_nor_written(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, backup = store(good()), tmp_path / "backup"
    unreadable(monkeypatch, path, slots()[1])
    unwritable(monkeypatch, path, slots()[1])
    result = mended(run, path, backup)
    assert result.exit_code == 6
    assert f"as far as it could be read, is in {backup}; the others are mended" in result.stderr
    assert [slot.valid for slot in loaded(path).slots] == [True, False, True, True, True]


@pytest.mark.parametrize("hurt", [[0, 1, 2], [4]])
def test_without_a_majority_no_number_is_used_up(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurt: list[int]
) -> None:
    image, backup = good(), tmp_path / "backup"
    for copy in hurt:
        image.flip(slots()[copy] if len(hurt) > 1 else slots()[copy] + BLOCK)
    path = store(image)
    unwritable(monkeypatch, path, *slots()[:3])
    result = mended(run, path, backup)
    assert result.exit_code == 6 and f"copies 0, 1, 2 of {path} cannot be written" in result.stderr
    assert "what could be read still can" in result.stderr and str(backup) in result.stderr
    found = loaded(path)
    assert (found.sequence, [slot.valid for slot in found.slots]) == (9, [False, False, False, True, True])


def test_a_repair_that_failed_is_tried_again_with_another_backup(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, where = good(), tmp_path / "backups"
    image.flip(slots()[4])
    path = store(image)
    where.mkdir()
    monkeypatch.chdir(where)
    with monkeypatch.context() as patched:
        unwritable(patched, path, *slots())
        assert run("meta", "repair", "--in-place", "--yes", path).exit_code == 6
    assert run("meta", "repair", "--in-place", "--yes", path).exit_code == 0
    loaded(path)
    names = [f"{UUID_A}-9.backup", f"{UUID_A}-9-2.backup"]
    assert sorted(each.name for each in where.iterdir()) == sorted(names)
    assert (where / names[0]).read_bytes() == image.flat()


def test_copies_without_a_whole_header_come_first() -> None:
    image = spare(TABLE, spare_sectors=SECTORS, sequence=9, copies=3)
    image.put(0, spare((), spare_sectors=SECTORS, sequence=7, copies=3).blocks[0])
    image.flip(slots()[2])
    steps = [(step.copy, [at for at, _ in step.blocks]) for step in repair(image.load())]
    assert steps[:2] == [(2, [slots()[2]]), (0, [slots()[0]])]
