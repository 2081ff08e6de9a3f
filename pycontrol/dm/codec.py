"""struct dm_ioctl and the structures behind it, to and from bytes.

Layout and offsets are those of linux/dm-ioctl.h in native byte order; the header
is 312 bytes (the last 7 are ``data``, which the kernel pads to the next 8-byte
boundary), and the payload begins right behind it.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.errors import DmReplyError
from pycontrol.dm.types import (
    DM_MAX_TYPE_NAME,
    DeviceEntry,
    DeviceInfo,
    DevNumber,
    DmCommand,
    DmFlags,
    TargetLine,
    TargetVersion,
)

HEADER: Final = struct.Struct("=3I I I I i I I I Q 128s 129s 7s")
TARGET_SPEC: Final = struct.Struct("=Q Q i I 16s")
NAME_LIST: Final = struct.Struct("=Q I")
NAME_TAIL: Final = struct.Struct("=I I")
VERSIONS: Final = struct.Struct("=I 3I")
MESSAGE: Final = struct.Struct("=Q")
DEPS: Final = struct.Struct("=I I")

HEADER_SIZE: Final = HEADER.size
_HAS_UUID: Final = 1

# The kernel takes any minor up to its own, and nothing sent here needs a later one.
CLIENT_VERSION: Final = (4, 0, 0)


def ioctl_number(command: DmCommand) -> int:
    """``_IOWR(0xfd, command, struct dm_ioctl)``."""
    return (3 << 30) | (HEADER_SIZE << 16) | (0xFD << 8) | command


@dataclass(frozen=True, slots=True)
class Request:
    """The fields a caller may set; the kernel fills in the others."""

    name: str = ""
    uuid: str = ""
    flags: DmFlags = DmFlags.NONE
    event_nr: int = 0
    target_count: int = 0
    payload: bytes = b""

    def encode(self, size: int) -> bytearray:
        """A zeroed buffer of ``size`` bytes with header and payload in it; ValueError if they do not fit."""
        if size < HEADER_SIZE + len(self.payload):
            raise ValueError("the buffer is smaller than what it shall carry")
        buffer = bytearray(size)
        HEADER.pack_into(
            buffer,
            0,
            *CLIENT_VERSION,
            size,
            HEADER_SIZE,
            self.target_count,
            0,
            self.flags,
            self.event_nr,
            0,
            0,
            self.name.encode(errors="surrogateescape"),
            self.uuid.encode(errors="surrogateescape"),
            b"",
        )
        buffer[HEADER_SIZE : HEADER_SIZE + len(self.payload)] = self.payload
        return buffer


@dataclass(frozen=True, slots=True)
class Reply:
    """A buffer as the kernel left it."""

    version: tuple[int, int, int]
    info: DeviceInfo
    data: bytes

    @property
    def flags(self) -> DmFlags:
        """Of the device, as the kernel left them."""
        return self.info.flags


def decode(buffer: bytes | bytearray) -> Reply:
    """Take the kernel's reply apart; what lies outside the buffer is an error."""
    if len(buffer) < HEADER_SIZE:
        raise DmReplyError(f"reply of {len(buffer)} bytes is shorter than struct dm_ioctl")
    fields = HEADER.unpack_from(buffer)
    major, minor, patch, size, start, targets, opened, flags, event_nr, _pad, dev, name, uuid, _data = fields
    # Commands without a payload say data_size 305, less than the padded header.
    if size > len(buffer) or (start > size and start != HEADER_SIZE):
        raise DmReplyError(f"reply claims {size} bytes from {start} in a buffer of {len(buffer)}")
    info = DeviceInfo(
        name=text(name),
        uuid=text(uuid),
        dev=DevNumber.decode(dev),
        open_count=opened,
        event_nr=event_nr,
        target_count=targets,
        flags=DmFlags(flags),
    )
    return Reply((major, minor, patch), info, bytes(buffer[start:size]))


def text(raw: bytes) -> str:
    """A C string; undecodable bytes survive as surrogates and are escaped when printed."""
    return raw.split(b"\0", 1)[0].decode(errors="surrogateescape")


