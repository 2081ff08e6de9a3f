"""What lanes answer about a million numbers at once, against the same asked of one after the other."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.metadata.lanes import Lanes

LARGEST = (1 << 63) - 1
# Few values, so that some are alike; and those at which a carry or a borrow would be seen next door.
NUMBERS = st.one_of(st.integers(0, 3), st.sampled_from([LARGEST - 1, LARGEST]), st.integers(0, LARGEST))
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=9)


def lanes(numbers: list[int]) -> Lanes:
    return Lanes.of(array("Q", numbers))


def split(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


@given(st.lists(NUMBERS, max_size=9))
def test_there_and_back(numbers: list[int]) -> None:
    assert lanes(numbers).column() == array("Q", numbers)
    assert bool(lanes(numbers)) is any(numbers)


@given(st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(0, LARGEST - (1 << 62))), max_size=9))
def test_sums(pairs: list[tuple[int, int]]) -> None:
    ones, others = split(pairs)
    assert (lanes(ones) + lanes(others)).column().tolist() == list(map(sum, pairs))
    assert (lanes(ones) + 7).column().tolist() == [one + 7 for one in ones]


@given(PAIRS)
def test_comparisons(pairs: list[tuple[int, int]]) -> None:
    ones, others = split(pairs)
    assert list(lanes(ones).above(lanes(others)).flags()) == [one > other for one, other in pairs]
    assert list(lanes(ones).equal(lanes(others)).flags()) == [one == other for one, other in pairs]


@given(st.lists(NUMBERS, max_size=9))
def test_nothing_is_behind_the_last(numbers: list[int]) -> None:
    assert lanes(numbers).following().column().tolist() == [*numbers, LARGEST][1:]


@pytest.mark.parametrize("both", [[(0, 0), (0, 1), (1, 0), (1, 1)], []])
def test_both_answers(both: list[tuple[int, int]]) -> None:
    ones, others = split(both)
    assert list((lanes(ones) & lanes(others)).flags()) == [one and other for one, other in both]
