"""A snapshot as text, or as JSON, and back; ``docs/meta.md`` describes both forms.

What is read back may have been edited: whatever it says, the result is a snapshot that
loads, or a :class:`DumpError`.
"""

import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from pycontrol.errors import UsageError
from pycontrol.metadata.blocks import Header, Info, check_sequence
from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import PER_BLOCK, SEGMENTS, Geometry
from pycontrol.metadata.load import limits_of
from pycontrol.metadata.records import RECORD, Kind
from pycontrol.metadata.sanity import header_faults, segments_of
from pycontrol.metadata.snapshot import AREA, Snapshot
from pycontrol.metadata.table import check_places, record_faults, replay

TITLE: Final = "dm-remap dump"
FORM: Final = 1

# Name and bits of every number, in the order of the text.
_HEADER: Final = {
    "sequence": 64, "time": 64, "copies": 8, "spacing": 32, "main_sectors": 64, "spare_sectors": 64,
    "block_size": 32, "generation": 64, "cursor": 64, "flags": 32, "compat": 32, "ro_compat": 32,
}  # fmt: skip
_INFO: Final = {
    "sequence": 64, "time": 64, "read_errors": 64, "write_errors": 64, "salvaged": 64, "lost": 64,
    "scrub": 64,
}  # fmt: skip
_TEXTS: Final = ("main_id", "name")
_RECORD_BITS: Final = (64, 64, 32, 16, 64)  # main, spare, sectors, errors, time
_NAMES: Final = {int(kind): kind.name.lower() for kind in Kind}
_KINDS: Final = {name: number for number, name in _NAMES.items()}

_T = TypeVar("_T")


class DumpError(UsageError):
    """This is no dump, or what it says cannot be."""


# Out


def to_text(snapshot: Snapshot) -> Iterator[str]:
    """The lines of the text form, each with its newline."""
    header, info = snapshot.header, snapshot.info
    yield f"{TITLE} {FORM}\n"
    yield f"uuid {header.uuid}\n"
    for name in _HEADER:
        yield f"{name} {getattr(header, name)}\n"
    yield f"segments {' '.join(map(str, header.segments))}\n"
    yield "info\n"
    for name in _INFO:
        yield f"{name} {getattr(info, name)}\n"
    for name in _TEXTS:
        yield f"{name} {json.dumps(getattr(info, name))}\n"
    for number, sequence, time, records in _log_of(snapshot):
        yield f"log {number} {sequence} {time}\n"
        yield from map(_line, RECORD.iter_unpack(records))
    yield "header\n"
    yield from map(_line, RECORD.iter_unpack(header.records))
    yield "end\n"


def _log_of(snapshot: Snapshot) -> Iterator[tuple[int, int, int, bytes | bytearray]]:
    for number, (sequence, time) in enumerate(zip(snapshot.sequences, snapshot.times, strict=True)):
        yield number, sequence, time, snapshot.log[number * AREA : (number + 1) * AREA]


def _line(fields: tuple[int, ...]) -> str:
    main, spare, sectors, kind, errors, time = fields
    return f"{_NAMES[kind]} {main} {spare} {sectors} {errors} {time}\n"


def to_json(snapshot: Snapshot) -> Iterator[str]:
    """The JSON form in pieces: one object."""
    header, info = snapshot.header, snapshot.info
    head = {
        "format": TITLE,
        "version": FORM,
        "uuid": str(header.uuid),
        **{name: getattr(header, name) for name in _HEADER},
        "segments": list(header.segments),
        "info": {name: getattr(info, name) for name in (*_INFO, *_TEXTS)},
    }
    yield json.dumps(head, indent=2).removesuffix("\n}")
    yield ',\n  "log": ['
    separator = "\n    "
    for _, sequence, time, records in _log_of(snapshot):
        block = {"sequence": sequence, "time": time, "records": _rows(records)}
        yield separator + json.dumps(block)
        separator = ",\n    "
    yield '],\n  "records": ' + json.dumps(_rows(header.records)) + "\n}\n"


def _rows(records: bytes | bytearray) -> list[list[object]]:
    return [
        [_NAMES[kind], main, spare, sectors, errors, time]
        for main, spare, sectors, kind, errors, time in RECORD.iter_unpack(records)
    ]


# In


def read_dump(lines: Iterable[str]) -> Snapshot:
    """A snapshot from either form; DumpError says what is wrong, and in which line."""
    source = iter(lines)
    first = next(source, "")
    if first.lstrip().startswith("{"):
        return _checked(_from_json(first + "".join(source)))
    return _checked(_Text(first, source).read())


