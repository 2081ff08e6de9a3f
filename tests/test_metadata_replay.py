"""What records add up to, against a model that keeps one entry a sector."""

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontrol.metadata import Corrupt, Kind, Record, pack, replay
from pycontrol.metadata.records import Limits
from pycontrol.metadata.table import check_places
from tests.test_metadata_images import remaps, spare

LIMITS = Limits(64, 4096, 512)


def record_lists() -> st.SearchStrategy[list[Record]]:
    def build(kind: Kind, main: int, sectors: int, spare: int, errors: int, when: int) -> Record:
        sectors = min(sectors, 64 - main)
        if kind is Kind.BAD_SPARE:
            return Record(0, spare, sectors, kind, errors, when)
        return Record(main, spare if kind is Kind.REMAP else 0, sectors, kind, errors, when)

    one = st.builds(
        build, st.sampled_from(Kind), st.integers(0, 63), st.integers(1, 20),
        st.integers(2048, 2100), st.integers(0, 9), st.integers(0, 9),
    )  # fmt: skip
    return st.lists(one, max_size=60)


def model(records: list[Record]) -> tuple[dict[int, tuple[Kind, int]], set[int]]:
    state: dict[int, tuple[Kind, int]] = {}
    bad: set[int] = set()
    for main, spare_sector, sectors, kind, _, _ in records:
        for at in range(sectors):
            match kind:
                case Kind.REMAP:
                    state[main + at] = (Kind.REMAP, spare_sector + at)
                case Kind.PENDING:
                    state[main + at] = (Kind.PENDING, 0)
                case Kind.FREE:
                    state.pop(main + at, None)
                case Kind.BAD_SPARE:
                    bad.add(spare_sector + at)
    return state, bad


@settings(max_examples=400, deadline=None)
@given(record_lists())
def test_replay_is_the_model(records: list[Record]) -> None:
    extents, bad = replay(pack(records), LIMITS)
    state, bad_sectors = model(records)
    found = {
        extent.main + at: (extent.kind, extent.spare + at if extent.kind is Kind.REMAP else 0)
        for extent in extents
        for at in range(extent.sectors)
    }
    assert found == state
    assert {start + at for start, sectors in bad for at in range(sectors)} == bad_sectors
    assert sum(sectors for _, sectors in bad) == len(bad_sectors)
    listed = list(extents)
    assert sum(extent.sectors for extent in listed) == len(state)
    for left, right in pairwise(listed):
        assert left.main + left.sectors <= right.main
        follows = left.kind is Kind.PENDING or left.spare + left.sectors == right.spare
        assert not (left.kind is right.kind and left.main + left.sectors == right.main and follows)


@settings(deadline=None)
@given(record_lists())
def test_places_are_checked_as_the_model_would(records: list[Record]) -> None:
    extents, bad = replay(pack(records), LIMITS)
    state, bad_sectors = model(records)
    used = [place for kind, place in state.values() if kind is Kind.REMAP]
    taken = bad_sectors | set(range(2090, 2095))
    wrong = len(used) != len(set(used)) or bool(taken & set(used)) or any(place < 2060 for place in used)
    if wrong:
        with pytest.raises(Corrupt):
            check_places(extents, 2060, [*bad, (2090, 5)])
    else:
        check_places(extents, 2060, [*bad, (2090, 5)])


def test_neighbours_merge_and_partial_replacement_splits() -> None:
    records = [
        Record(10, 3000, 1, 1, 1, 5), Record(11, 3001, 1, 1, 4, 3), Record(12, 3002, 8, 1),
        Record(14, 0, 2, 2, 1, 9), Record(15, 0, 1, 4),
    ]  # fmt: skip
    extents = spare(records).load().extents
    assert list(extents) == [
        (10, 3000, 4, Kind.REMAP, 4, 5),
        (14, 0, 1, Kind.PENDING, 1, 9),
        (16, 3006, 4, Kind.REMAP, 0, 0),
    ]
    assert (extents.count(Kind.REMAP), extents.sectors(Kind.REMAP), extents.sectors(Kind.PENDING)) == (
        2,
        8,
        1,
    )
    assert extents[-1] == extents[1:][1]
    with pytest.raises(IndexError):
        extents[3]


