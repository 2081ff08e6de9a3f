"""The kernel module: build it out of tree, load it, unload it, tell its state."""

import ctypes
import errno
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pycontrol import __version__
from pycontrol.errors import AccessDenied, BrokenError, Busy, KernelLacks, TargetMissing, UsageError
from pycontrol.service import trust
from pycontrol.service.kernel import require_root
from pycontrol.text import plain

MODULE: Final = "dm-remap-v4"
SYS_NAME: Final = "dm_remap_v4"
DEPENDS: Final = ("dm-mod", "dm-bufio")
MODULES: Final = Path("/lib/modules")
SYSFS: Final = Path("/sys/module")
INSTALLED: Final = ("updates", "updates/dkms", "extra")
"""Where modules from elsewhere are put, below a kernel's directory."""
COMPRESSED: Final = (".xz", ".zst", ".gz")
"""How distributions pack a kernel's modules, and DKMS then does."""

# From each architecture's syscall table; those not named use asm-generic/unistd.h.
_SYSCALLS: Final = {"x86_64": (313, 176), "i686": (350, 129), "armv7l": (379, 129), "ppc64le": (353, 129)}
_GENERIC: Final = (273, 106)
_RELEASE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]*")
_COMPRESSED_FILE: Final = 4
"""MODULE_INIT_COMPRESSED_FILE: the kernel unpacks it."""
_COMPILER: Final = re.compile(r'^CONFIG_CC_VERSION_TEXT="(\S+)', re.MULTILINE)


class BuildError(BrokenError):
    """make failed; ``output`` is what it said."""

    def __init__(self, sentence: str, output: str) -> None:
        super().__init__(sentence)
        self.output = output


@dataclass(frozen=True, slots=True)
class ModuleStatus:
    """The module in the running kernel, and what there is to build it."""

    loaded: bool
    version: str
    users: int
    parameters: dict[str, str]
    kernel: str
    built: Path | None
    """A module built for this kernel; None if there is none."""
    headers: bool
    compiler: str
    """Empty if the compiler the kernel wants is not installed."""


def running() -> str:
    """Release of the running kernel."""
    return platform.release()


def check_release(release: str) -> str:
    """A kernel release becomes part of paths."""
    if not _RELEASE.fullmatch(release):
        raise UsageError(f"'{plain(release)}' is not a kernel release; 'uname -r' prints one")
    return release


def cache_dir(release: str) -> Path:
    """Where modules for a kernel are built."""
    if os.geteuid() == 0:
        return Path("/var/cache/dm-remap") / release
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dm-remap" / release


def source_dir() -> Path:
    """kernel/ of the checkout this package lives in, or where the Debian package has the source."""
    checkout = Path(__file__).resolve().parents[2] / "kernel"
    return checkout if checkout.is_dir() else Path("/usr/src") / f"dm-remap-{__version__}"


def headers(release: str, modules: Path = MODULES) -> Path:
    """The kernel's build tree, or which package brings it."""
    build = modules / release / "build"
    if not (build / "Makefile").is_file():
        raise KernelLacks(f"the headers of kernel {release} are missing; install linux-headers-{release}")
    return build


def compiler(build: Path) -> str:
    """The compiler the kernel was built with, which its modules need, too."""
    try:
        match = _COMPILER.search((build / ".config").read_text(errors="replace"))
    except OSError:
        match = None
    return match[1] if match else "gcc"


def check_tools(build: Path) -> None:
    """Compiler and make, or which packages bring them."""
    wanted = compiler(build)
    missing = []
    path = trust.search_path()
    if not shutil.which(wanted, path=path):
        name = re.search(r"(gcc|clang)(-\d+)?$", wanted)
        missing.append(name[0] if name else wanted)
    missing += [tool for tool in ("make",) if not shutil.which(tool, path=path)]
    if missing:
        what = " and ".join(missing)
        raise KernelLacks(f"{what} missing, needed to build the module; install the package {what}")


def build(release: str, source: Path | None = None, *, modules: Path = MODULES) -> Path:
    """Build in a copy of the source, so that the checkout stays clean; the module's path."""
    check_release(release)
    tree = headers(release, modules)
    check_tools(tree)
    origin = source or source_dir()
    if not (origin / "Makefile").is_file():
        raise UsageError(f"{plain(origin)} does not hold the module's source; name it with --source")
    place = cache_dir(release)
    trust.make_private(place)
    try:
        _copy(origin, place)
    except OSError as error:
        raise AccessDenied(f"cannot copy the source to {place}: {error.strerror or error}") from error
    # BTF needs pahole and the kernel's vmlinux; the module needs neither.
    command = ["make", "-C", str(tree), f"M={place}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
        env={**os.environ, "PATH": trust.search_path()},
        umask=0o022,
    )
    module = place / f"{MODULE}.ko"
    if done.returncode or not module.is_file():
        raise BuildError(f"building the module for {release} failed; make's words are above", done.stdout)
    return module


def _copy(origin: Path, place: Path) -> None:
    """Only what changed, so that make rebuilds only that; what the origin lost goes, too."""
    wanted = {
        path.name
        for path in origin.iterdir()
        if path.is_file()
        and (path.suffix in {".c", ".h"} or path.name in {"Makefile", "Kbuild"})
        and not path.name.endswith(".mod.c")
    }
    for path in place.iterdir():
        if path.suffix in {".c", ".h"} and path.name not in wanted and not path.name.endswith(".mod.c"):
            path.unlink()
    for name in wanted:
        new, old = (origin / name).read_bytes(), place / name
        if not old.is_file() or old.read_bytes() != new:
            old.write_bytes(new)


