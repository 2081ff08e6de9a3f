"""Lists of bad blocks: each grammar exactly, and out and in again the same."""

import random
import sys
from io import BytesIO, TextIOWrapper
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pycontrol.service import ranges
from pycontrol.service.extents import Extent
from pycontrol.service.find import smartlba
from pycontrol.service.known import badblocks, ddrescue, sectorlist
from pycontrol.service.known.textlines import ListError, lines_of
from pycontrol.service.ranges import Range

SIZE = 1 << 14

raw = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair))), max_size=30
)


def numbers(found: list[Range]) -> set[int]:
    return {number for start, end in found for number in range(start, end)}


# Ranges, against sets of numbers.


@given(raw)
@example([(5, 6), (4, 5), (6, 7)])
def test_merged_ranges_are_in_order_and_do_not_touch(some: list[Range]) -> None:
    found = ranges.merged(some)
    assert numbers(found) == numbers(some)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    assert all(start < end for start, end in found) and ranges.total(found) == len(numbers(some))


@given(raw, raw)
def test_what_is_in_both_and_in_one_only(some: list[Range], others: list[Range]) -> None:
    one, other = ranges.merged(some), ranges.merged(others)
    assert ranges.intersection(one, other) == ranges.merged(
        (number, number + 1) for number in sorted(numbers(one) & numbers(other))
    )
    assert ranges.difference(one, other) == ranges.merged(
        (number, number + 1) for number in sorted(numbers(one) - numbers(other))
    )


@given(raw, st.sampled_from([1, 2, 8]))
def test_rounding_to_blocks(some: list[Range], step: int) -> None:
    one = ranges.merged(some)
    touched = {number // step for number in numbers(one)}
    assert {number // step for number in numbers(ranges.outward(one, step))} == touched
    assert all(start % step == 0 == end % step for start, end in ranges.outward(one, step))
    whole = {block for block in touched if set(range(block * step, (block + 1) * step)) <= numbers(one)}
    assert {number // step for number in numbers(ranges.inward(one, step))} == whole


@given(raw, st.integers(1, 7))
def test_pieces(some: list[Range], most: int) -> None:
    cut = list(ranges.pieces(ranges.merged(some), most))
    assert numbers(cut) == numbers(some) and all(0 < end - start <= most for start, end in cut)


# Out, and in again.


@given(raw, st.sampled_from([512, 1024, 4096]))
def test_a_badblocks_list_comes_back(some: list[Range], size: int) -> None:
    blocks = ranges.merged(some)
    found = ranges.scaled(blocks, size)
    lines = list(badblocks.written(found, size))
    assert [int(line) for line in lines] == sorted(numbers(blocks))
    assert ranges.merged(badblocks.parse(lines, size)) == found


@given(raw)
def test_a_map_file_comes_back(some: list[Range]) -> None:
    bad = ranges.merged(some)
    size = SIZE + 100
    blocks = list(ddrescue.parse(ddrescue.written(bad, size, "by a test")))
    assert list(ddrescue.with_status(blocks, ddrescue.BAD)) == bad
    assert ranges.difference([(0, size)], bad) == list(ddrescue.with_status(blocks, "+"))
    assert blocks[-1].end == size


@given(raw, st.data())
def test_a_list_of_extents_comes_back(some: list[Range], data: st.DataObject) -> None:
    found = ranges.merged(some)
    extents = [
        Extent(start, end - start, data.draw(st.none() | st.integers(0, 1 << 40))) for start, end in found
    ]
    lines = list(sectorlist.written(extents, "by a test"))
    assert list(sectorlist.parse(lines)) == found
    assert [Extent.parse(line) for line in lines if not line.startswith("#")] == extents


# What real files look like.

MAP = """\
# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -d -r3 /dev/sdb sdb.img sdb.map
# Start time:   2024-03-01 21:14:07
# Current time: 2024-03-02 03:50:31
# Scraping failed blocks... (forwards)
# current_pos  current_status  current_pass
0x00018600     /               1
#      pos        size  status
0x00000000  0x00010000  +
0x00010000  0x00000200  -
0x00010200  0x00000600  /
0x00010800  4096        *   # decimal
0x00011800  010000      +\t
\t0X12800   0x00005E00  ?
0x00018600  0x00000200  -

0x00018800  0x00067800  +
"""


def test_a_map_file_with_all_that_may_be_in_one() -> None:
    blocks = list(ddrescue.parse(MAP.splitlines(keepends=True)))
    assert [block.status for block in blocks] == list("+-/*+?-+")
    assert blocks[3] == (0x10800, 4096, "*") and blocks[4] == (0x11800, 4096, "+")
    assert blocks[-1].end == 512 << 10
    assert ranges.merged(ddrescue.with_status(blocks, ddrescue.BAD)) == [
        (0x10000, 0x11800),
        (0x18600, 0x18800),
    ]
    assert ranges.merged(ddrescue.with_status(blocks, "-")) == [(0x10000, 0x10200), (0x18600, 0x18800)]
    assert list(ddrescue.with_status(blocks, "?")) == [(0x12800, 0x18600)]


@pytest.mark.parametrize("status", ["0 ?", "0x10 + 3", "07 F 1", "9 G 1 # comment", "+5 * 2"])
def test_status_lines(status: str) -> None:
    assert list(ddrescue.parse([f"{status}\n", "0 0 +\n"])) == [(0, 0, "+")]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["# only comments"], "line 1, '', is the last, and there was no status line"),
        ([], "there was no status line"),
        (["12345"], "line 1, '12345', is not a status line"),
        (["0 + 0"], "is not a status line"),
        (["0 x 1"], "is not a status line"),
        (["0 ?", "0 512"], "line 2, '0 512', is not a block"),
        (["0 ?", "0 512 - x"], "is not a block"),
        (["0 ?", "0 512 F"], "line 2, '0 512 F', has a status that is none of ?*/-+"),
        (["0 ?", "0 512 ++"], "has a status"),
        (["0 ?", "0 09 +"], "is not a number of bytes"),
        (["0 ?", "0 -1 ?"], "is not a number of bytes"),
        (["0 ?", "0x 1 ?"], "is not a number of bytes"),
        (["0 ?", "1_0 1 ?"], "is not a number of bytes"),
        (["0 ?", "0x7fffffffffffffff 1 +"], "is not a number of bytes"),
        (["0 ?", "5 0 +"], "is a block without bytes"),
        (["0 ?", "", "0 8 +", "9 1 -"], "line 4, '9 1 -', does not begin at 0x8"),
        (["0 ?", "0 8 +", "7 1 -"], "line 3"),
        (["0 ?", "0\u0665 8 +"], "is not a number of bytes"),
    ],
)
def test_what_is_no_map_file(lines: list[str], words: str) -> None:
    with pytest.raises(ListError) as caught:
        list(ddrescue.parse(lines))
    assert words in str(caught.value)