class _Text:
    """The text form, line by line."""

    def __init__(self, first: str, rest: Iterator[str]) -> None:
        self.line, self.words = first, first.split()
        self.rest = rest
        self.number = 1

    def read(self) -> Snapshot:
        if " ".join(self.words) != f"{TITLE} {FORM}":
            raise DumpError(f"this is no dump: its first line is not '{TITLE} {FORM}'")
        self.step()
        return self.guarded(self.parse)

    def parse(self) -> Snapshot:
        uuid = self.value("uuid", UUID)
        numbers = {name: self.value(name, partial(_number, bits=bits)) for name, bits in _HEADER.items()}
        segments = self.value("segments", lambda rest: [_number(word, 64) for word in rest.split()])
        self.expect("info")
        counters = {name: self.value(name, partial(_number, bits=bits)) for name, bits in _INFO.items()}
        texts = {name: self.value(name, lambda rest: _text(json.loads(rest))) for name in _TEXTS}
        log, sequences, times = bytearray(), array("Q"), array("Q")
        while self.words[:1] == ["log"]:
            number, sequence, time = (_number(word, 64) for word in self.words[1:])
            if number != len(sequences):
                raise ValueError(f"log block {len(sequences)} should follow")
            self.step()
            sequences.append(sequence)
            times.append(time)
            log += self.records()
            _whole(log, len(sequences))
        self.expect("header")
        records = self.records()
        if self.words != ["end"]:
            raise ValueError("a record or 'end' should follow")
        return _snapshot(uuid, numbers, segments, records, counters | texts, (log, sequences, times))

    def guarded(self, parse: Callable[[], _T]) -> _T:
        try:
            return parse()
        except DumpError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise DumpError(f"line {self.number} of the dump: {error}") from error

    def step(self) -> None:
        line = next(self.rest, "")
        # What is text within a line may hold blanks: it is split once, elsewhere.
        self.line, self.words = line.rstrip("\n"), line.split()
        self.number += 1

    def expect(self, word: str) -> None:
        if self.words != [word]:
            raise ValueError(f"'{word}' should follow")
        self.step()

    def value(self, name: str, meaning: Callable[[str], _T]) -> _T:
        word, _, rest = self.line.partition(" ")
        if word != name:
            raise ValueError(f"'{name}' should follow")
        found = meaning(rest)
        self.step()
        return found

    def records(self) -> bytes:
        packed = bytearray()
        while self.words and self.words[0] in _KINDS:
            packed += _record(self.words[0], self.words[1:])
            self.step()
        return bytes(packed)


def _from_json(text: str) -> Snapshot:
    try:
        found = json.loads(text)
        if (found["format"], found["version"]) != (TITLE, FORM):
            raise ValueError(f"its format is not '{TITLE}', version {FORM}")
        numbers = {name: _number(found[name], bits) for name, bits in _HEADER.items()}
        segments = [_number(each, 64) for each in found["segments"]]
        info = found["info"]
        counters = {name: _number(info[name], bits) for name, bits in _INFO.items()}
        texts = {name: _text(info[name]) for name in _TEXTS}
        log, sequences, times = bytearray(), array("Q"), array("Q")
        for block in found["log"]:
            sequences.append(_number(block["sequence"], 64))
            times.append(_number(block["time"], 64))
            log += b"".join(_record(row[0], row[1:]) for row in block["records"])
            _whole(log, len(sequences))
        records = b"".join(_record(row[0], row[1:]) for row in found["records"])
        uuid = UUID(found["uuid"])
    except KeyError as error:
        raise DumpError(f"this is no dump: {error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise DumpError(f"this is no dump: {error}") from error
    return _snapshot(uuid, numbers, segments, records, counters | texts, (log, sequences, times))


def _number(value: object, bits: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ValueError(f"{value!r} is not a number of {bits} bits")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _record(kind: object, numbers: list[Any]) -> bytes:
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{kind!r} is not a kind of record")
    if len(numbers) != len(_RECORD_BITS):
        raise ValueError(f"a record has {len(_RECORD_BITS)} numbers")
    main, spare, sectors, errors, time = map(_number, numbers, _RECORD_BITS)
    return RECORD.pack(main, spare, sectors, _KINDS[kind], errors, time)


def _whole(log: bytearray, blocks: int) -> None:
    if len(log) != blocks * AREA:
        raise ValueError(f"log block {blocks - 1} has not {PER_BLOCK} records")


def _snapshot(
    uuid: UUID,
    numbers: dict[str, int],
    segments: list[int],
    records: bytes,
    info: dict[str, Any],
    log: "tuple[bytearray, array[int], array[int]]",
) -> Snapshot:
    header = Header(uuid=uuid, copy=0, segments=tuple(segments), records=records, **numbers)
    return Snapshot(header, Info(uuid=uuid, copy=0, **info), *log)


def _checked(snapshot: Snapshot) -> Snapshot:
    """The snapshot, if what it says can be."""
    header = snapshot.header
    try:
        Geometry(header.copies, header.spacing)
        if len(header.segments) != SEGMENTS:
            raise ValueError(f"there are {SEGMENTS} segments")
        for number in (header.sequence, snapshot.info.sequence or 1, *snapshot.sequences):
            check_sequence(number)
        snapshot = snapshot.sealed()
        for _, fault in header_faults(snapshot.header):
            raise ValueError(fault)
        # Also tried, since texts have a length of their own.
        next(iter(snapshot.headers()))
        list(snapshot.infos())
        for number, fault in record_faults(snapshot.packed, limits_of(header)):
            raise ValueError(f"record {number} {fault}")
        extents, bad = replay(snapshot.packed, limits_of(header))
        check_places(extents, snapshot.geometry.data_start, [*bad, *segments_of(snapshot.geometry, header)])
    except (ValueError, Corrupt) as error:
        raise DumpError(f"the dump cannot be so: {error}") from error
    return snapshot
