"""The rebuilding of disks after a power cut, on logs written by hand; no machine needed."""

import zlib
from pathlib import Path

import pytest
from harness.powercut import Failures, as_stored, rebuild
from harness.writelog import DISCARD, FLUSH, FUA, SECTOR, BadLog, Entry, encode, read_log

SIZE = 64 * SECTOR


def wr(sector: int, fill: str, count: int = 1, flags: int = 0) -> Entry:
    return Entry(sector, count, flags, fill.encode() * SECTOR * count)


flush = Entry(0, 0, FLUSH)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"." * SIZE)
    return path


def letters(image: Path) -> str:
    """One letter a sector; `#` for one that is not uniform."""
    data = image.read_bytes()
    sectors = [data[i : i + SECTOR] for i in range(0, len(data), SECTOR)]
    return "".join(chr(s[0] or ord("0")) if len(set(s)) == 1 else "#" for s in sectors)


def test_a_log_is_read_back(tmp_path: Path) -> None:
    entries = [wr(3, "a", 5), flush, Entry(1, 2, DISCARD), wr(0, "b", 1, FUA)]
    path = tmp_path / "log"
    path.write_bytes(encode(entries))
    assert list(read_log(path, SIZE)) == entries


def test_entries_behind_the_count_in_the_super_block_are_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(encode([wr(3, "a"), flush, wr(4, "b")], nr_entries=1))
    assert [e.sector for e in read_log(path, SIZE)] == [3, 0, 4]


def test_a_log_without_super_block_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(SECTOR) + encode([wr(3, "a")])[SECTOR:])
    assert list(read_log(path, SIZE)) == [wr(3, "a")]


def test_a_hole_left_by_an_entry_that_was_never_written_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = encode([wr(3, "a"), wr(9, "x", 4), wr(5, "b")])
    path.write_bytes(log[: 3 * SECTOR] + bytes(5 * SECTOR) + log[8 * SECTOR :])
    assert [e.sector for e in read_log(path, SIZE)] == [3, 5]


def test_nonsense_in_a_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(encode([wr(3, "a")]) + b"z" * SECTOR)
    with pytest.raises(BadLog):
        list(read_log(path, SIZE))


@pytest.mark.parametrize("seed", range(20))
def test_what_was_flushed_is_kept_and_what_was_not_may_be_lost(image: Path, seed: int) -> None:
    cut = rebuild(image, [wr(1, "a"), wr(2, "b"), flush, wr(2, "c"), wr(3, "d")], seed)
    assert letters(image)[:2] == ".a"
    assert letters(image)[2] in "bc"
    assert letters(image)[3] in ".d"
    assert cut.flushed == 2 and cut.kept + cut.torn + cut.lost == 2


def test_every_outcome_is_met_by_some_seed(image: Path) -> None:
    outcomes = set()
    for seed in range(60):
        image.write_bytes(b"." * SIZE)
        rebuild(image, [wr(0, "a"), wr(1, "b"), wr(2, "c")], seed)
        outcomes.add(letters(image)[:3])
    assert len(outcomes) == 8


def test_seeds_repeat(image: Path) -> None:
    log = [wr(i, "a", 3) for i in range(0, 60, 4)]
    rebuild(image, log, 7)
    first = letters(image)
    image.write_bytes(b"." * SIZE)
    rebuild(image, log, 7)
    assert letters(image) == first


def test_nothing_or_all_of_the_rest_can_be_asked_for(image: Path) -> None:
    log = [wr(0, "a", 4), flush, wr(0, "b", 4)]
    rebuild(image, log, 1, keep=0)
    assert letters(image)[:5] == "aaaa."
    rebuild(image, log, 1, keep=1, torn=False)
    assert letters(image)[:5] == "bbbb."


def test_writes_tear_between_sectors_only(image: Path) -> None:
    torn = set()
    for seed in range(100):
        image.write_bytes(b"." * SIZE)
        rebuild(image, [wr(0, "a", 8)], seed, keep=1)
        torn.add(letters(image)[:8])
    assert "aaaaaaaa" in torn and len(torn) > 5 and not any("#" in t for t in torn)


def test_fua_writes_are_durable_without_a_flush(image: Path) -> None:
    rebuild(image, [wr(0, "a"), wr(1, "b", 1, FUA)], 1, keep=0)
    assert letters(image)[:2] == ".b"


def test_a_flushed_discard_zeroes(image: Path) -> None:
    rebuild(image, [Entry(1, 2, DISCARD), flush], 1, keep=0)
    assert letters(image)[:4] == ".00."


def test_a_failed_write_stored_what_came_before_the_bad_sector(image: Path) -> None:
    """Two equal writes: the first failed at its third sector, the second, after healing, did not."""
    write = wr(0, "a", 4)
    key = (0, 4 * SECTOR, zlib.crc32(write.data))
    failures = Failures(seen={key: 2}, done={(key, 1): 2 * SECTOR})
    rebuild(image, as_stored([write, flush], failures), 1)
    assert letters(image)[:4] == "aa.."
    rebuild(image, as_stored([write, write, flush], failures), 1)
    assert letters(image)[:4] == "aaaa"


def test_a_logged_write_that_the_disk_never_saw_is_noticed() -> None:
    with pytest.raises(AssertionError, match="never saw"):
        list(as_stored([wr(0, "a")], Failures()))
