"""``dmremapctl meta``: what every command does alike, --json, --dry-run and --offset."""

import json
from pathlib import Path

import pytest

from pycontrol.cli.meta import COMMANDS
from tests.conftest import Run
from tests.test_meta_commands import (
    SECTORS,
    TABLE,
    Store,
    digest,
    good,
    hurt,
    loaded_records,
    lost,
    store,
)
from tests.test_meta_legacy import ACTIVE, v42
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, spare

__all__ = ["store"]

BEFORE = 12288


@pytest.fixture
def inside(tmp_path: Path) -> str:
    """A damaged spare that begins at byte 12288 of something larger."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * BEFORE + hurt().flat())
    return str(path)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_an_example(run: Run, name: str) -> None:
    words = run("meta", name, "--help").output
    assert (
        "--json" in words
        and "Example" in words
        and f"dmremapctl {'' if name == 'inspect' else 'meta '}" in words
    )


# JSON of what writes


def test_backup_as_json(run: Run, store: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = run("meta", "backup", "--json", store(hurt()), out)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"path": out, "complete": True})
    result = run("meta", "backup", "--json", store(lost()), str(tmp_path / "other"))
    assert (result.exit_code, json.loads(result.stdout)["complete"]) == (1, False)


def test_restore_as_json(run: Run, store: Store, tmp_path: Path) -> None:
    text, out = str(tmp_path / "dump"), str(tmp_path / "out.img")
    run("meta", "dump", "-o", text, store(good()))
    wanted: dict[str, object] = {"path": out, "uuid": str(UUID_A), "sequence": 9, "records": 302, "loses": []}
    result = run("meta", "restore", "--json", "--dry-run", text, out)
    assert json.loads(result.stdout) == {**wanted, "written": False}
    assert not Path(out).exists()
    assert json.loads(run("meta", "restore", "--json", text, out).stdout) == {**wanted, "written": True}
    found = json.loads(run("meta", "restore", "--json", "--yes", "--force", text, out).stdout)
    assert found["loses"] == [f"dm-remap metadata {UUID_A} with 302 records"]
    words = run("meta", "restore", "--help").output
    assert [key for key in found if key not in words] == []


def test_repair_as_json(run: Run, store: Store, tmp_path: Path) -> None:
    path, backup = store(hurt()), str(tmp_path / "backup")
    arguments = ["meta", "repair", "--json", "--in-place", "--yes", "--backup", backup, path]
    wanted = {
        "path": path, "uuid": str(UUID_A), "sequence": 9, "copies": 5, "valid_copies": 3, "needed": True,
        "written": path, "backup": backup, "unread": [], "dry_run": True,
    }  # fmt: skip
    before = digest(path)
    assert json.loads(run(*arguments, "--dry-run").stdout) == wanted
    assert digest(path) == before and not Path(backup).exists()
    assert json.loads(run(*arguments).stdout) == {**wanted, "dry_run": False}
    assert loaded_records(path) == TABLE
    found = json.loads(run(*arguments).stdout)
    assert (found["needed"], found["written"], found["backup"]) == (False, None, None)
    words = run("meta", "repair", "--help").output
    assert [key for key in found if key not in words] == []


# What would be done


def test_a_repair_that_is_not_done(run: Run, store: Store, tmp_path: Path) -> None:
    path, out = store(hurt()), tmp_path / "out"
    before = digest(path)
    for where in (["-o", str(out)], ["--in-place"]):
        result = run("meta", "repair", "--dry-run", *where, path)
        assert result.exit_code == 0 and "has 2 of 5 copies to mend; would write to" in result.stderr
    assert digest(path) == before and not out.exists()


def test_a_restore_that_is_not_done(run: Run, store: Store, tmp_path: Path) -> None:
    text = str(tmp_path / "dump")
    path = store(spare((), spare_sectors=SECTORS, uuid=UUID_B))
    run("meta", "dump", "-o", text, store(good(), "other.img"))
    before = digest(path)
    result = run("meta", "restore", "--dry-run", text, path)
    assert result.exit_code == 0 and digest(path) == before
    assert f"would restore sequence 9 of {UUID_A}" in result.stderr
    assert f"overwriting dm-remap metadata {UUID_B} with 0 records" in result.stderr


def test_an_import_that_is_not_done(run: Run, tmp_path: Path) -> None:
    old, out = tmp_path / "old.img", tmp_path / "new.img"
    old.write_bytes(v42([(1000, 5000, 1, ACTIVE), (3000, 7, 1, ACTIVE)]))
    result = run("meta", "import-legacy", "--dry-run", str(old), str(out))
    assert result.exit_code == 1 and not out.exists()
    assert "main sector 3000 would be pending" in result.stderr
    assert "would import 1 sectors of v4.2" in result.stderr


# A spare inside something larger


def test_repair_of_a_spare_inside_something_larger(run: Run, inside: str, tmp_path: Path) -> None:
    out, backup = tmp_path / "out", tmp_path / "backup"
    assert run("meta", "repair", "-o", str(out), inside).exit_code == 4
    assert run("meta", "repair", "-o", str(out), "--offset", "12K", inside).exit_code == 0
    assert loaded_records(str(out)) == TABLE
    arguments = ["--in-place", "--yes", "--backup", str(backup), "--offset", "12K", inside]
    assert run("meta", "repair", *arguments).exit_code == 0
    after = Path(inside).read_bytes()
    assert after[:BEFORE] == b"x" * BEFORE
    assert after[BEFORE:] == out.read_bytes()
    assert backup.read_bytes() == hurt().flat()


def test_diff_of_a_spare_inside_something_larger(run: Run, store: Store, inside: str) -> None:
    path = store(good())
    assert run("meta", "diff", inside, path).exit_code == 4
    assert run("meta", "diff", "--offset", "12K", inside, path).exit_code == 0
    assert run("meta", "diff", "--offset-b", "12K", path, inside).exit_code == 0
    assert run("meta", "diff", "--uuid", str(UUID_B), path, path).exit_code == 4
    assert run("meta", "diff", "--uuid-b", str(UUID_B), path, path).exit_code == 4


def test_a_place_with_no_bytes(run: Run, store: Store) -> None:
    result = run("meta", "check", "--offset", "1T", store(Sparse()))
    assert (result.exit_code, "check the offset" in result.stderr) == (4, True)
    assert run("meta", "check", "--offset", "many", store(Sparse())).exit_code == 2
