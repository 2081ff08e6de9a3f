"""Ranges as columns, against what is said of them one by one."""

from array import array
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.metadata.ranges import (
    apart,
    bounds,
    crowded,
    either,
    kept,
    merged,
    picked,
    spread,
    touched,
    within,
)

RANGES = st.lists(st.tuples(st.integers(0, 60), st.sampled_from([4, 4, 4, 1, 2, 7])), max_size=12)


def columns(ranges: list[tuple[int, int]]) -> tuple["array[int]", "array[int]"]:
    return array("Q", [start for start, _ in ranges]), array("Q", [sectors for _, sectors in ranges])


@given(RANGES)
def test_bounds_are_sorted_each_by_itself(ranges: list[tuple[int, int]]) -> None:
    starts, ends = bounds(*columns(ranges))
    assert list(starts) == sorted(start for start, _ in ranges)
    assert list(ends) == sorted(start + sectors for start, sectors in ranges)


@given(RANGES, st.integers(0, 60), st.integers(1, 9))
def test_ranges_that_share_a_sector(ranges: list[tuple[int, int]], start: int, sectors: int) -> None:
    sets = [set(range(begin, begin + length)) for begin, length in ranges]
    starts, ends = bounds(*columns(ranges))
    disjoint = all(one.isdisjoint(other) for one, other in combinations(sets, 2))
    assert apart(starts, ends) is disjoint
    if disjoint:
        assert touched(starts, ends, start, sectors) is any(
            {*range(start, start + sectors)} & each for each in sets
        )


WIDE = st.lists(st.tuples(st.integers(0, 300), st.sampled_from([4, 1, 2, 7])), max_size=12)


@given(st.one_of(RANGES, WIDE))
def test_who_is_not_crowded_is_alone(ranges: list[tuple[int, int]]) -> None:
    close = crowded(*columns(ranges))
    assert len(close) == len(ranges)
    for at, (start, length) in enumerate(ranges):
        if not close[at]:
            others = ranges[:at] + ranges[at + 1 :]
            assert all(
                end < start or start + length < begin for begin, end in ((b, b + n) for b, n in others)
            )


def test_ranges_of_many_lengths_and_with_room_are_not_crowded() -> None:
    ranges = [(100 * at, at % 7 + 1) for at in range(50)]
    assert crowded(*columns(ranges)) == bytes(50)
    # But for those that another one touches.
    assert crowded(*columns([*ranges, (301, 3)])) == bytes(3) + b"\1" + bytes(46) + b"\1"


@given(RANGES, st.integers(0, 70))
def test_within(ranges: list[tuple[int, int]], end: int) -> None:
    assert within(*columns(ranges), end) is all(start + sectors <= end for start, sectors in ranges)


def test_no_number_is_too_large_to_be_within() -> None:
    ends = columns([(0, 1), ((1 << 64) - 1, (1 << 32) - 1)])
    assert not within(*ends, 1 << 54)
    assert within(*ends, 1 << 65)


@given(st.lists(st.booleans(), max_size=40))
def test_kept(chosen: list[bool]) -> None:
    numbers = array("H", range(len(chosen)))
    left = kept(numbers, bytes(chosen))
    assert (list(left), left.typecode) == ([at for at, each in enumerate(chosen) if each], "H")


@given(RANGES)
def test_union(ranges: list[tuple[int, int]]) -> None:
    union = merged([(start, start + sectors) for start, sectors in ranges])
    covered = [at for start, sectors in union for at in range(start, start + sectors)]
    assert covered == sorted({at for start, sectors in ranges for at in range(start, start + sectors)})
    assert all(one[0] + one[1] < other[0] for one, other in pairwise(union))


@pytest.mark.parametrize("order", [[], [2], [2, 0], [1, 1, 2, 0]])
def test_picked(order: list[int]) -> None:
    kinds, mains = picked(order, array("H", [5, 6, 7]), array("Q", [10, 11, 12]))
    assert (list(kinds), list(mains)) == ([5 + at for at in order], [10 + at for at in order])
    assert (kinds.typecode, mains.typecode) == ("H", "Q")


@pytest.mark.parametrize(
    ("pairs", "members"),
    [(b"", [0]), (b"\0", [0, 0]), (b"\1", [1, 1]), (b"\0\1\0", [0, 1, 1, 0]), (b"\1\1\0", [1, 1, 1, 0])],
)
def test_either(pairs: bytes, members: list[int]) -> None:
    assert list(either(pairs)) == members


@given(st.lists(st.sampled_from([(0, 0), (0, 1), (1, 0)])))
def test_spread(rows: list[tuple[int, int]]) -> None:
    pairs, touching = (bytes(row[at] for row in rows) for at in (0, 1))
    wanted = [
        pair or (touch and 1 in (*pairs[max(at - 1, 0) : at], *pairs[at + 1 : at + 2]))
        for at, (pair, touch) in enumerate(rows)
    ]
    assert list(spread(pairs, touching)) == wanted