@pytest.mark.parametrize("first", [0, 1])
def test_neighbours_that_nothing_replaces_merge_only_if_they_go_on_in_each_other(first: int) -> None:
    one, other, apart = Record(10, 3000, 4, 1), Record(14, 3004, 4, 1), Record(14, 3005, 4, 1)
    for records, merged in (([one, other], 1), ([one, apart], 2)):
        extents, _ = replay(pack(records[first:] + records[:first]), LIMITS)
        assert len(extents) == merged
        assert (extents.live, extents[0].main, extents[0].spare) == (2, 10, 3000)


@pytest.mark.parametrize("kind", [Kind.REMAP, Kind.PENDING])
def test_what_goes_on_is_found_in_whatever_order_it_was_recorded(kind: Kind) -> None:
    spare_of = (lambda at: 3000 + 4 * at) if kind is Kind.REMAP else (lambda at: 0)
    records = [Record(4 * at, spare_of(at), 4, kind, at, 9 - at) for at in (5, 0, 3, 1, 4, 7)]
    extents, _ = replay(pack(records), LIMITS)
    assert list(extents) == [
        (0, spare_of(0), 8, kind, 1, 9),
        (12, spare_of(3), 12, kind, 5, 6),
        (28, spare_of(7), 4, kind, 7, 2),
    ]
    assert [extents.origin(at) for at in extents.order] == [1, 2, 5]


def test_neighbours_on_one_device_only_are_left_alone() -> None:
    # On main they touch in any order; on the spare, what touches is elsewhere on main.
    records = [Record(4 * at, 3000 + 4 * number, 4, 1) for number, at in enumerate((5, 0, 3, 1, 4, 2))]
    replaced = [
        *records,
        Record(40, 3100, 4, 1),
        Record(42, 0, 1, 4),
        Record(44, 3200, 4, 1),
        Record(48, 3300, 4, 1),
    ]
    extents, _ = replay(pack(records), LIMITS)
    assert (len(extents), list(extents.shared)) == (6, [])
    # The third touches what is replaced in part, and might go on in it; the fourth cannot.
    extents, _ = replay(pack(replaced), LIMITS)
    assert (len(extents), list(extents.shared)) == (10, [6, 7, 8])


@pytest.mark.parametrize(
    "records",
    [
        [Record(10, 3000, 4, 1), Record(20, 3003, 4, 1)],
        [Record(10, 2047, 1, 1)],
        [Record(10, 3000, 4, 1), Record(0, 3002, 1, 8)],
        [Record(10, 3000, 4, 2)],
        [Record(10, 3000, 4, 4)],
        [Record(10, 3000, 4, 8)],
        [Record(0, (1 << 20) - 1, 2, 8)],
        [Record((1 << 21) - 1, 3000, 2, 1)],
    ],
)
def test_impossible_tables_are_refused(records: list[Record]) -> None:
    with pytest.raises(Corrupt):
        spare(records).load()


def test_remap_into_a_log_segment_is_refused() -> None:
    table = [*remaps(118 * 15), Record(0, 2050, 1, 1)]
    with pytest.raises(Corrupt, match="log segment"):
        spare(table).load()


def test_what_was_freed_may_have_been_anywhere_behind_the_metadata() -> None:
    freed = Record(10, 0, 4, 4)
    loaded = spare([Record(10, 3000, 4, 1), Record(20, 3002, 4, 1), freed]).load()
    assert len(loaded.extents) == 1
    assert len(loaded.records) == 3
    with pytest.raises(Corrupt, match="into the metadata"):
        spare([Record(10, 3, 4, 1), freed]).load()


@pytest.mark.parametrize("field", range(3))
def test_records_are_whole_logical_blocks(field: int) -> None:
    sound = [8, 4096, 8, 1]
    assert len(spare([Record._make([*sound, 0, 0])], block_size=4096).load().extents) == 1
    sound[field] += 1
    with pytest.raises(Corrupt, match="logical block"):
        spare([Record._make([*sound, 0, 0])], block_size=4096).load()


def test_many_overlapping_records_take_no_longer_than_disjoint_ones() -> None:
    count = 100_000
    nested = pack(Record(index, 0, 2 * count - 2 * index, 2 + 2 * (index % 2)) for index in range(count))
    begun = time.monotonic()
    extents, _ = replay(nested, Limits(2 * count, 4096, 512))
    assert time.monotonic() - begun < 10
    assert len(extents) == count
