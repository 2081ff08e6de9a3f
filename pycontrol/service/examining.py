"""What main and spare hold before they are joined.  Reads them, writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID, uuid4

from pycontrol import metadata
from pycontrol.errors import BeyondRecovery, Busy, DeviceIoError, UsageError, WrongDevice
from pycontrol.service import blockdev, signatures
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.buffered import read_at
from pycontrol.service.contents import is_blank
from pycontrol.service.create import Action, Options
from pycontrol.service.find.judge import COPIES, SPACING
from pycontrol.service.identity import Identity
from pycontrol.service.move import retire
from pycontrol.service.remains import leftover, put_since
from pycontrol.sizes import MIB, SECTOR, human
from pycontrol.text import plain


@dataclass(slots=True)
class Found:
    """What the spare holds: ours, nothing, or something else."""

    action: Action
    uuid: UUID = field(default_factory=uuid4)
    copies: int = COPIES
    spacing: int = SPACING
    loses: list[str] = field(default_factory=list)
    metadata: bool = True
    records: int = 0


def examine(
    main: BlockDevice, spare: BlockDevice, options: Options, headers: Sequence[tuple[int, bytes]] = ()
) -> Found:
    """Read the spare's metadata region and decide what to do with it."""
    try:
        with blockdev.opened(spare) as fd:
            found = _judge(partial(read_at, fd), main, spare, options, headers)
    except OSError as error:
        raise DeviceIoError(
            f"{plain(spare.path)} cannot be read: {error.strerror}; use another spare"
        ) from error
    if found.action is Action.FORMAT:
        _check_room(spare, found)
    return found


def _judge(
    read: metadata.Read,
    main: BlockDevice,
    spare: BlockDevice,
    options: Options,
    headers: Sequence[tuple[int, bytes]],
) -> Found:
    try:
        marks = [*spare.known_as, *signatures.probe(read, spare.size)]
    except DeviceIoError as error:
        return _judge_unread(read, main, spare, options, headers, error)
    shown = ", ".join(dict.fromkeys(plain(mark) for mark in marks))
    where = plain(spare.path)
    fresh = Found(Action.FORMAT, copies=options.copies or COPIES, spacing=options.spacing or SPACING)
    if shown:
        fresh.loses.append(shown)
    try:
        loaded = metadata.load(retire.overlaid(read, list(headers)), spare.size)
    except metadata.OutOfService as error:
        from pycontrol.service.formatting import was_interrupted

        nothing = was_interrupted(error.mark, main) and not shown and leftover(read)
        if not (nothing or options.format):
            raise WrongDevice(f"{where}: {plain(error)}; --format makes a fresh spare of it") from error
        if not nothing:
            fresh.loses.append("a spare that is out of service")
    except metadata.Unsupported as error:
        if not options.format:
            raise WrongDevice(f"{where}: {plain(error)}; use a newer dm-remap, or --format") from error
        fresh.loses.append("dm-remap metadata of a newer format")
    except metadata.NotOurs as error:
        fresh.metadata = False
        region = fresh.copies * fresh.spacing
        blank = is_blank(read, min(region, spare.size))
        what = shown or ("" if blank else f"data in its first {human(region)}")
        if what and not options.format:
            raise Busy(f"{where} carries {what}; use another spare, or --format to overwrite it") from error
        if what and not shown:
            fresh.loses.append("data of unknown kind")
    except metadata.Legacy as error:
        if not options.format:
            raise WrongDevice(
                f"{where} holds an older dm-remap format: {plain(error)}; use --format to start anew"
            ) from error
        fresh.loses.append("remaps in an older dm-remap format")
    except metadata.Corrupt as error:
        if not options.format:
            raise BeyondRecovery(
                f"the metadata on {where} is beyond recovery: {plain(error)};"
                " 'dmremapctl inspect' shows what is left, --format starts anew"
            ) from error
        fresh.loses.append("dm-remap metadata that is damaged beyond recovery")
    else:
        if not options.format:
            _check_still_spare(read, spare, loaded.copies * loaded.spacing * SECTOR)
            return _activate(main, spare, options, loaded)
        fresh.loses.append(f"dm-remap metadata {loaded.uuid} with {len(loaded.records)} records")
    return fresh


