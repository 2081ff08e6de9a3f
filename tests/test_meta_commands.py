"""``dmremapctl meta`` by its output, its exit codes, and what it leaves alone."""

import fcntl
import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from pycontrol.errors import Busy
from pycontrol.metadata import BLOCK, Condition, OutOfService, Record, load
from pycontrol.service.offline import meta
from pycontrol.service.offline import source as service_source
from tests.conftest import Run
from tests.faults import Cut, Storage, unreadable
from tests.test_meta_legacy import ACTIVE, v42
from tests.test_meta_legacy import SPARE as OLD_SECTORS
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, remaps, slots, spare

SECTORS = 5120
TABLE = [*remaps(300, 2560), Record(8, 0, 8, 2), Record(0, 4100, 1, 8)]

Store = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def keep(image: Sparse, name: str = "spare.img") -> str:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(image.size)
            for place, block in image.blocks.items():
                file.seek(place)
                file.write(block)
        return str(path)

    return keep


def good() -> Sparse:
    return spare(TABLE, spare_sectors=SECTORS, sequence=9)


def hurt() -> Sparse:
    image = good()
    image.flip(slots()[1])
    image.wipe(slots()[2] + 3 * BLOCK)
    return image


def lost() -> Sparse:
    image = good()
    for slot in slots():
        image.flip(slot + 3 * BLOCK)
    return image


def loaded_records(path: str) -> list[Record]:
    data = Path(path).read_bytes()
    loaded = load(lambda offset, length: data[offset : offset + length], len(data))
    assert loaded.intact
    return list(loaded.records)


def digest(path: str) -> tuple[str, int]:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest(), Path(path).stat().st_mtime_ns


