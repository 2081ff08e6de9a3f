"""One build of the module for each kernel of the fleet, and its way to the hosts that run it."""

import hashlib
import os
import platform
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pycontrol.errors import RemapError, UsageError
from pycontrol.service import module
from pycontrol.service.fleet import answers
from pycontrol.service.fleet.bundle import Blob
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.remote import Remote
from pycontrol.service.fleet.runner import Result, Work
from pycontrol.service.fleet.session import HostFailure, State
from pycontrol.text import plain

LARGEST: Final = 64 << 20
"""Bytes that a module may have."""

# Words that name a file here, from the far side.
_MACHINE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_VERMAGIC: Final = re.compile(rb"\0vermagic=([^\0]{1,255})\0")
# e_machine of elf.h; what is not named here is left to the kernel to judge.
_ELF: Final = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "s390x": 22, "ppc64le": 21, "armv7l": 40}


@dataclass(frozen=True, slots=True)
class Kernel:
    """What a module is built for."""

    release: str
    machine: str

    def __str__(self) -> str:
        return f"{self.release} ({self.machine})"


def kernel_of(remote: Remote) -> Kernel:
    """The one a host runs; HostFailure if what it says is no kernel's name."""
    facts = remote.facts
    try:
        module.check_release(facts.release)
    except UsageError as error:
        raise HostFailure(State.FAILED, str(error)) from error
    if not _MACHINE.fullmatch(facts.machine):
        raise HostFailure(State.FAILED, f"'{plain(facts.machine)}' is no kind of machine")
    return Kernel(facts.release, facts.machine)


def check(data: bytes, kernel: Kernel) -> None:
    """HostFailure unless this is a module for that kernel, by its vermagic and its machine."""
    found = _VERMAGIC.search(data)
    if data[:4] != b"\x7fELF" or found is None:
        raise HostFailure(State.FAILED, "what was built is not a kernel module")
    release = found[1].decode(errors="replace").split(" ")[0]
    if release != kernel.release:
        raise HostFailure(
            State.FAILED, f"the module is for kernel {plain(release)}, and {kernel.release} runs there", 8
        )
    order = "<" if data[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", data, 18)
    if machine != _ELF.get(kernel.machine, machine):
        raise HostFailure(State.FAILED, f"the module is not for a machine of kind {kernel.machine}", 8)


class Store:
    """The modules that were built from one source, by kernel."""

    def __init__(self, source: Blob, top: Path | None = None) -> None:
        base = top or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._top = base / "dm-remap/fleet" / source.digest[:16]

    def _place(self, kernel: Kernel) -> Path:
        return self._top / f"{kernel.release}-{kernel.machine}" / f"{module.MODULE}.ko"

    def get(self, kernel: Kernel) -> bytes | None:
        """The module for a kernel, None if it has not been built."""
        try:
            data = self._place(kernel).read_bytes()
        except FileNotFoundError:
            return None
        check(data, kernel)
        return data

    def put(self, kernel: Kernel, data: bytes) -> None:
        """Keep a module, once it has shown to be for that kernel."""
        check(data, kernel)
        place = self._place(kernel)
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f"{place.name}.{os.getpid()}.{hashlib.sha256(data).hexdigest()[:8]}")
        try:
            beside.write_bytes(data)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)


def look(found: Callable[[Host, Kernel, bool], None]) -> Work:
    """Which kernel a host runs, and whether a module can be built there: told to ``found``."""

    def work(remote: Remote, _: Callable[[Any], None]) -> Result:
        kernel = kernel_of(remote)
        answer = remote.dmremapctl("module", "status", shape=answers.MODULE_STATUS)
        state = answer.documents[0] if answer.documents else {}
        found(remote.host, kernel, bool(state.get("headers") and state.get("compiler")))
        return Result(f"runs {kernel}", {"kernel": kernel.release, "machine": kernel.machine})

    return work


def here(kernel: Kernel, source: Path) -> bytes | None:
    """Build on this machine, if it has what that takes; None if not."""
    if platform.machine() != kernel.machine:
        return None
    try:
        module.check_tools(module.headers(kernel.release))
        path = module.build(kernel.release, source)
    except (RemapError, OSError):
        return None
    return path.read_bytes()


def build(source: Blob, store: Store) -> Work:
    """Build on a host, for its kernel, and keep what comes of it."""

    def work(remote: Remote, _: Callable[[Any], None]) -> Result:
        kernel = kernel_of(remote)
        remote.copy(source)
        directory = remote.unpack(source)
        remote.tell(f"building for {kernel.release}")
        answer = remote.dmremapctl("module", "build", "--source", directory, shape=answers.BUILT)
        if not answer.documents:
            raise HostFailure(State.FAILED, "it did not say what it had built")
        data = remote.fetch(answer.documents[0]["module"], LARGEST)
        store.put(kernel, data)
        return Result(f"built for {kernel}", {"kernel": kernel.release, "machine": kernel.machine})

    return work


def install(store: Store, *, load: bool, parameters: tuple[str, ...] = ()) -> Work:
    """Copy the module to where ``dmremapctl module load`` finds it, and load it, too."""

    def work(remote: Remote, _: Callable[[Any], None]) -> Result:
        kernel = kernel_of(remote)
        data = store.get(kernel)
        if data is None:
            raise HostFailure(
                State.FAILED, f"there is no module for kernel {kernel}; run 'dmremapctl fleet build' first", 7
            )
        copied = remote.copy(Blob.of("module", data))
        words = f"{'copied' if copied else 'there already'}, for {kernel.release}"
        answer: dict[str, Any] = {"kernel": kernel.release, "machine": kernel.machine, "copied": copied}
        if not load:
            return Result(words, answer)
        remote.tell("loading the module")
        loaded = remote.dmremapctl("module", "load", *parameters, shape=answers.LOADED).documents
        changed = bool(loaded and loaded[0]["changed"])
        return Result(f"{words}, {'loaded' if changed else 'loaded already'}", answer | {"changed": changed})

    return work
