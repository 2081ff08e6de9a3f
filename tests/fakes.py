"""Stand-ins at the boundary: a device-mapper made of memory, and semaphores likewise.

The fake control node follows drivers/md/dm-ioctl.c of Linux 6.1 (validate_params,
copy_params, dev_create, table_load, do_resume, dev_remove, target_message) where the
control plane depends on it, and packs its replies by hand, not with the code under test.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

HEADER = 312
NO_PARAMS = {3, 4, 6, 7, 10, 16}
READONLY, BUFFER_FULL, UEVENT, DATA_OUT, DEFERRED = 1 << 0, 1 << 8, 1 << 13, 1 << 16, 1 << 17
QUERY_INACTIVE = 1 << 12
ACTIVE, INACTIVE, SUSPENDED = 1 << 5, 1 << 6, 1 << 1
WHILE_SUSPENDED = {"help", "status", "stats", "cache_stats", "scrub"}
"""Messages that need no metadata, as they are; device-mapper's own begin with an at sign."""


@dataclass
class Device:
    name: str
    uuid: str
    minor: int
    live: list[tuple[int, int, str, str]] | None = None
    pending: list[tuple[int, int, str, str]] | None = None
    open_count: int = 0
    event_nr: int = 0
    suspended: bool = False
    deferred: bool = False
    readonly: bool = False


