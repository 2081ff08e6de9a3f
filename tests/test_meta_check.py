"""What :func:`pycontrol.metadata.check` finds, of what gravity, and at which byte."""

import pytest

from pycontrol.metadata import BLOCK, Geometry, NotOurs, Record, Unsupported
from pycontrol.metadata.check import Finding, Report, Severity, check
from tests.test_metadata_images import UUID_A, UUID_B, Sparse, remaps, slots, spare

TABLE = remaps(300)  # two log blocks, and 64 records in the header
HEADER_AT = slots()[0]
RECORDS_AT = 0x130


def looked_at(image: Sparse, **options: object) -> Report:
    return check(image.read, image.size, **options)  # type: ignore[arg-type]


def only(report: Report) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


def test_nothing_is_wrong() -> None:
    report = looked_at(spare(TABLE))
    assert (report.findings, report.worst) == ([], None)
    assert report.loaded is not None
    assert (list(report.loaded.records), report.loaded.superseded) == (TABLE, 0)


@pytest.mark.parametrize("copy", range(5))
@pytest.mark.parametrize(("block", "name"), [(0, "header"), (1, "info"), (3, "log"), (4, "log")])
def test_one_damaged_block(copy: int, block: int, name: str) -> None:
    image = spare(TABLE)
    at = slots()[copy] + block * BLOCK
    image.flip(at)
    finding = only(looked_at(image))
    assert (finding.severity, finding.kind) == (Severity.DAMAGE, f"{name}-damaged")
    assert (finding.offset, finding.copy) == (at, copy)
    assert "CRC does not match" in finding.text
    image.wipe(at)
    finding = only(looked_at(image))
    assert (finding.kind, finding.offset) == (f"{name}-missing", at)


def test_a_log_block_of_which_only_the_crc_is_wrong() -> None:
    image = spare(TABLE)
    image.flip(slots()[2] + 3 * BLOCK, at=0x18)
    finding = only(looked_at(image))
    assert (finding.kind, finding.offset, finding.copy) == ("log-damaged", slots()[2] + 3 * BLOCK, 2)


def test_stale_copy() -> None:
    image = spare(TABLE, sequence=9)
    image.put(slots()[1], spare(TABLE, sequence=8).blocks[slots()[1]])
    finding = only(looked_at(image))
    assert (finding.kind, finding.offset, finding.copy) == ("header-stale", slots()[1], 1)


def test_every_lost_log_block_is_named() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.flip(slot + 3 * BLOCK)
        image.flip(slot + 4 * BLOCK)
    report = looked_at(image)
    assert report.worst is Severity.FATAL and report.loaded is None
    lost = [finding for finding in report.findings if finding.kind == "log-lost"]
    assert [finding.offset for finding in lost] == [3 * BLOCK, 4 * BLOCK]
    damaged = [finding.offset for finding in report.findings if finding.kind == "log-damaged"]
    assert sorted(damaged) == sorted(slot + block * BLOCK for slot in slots() for block in (3, 4))


def test_an_older_log_block_is_no_substitute() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot + 3 * BLOCK, RECORDS_AT, b"\xff")
    finding = only(looked_at(image))
    assert (finding.severity, finding.kind, finding.offset) == (Severity.FATAL, "log-crc", 0x74)


# What records say, by itself and together


def wrong(at: int, value: bytes) -> Sparse:
    """Record 238, the third of the header, changed in every copy."""
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot, RECORDS_AT + 2 * 32 + at, value)
    return image


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (20, b"\3", "unknown kind 3"),
        (16, bytes(4), "no sectors"),
        (0, b"\xff" * 8, "not on the main device"),
        (8, b"\xff" * 8, "not on the spare"),
        (8, bytes(8), "into the metadata"),
        (20, b"\2", "must not have"),
        (20, b"\x08", "bad place on the spare, but also main sector"),
    ],
)
def test_a_record_that_cannot_be(at: int, value: bytes, words: str) -> None:
    report = looked_at(wrong(at, value))
    finding = only(report)
    assert (finding.severity, finding.kind) == (Severity.FATAL, "record")
    assert finding.offset == HEADER_AT + RECORDS_AT + 2 * 32
    assert finding.text.startswith("record 238 ") and words in finding.text
    assert report.loaded is None


def test_every_wrong_record_is_named_also_in_the_log() -> None:
    table = [each._replace(kind=3) if number in (5, 130, 299) else each for number, each in enumerate(TABLE)]
    found = looked_at(spare(table)).findings
    assert [finding.offset for finding in found] == [
        3 * BLOCK + RECORDS_AT + 5 * 32,
        4 * BLOCK + RECORDS_AT + 12 * 32,
        RECORDS_AT + 63 * 32,
    ]


def test_the_offset_is_in_a_copy_that_holds_the_record() -> None:
    image = spare([TABLE[0]._replace(kind=3), *TABLE[1:]])
    for slot in slots()[:2]:
        image.flip(slot + 3 * BLOCK)
    wanted = slots()[2] + 3 * BLOCK + RECORDS_AT
    assert wanted in [finding.offset for finding in looked_at(image).findings if finding.kind == "record"]


