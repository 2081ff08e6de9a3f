"""Whatever the bytes, there is a state or a MetadataError, and never anything else."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pycontrol import metadata
from pycontrol.metadata import BLOCK, Info, MetadataError, Record
from tests.test_metadata_images import MAIN, SPARE, UUID_A, Sparse, remaps, slots, spare

U64 = st.integers(0, 2**64 - 1)
GEOMETRIES = st.tuples(st.integers(1, 8), st.sampled_from([1 << shift for shift in range(6, 16)]))


def loads(image: Sparse, **options: object) -> metadata.Loaded | None:
    try:
        return image.load(**options)
    except MetadataError as error:
        assert "\n" not in str(error)
        assert str(error)
        return None


@settings(max_examples=60, deadline=None)
@given(
    GEOMETRIES,
    st.integers(0, 700),
    st.integers(1, 2**63),
    U64,
    st.text(max_size=32).filter(lambda text: "\0" not in text),
)
def test_round_trip(geometry: tuple[int, int], count: int, sequence: int, when: int, text: str) -> None:
    copies, spacing = geometry
    table = remaps(count)
    image = spare(
        table, copies=copies, spacing=spacing, sequence=sequence, time=when, name=text, main_id=text
    )  # fmt: skip
    cases: list[dict[str, object]] = [{}, {"copies": copies, "spacing": spacing}, {"uuid": UUID_A}]
    for options in cases:
        loaded = image.load(**options)
        assert list(loaded.records) == table
        assert (loaded.copies, loaded.spacing, loaded.sequence, loaded.time) == (
            copies, spacing, sequence, when,
        )  # fmt: skip
        assert (loaded.name, loaded.main_id) == (text, text)
        assert (loaded.main_sectors, loaded.spare_sectors) == (MAIN, SPARE)
        assert loaded.intact
        assert loaded.valid_copies == copies


@settings(deadline=None)
@given(st.tuples(U64, U64, U64, U64, U64, U64))
def test_info_round_trip(numbers: tuple[int, int, int, int, int, int]) -> None:
    sequence, *rest = numbers
    read_errors, write_errors, salvaged, lost, scrub = rest
    info = Info(
        uuid=UUID_A, sequence=sequence, time=scrub, copy=3, read_errors=read_errors,
        write_errors=write_errors, salvaged=salvaged, lost=lost, scrub=scrub,
    )  # fmt: skip
    assert metadata.decode_info(metadata.encode_info(info)) == info


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, BLOCK - 1), st.integers(1, 255)), max_size=40))
def test_flipped_bytes_give_the_same_records_or_a_metadata_error(hits: list[tuple[int, int, int]]) -> None:
    table = remaps(500)
    image = spare(table)
    places = sorted(image.blocks)
    for which, at, mask in hits:
        place = places[which % len(places)]
        block = bytearray(image.blocks[place])
        block[at] ^= mask
        image.put(place, bytes(block))
    loaded = loads(image)
    if loaded is not None:
        assert list(loaded.records) == table


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["header", "info", "log"]),
            st.integers(0, BLOCK - 8),
            st.one_of(st.binary(min_size=1, max_size=8), U64.map(lambda value: value.to_bytes(8, "little"))),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_sealed_changes_never_escape(changes: list[tuple[str, int, bytes, bool]]) -> None:
    image = spare(remaps(500))
    for kind, at, value, everywhere in changes:
        block = {"header": 0, "info": 1, "log": 3}[kind]
        for slot in slots() if everywhere else slots()[:1]:
            image.reseal(slot + block * BLOCK, at, value)
    loads(image)


FIELDS = st.sampled_from([0x1C, 0x1D, 0x24, *range(0x38, 0xD8, 4), *range(0x130, 0x150, 2)])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(FIELDS, st.sampled_from([1, 2, 4, 8]), st.one_of(U64, st.integers(0, 300))),
        min_size=1,
        max_size=4,
    )
)
@example([(0x6C, 4, 2**32 - 1), (0x80, 8, 2048)])
def test_sealed_header_fields_never_escape(changes: list[tuple[int, int, int]]) -> None:
    image = spare(remaps(130))
    for at, size, value in changes:
        for slot in slots():
            image.reseal(slot, at, (value % (1 << 8 * size)).to_bytes(size, "little"))
    loads(image)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([0, BLOCK, 2 * BLOCK, *slots()]), st.binary(max_size=64)))
def test_noise(blocks: dict[int, bytes]) -> None:
    magics = (b"", b"4RMD\4\0\0\0", b"DMREMAP3")
    for magic in magics:
        image = Sparse((place, (magic + noise).ljust(BLOCK, b"\0")) for place, noise in blocks.items())
        loads(image)


@settings(deadline=None)
@given(U64, U64, st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1), U64)
def test_any_single_record(main: int, place: int, sectors: int, kind: int, errors: int, when: int) -> None:
    loads(spare([Record(main, place, sectors, kind, errors, when)]))