def load(module: Path | None = None, parameters: tuple[str, ...] = ()) -> bool:
    """Load into the running kernel; False if it was loaded already."""
    require_root()
    if is_loaded():
        return False
    release = running()
    path = module or find_built(release)
    if path is None:
        raise TargetMissing(f"there is no module built for {release}; run 'dmremapctl module build' first")
    _load_dependencies()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{plain(path)} cannot be opened: {error.strerror}") from error
    try:
        # By the descriptor, so that what is checked is what is loaded.
        if module is None and not trust.only_ours(os.fstat(fd)):
            raise AccessDenied(
                f"others than root can write to {plain(path)}; build it anew, or name it with --file"
            )
        # finit_module(int fd, const char *params, int flags)
        words, flags = os.fsencode(" ".join(parameters)), _COMPRESSED_FILE if _is_compressed(path) else 0
        _syscall(0, ctypes.c_int(fd), ctypes.c_char_p(words), ctypes.c_int(flags))
    except OSError as error:
        return _not_loaded(error, path, release)
    finally:
        os.close(fd)
    return True


def _not_loaded(error: OSError, path: Path, release: str) -> bool:
    shown = plain(path)
    match error.errno:
        case errno.EEXIST:
            return False
        case errno.EPERM | errno.EACCES:
            raise AccessDenied(
                f"the kernel does not let {shown} be loaded; it takes root, and a locked down kernel none"
            ) from error
        case errno.EKEYREJECTED | errno.ENOKEY:
            raise AccessDenied(
                f"the kernel wants {shown} to be signed; sign it, or switch Secure Boot off"
            ) from error
        case errno.EOPNOTSUPP | errno.EINVAL if _is_compressed(path):
            raise KernelLacks(
                f"kernel {release} cannot unpack {shown}; run 'modprobe {MODULE}', which does that itself"
            ) from error
        case errno.ENOEXEC | errno.ENOENT:
            raise KernelLacks(
                f"{shown} does not fit kernel {release} ({error.strerror}); run 'dmremapctl module build',"
                " 'dmesg' says more"
            ) from error
        case _:
            raise BrokenError(f"loading {shown} failed: {error.strerror}; 'dmesg' says more") from error


def unload() -> bool:
    """Take the module out; False if it was not loaded."""
    require_root()
    if not is_loaded():
        return False
    try:
        # delete_module(const char *name, unsigned int flags)
        _syscall(1, ctypes.c_char_p(SYS_NAME.encode()), ctypes.c_uint(os.O_NONBLOCK))
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EBUSY):
            raise Busy(
                f"the module is in use by {users()} target(s); remove the devices first ('dmremapctl list')"
            ) from error
        if error.errno == errno.ENOENT:
            return False
        if error.errno in (errno.EPERM, errno.EACCES):
            raise AccessDenied("the kernel does not let the module be unloaded; run this as root") from error
        raise BrokenError(f"unloading the module failed: {error.strerror}; 'dmesg' says more") from error
    return True


def status(release: str | None = None, *, sysfs: Path = SYSFS, modules: Path = MODULES) -> ModuleStatus:
    """Everything that can be known without root."""
    kernel = check_release(release or running())
    try:
        tree: Path | None = headers(kernel, modules)
    except KernelLacks:
        tree = None
    wanted = compiler(tree) if tree else "gcc"
    place = sysfs / SYS_NAME
    return ModuleStatus(
        loaded=is_loaded(sysfs),
        version=_read(place / "version"),
        users=users(sysfs),
        parameters={path.name: _read(path) for path in sorted(place.glob("parameters/*"))},
        kernel=kernel,
        built=find_built(kernel, modules=modules),
        headers=tree is not None,
        compiler=wanted if shutil.which(wanted, path=trust.search_path()) else "",
    )


def is_loaded(sysfs: Path = SYSFS) -> bool:
    """Whether the module is loaded, or built in."""
    return (sysfs / SYS_NAME).is_dir()


def users(sysfs: Path = SYSFS) -> int:
    """How often the module is used."""
    return int(_read(sysfs / SYS_NAME / "refcnt") or 0)


def find_built(release: str, *, modules: Path = MODULES) -> Path | None:
    """The newest module for a kernel, built here, or installed and perhaps compressed."""
    places = (cache_dir(release), *(modules / release / place for place in INSTALLED))
    files = (place / f"{MODULE}.ko{suffix}" for place in places for suffix in ("", *COMPRESSED))
    # What was built here once must not hide what an upgrade has installed.
    return max(filter(Path.is_file, files), key=lambda file: file.stat().st_mtime_ns, default=None)


def _is_compressed(path: Path) -> bool:
    return path.suffix in COMPRESSED


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _load_dependencies() -> None:
    missing = [name for name in DEPENDS if not (SYSFS / name.replace("-", "_")).is_dir()]
    if not missing:
        return
    tool = shutil.which("modprobe", path=trust.SEARCH)
    if tool is None:
        raise KernelLacks(
            f"modprobe is missing, needed for {' and '.join(missing)}; install the package kmod"
        )
    # Built-in parts without parameters do not show in sysfs; modprobe takes them as loaded.
    done = subprocess.run(
        [tool, "-a", *missing], capture_output=True, text=True, errors="backslashreplace", check=False
    )
    if done.returncode:
        raise KernelLacks(f"the kernel lacks {' or '.join(missing)}: {plain(done.stderr.strip())}")


def _syscall(which: int, *arguments: object) -> None:
    number = _SYSCALLS.get(platform.machine(), _GENERIC)[which]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
