"""The target's status line, to a dataclass and back.

``<used>/<total> <remapped extents> <pending extents> <valid copies>/<copies> <sequence>
<read errors> <write errors> <sectors salvaged> <sectors lost> <#feature args> <arg>*
<#error words> <word>* <mode> <check>``; the grammar is explained in docs/target.md.
"""

from dataclasses import dataclass
from typing import Final, Self

from pycontrol.errors import BrokenError

MODES: Final = ("rw", "ro", "Fail")
CHECKS: Final = ("-", "needs_check")


class StatusError(BrokenError):
    """A status line that does not follow the grammar."""


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """What one dm-remap-v4 target tells.  Sectors are 512 bytes."""

    used_sectors: int
    """Spare sectors taken."""
    total_sectors: int
    """Spare sectors there are for data."""
    remapped_extents: int
    pending_extents: int
    """Extents that cannot be read until they are written."""
    valid_copies: int
    copies: int
    sequence: int
    """Number of the last commit."""
    read_errors: int
    write_errors: int
    sectors_salvaged: int
    sectors_lost: int
    features: tuple[str, ...]
    errors: tuple[str, ...]
    """Words like ``degraded``, ``spare_full``, ``breaker``, ``metadata``."""
    mode: str
    """``rw``, ``ro`` (serves, remaps nothing new) or ``Fail``."""
    needs_check: bool

    @property
    def healthy(self) -> bool:
        """Nothing for anybody to do."""
        whole = self.valid_copies == self.copies and not self.pending_extents
        return whole and not self.errors and self.mode == "rw" and not self.needs_check

    @classmethod
    def parse(cls, line: str) -> Self:
        """From the words behind the target's name."""
        words = line.split()
        try:
            used, total = _pair(words[0])
            remapped, pending = (_number(word) for word in words[1:3])
            valid, copies = _pair(words[3])
            sequence, reads, writes, salvaged, lost = (_number(word) for word in words[4:9])
            features, rest = _counted(words[9:])
            errors, rest = _counted(rest)
            mode, check = rest
        except (ValueError, IndexError) as error:
            raise StatusError(
                f"the status line '{line}' is not as documented; module and dmremapctl may differ in version"
            ) from error
        if mode not in MODES or check not in CHECKS:
            raise StatusError(
                f"the status line ends in '{mode} {check}', which is not a known mode and check"
            )
        return cls(
            used_sectors=used,
            total_sectors=total,
            remapped_extents=remapped,
            pending_extents=pending,
            valid_copies=valid,
            copies=copies,
            sequence=sequence,
            read_errors=reads,
            write_errors=writes,
            sectors_salvaged=salvaged,
            sectors_lost=lost,
            features=features,
            errors=errors,
            mode=mode,
            needs_check=check == "needs_check",
        )

    def __str__(self) -> str:
        """The line again, word for word as the target wrote it."""
        words: list[object] = [
            f"{self.used_sectors}/{self.total_sectors}",
            self.remapped_extents,
            self.pending_extents,
            f"{self.valid_copies}/{self.copies}",
            self.sequence,
            self.read_errors,
            self.write_errors,
            self.sectors_salvaged,
            self.sectors_lost,
            len(self.features),
            *self.features,
            len(self.errors),
            *self.errors,
            self.mode,
            "needs_check" if self.needs_check else "-",
        ]
        return " ".join(map(str, words))


def _number(word: str) -> int:
    # int() alone would also take '-1', '+1', '1_0' and other scripts' digits.
    if not (word.isascii() and word.isdigit()):
        raise ValueError(word)
    return int(word)


def _pair(word: str) -> tuple[int, int]:
    first, second = word.split("/")
    return _number(first), _number(second)


def _counted(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    count = _number(words[0])
    if len(words) <= count:
        raise ValueError("fewer words than counted")
    return tuple(words[1 : 1 + count]), words[1 + count :]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """The words of a table line behind the target's name."""

    main: str
    spare: str
    features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, params: str) -> Self:
        """From the words behind the target's name; StatusError if they cannot be so."""
        words = params.split()
        try:
            main, spare = words[:2]
            features, rest = _counted(words[2:]) if len(words) > 2 else ((), [])
        except ValueError as error:
            raise StatusError(f"the table line '{params}' is not as documented") from error
        if rest:
            raise StatusError(f"the table line '{params}' has words behind its feature arguments")
        return cls(main, spare, features)

    def __str__(self) -> str:
        tail = f" {len(self.features)} {' '.join(self.features)}" if self.features else ""
        return f"{self.main} {self.spare}{tail}"
