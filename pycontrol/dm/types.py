"""Names, flags and results of device-mapper, under the kernel's own terms."""

import os
import re
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Final, Self

from pycontrol.dm.errors import DmNameError

MAPPER_DIR: Final = Path("/dev/mapper")

DM_NAME_LEN: Final = 128
DM_UUID_LEN: Final = 129
DM_MAX_TYPE_NAME: Final = 16

# libdevmapper mangles every other character in the names under /dev/mapper.  Refusing
# them keeps one spelling everywhere; 'control' is the node of device-mapper itself.
_NAME: Final = re.compile(r"[A-Za-z0-9#+\-.:=@_]+")
MANGLED: Final = re.compile(r"(?=.*\\x)(?:[A-Za-z0-9#+\-.:=@_]|\\x[0-9a-f]{2})+")
"""What libdevmapper makes of a name with other characters."""


class DmName(str):
    """A device name that needs no mangling; checked when made."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """``value``, or DmNameError."""
        if not _NAME.fullmatch(value) or value in {".", "..", "control"}:
            raise DmNameError(f"'{value}' cannot name a device; use letters, digits and #+-.:=@_")
        if len(value) >= DM_NAME_LEN:
            raise DmNameError(f"a device name has at most {DM_NAME_LEN - 1} characters")
        return super().__new__(cls, value)

    @classmethod
    def known(cls, value: str) -> Self:
        """A name that the kernel has told, of whatever characters; DmNameError if it is too long for one."""
        if len(os.fsencode(value)) >= DM_NAME_LEN:
            raise DmNameError(f"a device name has at most {DM_NAME_LEN - 1} characters")
        return super().__new__(cls, value)


class DmUuid(str):
    """A device-mapper uuid (any prefix and text, not only RFC 4122); checked when made."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        """``value``, or DmNameError."""
        if not _NAME.fullmatch(value):
            raise DmNameError(f"'{value}' cannot be a device-mapper uuid")
        if len(value) >= DM_UUID_LEN:
            raise DmNameError(f"a device-mapper uuid has at most {DM_UUID_LEN - 1} characters")
        return super().__new__(cls, value)


Ref = DmName | DmUuid
"""How a device is named to the kernel: by name or by uuid, never by both."""


class DmCommand(IntEnum):
    """The ioctl numbers, in the order of linux/dm-ioctl.h."""

    DM_VERSION = 0
    DM_REMOVE_ALL = 1
    DM_LIST_DEVICES = 2
    DM_DEV_CREATE = 3
    DM_DEV_REMOVE = 4
    DM_DEV_RENAME = 5
    DM_DEV_SUSPEND = 6
    DM_DEV_STATUS = 7
    DM_DEV_WAIT = 8
    DM_TABLE_LOAD = 9
    DM_TABLE_CLEAR = 10
    DM_TABLE_DEPS = 11
    DM_TABLE_STATUS = 12
    DM_LIST_VERSIONS = 13
    DM_TARGET_MSG = 14
    DM_DEV_SET_GEOMETRY = 15
    DM_DEV_ARM_POLL = 16
    DM_GET_TARGET_VERSION = 17


class DmFlags(IntFlag):
    """The ``flags`` word of struct dm_ioctl."""

    NONE = 0
    READONLY = 1 << 0
    SUSPEND = 1 << 1
    PERSISTENT_DEV = 1 << 3
    STATUS_TABLE = 1 << 4
    ACTIVE_PRESENT = 1 << 5
    INACTIVE_PRESENT = 1 << 6
    BUFFER_FULL = 1 << 8
    SKIP_LOCKFS = 1 << 10
    NOFLUSH = 1 << 11
    QUERY_INACTIVE_TABLE = 1 << 12
    UEVENT_GENERATED = 1 << 13
    UUID = 1 << 14
    SECURE_DATA = 1 << 15
    DATA_OUT = 1 << 16
    DEFERRED_REMOVE = 1 << 17
    INTERNAL_SUSPEND = 1 << 18
    IMA_MEASUREMENT = 1 << 19


class UdevFlags(IntFlag):
    """What udev's rules shall do; they travel in the upper half of the cookie word."""

    NONE = 0
    DISABLE_DM_RULES = 0x0001
    DISABLE_SUBSYSTEM_RULES = 0x0002
    DISABLE_DISK_RULES = 0x0004
    DISABLE_OTHER_RULES = 0x0008
    LOW_PRIORITY = 0x0010
    DISABLE_LIBRARY_FALLBACK = 0x0020
    PRIMARY_SOURCE = 0x0040


@dataclass(frozen=True, slots=True)
class DevNumber:
    """A block device's number; prints as ``major:minor``, as tables want it."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"

    @classmethod
    def decode(cls, raw: int) -> Self:
        """From the kernel's huge_encode_dev() (include/linux/kdev_t.h)."""
        return cls((raw & 0xFFF00) >> 8, (raw & 0xFF) | ((raw >> 12) & 0xFFF00))

    def encode(self) -> int:
        """The inverse of :meth:`decode`."""
        return (self.minor & 0xFF) | (self.major << 8) | ((self.minor & ~0xFF) << 12)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What every ioctl about one device reports back."""

    name: str
    uuid: str
    dev: DevNumber
    open_count: int
    event_nr: int
    target_count: int
    flags: DmFlags

    @property
    def suspended(self) -> bool:
        """Whether I/O is held back."""
        return bool(self.flags & DmFlags.SUSPEND)

    @property
    def readonly(self) -> bool:
        """Whether its live table is read-only."""
        return bool(self.flags & DmFlags.READONLY)

    @property
    def has_table(self) -> bool:
        """Whether it has a live table; without one it can have an inactive one."""
        return bool(self.flags & DmFlags.ACTIVE_PRESENT)

    @property
    def deferred_remove(self) -> bool:
        """Whether removal was asked for, and happens when the last user closes the device."""
        return bool(self.flags & DmFlags.DEFERRED_REMOVE)


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One line of the list of all device-mapper devices."""

    name: str
    uuid: str
    dev: DevNumber
    event_nr: int


@dataclass(frozen=True, slots=True)
class TargetLine:
    """One target of a table; ``start`` and ``length`` in sectors of 512 bytes."""

    start: int
    length: int
    type: str
    params: str

    def __str__(self) -> str:
        return f"{self.start} {self.length} {self.type} {self.params}".rstrip()


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """A target the kernel has loaded, with its own version."""

    name: str
    version: tuple[int, int, int]
