"""Facts about a block device, and reading and writing it with care."""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from pycontrol.dm.types import DevNumber
from pycontrol.errors import AccessDenied, Busy, DeviceIoError, WrongDevice
from pycontrol.service.identity import Identity, from_sysfs
from pycontrol.service.signatures import Signature
from pycontrol.sizes import SECTOR
from pycontrol.text import plain


def block_ioctl(number: int, told: int = 0) -> int:
    """``_IO(0x12, number)``, or ``_IOR`` of so many bytes.

    Not as Alpha, MIPS, PA-RISC, PowerPC and SPARC have it: their bits for the direction are others.
    """
    return (2 << 30 if told else 0) | told << 16 | 0x12 << 8 | number


BLKROGET: Final = block_ioctl(94)
BLKSSZGET: Final = block_ioctl(104)
# Of type size_t, although it tells 64 bits everywhere.
BLKGETSIZE64: Final = block_ioctl(114, struct.calcsize("N"))
BLKGETDISKSEQ: Final = block_ioctl(128, 8)

SYSFS: Final = Path("/sys")
PROC: Final = Path("/proc")


class Seen(NamedTuple):
    """What a descriptor is open on; its name may be another's the next time it is opened."""

    kind: int
    """Block device or file, by its ``S_IFMT``."""
    number: int
    """Of the device, or of the one that the file is on."""
    inode: int = 0
    """Of a file."""
    sequence: int = 0
    """Of a disk: the kernel counts those that come, from Linux 5.15 on, and gives a number away anew."""
    start: int = 0
    """Of a partition, in sectors: a table that is written anew gives its number to another one."""
    size: int = 0
    """Of a device, in bytes."""


def seen(fd: int, path: str) -> Seen:
    """What is open there; WrongDevice if it is neither a block device nor a file."""
    found = os.fstat(fd)
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        return Seen(kind, found.st_dev, found.st_ino)
    if kind != stat.S_IFBLK:
        raise WrongDevice(f"{plain(path)} is neither a block device nor an image file; name one of these")
    try:
        sequence = _ioctl(fd, BLKGETDISKSEQ, "=Q", path)
    except DeviceIoError:
        sequence = 0
    size = _ioctl(fd, BLKGETSIZE64, "=Q", path)
    return Seen(kind, found.st_rdev, sequence=sequence, start=_start(found.st_rdev), size=size)


def _start(rdev: int) -> int:
    try:
        return int((SYSFS / f"dev/block/{os.major(rdev)}:{os.minor(rdev)}/start").read_text())
    except FileNotFoundError:
        # A whole disk.
        return 0


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A device as it was when looked at.  Sizes in bytes."""

    path: str
    dev: DevNumber
    size: int
    logical_block: int
    readonly: bool = False
    disk: str = ""
    """The whole disk's name in sysfs; its own for a whole disk; empty if sysfs does not say."""
    partition: bool = False
    partitions: tuple[str, ...] = ()
    """Names of those on it, in sysfs."""
    holders: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    identity: Identity = field(default_factory=Identity)
    known_as: tuple[Signature, ...] = ()
    """What udev found on it."""
    seen: Seen | None = None
    """By this it is known again when it is opened; :func:`look` always tells it."""

    @property
    def sectors(self) -> int:
        """Size in sectors of 512 bytes."""
        return self.size // SECTOR

    @property
    def use(self) -> str:
        """Who uses it, for people; empty if nobody does that can be seen."""
        if self.mounts:
            return f"mounted on {', '.join(map(plain, self.mounts))}"
        if self.holders:
            return f"in use by {', '.join(map(plain, self.holders))}"
        return ""


def look(path: str, sysfs: Path = SYSFS, proc: Path = PROC) -> BlockDevice:
    """Collect the facts; changes nothing on the device.

    WrongDevice if there is no block device at ``path``, AccessDenied or DeviceIoError if it cannot be
    opened or asked for its geometry.
    """
    number(path)
    fd = open_device(path, os.O_RDONLY)
    try:
        # All facts are those of the device that is open, whatever the name means by now.
        found = seen(fd, path)
        dev = DevNumber(os.major(found.number), os.minor(found.number))
        size = _ioctl(fd, BLKGETSIZE64, "=Q", path)
        logical = _ioctl(fd, BLKSSZGET, "=i", path)
        readonly = bool(_ioctl(fd, BLKROGET, "=i", path))
    finally:
        os.close(fd)
    from pycontrol.service import udevdb

    known = udevdb.properties(dev)
    place = (sysfs / "dev/block" / str(dev)).resolve()
    partition = (place / "partition").exists()
    return BlockDevice(
        path=path,
        dev=dev,
        size=size,
        logical_block=logical,
        readonly=readonly,
        disk=(place.parent.name if partition else place.name) if place.exists() else "",
        partition=partition,
        partitions=partitions(place),
        holders=holders(place),
        mounts=mounts(dev, proc),
        identity=Identity.from_udev(known) or from_sysfs(dev, sysfs),
        known_as=tuple(Signature(each, -1) for each in udevdb.signatures(known, partition=partition)),
        seen=found,
    )


def look_as(path: str, dev: "DevNumber | str") -> BlockDevice:
    """The facts of the device at a path, which must have this number; WrongDevice if it has another."""
    found = look(path)
    if str(found.dev) != str(dev):
        raise WrongDevice(f"{plain(path)} is another device, {found.dev} and not {dev}; is udev running?")
    return found


