"""/etc/dmremaptab: the grammar of docs/boot.md.

``boot/tab.c`` reads the same files with the same result; tests/test_boot_tab.py holds the two
together.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.text import plain

PATH: Final = Path("/etc/dmremaptab")
TIMEOUT: Final = 90
MAX_TIMEOUT: Final = 86400
MAX_LINE: Final = 1024
MAX_NAME: Final = 127
MAX_FILE: Final = 1 << 20
"""Seconds, characters and bytes."""

_NAME: Final = re.compile(r"[A-Za-z0-9#+\-.:=@_]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PARTUUID: Final = re.compile(r"[0-9a-f-]{1,36}", re.IGNORECASE)
_FLAGS: Final = ("ro", "degraded", "nofail", "noauto", "initramfs", "relocate-weak")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: ``main`` and ``spare`` as written, but for the case of a uuid."""

    line: int
    name: str
    main: str
    spare: str
    ro: bool = False
    degraded: bool = False
    nofail: bool = False
    noauto: bool = False
    initramfs: bool = False
    relocate_weak: bool = False
    timeout: int = TIMEOUT
    """Seconds to wait for the halves."""

    @property
    def uuid(self) -> str:
        """The uuid of the spare's metadata; empty if the line names a path."""
        return self.spare.removeprefix("UUID=") if self.spare.startswith("UUID=") else ""

    def __str__(self) -> str:
        """As ``activator tab`` prints it."""
        flags = [each for each in _FLAGS if getattr(self, each.replace("-", "_"))]
        words = [str(self.line), self.name, self.main, self.spare, *flags, f"timeout={self.timeout}"]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that was refused, and why."""

    line: int
    sentence: str


@dataclass(slots=True)
class Tab:
    """The lines that can be followed, and those that cannot."""

    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def find(self, name: str) -> Entry | None:
        """The line of the device ``name``; None if there is none that can be followed."""
        return next((entry for entry in self.entries if entry.name == name), None)


class _Refused(ValueError):
    pass


def load(path: Path = PATH) -> Tab:
    """Read the file; no file is an empty one.  DeviceIoError, UsageError if it is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return Tab()
    except OSError as error:
        raise DeviceIoError(f"{plain(path)} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE:
        raise UsageError(f"{plain(path)} is larger than 1 MiB")
    return parse(data)


def parse(data: bytes) -> Tab:
    """Every line of a file; one that is refused does not spoil the others."""
    tab = Tab()
    for number, raw in enumerate(data.split(b"\n"), 1):
        if raw.strip(b" \t")[:1] in (b"", b"#"):
            continue
        try:
            tab.entries.append(_line(number, raw, tab.entries))
        except _Refused as refused:
            tab.faults.append(Fault(number, str(refused)))
    return tab


def device_path(word: str) -> str:
    """The path under which udev shows what a line names."""
    key, _, value = word.partition("=")
    if word.startswith("/"):
        return word
    return f"/dev/disk/by-id/dm-remap-spare-{value}" if key == "UUID" else f"/dev/disk/by-partuuid/{value}"


def _line(number: int, raw: bytes, before: list[Entry]) -> Entry:
    if len(raw) > MAX_LINE:
        raise _Refused(f"it is longer than {MAX_LINE} characters")
    if any(byte != 9 and not 32 <= byte <= 126 for byte in raw):
        raise _Refused("it holds a control character or one that is not ASCII")
    words = raw.decode("ascii").replace("\t", " ").split(" ")
    words = [word for word in words if word]
    if not 3 <= len(words) <= 4:
        raise _Refused(
            f"it has {len(words)} fields, but a name, a main device and a spare are needed, and options may"
            " follow"
        )
    name = _name(words[0])
    main, spare = _halves(words[1], words[2])
    entry = Entry(number, name, main, spare)
    if len(words) == 4 and words[3] != "-":
        entry = _options(entry, words[3].split(","))
    return _alone(entry, before)


def _name(word: str) -> str:
    if not _NAME.fullmatch(word) or word in (".", "..", "control"):
        raise _Refused(f"'{word}' cannot name a device; use letters, digits and #+-.:=@_")
    if len(word) > MAX_NAME:
        raise _Refused(f"a device name has at most {MAX_NAME} characters")
    return word


def _halves(main: str, spare: str) -> tuple[str, str]:
    if not _names_device(main):
        raise _Refused(f"'{main}' is no main device; give a path below /dev/, or PARTUUID=")
    by_uuid = spare.startswith("UUID=")
    if not (_UUID.fullmatch(spare.removeprefix("UUID=")) if by_uuid else _names_device(spare)):
        raise _Refused(
            f"'{spare}' is no spare; give UUID= with the uuid of its metadata, a path below /dev/, or"
            " PARTUUID="
        )
    main, spare = (_lower(word) for word in (main, spare))
    if main == spare:
        raise _Refused("main device and spare are the same")
    return main, spare


def _lower(word: str) -> str:
    key, equals, value = word.partition("=")
    return word if word.startswith("/") else key + equals + value.lower()


def _names_device(word: str) -> bool:
    if word.startswith("PARTUUID="):
        return bool(_PARTUUID.fullmatch(word.removeprefix("PARTUUID=")))
    # Nothing that leaves /dev.
    return word.startswith("/dev/") and len(word) > 5 and "/../" not in word and not word.endswith("/..")


def _options(entry: Entry, words: list[str]) -> Entry:
    given: set[str] = set()
    for word in words:
        key, equals, value = word.partition("=")
        if not (word in _FLAGS or (key == "timeout" and equals)):
            raise _Refused(f"'{word}' is no option; there are {', '.join(_FLAGS)} and timeout=")
        if key in given:
            raise _Refused(f"option {key} is given twice")
        given.add(key)
        if key == "timeout":
            entry = replace(entry, timeout=_seconds(value))
        else:
            entry = replace(entry, **{key.replace("-", "_"): True})  # type: ignore[arg-type]
    return entry


def _seconds(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", value) or int(value) > MAX_TIMEOUT:
        raise _Refused(f"'{value}' is no timeout; give whole seconds from 0 to {MAX_TIMEOUT}")
    return int(value)


def _alone(entry: Entry, before: list[Entry]) -> Entry:
    """A device belongs to one line."""
    for other in before:
        for what, mine, theirs in (
            ("name", entry.name, other.name),
            ("main device", entry.main, other.main),
            ("spare", entry.spare, other.spare),
        ):
            if mine == theirs:
                raise _Refused(f"the {what} {mine} is that of line {other.line} already")
    return entry
