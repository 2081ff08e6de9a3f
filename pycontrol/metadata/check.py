"""Everything that is wrong with the metadata of a spare, each with the byte where it is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from pycontrol.metadata.blocks import (
    BlockError,
    Header,
    Info,
    decode_header,
    decode_info,
    encode_header,
    encode_info,
    same_in_all_copies,
)
from pycontrol.metadata.condition import read_info, slot_of
from pycontrol.metadata.errors import Corrupt
from pycontrol.metadata.layout import (
    BLOCK,
    CRC_BYTES,
    HEADER_MAGIC,
    PER_BLOCK,
    RECORD_SIZE,
    RECORDS_AT,
    SECTOR,
    Field,
    Geometry,
)
from pycontrol.metadata.load import (
    Found,
    Table,
    check_features,
    choose,
    find_headers,
    limits_of,
    loaded_from,
)
from pycontrol.metadata.log import read_log
from pycontrol.metadata.nothing import refuse, traces
from pycontrol.metadata.reader import Read, Reader
from pycontrol.metadata.sanity import header_faults, segments_of
from pycontrol.metadata.state import MAY_BE_OLD, BlockState, Loaded, Log, Slot, State
from pycontrol.metadata.table import place_faults, record_faults, repeated, replay


class Severity(StrEnum):
    """What a finding means for the state."""

    NOTE = "note"
    """Odd, but nothing needs repair."""
    DAMAGE = "damage"
    """Something needs repair; the state can be had."""
    FATAL = "fatal"
    """The state cannot be had."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at byte ``offset``; ``copy`` where it is about one copy only."""

    severity: Severity
    kind: str
    offset: int
    copy: int | None
    text: str


@dataclass(slots=True)
class Report:
    """All findings; the newest header, if its numbers can be so; the state, if there is one."""

    findings: list[Finding] = field(default_factory=list)
    header: Header | None = None
    loaded: Loaded | None = None

    @property
    def worst(self) -> Severity | None:
        """The gravest severity of all findings; None if there are none."""
        found = {finding.severity for finding in self.findings}
        return next((each for each in reversed(Severity) if each in found), None)

    def add(self, severity: Severity, kind: str, offset: int, text: str, copy: int | None = None) -> None:
        """Append a finding."""
        self.findings.append(Finding(severity, kind, offset, copy, text))


def check(read: Read, size: int, uuid: UUID | None = None) -> Report:
    """Look at every block of a spare of ``size`` bytes, by ``read(offset, length)``.

    NotOurs and Legacy are raised where there is nothing to check; the ``OSError`` of
    ``read`` passes through if no header could be read at all.
    """
    report = Report()
    reader = Reader(read, size)
    found = find_headers(reader)
    if not found:
        try:
            refuse(reader, None, None)
        except Corrupt as error:
            _no_header(report, reader, str(error))
            return report
    try:
        header = choose(found, uuid)
    except Corrupt as error:
        _split_brain(report, found, str(error))
        return report
    check_features(header)
    place = next(each.offset for each in found if each.header is header)
    for at, fault in header_faults(header):
        report.add(Severity.FATAL, "header", place + at, fault)
    if report.findings:
        return report
    report.header = header
    _check_copies(report, reader, header, place)
    return report


def _no_header(report: Report, reader: Reader, why: str) -> None:
    """Each block that was a header once, and why it is none any more."""
    for offset in traces():
        block = reader.block(offset)
        if block is None or not block.startswith(HEADER_MAGIC.to_bytes(4, "little")):
            continue
        try:
            decode_header(block)
        except BlockError as error:
            report.add(Severity.DAMAGE, "header", offset, f"header: {error}")
    report.add(Severity.FATAL, "header", 0, why)


def _split_brain(report: Report, found: list[Found], why: str) -> None:
    for each in found:
        header = each.header
        said = f"header of {header.uuid}, sequence {header.sequence}"
        report.add(Severity.DAMAGE, "split-brain", each.offset, said, header.copy)
    report.add(Severity.FATAL, "split-brain", found[0].offset, why)


def _check_copies(report: Report, reader: Reader, header: Header, place: int) -> None:
    """All that a header leads to."""
    geometry = Geometry(header.copies, header.spacing)
    slots = [slot_of(reader, geometry, header, copy) for copy in range(header.copies)]
    info = read_info(reader, header, slots)
    log = read_log(reader, geometry, header, slots, patient=True)
    for slot in slots:
        _check_slot(report, slot)
    for fault in log.faults:
        text = f"log block {fault.number}: {fault.reason}"
        report.add(Severity.DAMAGE, f"log-{fault.state}", fault.offset, text, fault.copy)
    for number in log.lost:
        at = geometry.log_place(header.segments, 0, number)
        report.add(Severity.FATAL, "log-lost", at, f"log block {number} is lost: no copy of it is valid")
    if not log.lost:
        for failure in log.failures(header):
            report.add(Severity.FATAL, "log-crc", place + Field.LOG_CRC, failure)
        _check_records(report, reader, (header, info, slots, log), place)
    _check_header(report, reader, header, place)


