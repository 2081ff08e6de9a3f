"""50 000 examples: any table survives, and no change of an image goes unnoticed or ends in a traceback.

An example is a string of bytes, which is cheap to make, and here taken for a table or for
changes to an image.
"""

import struct
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pycontrol.metadata import Kind, MetadataError, Record, Snapshot, check
from pycontrol.metadata.dump import read_dump, to_json, to_text
from tests.test_metadata_images import Sparse, remaps, spare

Form = Callable[[Snapshot], Iterator[str]]
U64 = st.integers(0, 2**64 - 1)
SECTORS = 16384
# Where nothing else runs it is a minute for all.
pytestmark = pytest.mark.timeout(1800)
MANY = settings(
    max_examples=10_000,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)

_RECORD = struct.Struct("<HBBBQ")
_CHANGE = struct.Struct("<BHBB")


def table_of(seed: bytes) -> list[Record]:
    """Records that can be, however they overlap on the main device."""
    records = []
    for number, fields in enumerate(_RECORD.iter_unpack(seed[: len(seed) // _RECORD.size * _RECORD.size])):
        main, kind, sectors, errors, time = fields
        sectors = 1 + sectors % 64
        match list(Kind)[kind % 4]:
            case Kind.BAD_SPARE:
                records.append(Record(0, 15000 + number, 1, Kind.BAD_SPARE, errors, time))
            case Kind.REMAP:
                records.append(Record(main, 2048 + 64 * number, sectors, Kind.REMAP, errors, time))
            case other:
                records.append(Record(main, 0, sectors, other, errors, time))
    return records


@pytest.mark.parametrize("form", [to_text, to_json])
@MANY
@given(st.binary(max_size=20 * _RECORD.size), st.integers(1, 2**63), U64)
def test_any_table_survives(form: Form, seed: bytes, sequence: int, time: int) -> None:
    table = table_of(seed)
    image = spare(table, copies=1, spacing=64, spare_sectors=SECTORS, sequence=sequence, time=time)
    loaded = image.load()
    assert list(loaded.records) == table
    assert (loaded.sequence, loaded.time, loaded.intact) == (sequence, time, True)
    snapshot = Snapshot.of(loaded)
    assert read_dump(form(snapshot)) == snapshot


IMAGES = {
    "with a log": spare(remaps(130, 3000), copies=2, spacing=64, spare_sectors=SECTORS, sequence=9),
    "of one copy": spare(remaps(3, 3000), copies=1, spacing=64, spare_sectors=SECTORS, sequence=9),
    "fresh": spare((), copies=3, spacing=64, spare_sectors=SECTORS),
}


TABLES = {name: list(image.load().records) for name, image in IMAGES.items()}


def changed(original: Sparse, seed: bytes) -> tuple[Sparse, bool]:
    """The image with changes, and whether some were sealed into every copy of a block."""
    image, sealed = Sparse(original.blocks.items(), SECTORS), False
    places = sorted(original.blocks)
    for which, at, value, how in _CHANGE.iter_unpack(seed[: len(seed) // _CHANGE.size * _CHANGE.size]):
        place = places[which % len(places)]
        # Half of the changes go where the numbers are.
        at = at % 4096 if how & 1 else at % 0x180
        match how >> 1 & 3:
            case 0 | 1:
                block = bytearray(image.blocks[place])
                block[at] ^= value or 1
                image.put(place, bytes(block))
            case 2:
                image.reseal(place, at, bytes([value]))
            case 3:
                sealed = True
                for other in places:
                    if (other - place) % (64 * 512) == 0:
                        image.reseal(other, at, bytes([value]))
    return image, sealed


@pytest.mark.parametrize("name", IMAGES)
@MANY
@given(st.binary(min_size=_CHANGE.size, max_size=6 * _CHANGE.size))
def test_any_change_is_found_or_harmless(name: str, seed: bytes) -> None:
    table = TABLES[name]
    image, sealed = changed(IMAGES[name], seed)
    try:
        report = check(image.read, image.size)
    except MetadataError as error:
        assert str(error) and "\n" not in str(error)
        return
    for finding in report.findings:
        assert 0 <= finding.offset < image.size and "\n" not in finding.text
    if report.loaded is not None and not sealed:
        assert report.findings or list(report.loaded.records) == table