@pytest.mark.parametrize(
    ("spare_sector", "words"),
    [(TABLE[7].spare, "as record 7 does"), (9000, "bad or holds a log segment")],
)
def test_places_that_are_taken(spare_sector: int, words: str) -> None:
    table = [Record(0, 9000, 2, 8), *TABLE, Record(9, spare_sector - 1, 3, 1)]
    if "record" in words:
        words = "as record"
    report = looked_at(spare(table))
    assert {finding.kind for finding in report.findings} == {"place"}
    assert any(words in finding.text for finding in report.findings)
    assert (report.worst, report.loaded) == (Severity.FATAL, None)


@pytest.mark.parametrize("main", [102, 202])
def test_of_two_remaps_at_one_place_the_later_record_is_at_fault(main: int) -> None:
    # Whichever of them is replaced in part.
    records = [Record(100, 9000, 4, 1), Record(200, 9000, 4, 1), Record(main, 9500, 2, 1)]
    finding = only(looked_at(spare(records)))
    assert finding.text == "record 1 points at spare sector 9000, as record 0 does"


def test_a_log_segment_is_taken() -> None:
    table = remaps(118 * 15)
    segment = Geometry(5, 256).data_start
    finding = only(looked_at(spare([*table, Record(1, segment + 9, 1, 1)])))
    assert (finding.kind, finding.severity) == ("place", Severity.FATAL)


def test_repeated_and_superseded_records() -> None:
    table = [*TABLE, TABLE[4], Record(0, 9000, 8, 8), TABLE[6]._replace(kind=4, spare=0)]
    report = looked_at(spare(table))
    finding = only(report)
    assert (finding.severity, finding.kind) == (Severity.NOTE, "repeated")
    assert finding.offset == RECORDS_AT + (300 - 236) * 32
    assert finding.text == "record 300 says what record 4 said"
    assert report.loaded is not None
    assert report.loaded.superseded == 3  # 4, 6 and the free one


# The header


@pytest.mark.parametrize(
    ("at", "value", "offset"),
    [
        (0x38, bytes(8), 0x38),
        (0x40, b"\xff" * 8, 0x40),
        (0x68, b"\x77", 0x68),
        (0x6C, b"\x0f", 0x6C),
        (0x70, b"\0\x03", 0x70),
        (0x78, bytes(8), 0x78),
        (0x88, (2052).to_bytes(8, "little"), 0x88),
    ],
)
def test_numbers_of_the_header(at: int, value: bytes, offset: int) -> None:
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot, at, value)
    report = looked_at(image)
    assert (report.worst, report.loaded) == (Severity.FATAL, None)
    assert offset in [finding.offset for finding in report.findings]


def test_what_a_reader_must_mind() -> None:
    image = spare(TABLE, needs_check=True, cursor=3)
    for slot in slots():
        image.reseal(slot, 0x48, b"\1\0\0\0\2")
    image.size += 8 * 512
    found = {finding.kind: finding for finding in looked_at(image).findings}
    assert {kind: (finding.severity, finding.offset) for kind, finding in found.items()} == {
        "size": (Severity.DAMAGE, 0x40),
        "needs-check": (Severity.DAMAGE, 0x54),
        "cursor": (Severity.NOTE, 0x60),
        "features": (Severity.NOTE, 0x4C),
    }


@pytest.mark.parametrize(("block", "at"), [(0, 0xD8), (0, 0xFF0), (0, 0xFEF), (1, 0x160)])
def test_bytes_that_mean_nothing(block: int, at: int) -> None:
    image = spare(TABLE)
    image.reseal(slots()[3] + block * BLOCK, at, b"\1")
    # A header that differs from the others in what means nothing is still not theirs.
    report = looked_at(image)
    if block == 0:
        assert report.worst is Severity.FATAL
        for slot in slots():
            image.reseal(slot, at, b"\1")
        report = looked_at(image)
    assert report.worst is Severity.NOTE
    assert slots()[3] + block * BLOCK + at in [finding.offset for finding in report.findings]


# Whose it is


def test_split_brain() -> None:
    image = spare(TABLE, copies=4)
    for place, block in spare((), copies=4, uuid=UUID_B).blocks.items():
        if place >= slots()[2]:
            image.put(place, block)
    report = looked_at(image)
    assert report.worst is Severity.FATAL
    assert [(finding.offset, finding.copy) for finding in report.findings[:-1]] == [
        (slot, copy) for copy, slot in enumerate(slots()[:4])
    ]
    assert looked_at(image, uuid=UUID_A).loaded is not None


def test_equal_numbers_with_different_content() -> None:
    image = spare(TABLE, sequence=9)
    image.put(slots()[3], spare((), sequence=9).blocks[slots()[3]])
    report = looked_at(image)
    assert (report.worst, report.loaded) == (Severity.FATAL, None)
    assert slots()[3] in [finding.offset for finding in report.findings]


def test_foreign_copy() -> None:
    image = spare(TABLE)
    image.put(slots()[2], spare((), uuid=UUID_B).blocks[slots()[2]])
    finding = only(looked_at(image))
    assert (finding.offset, finding.text) == (slots()[2], f"header: belongs to {UUID_B}")


def test_no_header_left() -> None:
    image = spare(TABLE)
    for slot in slots():
        image.flip(slot)
    report = looked_at(image)
    assert report.worst is Severity.FATAL
    assert [finding.offset for finding in report.findings if finding.severity is Severity.DAMAGE] == slots()


def test_what_is_not_to_be_checked() -> None:
    with pytest.raises(NotOurs):
        looked_at(Sparse())
    image = spare(TABLE)
    for slot in slots():
        image.reseal(slot, 0x50, b"\1")
    with pytest.raises(Unsupported):
        looked_at(image)