def _check_slot(report: Report, slot: Slot) -> None:
    blocks: list[tuple[str, BlockState | None]] = [
        ("header", slot.header), ("shadow", slot.shadow), ("info", slot.info),
    ]  # fmt: skip
    for name, block in blocks:
        if block and block.state is not State.VALID:
            text = f"{name}: {block.reason}"
            report.add(Severity.DAMAGE, f"{name}-{block.state}", block.offset, text, slot.copy)


def _check_records(
    report: Report, reader: Reader, parts: tuple[Header, Info, list[Slot], Log], place: int
) -> None:
    """The records, each by itself and all together."""
    header, info, slots, log = parts
    geometry = Geometry(header.copies, header.spacing)
    packed, limits = log.packed + header.records, limits_of(header)

    def add(severity: Severity, kind: str, number: int, text: str) -> None:
        """Append a finding."""
        offset = record_offset(geometry, header, log, number, place)
        report.add(severity, kind, offset, f"record {number} {text}")

    try:
        extents, bad = replay(packed, limits)
    except Corrupt:
        for number, fault in record_faults(packed, limits):
            add(Severity.FATAL, "record", number, fault)
        return
    for number, fault in place_faults(extents, geometry.data_start, [*bad, *segments_of(geometry, header)]):
        add(Severity.FATAL, "place", number, fault)
    for number, earlier in repeated(packed, extents):
        add(Severity.NOTE, "repeated", number, f"says what record {earlier} said")
    if report.worst is not Severity.FATAL:
        report.loaded = loaded_from(header, info, slots, log, Table(packed, extents, bad), reader.size)
        if report.loaded.may_be_old:
            report.add(Severity.DAMAGE, "minority", place, MAY_BE_OLD)


def record_offset(geometry: Geometry, header: Header, log: Log, number: int, place: int) -> int:
    """The byte at which a record lies, in a copy that holds it; ``place`` is that of the header."""
    block, at = divmod(number, PER_BLOCK)
    if block < len(log.holders):
        begin = geometry.log_place(header.segments, log.holders[block], block)
    else:
        begin, at = place, number - len(log.holders) * PER_BLOCK
    return begin + RECORDS_AT + at * RECORD_SIZE


def _check_header(report: Report, reader: Reader, header: Header, place: int) -> None:
    """What a reader may ignore, or is told to mind."""
    geometry = Geometry(header.copies, header.spacing)
    if header.spare_sectors != reader.size // SECTOR:
        report.add(
            Severity.DAMAGE, "size", place + Field.SPARE_SECTORS,
            f"made for a spare of {header.spare_sectors} sectors, this one has {reader.size // SECTOR}:"
            " the target will refuse it",
        )  # fmt: skip
    if header.needs_check:
        text = "needs_check is set: a change could not be recorded"
        report.add(Severity.DAMAGE, "needs-check", place + Field.FLAGS, text)
    unit = header.block_size // SECTOR
    if not geometry.data_start <= header.cursor <= header.spare_sectors or header.cursor % unit:
        text = f"allocation goes on at sector {header.cursor}, which cannot be: it will begin anew"
        report.add(Severity.NOTE, "cursor", place + Field.CURSOR, text)
    for at, value in ((Field.COMPAT, header.compat), (Field.RO_COMPAT, header.ro_compat)):
        if value:
            text = f"features {value:#x} are not known here"
            report.add(Severity.NOTE, "features", place + at, text)
    for copy in range(header.copies):
        _check_reserved(report, reader, geometry.slot(copy), copy)


def _check_reserved(report: Report, reader: Reader, offset: int, copy: int) -> None:
    """Bytes of a header or info block that mean nothing should be zero."""
    for at, again in _encoded_again(reader, offset):
        block = reader.block(at)
        if block is not None and same_in_all_copies(block) != same_in_all_copies(again):
            first = next(
                byte for byte in range(BLOCK) if block[byte] != again[byte] and byte not in CRC_BYTES
            )
            text = "a byte that means nothing is not zero"
            report.add(Severity.NOTE, "reserved", at + first, text, copy)


def _encoded_again(reader: Reader, offset: int) -> Iterator[tuple[int, bytes]]:
    header, info = reader.block(offset), reader.block(offset + BLOCK)
    try:
        if header is not None:
            yield offset, encode_header(decode_header(header))
        if info is not None:
            yield offset + BLOCK, encode_info(decode_info(info))
    except (BlockError, ValueError):
        # Not whole, which is said elsewhere; or a count that cannot be.
        return
