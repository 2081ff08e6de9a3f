"""Dump, restore, dump is the identity; whatever else comes in is a snapshot that loads, or refused."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontrol.metadata import BLOCK, Record
from pycontrol.metadata.dump import DumpError, read_dump, to_json, to_text
from pycontrol.metadata.snapshot import Snapshot
from tests.test_metadata_images import MAIN, Sparse, remaps, spare

Form = Callable[[Snapshot], Iterator[str]]
FORMS = pytest.mark.parametrize("form", [to_text, to_json])


def image_of(snapshot: Snapshot) -> Sparse:
    return Sparse([*snapshot.blocks(), *snapshot.headers()], snapshot.header.spare_sectors)


def lines_of(form: Form, snapshot: Snapshot) -> list[str]:
    return "".join(form(snapshot)).splitlines(keepends=True)


GOLDEN = """\
dm-remap dump 1
uuid 00112233-4455-6677-8899-aabbccddeeff
sequence 7
time 1700000000
copies 2
spacing 64
main_sectors 2097152
spare_sectors 1048576
block_size 512
generation 1
cursor 2048
flags 1
compat 0
ro_compat 0
segments 24 0 0 0 0 0 0 0 0 0 0 0
info
sequence 1
time 1700000000
read_errors 0
write_errors 0
salvaged 0
lost 0
scrub 0
main_id "wwn:0x5000c500a1b2c3d4"
name "a \\u00e4\\n"
header
remap 1000 5000 2 3 77
pending 8 0 1 0 0
free 9 0 1 0 0
bad_spare 0 6000 8 65535 18446744073709551615
end
"""
RECORDS = [
    Record(1000, 5000, 2, 1, 3, 77), Record(8, 0, 1, 2), Record(9, 0, 1, 4),
    Record(0, 6000, 8, 8, 65535, 2**64 - 1),
]  # fmt: skip


def test_the_text_is_as_documented() -> None:
    image = spare(RECORDS, copies=2, spacing=64, sequence=7, needs_check=True, name="a ä\n")
    snapshot = Snapshot.of(image.load())
    assert "".join(to_text(snapshot)) == GOLDEN
    assert read_dump(GOLDEN.splitlines(keepends=True)) == snapshot


def test_the_keys_of_the_json_are_those_of_the_text() -> None:
    found = json.loads("".join(to_json(Snapshot.of(spare(RECORDS).load()))))
    names = [line.split()[0] for line in GOLDEN.splitlines()]
    assert list(found) == ["format", "version", *names[1:15], "info", "log", "records"]
    assert list(found["info"]) == names[16:25]
    assert found["records"][0] == ["remap", 1000, 5000, 2, 3, 77]


@FORMS
@pytest.mark.parametrize("count", [0, 117, 118, 119, 236, 2500])
@pytest.mark.parametrize(("copies", "spacing"), [(1, 64), (5, 256)])
def test_dump_restore_dump_is_the_identity(form: Form, count: int, copies: int, spacing: int) -> None:
    image = spare(remaps(count), copies=copies, spacing=spacing, sequence=500, generation=3)
    dumped = lines_of(form, Snapshot.of(image.load()))
    again = image_of(read_dump(dumped))
    assert again.blocks == image.blocks
    assert lines_of(form, Snapshot.of(again.load())) == dumped


# What comes in may be anything


CHANGES = [
    ("sequence 7", "sequence 0", "sequence number 0"),
    ("sequence 7", f"sequence {2**63 + 1}", f"sequence number {2**63 + 1}"),
    ("sequence 7", "sequence -1", "line 3 .*not a number"),
    ("sequence 7", f"sequence {2**64}", "line 3 .*not a number"),
    ("copies 2", "copies 9", "copies"),
    ("spacing 64", "spacing 65", "spacing"),
    ("segments 24 ", "segments ", "12 segments"),
    ("segments 24 ", "segments 25 ", "segment 0"),
    ("block_size 512", "block_size 520", "logical block"),
    ("remap 1000", "remap 99999999999", "record 0 names"),
    ("remap 1000 5000", "remap 1000 5", "into the metadata"),
    ("remap 1000 5000", "remap 1000 6000", "is bad"),
    ("remap 1000 5000 2", "remap 1000 5000", "line 27 .*5 numbers"),
    ("pending 8", "wrong 8", "line 28 .*'end'"),
    ("end\n", "", "'end'"),
    ("header\n", "log 0 1 1\nheader\n", "log block 0 has not 118"),
    ("header\n", "log 1 1 1\nheader\n", "log block 0 should follow"),
    ("info\n", "", "'info'"),
    ('"wwn:0x', '5"wwn:0x', "line 24"),
    ('name "a', 'name "' + 200 * "a", "128 bytes"),
    ("uuid 0", "uuid x", "line 2"),
    ("dm-remap dump 1", "dm-remap dump 2", "no dump"),
]


@pytest.mark.parametrize(("old", "new", "words"), CHANGES)
def test_each_refusal_has_its_words(old: str, new: str, words: str) -> None:
    changed = GOLDEN.replace(old, new, 1)
    assert changed != GOLDEN
    with pytest.raises(DumpError, match=words) as caught:
        read_dump(changed.splitlines(keepends=True))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["format"], "x"), (["uuid"], 5), (["sequence"], True), (["sequence"], 1.5), (["segments"], 5),
        (["info"], []), (["info", "name"], 5), (["log"], [5]), (["records"], [["remap"]]),
        (["records"], [[["remap"], 1, 2, 3, 4, 5]]), (["records"], None), (["info", "name"], "\ud800"),
    ],
)  # fmt: skip
def test_json_of_other_types(path: list[str], value: object) -> None:
    found = json.loads("".join(to_json(Snapshot.of(spare(RECORDS).load()))))
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DumpError):
        read_dump([json.dumps(found)])
    del inner[path[-1]]
    with pytest.raises(DumpError, match="is missing"):
        read_dump([json.dumps(found)])


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(GOLDEN)), st.integers(0, 30), st.text(max_size=8))
def test_any_edit_loads_or_is_refused(at: int, cut: int, put: str) -> None:
    edited = GOLDEN[:at] + put + GOLDEN[at + cut :]
    try:
        snapshot = read_dump(edited.splitlines(keepends=True))
    except DumpError:
        return
    if snapshot.header.main_sectors == MAIN and snapshot.header.copies < 8:
        loaded = image_of(snapshot).load()
        assert Snapshot.of(loaded) == snapshot


def test_bytes_that_are_no_text_survive() -> None:
    image = spare(RECORDS)
    for slot in range(5):
        image.reseal(slot * 0x20000 + BLOCK, 0xB8, b"\xff\xfe")
    again = read_dump(to_text(Snapshot.of(image.load())))
    assert image_of(again).blocks == image.blocks
