"""Taking a spare out of service, and back, on disk; each step leaves what the kernel understands.

See :mod:`pycontrol.metadata.mark` for the order of the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from pycontrol import metadata
from pycontrol.errors import DeviceIoError
from pycontrol.metadata import BLOCK, SECTOR, Condition, Geometry, Loaded, Mark
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.directio import Direct
from pycontrol.service.identity import Identity
from pycontrol.text import plain

Placed = tuple[int, bytes]


def known_as(path: str, identity: Identity) -> str:
    """A device as a mark names it: by what it is called now, and by what it is."""
    return f"{path} ({identity})" if identity else path


def unfinished(uuid: UUID, now: int, origin: BlockDevice) -> Mark:
    """The mark of a device that is being filled from ``origin``; ``now`` in seconds since 1970."""
    return Mark(Condition.UNFINISHED, uuid, now, known_as(origin.path, origin.identity))


def begin(target: Direct, size: int, geometry: Geometry, mark: Mark) -> None:
    """Make a new spare's metadata region blank but for the mark; never wholly blank, or valid.

    A spare that is all zero would be formatted by the next table that names it.
    """
    (first, block), *_ = places = metadata.marked(mark, geometry)
    target.store([(first, block)])
    spacing = geometry.spacing * SECTOR
    target.store(
        (slot + BLOCK * (slot == 0), bytes(spacing - BLOCK * (slot == 0)))
        for slot in (geometry.slot(copy) for copy in range(geometry.copies))
    )
    target.store(places)
    # Of a former, larger geometry: nothing of it may be taken for the state of this spare.
    for offset, _ in list(metadata.valid_headers(metadata.Reader(target.bytes_at, size))):
        target.store([(offset, bytes(BLOCK))])


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of a spare as they are, to be put back."""

    source: Direct
    blocks: tuple[Placed, ...]

    @classmethod
    def of(cls, source: Direct, loaded: Loaded) -> "Headers":
        """The headers of ``source`` that are valid; the others are no loss."""
        places = [
            each.offset
            for slot in loaded.slots
            for each in slot.headers
            if each.state is metadata.State.VALID
        ]
        blocks = tuple((at, source.bytes_at(at, BLOCK)) for at in places)
        return cls(source, blocks)

    def put_back(self) -> None:
        """Put the spare in service again; DeviceIoError if that may not last.

        As many headers as can be written are, whatever the error.
        """
        failed: list[DeviceIoError] = []
        for block in self.blocks:
            try:
                self.source.write(*block)
            except DeviceIoError as error:
                failed.append(error)
        self.source.sync()
        if failed and 2 * len(failed) >= len(self.blocks):
            raise failed[0]


def retire(source: Direct, loaded: Loaded, other: str, now: int) -> str:
    """Replace every header by a mark; a sentence if the spare can still be used after that.

    A dying spare may refuse to be written: that is no reason to stay with it.
    """
    mark = Mark(Condition.RETIRED, loaded.uuid, now, other)
    written = flushed = True
    for wave in metadata.waves(metadata.marked(mark, Geometry(loaded.copies, loaded.spacing))):
        for block in wave:
            try:
                source.write(*block)
            except DeviceIoError:
                written = False
        try:
            source.sync()
        except DeviceIoError:
            # What it reads as now may be in its cache alone, and the headers be back without power.
            flushed = False
    try:
        metadata.survey(source.bytes_at, loaded.device_sectors * SECTOR, loaded.uuid)
    except metadata.MetadataError:
        if flushed:
            return ""
    except OSError:
        # It may only be gone for now, with what it had.
        if written and flushed:
            return ""
    return (
        f"{plain(source.path)} could not be marked as retired: it must never be used as a spare of this"
        " device again; disconnect or destroy it"
    )


def replaced(mark: Mark | None, header: metadata.Header) -> bool:
    """Whether a spare with this mark was retired for the one with this header, which has arrived.

    There may be others of the same uuid, retired earlier, or left unfinished.
    """
    return (
        mark is not None
        and mark.condition is Condition.RETIRED
        and (mark.uuid, mark.time) == (header.uuid, header.time)
    )


def arrived(read: metadata.Read, size: int) -> tuple[list[Placed], Loaded]:
    """What makes a spare usable to which everything has been copied, and what it then holds.

    The MetadataError says why it is not one, or not whole.
    """
    headers = metadata.arrived_headers(metadata.Reader(read, size))
    if not headers:
        raise metadata.NotOurs("it is no spare to which everything was copied")
    blocks = metadata.admitted(headers)
    return blocks, metadata.load(overlaid(read, blocks), size)


def overlaid(read: metadata.Read, blocks: list[Placed]) -> metadata.Read:
    """``read`` as it would be if these blocks were written."""
    instead = dict(blocks)

    def patched(offset: int, length: int) -> bytes:
        data = bytearray(read(offset, length))
        for at, block in instead.items():
            if offset <= at and at + len(block) <= offset + len(data):
                data[at - offset : at - offset + len(block)] = block
        return bytes(data)

    return patched


def admit(target: Direct, blocks: list[Placed], some: Callable[[], None] = lambda: None) -> None:
    """Write these headers in two steps, so that a cut leaves those of one; DeviceIoError if it fails.

    ``some`` is called after each step.
    """
    for wave in metadata.waves(blocks):
        target.store(wave)
        some()
