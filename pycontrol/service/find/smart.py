"""What a disk says of its own health, from the JSON that ``smartctl`` writes.

The document differs between ATA, SCSI and NVMe, between versions of smartctl and between
disks that leave out what they do not know.  So nothing is taken for granted: a field that
is missing, or not of the type it should be, is not known.  :mod:`pycontrol.service.find.smartctl`
asks the disk; this module only reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

# ATA attribute numbers.
_REALLOCATED: Final = 5
_REPORTED_UNCORRECTABLE: Final = 187
_PENDING: Final = 197
_OFFLINE_UNCORRECTABLE: Final = 198

_MAX_COUNT: Final = 1 << 48
"""Raw values of ATA attributes have 48 bits; some disks pack several numbers into one."""


@dataclass(frozen=True, slots=True)
class Smart:
    """One disk's report; None and empty strings are not known.  Counts are of the disk's own sectors."""

    protocol: str = ""
    """``ATA``, ``SCSI`` or ``NVMe``."""
    model: str = ""
    serial: str = ""
    passed: bool | None = None
    """The disk's own assessment of its health."""
    reallocated: int | None = None
    pending: int | None = None
    """Sectors that could not be read and wait to be written."""
    uncorrectable: int | None = None
    """ATA: sectors or reads given up; SCSI: uncorrected errors; NVMe: media errors."""
    failing_attributes: tuple[str, ...] = ()
    """ATA attributes below their threshold now."""
    self_test_failed: bool = False
    """The newest self-test that ran to its end found a failure."""
    self_test_lba: int | None = None
    """Where, in logical blocks of the disk."""
    critical_warning: int = 0
    """NVMe's bits."""
    spare_percent: int | None = None
    """NVMe: what is left of the disk's own reserve."""
    worn_percent: int | None = None
    """NVMe: wear in percent of what the maker expects it to last; may exceed 100."""
    power_on_hours: int | None = None
    temperature: int | None = None
    """In degrees Celsius."""
    asleep: bool = False
    """Not asked, so as not to wake it."""
    problem: str = ""
    """Why little or nothing is known, for people."""

    @property
    def known(self) -> bool:
        """Whether anything was learnt about its health."""
        counts = (self.reallocated, self.pending, self.uncorrectable, self.spare_percent)
        return self.passed is not None or any(count is not None for count in counts)

    @property
    def worries(self) -> tuple[str, ...]:
        """What speaks against trusting the disk, the gravest first; plain words, no foreign text."""
        return tuple(self._worries())

    @property
    def failing(self) -> bool:
        """The disk says of itself that it is about to fail, or has data it cannot give back."""
        return (
            self.passed is False
            or bool(self.pending)
            or self.self_test_failed
            or bool(self.critical_warning & _NVME_FAILING)
        )

    def _worries(self) -> Iterator[str]:
        if self.passed is False:
            yield "its self-assessment says it is failing"
        if self.pending:
            yield f"{_count(self.pending, 'sector')} pending: unreadable until written"
        if self.self_test_failed:
            where = "" if self.self_test_lba is None else f" at block {self.self_test_lba}"
            yield f"its last self-test failed{where}"
        yield from (text for bit, text in _NVME_WARNINGS if self.critical_warning & bit)
        if self.uncorrectable:
            yield f"{_count(self.uncorrectable, 'uncorrectable error')}"
        if self.reallocated:
            yield f"{_count(self.reallocated, 'sector')} reallocated by the disk"
        if self.failing_attributes:
            yield f"{_count(len(self.failing_attributes), 'attribute')} below the maker's threshold"
        if self.worn_percent is not None and self.worn_percent >= 100:
            yield f"worn: {self.worn_percent} % of its expected life is used"


_NVME_WARNINGS: Final = (
    (0x01, "its reserve of spare blocks is below its threshold"),
    (0x04, "it has become unreliable"),
    (0x08, "it has become read-only"),
    (0x10, "the backup of its volatile memory failed"),
)
# Bit 1, the temperature, says nothing about blocks.
_NVME_FAILING: Final = 0x01 | 0x04 | 0x08