def _judge_unread(
    read: metadata.Read,
    main: BlockDevice,
    spare: BlockDevice,
    options: Options,
    headers: Sequence[tuple[int, bytes]],
    error: DeviceIoError,
) -> Found:
    """Of a spare that cannot be read everywhere one good copy is enough; nothing else is decided."""
    if options.format:
        raise error
    try:
        loaded = metadata.load(retire.overlaid(read, list(headers)), spare.size)
    except metadata.MetadataError:
        raise error from None
    _check_still_spare(read, spare, loaded.copies * loaded.spacing * SECTOR)
    return _activate(main, spare, options, loaded)


def _check_still_spare(read: metadata.Read, spare: BlockDevice, region: int) -> None:
    """Busy if it was put to other use: to take it up would write over that."""
    since = put_since(read, region)
    if not since and spare.known_as and not leftover(read):
        since = ", ".join(map(plain, spare.known_as))
    if since:
        where = plain(spare.path)
        raise Busy(
            f"{where} carries {since}, and further on what is left of a spare; name another spare, or, if it"
            f" is to be that spare again and nothing else, run 'dmremapctl meta repair --in-place {where}'"
        )


def _activate(main: BlockDevice, spare: BlockDevice, options: Options, loaded: metadata.Loaded) -> Found:
    """The spare is ours already: it must belong to this main device and be as it was."""
    where = plain(spare.path)
    if loaded.main_sectors != main.sectors:
        raise WrongDevice(
            f"{where} belongs to a main device of {loaded.main_sectors} sectors, but {plain(main.path)} has"
            f" {main.sectors}; name the right one"
        )
    if loaded.spare_sectors != spare.sectors:
        raise WrongDevice(
            f"{where} has {spare.sectors} sectors, but had {loaded.spare_sectors} when it was formatted"
        )
    recorded = Identity.parse(loaded.main_id)
    key = recorded.conflicts(main.identity)
    if key:
        raise WrongDevice(
            f"{where} belongs to another main device ({key} {plain(getattr(recorded, key))}, but"
            f" {plain(main.path)} has {plain(getattr(main.identity, key))}); name the right one"
        )
    spacing = loaded.spacing * SECTOR
    if options.copies not in (None, loaded.copies) or options.spacing not in (None, spacing):
        raise UsageError(
            f"{where} was formatted with {loaded.copies} copies {human(spacing)} apart; leave out --copies"
            " and --spacing, or use --format to lose its remaps"
        )
    return Found(Action.ACTIVATE, loaded.uuid, loaded.copies, spacing, records=len(loaded.records))


def _check_room(spare: BlockDevice, found: Found) -> None:
    region = found.copies * found.spacing
    if spare.size <= region + MIB:
        raise WrongDevice(
            f"{plain(spare.path)} is too small: {human(spare.size)}, but more than {human(region + MIB)} is"
            " needed; name a larger spare"
        )


def check_main(main: BlockDevice) -> list[str]:
    """Refuse a main device that is a spare (WrongDevice); warnings, for people, about one that was.

    What cannot be read is no obstacle: bad sectors may be why it is to have a spare.
    """
    where = plain(main.path)
    with blockdev.opened(main) as fd:
        read = partial(read_at, fd)
        try:
            found = f"dm-remap metadata {metadata.survey(read, main.size).header.uuid}"
        except metadata.OutOfService as error:
            found = plain(error)
            if error.mark and error.mark.condition is metadata.Condition.RETIRED:
                return [f"{where} was a spare: {found}"]
        except (metadata.Unsupported, metadata.Legacy, metadata.Corrupt) as error:
            found = plain(error)
        except (metadata.NotOurs, OSError):
            return []
        since = put_since(read, min(MIB, main.size))
    if since:
        return [f"{where} carries {since}, and remains of a spare: {found}"]
    raise WrongDevice(
        f"{where} is a spare, are the names swapped? ({found}); if it is to be one no more, overwrite what"
        f" 'dmremapctl meta search {where}' finds"
    )
