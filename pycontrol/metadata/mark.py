"""A spare out of service: words in place of its headers, or a feature that keeps the kernel away.

What moves from one spare to another must never be found on both.  While the new spare is
filled it carries a mark, *unfinished*.  When all is there its headers are written, with the
feature :data:`ARRIVED`, which no kernel knows.  Then the headers of the old spare give way
to a mark, *retired*, and only then the feature is taken off the new one.  The kernel refuses
whatever carries a mark: it is neither blank nor valid.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID
from zlib import crc32

from pycontrol.metadata.blocks import BlockError, Header, decode_header, encode_header
from pycontrol.metadata.layout import ARRIVED, BLOCK, HEADER_MAGIC, SHADOW_BLOCK, Geometry
from pycontrol.metadata.nothing import traces
from pycontrol.metadata.reader import Reader

_FIRST: Final = {
    "retired": "dm-remap: this spare is retired, what it held lives elsewhere: do not use it.",
    "unfinished": "dm-remap: this spare was being filled and is not complete: do not use it.",
}
MARKED: Final = b"dm-remap: "
HEADED: Final = HEADER_MAGIC.to_bytes(4, "little")
"""What a block begins with that was a mark, or a header, be it damaged."""
_LINE: Final = re.compile(r"([a-z]+) (.*)")
_TEXT: Final = 1024
"""The longest name of the other device that is kept, in bytes."""


class Condition(StrEnum):
    """Why a spare is out of service."""

    RETIRED = "retired"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a marked block says; ``time`` in seconds since 1970."""

    condition: Condition
    uuid: UUID
    time: int
    other: str
    """The device that what it held moved to, or comes from, for people."""


def encode_mark(mark: Mark) -> bytes:
    """The mark as a block, which can be read with any tool."""
    other = " ".join(mark.other.split()).encode("utf-8", "surrogateescape")[:_TEXT]
    lines = [
        _FIRST[mark.condition].encode(),
        f"condition {mark.condition}".encode(),
        f"uuid {mark.uuid}".encode(),
        f"time {mark.time}".encode(),
        b"other " + other,
    ]
    text = b"".join(line + b"\n" for line in lines)
    return (text + b"crc %08x\n" % crc32(text)).ljust(BLOCK, b"\0")


def decode_mark(block: bytes) -> Mark | None:
    """The mark in a block; None if there is none, or a damaged one."""
    text, found, tail = block.rstrip(b"\0").rpartition(b"crc ")
    if not found or not text.startswith(MARKED) or tail != b"%08x\n" % crc32(text):
        return None
    lines = text.decode("utf-8", "surrogateescape").splitlines()
    words = {match[1]: match[2] for line in lines[1:] if (match := _LINE.fullmatch(line))}
    try:
        condition = Condition(words["condition"])
        return Mark(condition, UUID(words["uuid"]), int(words["time"]), words.get("other", ""))
    except (KeyError, ValueError):
        return None


def waves(blocks: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """Blocks that replace every header, in two steps: a cut spoils those of one step only."""
    return [wave for wave in (blocks[1::2], blocks[::2]) if wave]


def find_mark(reader: Reader) -> Mark | None:
    """The mark of a spare without any valid header."""
    for offset in traces():
        block = reader.block(offset)
        mark = decode_mark(block) if block else None
        if mark:
            return mark
    return None


def header_places(geometry: Geometry) -> list[int]:
    """Bytes at which the headers of a spare are, and the shadow of a single one."""
    places = [geometry.slot(copy) for copy in range(geometry.copies)]
    return [*places, SHADOW_BLOCK * BLOCK] if geometry.copies == 1 else places


def marked(mark: Mark, geometry: Geometry) -> list[tuple[int, bytes]]:
    """The mark in place of every header."""
    block = encode_mark(mark)
    return [(offset, block) for offset in header_places(geometry)]


def arrived_headers(reader: Reader) -> list[tuple[int, Header]]:
    """The headers that carry the feature ARRIVED, and their bytes; none on any other spare."""
    return [(at, header) for at, header in valid_headers(reader) if header.incompat == ARRIVED]


def valid_headers(reader: Reader) -> Iterator[tuple[int, Header]]:
    """Every header that the kernel might find, and its byte."""
    first = reader.block(0)
    try:
        geometry = None if first is None else _geometry(decode_header(first))
    except BlockError:
        geometry = None
    for offset in header_places(geometry) if geometry else traces():
        block = reader.block(offset)
        if block is None:
            continue
        try:
            header = decode_header(block)
        except BlockError:
            continue
        if offset in header_places(_geometry(header)):
            yield offset, header


def _geometry(header: Header) -> Geometry:
    return Geometry(header.copies, header.spacing)


def admitted(headers: list[tuple[int, Header]]) -> list[tuple[int, bytes]]:
    """The newest of these headers for the kernel to use, in every copy, as a later version."""
    newest = max((header for _, header in headers), key=lambda header: header.sequence)
    plain = replace(newest, incompat=0, sequence=newest.sequence + 1)
    geometry = _geometry(newest)
    return [
        (offset, encode_header(replace(plain, copy=number if number < geometry.copies else 0)))
        for number, offset in enumerate(header_places(geometry))
    ]
