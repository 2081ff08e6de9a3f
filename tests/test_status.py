"""The status and table lines of the target."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol.service.status import MODES, StatusError, TargetStatus, TargetTable

number = st.integers(0, (1 << 64) - 1)
word = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=12)
words = st.lists(word, max_size=5).map(tuple)
statuses = st.builds(
    TargetStatus, number, number, number, number, number, number, number, number, number, number, number,
    words, words, st.sampled_from(MODES), st.booleans(),
)  # fmt: skip

LINE = "16/4096 2 1 4/5 77 3 9 8 24 3 copies 5 relocate_weak 2 degraded breaker ro needs_check"


def test_every_field_by_hand() -> None:
    state = TargetStatus.parse(LINE)
    assert (state.used_sectors, state.total_sectors) == (16, 4096)
    assert (state.remapped_extents, state.pending_extents) == (2, 1)
    assert (state.valid_copies, state.copies, state.sequence) == (4, 5, 77)
    assert (state.read_errors, state.write_errors) == (3, 9)
    assert (state.sectors_salvaged, state.sectors_lost) == (8, 24)
    assert state.features == ("copies", "5", "relocate_weak")
    assert state.errors == ("degraded", "breaker")
    assert (state.mode, state.needs_check, state.healthy) == ("ro", True, False)
    assert str(state) == LINE


def test_healthy_is_only_a_device_with_nothing_to_do() -> None:
    assert TargetStatus.parse("0/8 0 0 5/5 1 0 0 0 0 0 0 rw -").healthy
    for line in (
        "0/8 0 1 5/5 1 0 0 0 0 0 0 rw -",
        "0/8 0 0 4/5 1 0 0 0 0 0 0 rw -",
        "0/8 0 0 5/5 1 0 0 0 0 0 1 spare_full rw -",
        "0/8 0 0 5/5 1 0 0 0 0 0 0 ro -",
        "0/8 0 0 5/5 1 0 0 0 0 0 0 rw needs_check",
    ):
        assert not TargetStatus.parse(line).healthy, line


@given(statuses)
def test_round_trip(state: TargetStatus) -> None:
    assert TargetStatus.parse(str(state)) == state


@given(statuses, st.data())
def test_a_line_cut_anywhere_is_refused(state: TargetStatus, data: st.DataObject) -> None:
    line = str(state).split()
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(StatusError):
        TargetStatus.parse(" ".join(line[:cut]))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Fail",
        LINE + " more",
        LINE.replace("16/4096", "16"),
        LINE.replace("16/4096", "-16/4096"),
        LINE.replace(" 77 ", " 7_7 "),
        LINE.replace(" 77 ", " ٣ "),
        LINE.replace(" ro ", " odd "),
        LINE.replace("needs_check", "maybe"),
        LINE.replace(" 2 degraded", " 99 degraded"),
    ],
)
def test_lines_off_the_grammar_are_refused(line: str) -> None:
    with pytest.raises(StatusError):
        TargetStatus.parse(line)


@given(st.text(max_size=80))
def test_any_text_parses_or_raises_our_error(line: str) -> None:
    try:
        TargetStatus.parse(line)
    except StatusError:
        return


@pytest.mark.parametrize(
    "line", ["8:0 8:16", "8:0 8:16 2 copies 3", "253:0 7:1 5 copies 5 spacing 256 relocate_weak"]
)
def test_table_round_trip(line: str) -> None:
    assert str(TargetTable.parse(line)) == line


@pytest.mark.parametrize("line", ["", "8:0", "8:0 8:16 2 copies", "8:0 8:16 1 copies 3", "8:0 8:16 x"])
def test_table_lines_off_the_grammar_are_refused(line: str) -> None:
    with pytest.raises(StatusError):
        TargetTable.parse(line)