@dataclass
class FakeKernel:
    """Call it as ``ioctl(fd, number, buffer)``."""

    interface: tuple[int, int, int] = (4, 47, 0)
    targets: dict[str, tuple[int, int, int]] = field(default_factory=lambda: {"dm-remap-v4": (1, 0, 0)})
    devices: dict[str, Device] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    cookies: list[int] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)
    status_line: str = "0/1000 0 0 5/5 1 0 0 0 0 0 0 rw -"
    answer: Callable[[str], str | None] = lambda words: None
    messages: list[tuple[int, str]] = field(default_factory=list)
    loads: list[bool] = field(default_factory=list)
    """Of each table that was loaded, whether it is to be read-only."""
    uevents: bool = True
    minors: int = 0

    def add(self, name: str, uuid: str, *lines: tuple[int, int, str, str]) -> Device:
        device = Device(name, uuid, self.minors, live=list(lines) or None)
        self.minors += 1
        self.devices[name] = device
        return device

    def __call__(self, fd: int, number: int, buffer: bytearray) -> int:
        assert number >> 30 == 3 and (number >> 8) & 0xFF == 0xFD
        assert (number >> 16) & 0x3FFF == HEADER
        command = number & 0xFF
        (major, minor, _patch, size, start, count, _open, flags, event_nr, _pad, dev) = struct.unpack_from(
            "=IIIIIIiIIIQ", buffer
        )
        assert size == len(buffer) and dev == 0
        name, uuid = _string(buffer[48:176]), _string(buffer[176:305])
        label = _NAMES[command] if command != 6 else ("suspend" if flags & SUSPENDED else "resume")
        self.calls.append(label)
        self.sizes.append(size)
        struct.pack_into("=III", buffer, 0, *self.interface)
        if major != 4 or minor > self.interface[1]:
            raise OSError(errno.EINVAL, "version")
        if label in self.fail:
            raise OSError(self.fail[label], label)
        if command == 0:
            return 0
        if command not in (2, 13) and command != 3 and name and uuid:
            raise OSError(errno.EINVAL, "only supply one of name or uuid")
        flags &= ~(BUFFER_FULL | UEVENT | DATA_OUT)
        payload = bytes(buffer[start:]) if command not in NO_PARAMS else b""
        room = size - HEADER
        handler = getattr(self, f"_{label}")
        out, flags, device = handler(name, uuid, flags, event_nr, count, payload, room)
        data = b""
        if out is not None:
            if len(out) > room:
                flags |= BUFFER_FULL
            else:
                data = out
        self._reply(buffer, flags, device, data)
        return 0

    def _find(self, name: str, uuid: str) -> Device:
        for device in self.devices.values():
            if (uuid and device.uuid == uuid) or (name and not uuid and device.name == name):
                return device
        raise OSError(errno.ENXIO, "no such device")

    def _DM_LIST_DEVICES(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        out = bytearray()
        rest = sorted(self.devices.values(), key=lambda device: device.name)
        for number, device in enumerate(rest, 1):
            record = bytearray(struct.pack("=QI", _dev(device.minor), 0) + device.name.encode() + b"\0")
            record += bytes(-len(record) % 8) + struct.pack("=II", device.event_nr, 1 if device.uuid else 2)
            if device.uuid:
                record += device.uuid.encode() + b"\0"
                record += bytes(-len(record) % 8)
            if number < len(rest):
                struct.pack_into("=I", record, 8, len(record))
            out += record
        return bytes(out), flags, None

    def _DM_LIST_VERSIONS(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        return self._versions(list(self.targets)), flags, None

    def _DM_GET_TARGET_VERSION(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        if name not in self.targets:
            raise OSError(errno.EINVAL, "unknown target")
        return self._versions([name]), flags, None

    def _versions(self, names: list[str]) -> bytes:
        out = bytearray()
        for number, name in enumerate(names, 1):
            record = bytearray(struct.pack("=IIII", 0, *self.targets[name]) + name.encode() + b"\0")
            record += bytes(-len(record) % 8)
            if number < len(names):
                struct.pack_into("=I", record, 0, len(record))
            out += record
        return bytes(out)

    def _DM_DEV_CREATE(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        if any(name == each.name or (uuid and uuid == each.uuid) for each in self.devices.values()):
            raise OSError(errno.EBUSY, "exists")
        return None, flags, self.add(name, uuid)

    def _DM_TABLE_LOAD(
        self, name: str, uuid: str, flags: int, event: int, count: int, payload: bytes, room: int
    ) -> _Answer:
        device = self._find(name, uuid)
        lines, at = [], 0
        for _number in range(count):
            start, length, _status, following, kind = struct.unpack_from("=QQiI16s", payload, at)
            assert following % 8 == 0
            lines.append((start, length, _string(kind), _string(payload[at + 40 :])))
            at += following
        if any(kind not in self.targets for _start, _length, kind, _params in lines):
            raise OSError(errno.EINVAL, "unknown target type")
        device.pending = lines
        self.loads.append(bool(flags & READONLY))
        return None, flags, device

    def _DM_TABLE_STATUS(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        out = b""
        for start, length, kind, params in device.live or []:
            words = params if flags & 1 << 4 else self.status_line if kind == "dm-remap-v4" else ""
            body = words.encode() + b"\0"
            body += bytes(-len(body) % 8)
            following = len(out) + 40 + len(body)
            out += struct.pack("=QQiI16s", start, length, 0, following, kind.encode()) + body
        return out, flags, device

    def _resume(self, name: str, uuid: str, flags: int, event: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        if device.pending is not None:
            device.live, device.pending = device.pending, None
        device.suspended = False
        self.cookies.append(event)
        return None, flags | (UEVENT if self.uevents else 0), device

    def _suspend(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        device.suspended = True
        return None, flags, device

    def _DM_DEV_STATUS(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        return None, flags, self._find(name, uuid)

    def _DM_DEV_WAIT(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        device.event_nr += 1
        return bytes(4096), flags, device

    def _DM_DEV_ARM_POLL(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        return None, flags, None

    def _DM_DEV_REMOVE(self, name: str, uuid: str, flags: int, event: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        self.cookies.append(event)
        if device.open_count:
            if not flags & DEFERRED:
                raise OSError(errno.EBUSY, "open")
            device.deferred = True
            return None, flags, device
        del self.devices[device.name]
        return None, (flags & ~DEFERRED) | (UEVENT if self.uevents else 0), device

    def _DM_DEV_RENAME(
        self, name: str, uuid: str, flags: int, event: int, count: int, payload: bytes, room: int
    ) -> _Answer:
        device = self.devices.pop(self._find(name, uuid).name)
        device.name = _string(payload)
        self.devices[device.name] = device
        return None, flags | UEVENT, device

    def _DM_TABLE_DEPS(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        device = self._find(name, uuid)
        if flags & QUERY_INACTIVE:
            if device.pending is None:
                return None, flags, device
            numbers = [word.split(":") for line in device.pending for word in line[3].split()[:2]]
            devs = [int(major) << 8 | int(minor) for major, minor in numbers]
            return struct.pack(f"=II{len(devs)}Q", len(devs), 0, *devs), flags, device
        return struct.pack("=IIQQ", 2, 0, 8 << 8 | 1, (7 << 8) | 5 | (3 << 20)), flags, device

    def _DM_TARGET_MSG(
        self, name: str, uuid: str, flags: int, event: int, count: int, payload: bytes, room: int
    ) -> _Answer:
        device = self._find(name, uuid)
        words = _string(payload[8:])
        self.messages.append((struct.unpack_from("=Q", payload)[0], words))
        if device.suspended and not words.startswith("@") and words not in WHILE_SUSPENDED:
            raise OSError(errno.EBUSY, "suspended")
        said = self.answer(words)
        if said is None:
            return None, flags, device
        return said.encode() + b"\0", flags | DATA_OUT, device

    def _reply(self, buffer: bytearray, flags: int, device: Device | None, data: bytes) -> None:
        struct.pack_into("=II", buffer, 12, HEADER + len(data) if data else 305, HEADER)
        if device is not None:
            flags &= ~(SUSPENDED | ACTIVE | INACTIVE)
            flags |= SUSPENDED if device.suspended else 0
            flags |= ACTIVE if device.live is not None else 0
            flags |= INACTIVE if device.pending is not None else 0
            flags |= DEFERRED if device.deferred else 0
            flags |= READONLY if device.readonly else 0
            struct.pack_into("=Ii", buffer, 20, len(device.live or []), device.open_count)
            struct.pack_into("=I", buffer, 32, device.event_nr)
            struct.pack_into(
                "=Q128s129s", buffer, 40, _dev(device.minor), device.name.encode(), device.uuid.encode()
            )
        struct.pack_into("=I", buffer, 28, flags)
        buffer[HEADER : HEADER + len(data)] = data


_Answer = tuple[bytes | None, int, Device | None]
_WORDS = """DM_VERSION DM_REMOVE_ALL DM_LIST_DEVICES DM_DEV_CREATE DM_DEV_REMOVE DM_DEV_RENAME DM_DEV_SUSPEND
DM_DEV_STATUS DM_DEV_WAIT DM_TABLE_LOAD DM_TABLE_CLEAR DM_TABLE_DEPS DM_TABLE_STATUS DM_LIST_VERSIONS
DM_TARGET_MSG DM_DEV_SET_GEOMETRY DM_DEV_ARM_POLL DM_GET_TARGET_VERSION"""
_NAMES = _WORDS.split()


def _dev(minor: int) -> int:
    return 253 << 8 | (minor & 0xFF) | (minor & ~0xFF) << 12


def _string(raw: bytes | bytearray) -> str:
    return bytes(raw).split(b"\0", 1)[0].decode()


@dataclass
class FakeSemaphores:
    """System V semaphores of one process; ``udev`` counts them down while they are waited for."""

    values: dict[int, int] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)
    udev: bool = True
    destroyed: list[int] = field(default_factory=list)
    clash: int = 0

    def create(self, key: int) -> int:
        self.keys.append(key)
        if self.clash:
            self.clash -= 1
            raise FileExistsError(errno.EEXIST, "exists")
        semid = len(self.keys)
        self.values[semid] = 1
        return semid

    def add(self, semid: int, amount: int) -> None:
        self.values[semid] += amount
        assert self.values[semid] >= 0, "would block for ever"

    def is_zero(self, semid: int) -> bool:
        if self.values[semid] and self.udev:
            self.values[semid] -= 1
            return False
        return self.values[semid] == 0

    def destroy(self, semid: int) -> None:
        self.destroyed.append(semid)
        del self.values[semid]


@dataclass
class PolledKernel(FakeKernel):
    """One whose control node can be polled, and which sends uevents as lib/kobject_uevent.c does.

    ``socket`` is the listener's end.  Datagrams of a UNIX socket keep their bounds like those of
    netlink, and a full queue makes the sender wait instead of losing any.
    """

    def __post_init__(self) -> None:
        self.socket, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.seqnum = 0

    def close(self) -> None:
        self.socket.close()
        self._sender.close()
        os.close(self.control)

    def _DM_DEV_ARM_POLL(self, name: str, uuid: str, flags: int, *_: object) -> _Answer:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.control)
        return None, flags, None

    def uevent(self, action: str, minor: int, **properties: object) -> None:
        self.seqnum += 1
        path = f"/devices/virtual/block/dm-{minor}"
        words = [f"{action}@{path}", f"ACTION={action}", f"DEVPATH={path}", "SUBSYSTEM=block"]
        words += [f"{key}={value}" for key, value in properties.items()]
        words += [
            "MAJOR=253",
            f"MINOR={minor}",
            f"DEVNAME=dm-{minor}",
            "DEVTYPE=disk",
            f"SEQNUM={self.seqnum}",
        ]
        self._sender.send("\0".join([*words, ""]).encode())

    def dm_event(self, device: Device | None = None) -> None:
        """dm_table_event(), or what concerns no one device."""
        if device:
            device.event_nr += 1
        os.eventfd_write(self.control, 1)

    def tell(self, device: Device, action: str, number: int, sector: int, sectors: int, extents: int) -> None:
        """send_uevent() of kernel/dm-remap-v4-event.c."""
        self.uevent(
            "change", device.minor, DM_TARGET="dm-remap-v4", DM_ACTION=action, DM_NAME=device.name,
            DM_UUID=device.uuid, DM_SEQNUM=number, DM_SECTOR=sector, DM_SECTORS=sectors, DM_EXTENTS=extents,
        )  # fmt: skip
