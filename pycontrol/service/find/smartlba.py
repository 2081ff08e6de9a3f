"""Which logical blocks a disk itself says it could not read, from the JSON of ``smartctl``.

Only entries that blame the medium count: a cable error has an address, too.  Like
:mod:`pycontrol.service.find.smart` this takes nothing for granted.
"""

from collections.abc import Iterator
from typing import Any, Final

_UNC: Final = 0x40
"""Bit of the ATA error register: uncorrectable data."""
_IDNF: Final = 0x10
"""Bit of the ATA error register: the sector was not found."""
_READ_FAILURE: Final = 7
"""Status of an ATA self-test, and of a SCSI one: the read element failed."""
_BEYOND_28_BITS: Final = (1 << 28) - 1
"""What the summary error log has for an address it has no room for."""
_NVME_MEDIA: Final = 2
"""Status code type: media and data integrity errors."""
_LARGEST: Final = 1 << 48
"""An address of this many blocks or more stands for "none"; disks fill it with ones."""


def failed(document: object) -> list[int]:
    """Addresses in logical blocks of the disk, ascending, each once."""
    top = document if isinstance(document, dict) else {}
    addresses = [*_errors(top), *_self_tests(top), *_defects(top), *_nvme(top)]
    return sorted({lba for lba in addresses if type(lba) is int and 0 <= lba < _LARGEST})


def _errors(top: dict[str, Any]) -> Iterator[object]:
    for log in ("extended", "summary"):
        for row in _rows(top, "ata_smart_error_log", log, "table"):
            error, lba = _at(row, "completion_registers", "error"), _at(row, "completion_registers", "lba")
            unreadable = isinstance(error, int) and error & (_UNC | _IDNF)
            if unreadable and not (log == "summary" and lba == _BEYOND_28_BITS):
                yield lba


def _self_tests(top: dict[str, Any]) -> Iterator[object]:
    for log in ("extended", "standard"):
        for row in _rows(top, "ata_smart_self_test_log", log, "table"):
            status = _at(row, "status", "value")
            # The lower half is how much of the test remained.
            if isinstance(status, int) and status >> 4 == _READ_FAILURE:
                yield row.get("lba")
    for number in range(20):
        test = f"scsi_self_test_{number}"
        if _at(top, test, "result", "value") == _READ_FAILURE:
            yield _at(top, test, "lba_first_failure", "value")


def _defects(top: dict[str, Any]) -> Iterator[object]:
    for log in ("ata_pending_defects_log", "scsi_pending_defects"):
        yield from (row.get("lba") for row in _rows(top, log, "table"))


def _nvme(top: dict[str, Any]) -> Iterator[object]:
    for row in _rows(top, "nvme_error_information_log", "table"):
        if _at(row, "status_field", "status_code_type") == _NVME_MEDIA:
            yield _at(row, "lba", "value")
    for row in _rows(top, "nvme_self_test_log", "table"):
        # 5 to 7: a segment failed.
        if _at(row, "self_test_result", "value") in (5, 6, 7):
            yield row.get("lba")


def _rows(top: dict[str, Any], *keys: str) -> list[dict[str, Any]]:
    table = _at(top, *keys)
    return [row for row in table if isinstance(row, dict)] if isinstance(table, list) else []


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