def align8(value: int) -> int:
    """``value`` rounded up to a multiple of 8, as structures in a payload are."""
    return (value + 7) & ~7


def encode_table(targets: Iterable[TargetLine]) -> bytes:
    """Target specs for DM_TABLE_LOAD: ``next`` counts from the spec it stands in."""
    out = bytearray()
    for line in targets:
        if len(line.type.encode()) >= DM_MAX_TYPE_NAME:
            raise ValueError(f"target type '{line.type}' is too long")
        params = line.params.encode() + b"\0"
        length = align8(TARGET_SPEC.size + len(params))
        spec = TARGET_SPEC.pack(line.start, line.length, 0, length, line.type.encode())
        out += (spec + params).ljust(length, b"\0")
    return bytes(out)


def decode_table(data: bytes, count: int) -> list[TargetLine]:
    """The ``count`` target specs of DM_TABLE_STATUS: ``next`` counts from the first spec.

    DmReplyError if they do not fit ``data``.
    """
    lines: list[TargetLine] = []
    offset = 0
    for _ in range(count):
        if offset + TARGET_SPEC.size > len(data):
            raise DmReplyError(f"target {len(lines)} of {count} lies outside the reply")
        start, length, _status, following, kind = TARGET_SPEC.unpack_from(data, offset)
        params = text(data[offset + TARGET_SPEC.size :])
        lines.append(TargetLine(start, length, text(kind), params))
        if following <= offset and len(lines) < count:
            raise DmReplyError("the table's target specs run in a circle")
        offset = following
    return lines


def encode_message(sector: int, words: str) -> bytes:
    """The payload of a message to the target at ``sector`` (of 512 bytes) of the device."""
    return MESSAGE.pack(sector) + words.encode() + b"\0"


def _chain(data: bytes, head: struct.Struct, next_field: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Walk records whose ``next`` is an offset from their own start, 0 in the last."""
    offset = 0
    while True:
        if offset + head.size > len(data):
            raise DmReplyError("a list runs past the end of the reply")
        fields = head.unpack_from(data, offset)
        yield offset, fields
        if not fields[next_field]:
            return
        offset += fields[next_field]


def decode_names(data: bytes) -> list[DeviceEntry]:
    """The list of DM_LIST_DEVICES, with event number and uuid (interface 4.37 and later).

    DmReplyError if it leads out of ``data``.
    """
    if len(data) < NAME_LIST.size or not NAME_LIST.unpack_from(data)[0]:
        return []
    entries: list[DeviceEntry] = []
    for offset, (dev, _next) in _chain(data, NAME_LIST, 1):
        raw = data[offset + NAME_LIST.size :].split(b"\0", 1)[0]
        tail = align8(offset + NAME_LIST.size + len(raw) + 1)
        if tail + NAME_TAIL.size > len(data):
            raise DmReplyError("a name in the list runs past the end of the reply")
        event_nr, flags = NAME_TAIL.unpack_from(data, tail)
        uuid = text(data[tail + NAME_TAIL.size :]) if flags & _HAS_UUID else ""
        entries.append(DeviceEntry(text(raw), uuid, DevNumber.decode(dev), event_nr))
    return entries


def decode_versions(data: bytes) -> list[TargetVersion]:
    """The targets of DM_LIST_VERSIONS and DM_GET_TARGET_VERSION.

    DmReplyError if they lead out of ``data``.
    """
    if not data:
        return []
    return [
        TargetVersion(text(data[offset + VERSIONS.size :]), (major, minor, patch))
        for offset, (_next, major, minor, patch) in _chain(data, VERSIONS, 0)
    ]


def decode_deps(data: bytes) -> list[DevNumber]:
    """The devices a table stands on; DmReplyError if ``data`` is too short for them."""
    if not data:
        return []
    if len(data) < DEPS.size:
        raise DmReplyError("the list of dependencies is cut off")
    count, _pad = DEPS.unpack_from(data)
    if DEPS.size + 8 * count > len(data):
        raise DmReplyError(f"{count} dependencies do not fit in {len(data)} bytes")
    return [DevNumber.decode(raw) for raw in struct.unpack_from(f"={count}Q", data, DEPS.size)]
