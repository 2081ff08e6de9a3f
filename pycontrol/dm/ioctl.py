"""/dev/mapper/control: one method for each ioctl.

A buffer that turns out too small is doubled and the ioctl repeated, as libdevmapper
does.  Buffers start at 1024 bytes: up to that size CPython's ``fcntl.ioctl`` works on
a copy and lets go of the interpreter lock (Modules/fcntlmodule.c, IOCTL_BUFSZ), and
suspend, remove, resume, wait and a message may take long.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pycontrol.dm import codec
from pycontrol.dm.errors import DmIoctlError, DmReplyError
from pycontrol.dm.types import (
    DeviceEntry,
    DeviceInfo,
    DevNumber,
    DmCommand,
    DmFlags,
    DmName,
    DmUuid,
    Ref,
    TargetLine,
    TargetVersion,
)

CONTROL: Final = Path("/dev/mapper/control")
BLOCKING_BUFFER: Final = 1024
LARGEST_BUFFER: Final = 64 << 20

IoctlCall = Callable[[int, int, bytearray], int]
"""``ioctl(fd, number, buffer)``: fills the buffer in place or raises OSError."""


def _system_ioctl(fd: int, number: int, buffer: bytearray) -> int:
    import fcntl

    result: int = fcntl.ioctl(fd, number, buffer, True)
    return result


class Control:
    """The control node, opened at the first ioctl.

    Every method raises DmIoctlError if the kernel refuses, and DmReplyError if its reply cannot be
    understood.  Sectors are 512 bytes.
    """

    def __init__(self, ioctl: IoctlCall | None = None, path: Path = CONTROL) -> None:
        self._ioctl = ioctl or _system_ioctl
        self._fake = ioctl is not None
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the node; a later ioctl opens it again."""
        if self._fd is not None and not self._fake:
            os.close(self._fd)
        self._fd = None

    def fileno(self) -> int:
        """The open descriptor, for poll(): readable when any device had an event since armed."""
        if self._fd is None:
            try:
                self._fd = -1 if self._fake else os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                raise DmIoctlError("open", str(self._path), error.errno or errno.EIO) from error
        return self._fd

    # What the interface and the kernel can do

    def version(self) -> tuple[int, int, int]:
        """Version of the ioctl interface, (4, 47, 0) on Linux 6.1."""
        return self._call(DmCommand.DM_VERSION, "ask for the interface version").version

    def list_versions(self) -> list[TargetVersion]:
        """The targets loaded at this moment."""
        return codec.decode_versions(self._call(DmCommand.DM_LIST_VERSIONS, "list the targets").data)

    def target_version(self, target: str) -> TargetVersion | None:
        """The named target, or None; lets the kernel load its module (interface 4.41)."""
        try:
            request = codec.Request(name=target)
            reply = self._call(DmCommand.DM_GET_TARGET_VERSION, f"look for target {target}", request)
            found = codec.decode_versions(reply.data)
        except DmIoctlError as error:
            if error.errno == errno.EINVAL:
                return None
            if error.errno != errno.ENOTTY:
                raise
            found = self.list_versions()
        return next((entry for entry in found if entry.name == target), None)

    # Devices

    def list_devices(self) -> list[DeviceEntry]:
        """Every device-mapper device, with name, uuid and event number."""
        request = codec.Request(flags=DmFlags.UUID)
        return codec.decode_names(self._call(DmCommand.DM_LIST_DEVICES, "list the devices", request).data)

    def create(self, name: DmName, uuid: DmUuid) -> DeviceInfo:
        """Make a device without a table; its number is the kernel's choice."""
        request = codec.Request(name=name, uuid=uuid)
        return self._call(DmCommand.DM_DEV_CREATE, f"create {name} with uuid {uuid}", request).info

    def remove(self, ref: Ref, *, deferred: bool = False, event_nr: int = 0) -> DeviceInfo:
        """Remove a device; with ``deferred`` one in use goes when its last user closes it."""
        flags = DmFlags.DEFERRED_REMOVE if deferred else DmFlags.NONE
        request = _by(ref, flags=flags, event_nr=event_nr)
        return self._call(DmCommand.DM_DEV_REMOVE, f"remove {ref}", request).info

    def rename(self, ref: Ref, new: DmName, *, event_nr: int = 0) -> DeviceInfo:
        """Give a device another name; DmIoctlError if that is taken."""
        payload = new.encode() + b"\0"
        request = _by(ref, event_nr=event_nr, payload=payload)
        return self._call(DmCommand.DM_DEV_RENAME, f"rename {ref} to {new}", request).info

    def suspend(self, ref: Ref, *, noflush: bool = False, skip_lockfs: bool = False) -> DeviceInfo:
        """Hold new I/O and wait for what is under way.

        ``noflush`` does not wait but lets the target queue it; ``skip_lockfs`` leaves a file
        system on it unfrozen.
        """
        flags = DmFlags.SUSPEND
        if noflush:
            flags |= DmFlags.NOFLUSH
        if skip_lockfs:
            flags |= DmFlags.SKIP_LOCKFS
        return self._call(DmCommand.DM_DEV_SUSPEND, f"suspend {ref}", _by(ref, flags=flags)).info

    def resume(self, ref: Ref, *, event_nr: int = 0) -> DeviceInfo:
        """Resume, swapping in the inactive table if there is one; same ioctl as suspend."""
        return self._call(DmCommand.DM_DEV_SUSPEND, f"resume {ref}", _by(ref, event_nr=event_nr)).info

    def info(self, ref: Ref) -> DeviceInfo:
        """What the kernel knows about a device; DmIoctlError if there is none."""
        return self._call(DmCommand.DM_DEV_STATUS, f"look up {ref}", _by(ref)).info

    # Tables

    def load(self, ref: Ref, targets: Iterable[TargetLine], *, readonly: bool = False) -> DeviceInfo:
        """Load a table into the inactive slot; :meth:`resume` makes it live."""
        lines = list(targets)
        request = _by(
            ref,
            flags=DmFlags.READONLY if readonly else DmFlags.NONE,
            target_count=len(lines),
            payload=codec.encode_table(lines),
        )
        asked = f"load into {ref} the table '{'; '.join(map(str, lines))}'"
        return self._call(DmCommand.DM_TABLE_LOAD, asked, request).info

    def clear(self, ref: Ref) -> DeviceInfo:
        """Drop the inactive table."""
        return self._call(DmCommand.DM_TABLE_CLEAR, f"clear the inactive table of {ref}", _by(ref)).info

    def status(self, ref: Ref, *, noflush: bool = True) -> tuple[DeviceInfo, list[TargetLine]]:
        """The device and its live table's status lines, none without one.

        ``noflush`` asks targets not to commit for it.
        """
        flags = DmFlags.NOFLUSH if noflush else DmFlags.NONE
        return self._table(f"read the status of {ref}", _by(ref, flags=flags))

    def table(self, ref: Ref, *, inactive: bool = False) -> tuple[DeviceInfo, list[TargetLine]]:
        """The device and its table lines, live or ``inactive``; none without such a table."""
        flags = DmFlags.STATUS_TABLE
        if inactive:
            flags |= DmFlags.QUERY_INACTIVE_TABLE
        return self._table(f"read the table of {ref}", _by(ref, flags=flags))

    def deps(self, ref: Ref, *, inactive: bool = False) -> list[DevNumber]:
        """The devices the table stands on, the live one or the inactive; none without such a table."""
        flags = DmFlags.QUERY_INACTIVE_TABLE if inactive else DmFlags.NONE
        request = _by(ref, flags=flags)
        reply = self._call(DmCommand.DM_TABLE_DEPS, f"read the dependencies of {ref}", request)
        return codec.decode_deps(reply.data)

    # Messages and events

    def message(self, ref: Ref, words: str, *, sector: int = 0) -> str:
        """Send ``words`` to the target at ``sector``; the answer, empty if there is none.

        An answer that outgrew the buffer makes the kernel run the message again.
        """
        request = _by(ref, payload=codec.encode_message(sector, words))
        reply = self._call(DmCommand.DM_TARGET_MSG, f"send {ref} the message '{words}'", request)
        return codec.text(reply.data) if reply.flags & DmFlags.DATA_OUT else ""

    def wait(self, ref: Ref, event_nr: int) -> DeviceInfo:
        """Block until the device's event number differs from ``event_nr``."""
        request = _by(ref, event_nr=event_nr)
        # The status lines behind the header are not wanted: one that did not fit is no reason
        # to wait a second time.
        return self._call(DmCommand.DM_DEV_WAIT, f"wait for an event of {ref}", request, grow=False).info

    def arm_poll(self) -> None:
        """Make poll() on :meth:`fileno` report events from now on."""
        self._call(DmCommand.DM_DEV_ARM_POLL, "arm the control node for poll")

    # The way of every ioctl

    def _table(self, asked: str, request: codec.Request) -> tuple[DeviceInfo, list[TargetLine]]:
        reply = self._call(DmCommand.DM_TABLE_STATUS, asked, request)
        present = DmFlags.ACTIVE_PRESENT
        if request.flags & DmFlags.QUERY_INACTIVE_TABLE:
            present = DmFlags.INACTIVE_PRESENT
        count = reply.info.target_count if reply.flags & present else 0
        return reply.info, codec.decode_table(reply.data, count)

    def _call(
        self, command: DmCommand, asked: str, request: codec.Request | None = None, *, grow: bool = True
    ) -> codec.Reply:
        request = request or codec.Request()
        size = max(BLOCKING_BUFFER, codec.HEADER_SIZE + len(request.payload))
        fd = self.fileno()
        while True:
            buffer = request.encode(size)
            try:
                self._ioctl(fd, codec.ioctl_number(command), buffer)
            except OSError as error:
                raise DmIoctlError(command.name, asked, error.errno or errno.EIO) from error
            reply = codec.decode(buffer)
            if not grow or not reply.flags & DmFlags.BUFFER_FULL:
                return reply
            size *= 2
            if size > LARGEST_BUFFER:
                raise DmReplyError(f"{command.name} ({asked}) wants more than {LARGEST_BUFFER} bytes")


def _by(
    ref: Ref,
    *,
    flags: DmFlags = DmFlags.NONE,
    event_nr: int = 0,
    target_count: int = 0,
    payload: bytes = b"",
) -> codec.Request:
    """A request about one device; the kernel refuses name and uuid together."""
    by_uuid = isinstance(ref, DmUuid)
    return codec.Request(
        name="" if by_uuid else ref,
        uuid=ref if by_uuid else "",
        flags=flags,
        event_nr=event_nr,
        target_count=target_count,
        payload=payload,
    )


def remove_retrying(
    control: Control,
    ref: Ref,
    *,
    event_nr: int = 0,
    tries: int = 25,
    pause: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> DeviceInfo:
    """Remove a device nobody should hold, giving udev's probing time to let go.

    DmIoctlError (EBUSY) if it is open still after ``tries`` with ``pause`` seconds between them.
    """
    for _ in range(tries - 1):
        try:
            return control.remove(ref, event_nr=event_nr)
        except DmIoctlError as error:
            if error.errno != errno.EBUSY:
                raise
        sleep(pause)
    return control.remove(ref, event_nr=event_nr)