@pytest.mark.parametrize("line", ["12x", "-1", "1 2", "0x10", "\u0661", "1.5", "#1", "\x1b[2J"])
def test_what_is_no_badblocks_list(line: str) -> None:
    with pytest.raises(ListError, match="line 3, ") as caught:
        list(badblocks.parse(["7\n", "\n", f"{line}\n"]))
    assert "\x1b" not in str(caught.value)


def test_a_badblocks_list_of_ten_thousand_lines_in_any_order() -> None:
    chosen = random.Random(1).sample(range(1 << 30), 10_000)
    found = ranges.merged(badblocks.parse([f"{block}\n" for block in [*chosen, *chosen[:100]]]))
    assert ranges.total(found) == 10_000 * 1024
    assert [int(line) for line in badblocks.written(found)] == sorted(chosen)


def test_blocks_that_do_not_fit_are_refused_or_rounded() -> None:
    from pycontrol.errors import UsageError

    with pytest.raises(UsageError, match="--round"):
        list(badblocks.written([(512, 1024)], 1024))
    assert list(badblocks.written([(512, 1024), (4096, 6144)], 1024, rounded=True)) == ["0\n", "4\n", "5\n"]
    for size in (0, 100, 513, -512, 1 << 31):
        with pytest.raises(UsageError, match="--block-size"):
            badblocks.check_block_size(size)