def number(path: str) -> DevNumber:
    """The device number behind a path, without opening it; WrongDevice if there is no block device."""
    try:
        found = Path(path).stat()
    except FileNotFoundError as error:
        raise WrongDevice(f"{plain(path)} does not exist; check the name with lsblk") from error
    except (OSError, ValueError) as error:
        raise WrongDevice(f"{plain(path)} cannot be looked at: {error}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise WrongDevice(
            f"{plain(path)} is not a block device; name a disk or partition (losetup makes one of a file)"
        )
    return DevNumber(os.major(found.st_rdev), os.minor(found.st_rdev))


def open_device(what: "str | BlockDevice", flags: int) -> int:
    """Open, with each refusal in words.  O_EXCL on a block device asks for sole use.

    A device that was looked at before must be the same one still: WrongDevice if its name is
    another's by now.
    """
    if isinstance(what, str):
        return _open(what, flags)
    fd = _open(what.path, flags)
    try:
        check_same(fd, what.path, what.seen)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_same(fd: int, path: str, before: Seen | None) -> None:
    """WrongDevice if what is open now is not what was seen ``before``; None for what nobody looked at."""
    if before is not None and seen(fd, path) != before:
        raise WrongDevice(f"{plain(path)} is not what it was a moment ago; look at it again")


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        shown = plain(path)
        match error.errno:
            case errno.EBUSY:
                raise Busy(f"{shown} is in use; unmount or release it first") from error
            case errno.EACCES | errno.EPERM:
                hint = "the system forbids it" if os.geteuid() == 0 else "run this as root"
                raise AccessDenied(f"{shown} may not be opened; {hint}") from error
            case errno.EROFS:
                raise AccessDenied(f"{shown} is read-only; make it writable first") from error
            case errno.ENXIO | errno.ENODEV | errno.ENOMEDIUM | errno.ENOENT:
                raise WrongDevice(f"there is no device behind {shown}; check the name with lsblk") from error
            case _:
                raise DeviceIoError(f"{shown} cannot be opened: {error.strerror}") from error


def _ioctl(fd: int, request: int, form: str, path: str) -> int:
    buffer = bytearray(struct.calcsize(form))
    try:
        fcntl.ioctl(fd, request, buffer, True)
    except OSError as error:
        raise DeviceIoError(f"{plain(path)} does not tell its geometry: {error.strerror}") from error
    value: int = struct.unpack(form, buffer)[0]
    return value


def holders(place: Path) -> tuple[str, ...]:
    """Names of the devices stacked on this one, on its partitions or on the disk it is one of, by sysfs."""
    found: list[str] = []
    whole = [place.parent / "holders"] if (place / "partition").exists() else []
    for directory in (*whole, place / "holders", *sorted(place.glob("*/holders"))):
        if directory.is_dir():
            found += sorted(_dm_name(entry) for entry in directory.iterdir())
    return tuple(dict.fromkeys(found))


def partitions(place: Path) -> tuple[str, ...]:
    """Names of the partitions on a disk, by sysfs."""
    return tuple(sorted(file.parent.name for file in place.glob("*/partition")))


def _dm_name(entry: Path) -> str:
    try:
        return (entry.resolve() / "dm/name").read_text(errors="surrogateescape").strip() or entry.name
    except OSError:
        return entry.name


def mounts(dev: DevNumber, proc: Path = PROC) -> tuple[str, ...]:
    """Where a device is mounted, or that it swaps, by its number."""
    found: list[str] = []
    try:
        lines = (proc / "self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split(" ")
        if len(words) > 4 and words[2] == str(dev):
            found.append(unescaped(words[4]))
    return tuple(dict.fromkeys(found))


def unescaped(word: str) -> str:
    """mountinfo writes blank, tab, newline and backslash as ``\\ooo``."""
    for code in ("040", "011", "012", "134"):
        word = word.replace(f"\\{code}", chr(int(code, 8)))
    return word


def check_unused(device: BlockDevice) -> None:
    """Busy, and by whom, for a device that is mounted or stacked upon."""
    if device.use:
        raise Busy(f"{plain(device.path)} is {device.use}; release it first")


def check_free(device: BlockDevice) -> None:
    """Busy for a device that is mounted, stacked upon or otherwise held."""
    check_unused(device)
    # Read-only: closing a writable descriptor would make udev probe the device again.
    os.close(open_device(device, os.O_RDONLY | os.O_EXCL))


@contextmanager
def opened(what: "str | BlockDevice", *, write: bool = False, exclusive: bool = False) -> Iterator[int]:
    """A descriptor for the length of a block, for reading or to ``write``, ``exclusive`` for sole use.

    The errors are those of :func:`open_device`.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_EXCL if exclusive else 0)
    fd = open_device(what, flags)
    try:
        # The target writes past the page cache; pages somebody read before that must not be believed.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        yield fd
    finally:
        os.close(fd)


def write_durably(fd: int, blocks: Iterable[tuple[int, bytes]]) -> None:
    """Write ``(byte offset, data)`` in order and make it durable; OSError as it comes."""
    for offset, data in blocks:
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, offset)
            view, offset = view[done:], offset + done
    os.fsync(fd)
