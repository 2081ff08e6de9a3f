"""Whether a device may take what another one holds: a new spare, or a new disk."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import Busy, WrongDevice
from pycontrol.service import blockdev, live, signatures
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.contents import check_agreed, is_blank
from pycontrol.service.devices import RemapDevice
from pycontrol.service.directio import Direct, direct
from pycontrol.service.pair import check_apart
from pycontrol.service.remains import leftover, put_since
from pycontrol.text import plain


def path_of(dev: str) -> str:
    """The path by which people know the device with this number, ``8:16``; WrongDevice if it has no node."""
    return os.path.realpath(live.node(dev))


def numbered(dev: str) -> BlockDevice:
    """The device with this number, ``8:16``; WrongDevice if there is none."""
    return blockdev.look_as(path_of(dev), dev)


def look(path: str, moving: RemapDevice, others: Iterable[BlockDevice]) -> tuple[BlockDevice, list[str]]:
    """The device at ``path``, free and writable and none of the others; and warnings about it.

    WrongDevice or Busy if it is not so, or if it lies on the one that is ``moving``: while that
    stands still, who writes there waits for ever.
    """
    new = blockdev.look(path)
    shown = plain(path)
    if new.dev == moving.info.dev:
        raise WrongDevice(f"{shown} is {plain(moving.info.name)} itself; name another device")
    if str(moving.info.dev) in _below(str(new.dev)):
        raise WrongDevice(f"{shown} lies on {plain(moving.info.name)} itself; name another device")
    warnings = []
    for other in others:
        if new.dev == other.dev:
            raise WrongDevice(f"{shown} is in use here already, as {plain(other.path)}; name another device")
        warnings += check_apart(new, other)
    if new.readonly:
        raise WrongDevice(f"{shown} is read-only; 'blockdev --setrw' or its switch may change that")
    if not new.size:
        raise WrongDevice(f"{shown} has no size; is there a medium in it?")
    blockdev.check_free(new)
    return new, warnings


def _below(dev: str) -> Iterator[str]:
    """The numbers of the devices on which this one lies, however deep, also as a file."""
    place = (blockdev.SYSFS / "dev/block" / dev).resolve()
    if (place / "partition").exists():
        place = place.parent
    for number in (*_slaves(place), *_backing(place / "loop/backing_file")):
        yield number
        yield from _below(number)


def _slaves(place: Path) -> Iterator[str]:
    for each in place.glob("slaves/*/dev"):
        # It may have gone away.
        with suppress(OSError):
            yield each.read_text().strip()


def _backing(told: Path) -> Iterator[str]:
    """Where the file of a loop device lies, or the device that is its file."""
    # Of most devices there is none, and its name may mean nothing here.
    with suppress(OSError):
        found = Path(told.read_text(errors="surrogateescape").rstrip("\n")).stat()
        dev = found.st_rdev if stat.S_ISBLK(found.st_mode) else found.st_dev
        yield f"{os.major(dev)}:{os.minor(dev)}"


def holdings(new: BlockDevice, region: int, uuid: UUID | None, *, overwrite: bool) -> list[str]:
    """What writing would destroy, for people; Busy if there is something and no leave to ``overwrite``.

    ``region`` bytes at its beginning must be blank, where it holds nothing that is known.
    What a move of the device ``uuid`` left there when it was interrupted is nothing.
    """
    with direct(new) as opened:
        found = _holdings(new, opened.bytes_at, region, uuid)
    if found and not overwrite:
        raise Busy(
            f"{plain(new.path)} carries {'; '.join(found)}; name another device, or --overwrite to lose it"
        )
    return found


def check_holdings(new: BlockDevice, opened: Direct, region: int, uuid: UUID, agreed: Iterable[str]) -> None:
    """Busy if there is more on it than what :func:`holdings` told, and somebody has ``agreed`` to lose.

    Somebody may have made a file system there meanwhile; now it is ``opened`` by us alone.
    """
    now = blockdev.look_as(new.path, new.dev)
    check_agreed(new.path, _holdings(now, opened.bytes_at, region, uuid), agreed)


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
        if not leftover(read):
            found = found or ["data of unknown kind"]
        if error.mark and error.mark.condition is metadata.Condition.RETIRED:
            return found
        if error.uuid != uuid:
            return [*found, "what another, unfinished replacement needs"]
        if not any(read(0, metadata.BLOCK)) or not leftover(read):
            return found
        # What was there before was given up for the move, and what looks familiar was copied; but
        # nothing is copied to between the mark and the end of the region before the switch.
        since = put_since(padded, region)
        return [since] if since else []
    except metadata.NotOurs:
        if found or is_blank(read, min(region, new.size)):
            return found
        return ["data of unknown kind"]
    except metadata.MetadataError:
        return [*found, "dm-remap metadata that is damaged, or of another format"]
    return [*found, f"dm-remap metadata {loaded.header.uuid}"]