READERS = [
    ["inspect"], ["inspect", "--json"], ["check"], ["check", "--json"], ["dump"], ["dump", "--json"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", READERS)
@pytest.mark.parametrize(("make", "code"), [(good, 0), (hurt, 1), (lost, 3), (Sparse, 4)])
def test_every_reading_tool(
    run: Run, store: Store, arguments: list[str], make: Callable[[], Sparse], code: int
) -> None:
    """One family of tests for all: the exit code, and that nothing is written."""
    path = store(make())
    Path(path).chmod(0o444)
    before = digest(path)
    result = run("meta", *arguments, path)
    assert digest(path) == before
    # What can be had of a damaged spare is dumped as if it were whole.
    assert result.exit_code == (0 if (arguments[0], code) == ("dump", 1) else code)
    if code == 4:
        assert result.stdout == "" and result.stderr.count("\n") == 1
    if "--json" in arguments and code < 3:
        json.loads(result.stdout)


@pytest.mark.parametrize("command", ["inspect", "check", "dump", "backup", "repair"])
def test_no_such_place(run: Run, tmp_path: Path, command: str) -> None:
    more = {"backup": [str(tmp_path / "out")], "repair": ["-o", str(tmp_path / "out")]}.get(command, [])
    for path in (tmp_path / "none", tmp_path, Path("/dev/null")):
        assert run("meta", command, str(path), *more).exit_code == 4
    assert run("meta", command).exit_code == 2
    assert list(tmp_path.iterdir()) == []


# check


def test_check_tells_the_place(run: Run, store: Store) -> None:
    result = run("meta", "check", store(hurt()))
    assert "0x20000" in result.stdout and "header: CRC does not match" in result.stdout
    assert "0x43000" in result.stdout and "log block 0: all zero" in result.stdout
    assert result.stdout.endswith("verdict: damaged\n")


def test_check_json_is_as_documented(run: Run, store: Store) -> None:
    found = json.loads(run("meta", "check", "--json", store(hurt())).stdout)
    assert found["findings"][0] == {
        "severity": "damage", "kind": "header-damaged", "offset": 0x20000, "copy": 1,
        "text": "header: CRC does not match",
    }  # fmt: skip
    assert (found["verdict"], found["records"], found["valid_copies"]) == ("damaged", 302, 3)
    words = run("meta", "check", "--help").output
    assert [key for key in [*found, *found["findings"][0]] if key not in words] == []
    assert json.loads(run("meta", "check", "--json", store(lost())).stdout)["uuid"] is None


@pytest.mark.parametrize(("make", "code"), [(good, 0), (hurt, 1), (lost, 3)])
def test_quiet(run: Run, store: Store, make: Callable[[], Sparse], code: int) -> None:
    for command in ("check", "inspect"):
        result = run("meta", command, "--quiet", store(make()))
        assert (result.exit_code, result.stdout) == (code, "")
        # What went wrong is said all the same: inspect shows no findings.
        assert bool(result.stderr) == (command == "inspect" and code == 3)


def test_findings_are_cut_for_people(run: Run, store: Store) -> None:
    image = good()
    for slot in slots():
        image.reseal(slot, 0x130, bytes(3776))
    assert "more (--max 0" in run("meta", "check", "--max", "5", store(image)).stdout


def test_a_spare_inside_something_larger(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"x" * 12288 + good().flat())
    assert run("meta", "check", str(path)).exit_code == 4
    result = run("meta", "check", "--offset", "12K", str(path))
    assert (result.exit_code, "verdict: clean" in result.stdout) == (0, True)


def test_one_of_two(run: Run, store: Store) -> None:
    image = spare(TABLE, copies=4, spare_sectors=SECTORS)
    for place, block in spare((), copies=4, uuid=UUID_B, spare_sectors=SECTORS).blocks.items():
        if place >= slots()[2]:
            image.put(place, block)
    path = store(image)
    assert run("meta", "check", path).exit_code == 3
    assert run("meta", "check", "--uuid", str(UUID_A), path).exit_code == 1
    assert run("meta", "dump", "--uuid", str(UUID_B), path).exit_code == 0


# dump and restore


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_dump_restore_dump(run: Run, store: Store, tmp_path: Path, form: list[str]) -> None:
    path, again, text = store(good()), str(tmp_path / "again.img"), str(tmp_path / "dump")
    first = run("meta", "dump", *form, path)
    assert run("meta", "dump", *form, "-o", text, path).stdout == ""
    assert Path(text).read_text() == first.stdout
    assert run("meta", "restore", "--quiet", text, again).output == ""
    assert Path(again).read_bytes() == Path(path).read_bytes()
    assert Path(again).stat().st_blocks < SECTORS / 2, "the image is sparse"
    assert run("meta", "dump", *form, again).stdout == first.stdout
    assert run("meta", "dump", "-o", text, path).exit_code == 2, "an existing file is not overwritten"


def test_restore_over_something(run: Run, store: Store, tmp_path: Path) -> None:
    text = str(tmp_path / "dump")
    run("meta", "dump", "-o", text, store(good()))
    blank = str(tmp_path / "blank.img")
    Path(blank).write_bytes(bytes(SECTORS * 512))
    assert run("meta", "restore", text, blank, answer="n\n").exit_code == 10
    assert not any(Path(blank).read_bytes())
    assert run("meta", "restore", text, blank, answer="y\n").exit_code == 0
    result = run("meta", "restore", "--yes", text, blank)
    assert result.exit_code == 5 and f"dm-remap metadata {UUID_A}" in result.stderr
    assert run("meta", "restore", "--yes", "--force", text, blank).exit_code == 0
    assert loaded_records(blank) == TABLE
    other = store(spare((), spare_sectors=SECTORS, uuid=UUID_B, copies=8, spacing=512), "other.img")
    assert run("meta", "restore", "--yes", "--force", text, other).exit_code == 0
    assert loaded_records(other) == TABLE


def test_nothing_of_an_earlier_geometry_is_left(run: Run, store: Store, tmp_path: Path) -> None:
    text, size = str(tmp_path / "dump"), {"spare_sectors": SECTORS, "uuid": UUID_B}
    run("meta", "dump", "-o", text, store(good()))
    other = store(spare((), copies=8, spacing=64, **size), "other.img")
    assert run("meta", "restore", "--yes", "--force", text, other).exit_code == 0
    # Without block 0 a geometry is searched for, and the old one has more copies.
    with Path(other).open("r+b") as file:
        file.write(bytes(BLOCK))
    assert json.loads(run("meta", "check", "--json", other).stdout)["uuid"] == str(UUID_A)


def test_restore_refuses(run: Run, store: Store, tmp_path: Path) -> None:
    text = tmp_path / "dump"
    run("meta", "dump", "-o", str(text), store(good()))
    small = tmp_path / "small.img"
    small.write_bytes(bytes(SECTORS * 512 - 4096))
    assert run("meta", "restore", "--yes", str(text), str(small)).exit_code == 4
    text.write_text(text.read_text().replace("remap 1000", "remap 99999999"))
    out = tmp_path / "out.img"
    result = run("meta", "restore", str(text), str(out))
    assert result.exit_code == 2 and "record 0" in result.stderr
    text.write_bytes(b"\xff\xfe")
    assert run("meta", "restore", str(text), str(out)).exit_code == 2
    assert run("meta", "restore", str(tmp_path / "none"), str(out)).exit_code == 2
    assert not out.exists()


# backup and repair


def test_backup_is_sparse_and_exact(run: Run, store: Store, tmp_path: Path) -> None:
    image = hurt()
    image.put(2 << 20, b"data" * 1024)
    path, out = store(image), str(tmp_path / "out")
    before = digest(path)
    assert run("meta", "backup", path, out).exit_code == 0
    assert digest(path) == before
    image.wipe(2 << 20)
    assert Path(out).read_bytes() == image.flat()
    assert Path(out).stat().st_blocks < SECTORS / 2
    assert run("meta", "backup", path, out).exit_code == 2


def test_backup_of_what_is_beyond_recovery(run: Run, store: Store, tmp_path: Path) -> None:
    path, out = store(lost()), str(tmp_path / "out")
    assert run("meta", "backup", "-q", path, out).exit_code == 1
    assert Path(out).read_bytes() == Path(path).read_bytes()


def test_repair_to_a_new_file(run: Run, store: Store, tmp_path: Path) -> None:
    path, out = store(hurt()), str(tmp_path / "out")
    before = digest(path)
    assert run("meta", "repair", path, "-o", out).exit_code == 0
    assert digest(path) == before
    assert loaded_records(out) == TABLE
    assert run("meta", "check", out).exit_code == 0
    assert run("meta", "repair", path, "-o", out, "--in-place").exit_code == 2
    assert run("meta", "repair", path, "-o", path).exit_code == 2 and digest(path) == before
    assert run("meta", "repair", path).exit_code == 2
    nothing = str(tmp_path / "nothing")
    assert run("meta", "repair", store(lost()), "-o", nothing).exit_code == 3
    assert not Path(nothing).exists()


def test_what_may_only_be_read_is_not_written(run: Run, store: Store, tmp_path: Path) -> None:
    image = hurt()
    for slot in slots()[2:]:
        image.reseal(slot, 0x4C, b"\1")
    image.wipe(slots()[0])
    path, out = store(image), tmp_path / "out"
    before = digest(path)
    assert run("meta", "check", path).exit_code == 1
    assert run("meta", "repair", path, "-o", str(out)).exit_code == 4 and not out.exists()
    assert in_place(run, path, tmp_path / "backup").exit_code == 4
    assert digest(path) == before and not (tmp_path / "backup").exists()


def in_place(run: Run, path: str, backup: Path, answer: str = "y\n") -> Result:
    return run("meta", "repair", "--in-place", "--backup", str(backup), path, answer=answer)


def test_repair_in_place(run: Run, store: Store, tmp_path: Path) -> None:
    image = hurt()
    image.put(2 << 20, b"data" * 1024)
    path, backup = store(image), tmp_path / "backup"
    before = digest(path)
    assert in_place(run, path, backup, "n\n").exit_code == 10
    assert digest(path) == before and not backup.exists()
    assert in_place(run, path, backup).exit_code == 0
    assert loaded_records(path) == TABLE
    assert Path(path).read_bytes()[2 << 20 :].startswith(b"data")
    assert run("meta", "check", str(backup)).exit_code == 1, "the backup is of what was there"
    again = digest(path)
    result = in_place(run, path, tmp_path / "second")
    assert result.exit_code == 0 and "nothing" in result.stderr
    assert digest(path) == again and not (tmp_path / "second").exists()


def test_repair_of_what_may_be_old(run: Run, store: Store, tmp_path: Path) -> None:
    """What is left of three headers has a number that no failed commit leads to."""
    image = good()
    for copy in range(3):
        at = copy * 256 * 512
        header = bytearray(image.read(at, BLOCK))
        header[8:16] = (int.from_bytes(header[8:16], "little") + 18).to_bytes(8, "little")
        image.put(at, bytes(header))
    path, backup = store(image), tmp_path / "backup"
    before = digest(path)
    checked = run("meta", "check", path)
    assert checked.exit_code == 1 and "minority" in checked.stdout
    for extra in ([], ["--dry-run"]):
        refused = run("meta", "repair", "--in-place", "--backup", str(backup), *extra, path)
        assert refused.exit_code == 3 and "--anyway" in refused.stderr
    assert digest(path) == before and not backup.exists()
    out = tmp_path / "out"
    told = run("meta", "repair", "-o", str(out), path)
    assert told.exit_code == 0 and "warning: a minority of the headers" in told.stderr
    assert loaded_records(str(out)) == TABLE
    assert "minority" not in run("meta", "repair", "-o", str(tmp_path / "other"), "--quiet", path).stderr
    mended = run("meta", "repair", "--in-place", "--anyway", "--backup", str(backup), path, answer="y\n")
    assert mended.exit_code == 0 and loaded_records(path) == TABLE
    assert run("meta", "check", path).exit_code == 0


def test_repair_changes_nothing_without_a_backup(run: Run, store: Store, tmp_path: Path) -> None:
    path, backup = store(hurt()), tmp_path / "backup"
    backup.write_text("mine")
    before = digest(path)
    assert in_place(run, path, backup).exit_code == 2
    assert digest(path) == before and backup.read_text() == "mine"


def test_repair_takes_a_lock(run: Run, store: Store, tmp_path: Path) -> None:
    path = store(hurt())
    with Path(path).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert in_place(run, path, tmp_path / "backup").exit_code == 5
    assert not (tmp_path / "backup").exists()


# In use


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_source, "user_of", lambda *_: "in use by r0")


@pytest.mark.usefixtures("used")
def test_a_spare_in_use_is_said_to_be(run: Run, store: Store, tmp_path: Path) -> None:
    path = store(good())
    assert "in use by r0" in run("meta", "check", path).stdout
    assert json.loads(run("meta", "check", "--json", path).stdout)["in_use"] == "in use by r0"
    assert "in use by r0" in run("meta", "inspect", path).stdout
    out = str(tmp_path / "out")
    assert run("meta", "backup", path, out).exit_code == 0
    assert Path(out).read_bytes() == Path(path).read_bytes()
    result = in_place(run, path, tmp_path / "backup")
    assert result.exit_code == 5 and "message NAME repair" in result.stderr


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(("changes", "code"), [(3, 0), (10**6, 5)])
def test_it_is_read_until_it_stands_still(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch, changes: int, code: int
) -> None:
    """A commit comes while it is read, for so many times."""
    path, left = store(good()), [changes]
    real = os.pread

    def read(fd: int, length: int, offset: int) -> bytes:
        if offset == slots()[4] + 3 * BLOCK and left[0] > 0:
            left[0] -= 1
            later = spare(TABLE, spare_sectors=SECTORS, sequence=10 + changes - left[0])
            with Path(path).open("r+b") as file:
                for place, block in later.blocks.items():
                    file.seek(place)
                    file.write(block)
        return real(fd, length, offset)

    monkeypatch.setattr(os, "pread", read)
    result = run("meta", "check", "--json", path)
    assert result.exit_code == code
    if not code:
        assert json.loads(result.stdout)["sequence"] == 13


# Errors


def test_an_io_error_is_told(run: Run, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(good())

    def fail(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    for command in ("check", "dump", "inspect"):
        result = run("meta", command, path)
        assert (result.exit_code, "Input/output error" in result.stderr) == (6, True)


def test_a_backup_goes_on_where_it_cannot_read(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = store(good()), tmp_path / "out"
    unreadable(monkeypatch, path, slots()[3])
    result = run("meta", "backup", path, str(out))
    assert result.exit_code == 6 and "1 blocks cannot be read, the first at byte 393216" in result.stderr
    monkeypatch.undo()
    wanted = bytearray(Path(path).read_bytes())
    wanted[slots()[3] : slots()[3] + BLOCK] = bytes(BLOCK)
    assert out.read_bytes() == wanted


@pytest.mark.usefixtures("used")
def test_so_it_does_where_the_spare_is_in_use(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = store(good()), tmp_path / "out"
    unreadable(monkeypatch, path, 0)
    result = run("meta", "backup", path, str(out))
    assert result.exit_code == 6 and "1 blocks cannot be read, the first at byte 0" in result.stderr
    assert out.read_bytes() == bytes(BLOCK) + Path(path).read_bytes()[BLOCK:]


@pytest.mark.parametrize(
    ("bad", "extra"), [([0], []), ([slots()[1] + BLOCK], []), (slots()[:3], ["--anyway"])]
)
def test_what_cannot_be_read_is_mended_in_place(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: list[int], extra: list[str]
) -> None:
    path, backup = store(good()), tmp_path / "backup"
    wanted = bytearray(Path(path).read_bytes())
    for at in bad:
        wanted[at : at + BLOCK] = bytes(BLOCK)
    unreadable(monkeypatch, path, *bad)
    words = ["meta", "repair", "--in-place", "--yes", "--backup", str(backup), *extra, path]
    if extra:
        assert run(*(word for word in words if word not in extra)).exit_code == 3
    result = run(*words, "--json")
    assert (result.exit_code, json.loads(result.stdout)["unread"]) == (0, bad)
    assert loaded_records(path) == TABLE and run("meta", "check", path).exit_code == 0
    assert backup.read_bytes() == wanted


def test_what_the_backup_lacks_is_told(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, backup = store(good()), tmp_path / "backup"
    unreadable(monkeypatch, path, *slots()[3:])
    result = in_place(run, path, backup)
    lacks = f"is in {backup}, but for 2 blocks that could not be read, the first at byte {slots()[3]}"
    assert result.exit_code == 0 and lacks in result.stderr


def test_nothing_is_left_of_a_file_that_could_not_be_written(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = store(hurt()), tmp_path / "out"

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    output = str(out)
    for arguments in (["repair", path, "-o", output], ["backup", path, output], ["dump", "-o", output, path]):
        result = run("meta", *arguments)
        assert (result.exit_code, "No space left" in result.stderr) == (6, True)
        assert output in result.stderr
        assert not out.exists()


# An interrupted write


@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("command", ["restore", "import-legacy"])
def test_what_is_half_written_is_never_taken_for_blank(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, copies: int,
    power: bool,
) -> None:  # fmt: skip
    source, sectors = tmp_path / "source", SECTORS if command == "restore" else OLD_SECTORS
    if command == "restore":
        run("meta", "dump", "-o", str(source), store(spare(TABLE, spare_sectors=SECTORS, copies=copies)))
        options = []
    else:
        source.write_bytes(v42([(1000, 5000, 1, ACTIVE), (2000, 4999, 1, ACTIVE)]))
        options = ["--copies", str(copies), "--uuid", str(UUID_A)]
    path = store(spare((), spare_sectors=sectors, uuid=UUID_B, copies=8, spacing=64), "other.img")
    before = Path(path).read_bytes()
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: os.pwritev(fd, [data], offset))
    storage = Storage(monkeypatch, [path])
    words = ("meta", command, *options, "--yes", "--force", str(source), path)
    found: set[object] = set()
    marked, cut = b"", 0
    while True:
        cut += 1
        Path(path).write_bytes(before)
        storage.steps, storage.cut = 0, cut
        try:
            assert run(*words).exit_code == 0
            break
        except Cut:
            storage.cut = None
        if power:
            storage.lose(random.Random(cut))
        data = Path(path).read_bytes()
        try:
            found.add(load(lambda offset, length: data[offset : offset + length], len(data)).uuid)  # noqa: B023
        except OutOfService as error:
            assert error.mark and error.mark.condition is Condition.UNFINISHED, f"step {cut}"
            found.add("marked")
            marked = data
    storage.cut = None
    whole = Path(path).read_bytes()
    assert run("meta", "check", path).exit_code == 0 and cut > 20
    assert found == {UUID_B, "marked", UUID_A}
    # From what it has left the same command makes the same.
    Path(path).write_bytes(marked)
    told = run(*(word for word in words if word != "--force"))
    assert told.exit_code == 5 and "was not finished" in told.stderr
    assert run(*words).exit_code == 0
    again = Path(path).read_bytes()
    # An import says when it was.
    assert again == whole if command == "restore" else loaded_records(path)


def test_what_lies_far_behind_in_a_large_region_is_something(run: Run, store: Store, tmp_path: Path) -> None:
    text, path = str(tmp_path / "dump"), tmp_path / "blank.img"
    run("meta", "dump", "-o", text, store(spare((), spare_sectors=4 * SECTORS, spacing=1024)))
    path.write_bytes(bytes(4 * SECTORS * 512))
    with path.open("r+b") as file:
        file.seek(700 << 10)
        file.write(b"secret")
    result = run("meta", "restore", "--yes", text, str(path))
    assert result.exit_code == 5 and "data of unknown kind" in result.stderr
    assert b"secret" in path.read_bytes()


def test_what_comes_while_the_question_stands_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "blank.img"
    path.write_bytes(bytes(SECTORS * 512))
    plan = meta.plan_restore(meta.dump(meta.load(store(good()))), str(path))
    assert plan.destination.loses == ()
    with path.open("r+b") as file:
        file.seek(0x438)
        file.write(b"\x53\xef")
    before = path.read_bytes()
    with pytest.raises(Busy, match="ext2/3/4"):
        meta.restore(plan)
    assert path.read_bytes() == before