def test_a_list_of_sectors() -> None:
    text = "# mine\n\n  8\n16 4 # four\n20 1 - pending\n100 8 2048 remap\nnext 200\n200 1 5 remap\nnone\n"
    assert list(sectorlist.parse(text.splitlines())) == [(8, 9), (16, 20), (20, 21), (100, 108), (200, 201)]
    assert list(sectorlist.parse(["none"])) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eight", "is not a sector"),
        ("8 0", "a count of at least 1"),
        ("8 -1", "a count"),
        ("1 2 3", "more than a sector and a count"),
        ("1 2 3 4 5", "more than"),
        ("1 2 - remap", "is not a line of the target's list"),
        ("1 2 3 pending", "is not a line of the target's list"),
        ("1 0 3 remap", "is not a line of the target's list"),
        ("next", "is not a sector"),
        ("next 800", "'dmremapctl export' gives the whole"),
    ],
)
def test_what_is_no_list_of_sectors(line: str, words: str) -> None:
    with pytest.raises(ListError) as caught:
        list(sectorlist.parse(["5 1\n", line]))
    assert "line 2" in str(caught.value) and words in str(caught.value)


def test_a_file_that_is_no_text_is_refused_soon(tmp_path: Path) -> None:
    from pycontrol.errors import DeviceIoError, UsageError

    path = tmp_path / "disk\x1b.img"
    path.write_bytes(bytes(5000))
    with pytest.raises(UsageError, match="more than 1024 characters") as caught, lines_of(str(path)) as lines:
        list(lines)
    assert "disk\\x1b.img: line 1" in str(caught.value)
    with pytest.raises(DeviceIoError, match="cannot be read"), lines_of(f"{path}.gone"):
        pass


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_standard_input_is_read_as_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Whatever the locale makes of it."""
    data = b"7\n# s\xc3\xa9ance\n# no text: \xff\n8\n9 \xff\n" + b"1" * 2000
    (tmp_path / "list").write_bytes(data)
    stdin = TextIOWrapper(BytesIO(data), encoding)
    monkeypatch.setattr(sys, "stdin", stdin)
    with lines_of(str(tmp_path / "list")) as lines:
        expected = list(islice(lines, 5))
    with lines_of("-") as lines:
        assert list(islice(lines, 5)) == expected
        with pytest.raises(ListError, match=r"line 6, .* has more than 1024 characters"):
            next(lines)
    assert not stdin.closed


# smartctl.


def ata_error(lba: object, error: int = 0x40) -> dict[str, object]:
    return {"error_number": 1, "completion_registers": {"error": error, "status": 81, "lba": lba}}


def test_what_a_disk_says_it_could_not_read() -> None:
    cable = 0x84
    document = {
        "ata_smart_error_log": {
            "summary": {"table": [ata_error(700), ata_error((1 << 28) - 1), ata_error(80, cable)]},
            "extended": {"table": [ata_error(1126194944), ata_error(5, 0x10), ata_error((1 << 48) - 1 + 1)]},
        },
        "ata_smart_self_test_log": {
            "standard": {
                "table": [
                    {"status": {"value": 121, "string": "Completed: read failure"}, "lba": 700},
                    {"status": {"value": 0, "passed": True}},
                    {"status": {"value": 33, "string": "Interrupted"}, "lba": 9},
                ]
            }
        },
        "ata_pending_defects_log": {"size": 65535, "count": 2, "table": [{"lba": 41}, {"lba": 42}]},
    }
    assert smartlba.failed(document) == [5, 41, 42, 700, 1126194944]


def test_what_other_disks_say() -> None:
    scsi = {
        "scsi_self_test_0": {"result": {"value": 7}, "lba_first_failure": {"value": 77}},
        "scsi_self_test_1": {"result": {"value": 0}, "lba_first_failure": {"value": 78}},
        "scsi_pending_defects": {"count": 1, "table": [{"lba": 900}]},
    }
    assert smartlba.failed(scsi) == [77, 900]
    nvme = {
        "nvme_error_information_log": {
            "table": [
                {"status_field": {"value": 641, "status_code_type": 2}, "lba": {"value": 31}},
                {"status_field": {"value": 4, "status_code_type": 0}, "lba": {"value": 32}},
            ]
        },
        "nvme_self_test_log": {"table": [{"self_test_result": {"value": 7}, "lba": 33}]},
    }
    assert smartlba.failed(nvme) == [31, 33]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["table", "extended", "summary", "lba", "status", "value", "completion_registers"]
            ),
            inner,
            max_size=3,
        )
    ),
)


@given(st.dictionaries(st.sampled_from(["ata_smart_error_log", "ata_smart_self_test_log"]), json) | json)
def test_no_document_is_too_strange(document: object) -> None:
    assert all(0 <= lba < 1 << 48 for lba in smartlba.failed(document))
