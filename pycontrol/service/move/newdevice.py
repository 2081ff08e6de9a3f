"""Whether a device may take what another one holds: a new spare, or a new disk."""

import os
from collections.abc import Iterable
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import blockdev, live, signatures
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.directio import direct
from pycontrol.text import plain


def path_of(dev: str) -> str:
    """The path by which people know the device with this number, ``8:16``; WrongDevice if it has no node."""
    return os.path.realpath(live.node(dev))


def numbered(dev: str) -> BlockDevice:
    """The device with this number, ``8:16``; WrongDevice if there is none."""
    return blockdev.look_as(path_of(dev), dev)


def look(path: str, others: Iterable[BlockDevice]) -> tuple[BlockDevice, list[str]]:
    """The device at ``path``, free and writable and none of the others; and warnings about it.

    WrongDevice or Busy if it is not so.
    """
    new = blockdev.look(path)
    shown = plain(path)
    warnings = []
    for other in others:
        if new.dev == other.dev:
            raise WrongDevice(f"{shown} is in use here already, as {plain(other.path)}; name another device")
        same_disk = bool(new.disk) and new.disk == other.disk
        if same_disk and not (new.partition and other.partition):
            raise WrongDevice(f"{shown} and {plain(other.path)} overlap; name another device")
        if same_disk or new.identity.same_disk(other.identity):
            warnings.append(f"{shown} and {plain(other.path)} are on the same disk; if it fails, both fail")
    if new.readonly:
        raise WrongDevice(f"{shown} is read-only; 'blockdev --setrw' or its switch may change that")
    if not new.size:
        raise WrongDevice(f"{shown} has no size; is there a medium in it?")
    blockdev.check_free(new)
    return new, warnings


def holdings(new: BlockDevice, region: int, uuid: UUID | None, *, overwrite: bool) -> list[str]:
    """What writing would destroy, for people; Busy if there is something and no leave to ``overwrite``.

    ``region`` bytes at its beginning must be blank, where it holds nothing that is known.
    What a move of the device ``uuid`` left there when it was interrupted is nothing.
    """
    with direct(new) as opened:
        found = _holdings(new, opened.bytes_at, min(region, new.size), uuid)
    if found and not overwrite:
        raise Busy(
            f"{plain(new.path)} carries {'; '.join(found)}; name another device, or --overwrite to lose it"
        )
    return found


def _holdings(new: BlockDevice, read: metadata.Read, region: int, uuid: UUID | None) -> list[str]:
    def padded(offset: int, length: int) -> bytes:
        # Signatures are a few bytes anywhere; direct I/O gives whole blocks.
        first = offset - offset % metadata.BLOCK
        last = min(-(-(offset + length) // metadata.BLOCK) * metadata.BLOCK, new.size)
        return read(first, max(0, last - first))[offset - first : offset - first + length]

    marks = [plain(mark) for mark in (*new.known_as, *signatures.probe(padded, new.size))]
    found = list(dict.fromkeys(marks))
    try:
        loaded = metadata.survey(read, new.size)
    except metadata.OutOfService as error:
        if error.mark and error.mark.condition is metadata.Condition.RETIRED:
            return found
        # What was there before was given up for the move, and what looks familiar was copied.
        return [] if error.uuid == uuid else [*found, "what another, unfinished replacement needs"]
    except metadata.NotOurs as error:
        if found or error.all_zero:
            return found
        step = 64 << 10
        blank = not any(any(read(at, min(step, region - at))) for at in range(0, region, step))
        return [] if blank else ["data of unknown kind"]
    except metadata.MetadataError:
        return [*found, "dm-remap metadata that is damaged, or of another format"]
    return [*found, f"dm-remap metadata {loaded.header.uuid}"]
