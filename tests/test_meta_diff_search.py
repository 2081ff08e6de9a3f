"""``meta diff`` and ``meta search``."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontrol.metadata import BLOCK, Kind, Record, pack, replay
from pycontrol.metadata.diff import Moved, Place, moved
from pycontrol.metadata.records import Limits
from pycontrol.metadata.search import search
from tests.conftest import Run
from tests.faults import unreadable
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, remaps, slots, spare

SECTORS = 5120


def store(image: Sparse, path: Path, begin: int = 0) -> str:
    with path.open("wb") as file:
        file.truncate(begin + image.size)
        for place, block in image.blocks.items():
            file.seek(begin + place)
            file.write(block)
    return str(path)


# diff


def test_the_same_state_in_other_places_is_the_same(run: Run, tmp_path: Path) -> None:
    table = remaps(300, 2560)
    one = store(spare(table, spare_sectors=SECTORS), tmp_path / "a")
    damaged = spare(table, spare_sectors=SECTORS, second_half=True)
    damaged.flip(0)
    other = store(damaged, tmp_path / "b")
    result = run("meta", "diff", one, other)
    assert (result.exit_code, result.stdout) == (0, "the same\n")
    assert json.loads(run("meta", "diff", "--json", one, other).stdout) == {
        "same": True, "fields": [], "moved": [],
    }  # fmt: skip


def test_what_is_different(run: Run, tmp_path: Path) -> None:
    first = [Record(10, 3000, 4, 1), Record(20, 0, 2, 2), Record(30, 3010, 1, 1)]
    second = [Record(12, 3100, 1, 1), Record(20, 3020, 1, 1), Record(30, 3010, 1, 1), Record(0, 4000, 1, 8)]
    one = store(spare(first, spare_sectors=SECTORS, sequence=4), tmp_path / "a")
    other = store(spare(first + second, spare_sectors=SECTORS, sequence=5), tmp_path / "b")
    result = run("meta", "diff", "--json", one, other)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["fields"] == [
        {"name": "sequence", "first": 4, "second": 5},
        {"name": "bad_spare", "first": [], "second": [[4000, 1]]},
    ]
    assert found["moved"] == [
        {
            "main": 12, "sectors": 1, "first": {"kind": "remap", "spare": 3002},
            "second": {"kind": "remap", "spare": 3100},
        },
        {
            "main": 20, "sectors": 1, "first": {"kind": "pending", "spare": None},
            "second": {"kind": "remap", "spare": 3020},
        },
    ]  # fmt: skip
    text = run("meta", "diff", one, other).stdout
    assert "spare sector 3100" in text and "pending" in text
    assert run("meta", "diff", "--max", 25 * "9", one, other).stdout == text
    assert run("meta", "diff", "-q", one, other).output == ""
    words = run("meta", "diff", "--help").output
    assert [key for key in [*found, *found["moved"][0]] if key not in words] == []
    assert run("meta", "diff", one, str(tmp_path / "none")).exit_code == 4


def tables() -> st.SearchStrategy[list[Record]]:
    def build(kind: Kind, main: int, sectors: int, place: int) -> Record:
        return Record(main, place if kind is Kind.REMAP else 0, min(sectors, 48 - main), kind)

    kinds = st.sampled_from([Kind.REMAP, Kind.PENDING, Kind.FREE])
    return st.lists(
        st.builds(build, kinds, st.integers(0, 47), st.integers(1, 12), st.integers(60, 80)), max_size=12
    )


@settings(max_examples=400, deadline=None)
@given(tables(), tables())
def test_moved_is_what_a_map_of_each_sector_says(first: list[Record], second: list[Record]) -> None:
    def place(extents: object, main: int) -> Place | None:
        for extent in extents:  # type: ignore[attr-defined]
            if extent.main <= main < extent.main + extent.sectors:
                remap = extent.kind is Kind.REMAP
                return Place(extent.kind, extent.spare + main - extent.main if remap else None)
        return None

    limits = Limits(48, 4096, 512)
    one, other = (replay(pack(records), limits)[0] for records in (first, second))
    found: dict[int, tuple[Place | None, Place | None]] = {}
    runs = list(moved(one, other))
    for run in runs:
        for at in range(run.sectors):
            assert run.main + at not in found
            shifted = [
                each and Place(each.kind, None if each.spare is None else each.spare + at)
                for each in (run.first, run.second)
            ]
            found[run.main + at] = (shifted[0], shifted[1])
    wanted = {main: (place(one, main), place(other, main)) for main in range(48)}
    assert found == {main: both for main, both in wanted.items() if both[0] != both[1]}
    assert runs == sorted(runs, key=lambda run: run.main)


def test_neighbours_that_moved_alike_are_one() -> None:
    limits = Limits(48, 4096, 512)
    one = replay(pack([Record(1, 60, 2, 1), Record(3, 62, 5, 1)]), limits)[0]
    assert list(moved(one, replay(b"", limits)[0])) == [Moved(1, 7, Place(Kind.REMAP, 60), None)]


# search


def test_a_spare_at_an_unknown_place(run: Run, tmp_path: Path) -> None:
    image = spare(remaps(300, 2560), spare_sectors=SECTORS, sequence=7)
    image.flip(0)
    image.wipe(slots()[1])
    path = store(image, tmp_path / "disk", begin=3 * 512)
    result = run("meta", "search", "--json", path)
    found = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert found["spares"] == [{"uuid": str(UUID_A), "begins": 1536, "headers": 3, "sequence": 7}]
    kinds = [hit["kind"] for hit in found["hits"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {"header": 4, "info": 5, "log": 10}
    damaged = [hit for hit in found["hits"] if not hit["valid"]]
    assert [(hit["offset"], hit["uuid"]) for hit in damaged] == [(1536, None)]
    begins = found["spares"][0]["begins"]
    assert run("meta", "check", "--offset", str(begins), path).exit_code == 1
    text = run("meta", "search", path)
    assert "begins at byte 1536: 3 headers" in text.stdout and "10 log blocks" in text.stdout
    assert run("meta", "search", "-q", path).output == ""
    words = run("meta", "search", "--help").output
    assert [key for key in [*found["spares"][0], *found["hits"][0]] if key not in words] == []


def test_two_spares_and_one_copy_with_its_shadow() -> None:
    one = spare((), copies=1, spare_sectors=SECTORS)
    other = spare((), uuid=UUID_B, copies=2, spare_sectors=SECTORS)
    device = Sparse({8 << 20 | place: block for place, block in one.blocks.items()}.items(), 1 << 16)
    device.blocks |= {16 << 20 | place: block for place, block in other.blocks.items()}
    headers = [hit for hit in search(device.read, device.size) if hit.kind == "header"]
    assert [(hit.uuid, hit.begins) for hit in headers] == [
        (UUID_A, 8 << 20), (UUID_A, 8 << 20), (UUID_B, 16 << 20), (UUID_B, 16 << 20),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "kind"),
    [(b"DMREMAP3", "v3.0"), (b"4RMD\4\0\0\0".ljust(32, b"\0") + (84288).to_bytes(4, "little"), "v4.2")],
)
def test_earlier_formats(first: bytes, kind: str) -> None:
    device = Sparse([(5 << 20, first.ljust(BLOCK, b"\0"))])
    assert [(hit.offset, hit.kind) for hit in search(device.read, device.size)] == [(5 << 20, kind)]


def test_what_cannot_be_read_is_passed_over() -> None:
    image = spare((), spare_sectors=SECTORS)
    image.failing.add(slots()[0])
    done: list[int] = []
    hits = list(search(image.read, image.size, done.append))
    assert [hit.offset for hit in hits if hit.kind == "header"] == slots()[1:]
    assert sum(done) == image.size


def test_a_spare_behind_what_cannot_be_read_is_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(spare((), spare_sectors=SECTORS), tmp_path / "disk", begin=1 << 20)
    unreadable(monkeypatch, path, 0x3000)
    result = run("meta", "search", "--json", path)
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["spares"]
    assert (found["begins"], found["headers"]) == (1 << 20, 5)


def test_nothing_found(run: Run, tmp_path: Path) -> None:
    path = store(Sparse([(0, b"4RMX".ljust(BLOCK, b"\0"))], SECTORS), tmp_path / "disk")
    result = run("meta", "search", path)
    assert result.exit_code == 4 and "no metadata of dm-remap" in result.stderr
