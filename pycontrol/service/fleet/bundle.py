"""What is copied to a host: dmremapctl with the libraries it needs, and the source of the module."""

import hashlib
import importlib.util
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pycontrol.errors import BrokenError

PACKAGES: Final = ("pycontrol", "click", "crcmod", "pyudev")
"""All that dmremapctl needs with --json; each does without its compiled parts."""

_MAIN: Final = b"from pycontrol.cli.main import main\n\nmain()\n"
_SOURCE: Final = frozenset({".c", ".h"})
_MAKEFILES: Final = frozenset({"Makefile", "Kbuild"})


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that a host keeps; ``kind`` is tool, source or module."""

    kind: str
    data: bytes
    digest: str

    @classmethod
    def of(cls, kind: str, data: bytes) -> "Blob":
        """The data with its SHA-256, in hexadecimal digits, as digest."""
        return cls(kind, data, hashlib.sha256(data).hexdigest())


class Once:
    """A blob that is made when it is first needed, by whichever thread that is."""

    def __init__(self, make: Callable[[], Blob]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: Blob | None = None

    def __call__(self) -> Blob:
        """The blob."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


def tool() -> Blob:
    """dmremapctl as a zip archive that Python runs; the same bytes for the same files."""
    files = {"__main__.py": _MAIN}
    for package in PACKAGES:
        files |= dict(_files_of(package))
    return Blob.of("tool", _archive(files))


def source(directory: Path) -> Blob:
    """What the module is built from, as a zip archive; the same bytes for the same files."""
    wanted = (
        path
        for path in directory.iterdir()
        if path.is_file() and (path.suffix in _SOURCE or path.name in _MAKEFILES)
        if not path.name.endswith(".mod.c")
    )
    return Blob.of("source", _archive({path.name: path.read_bytes() for path in wanted}))


def _files_of(package: str) -> Iterator[tuple[str, bytes]]:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise BrokenError(f"the Python package {package} is missing here; reinstall dmremapctl")
    for location in found.submodule_search_locations:
        top = Path(location)
        for path in sorted(top.rglob("*.py")):
            yield f"{package}/{path.relative_to(top).as_posix()}", path.read_bytes()


def _archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            # Of a fixed date, so that the hash is that of the contents.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()