def parse(document: object) -> Smart:
    """Read a document of ``smartctl --json``; never raises, whatever it is."""
    top = _object(document)
    kind = _text(_at(top, "device", "protocol"))
    values: dict[str, Any] = {
        "protocol": kind,
        "model": _text(top.get("model_name")) or _text(top.get("scsi_model_name")),
        "serial": _text(top.get("serial_number")),
        "passed": _bool(_at(top, "smart_status", "passed")),
        "power_on_hours": _int(_at(top, "power_on_time", "hours")),
        "temperature": _int(_at(top, "temperature", "current")),
        "problem": _problem(top),
    }
    # By what is there and not by the protocol's name: bridges and RAID controllers mix them.
    values |= _scsi(top) | _nvme(top) | _ata(top) | _self_test(top)
    return Smart(**values)


def _ata(top: dict[str, Any]) -> dict[str, Any]:
    table = [_object(row) for row in _list(_at(top, "ata_smart_attributes", "table"))]
    raw = {_int(row.get("id")): _raw(row) for row in table}
    found: dict[str, Any] = {
        "reallocated": raw.get(_REALLOCATED),
        "pending": raw.get(_PENDING),
        "uncorrectable": _largest(raw.get(_REPORTED_UNCORRECTABLE), raw.get(_OFFLINE_UNCORRECTABLE)),
        "failing_attributes": tuple(
            _text(row.get("name")) or f"attribute {_int(row.get('id'))}"
            for row in table
            if _text(row.get("when_failed")).lower() in ("now", "failing_now")
        ),
    }
    # The log of pending defects (ACS-4) counts what attribute 197 leaves out on some disks.
    found["pending"] = _largest(found["pending"], _count_of(_at(top, "ata_pending_defects_log", "count")))
    return {key: value for key, value in found.items() if value not in (None, ())}


def _raw(row: dict[str, Any]) -> int | None:
    value = _count_of(_at(row, "raw", "value"))
    # "24 (Min/Max 0/3)" and the like: the words begin with the number that is meant.
    first = _text(_at(row, "raw", "string")).split(" ")[0]
    if first.isascii() and first.isdigit() and len(first) <= 15:
        return int(first)
    return value


def _scsi(top: dict[str, Any]) -> dict[str, Any]:
    uncorrected = [
        _count_of(_at(top, "scsi_error_counter_log", kind, "total_uncorrected_errors"))
        for kind in ("read", "write", "verify")
    ]
    told = [count for count in uncorrected if count is not None]
    found = {
        "reallocated": _count_of(top.get("scsi_grown_defect_list")),
        "pending": _count_of(_at(top, "scsi_pending_defects", "count")),
        "uncorrectable": sum(told) if told else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _nvme(top: dict[str, Any]) -> dict[str, Any]:
    log = _object(top.get("nvme_smart_health_information_log"))
    found = {
        "critical_warning": _int(log.get("critical_warning")),
        "spare_percent": _int(log.get("available_spare")),
        "worn_percent": _int(log.get("percentage_used")),
        "uncorrectable": _count_of(log.get("media_errors")),
    }
    return {key: value for key, value in found.items() if value is not None}


def _self_test(top: dict[str, Any]) -> dict[str, Any]:
    """The newest finished self-test; each protocol has its own log."""
    for log in ("standard", "extended"):
        for row in _list(_at(top, "ata_smart_self_test_log", log, "table")):
            # One that was aborted or still runs has no verdict.
            passed = _bool(_at(_object(row), "status", "passed"))
            if passed is not None:
                return {"self_test_failed": not passed, "self_test_lba": _int(_object(row).get("lba"))}
    for number in range(20):
        row = _object(top.get(f"scsi_self_test_{number}"))
        result = _int(_at(row, "result", "value"))
        # SPC: 0 passed; 1, 2 and 15 aborted or running; 3 to 7 failed.
        if result == 0:
            return {}
        if result is not None and 3 <= result <= 7:
            return {"self_test_failed": True, "self_test_lba": _int(_at(row, "lba_first_failure", "value"))}
    for row in _list(_at(top, "nvme_self_test_log", "table")):
        result = _int(_at(_object(row), "self_test_result", "value"))
        if result == 0:
            return {}
        if result in (5, 6, 7):
            return {"self_test_failed": True, "self_test_lba": _int(_object(row).get("lba"))}
    return {}


def _problem(top: dict[str, Any]) -> str:
    messages = [_object(message) for message in _list(_at(top, "smartctl", "messages"))]
    errors = [
        _text(message.get("string")) for message in messages if _text(message.get("severity")) == "error"
    ]
    return errors[0] if errors else ""


# From what JSON can hold to what is expected there.


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = _object(value).get(key)
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bool(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _count_of(value: object) -> int | None:
    number = _int(value)
    return number if number is not None and 0 <= number < _MAX_COUNT else None


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
