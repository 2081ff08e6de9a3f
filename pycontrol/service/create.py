"""Joining a main device and a spare: first look and plan, then do.

:func:`plan` writes nothing and says what would be destroyed; :func:`carry_out` does it.
Between the two the command asks the user.
"""

import os
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie, bring_up
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, DmUuid, TargetLine
from pycontrol.errors import BeyondRecovery, Busy, UsageError, WrongDevice
from pycontrol.service import blockdev, signatures
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.contents import is_blank
from pycontrol.service.devices import named
from pycontrol.service.find.judge import COPIES, SPACING
from pycontrol.service.find.judge import spacing as proposed_spacing
from pycontrol.service.identity import Identity
from pycontrol.service.kernel import check_target, explained, require_root
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.move.underway import underway
from pycontrol.service.pair import check_pair
from pycontrol.service.status import TargetTable
from pycontrol.service.unfinished import check_elsewhere, check_free_but_for, clear_unfinished, unfinished
from pycontrol.sizes import MIB, SECTOR, human
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol import metadata

MAX_COPIES: Final = 8
MIN_SPACING: Final = 32 << 10
MAX_SPACING: Final = 16 << 20


class Action(Enum):
    """What becomes of the spare's metadata region."""

    ACTIVATE = "activate"
    FORMAT = "format"


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose; ``spacing`` in bytes, None for what is there or the default."""

    format: bool = False
    copies: int | None = None
    spacing: int | None = None
    relocate_weak: bool = False

    def check(self) -> None:
        """UsageError for a geometry that the format does not have."""
        if self.copies is not None and not 1 <= self.copies <= MAX_COPIES:
            raise UsageError(f"--copies is 1 to {MAX_COPIES}, not {self.copies}")
        if self.spacing is not None and (
            not MIN_SPACING <= self.spacing <= MAX_SPACING or self.spacing & (self.spacing - 1)
        ):
            raise UsageError(
                f"--spacing is a power of two from {human(MIN_SPACING)} to {human(MAX_SPACING)},"
                f" not {human(self.spacing)}"
            )


_USUAL: Final = Options()


@dataclass(frozen=True, slots=True)
class Plan:
    """What create would do."""

    name: DmName
    main: BlockDevice
    spare: BlockDevice
    action: Action
    uuid: UUID
    copies: int
    spacing: int
    """In bytes."""
    relocate_weak: bool
    loses: tuple[str, ...] = ()
    """What formatting destroys, for people; empty for a blank spare."""
    warnings: tuple[str, ...] = ()
    records: int = 0
    """Records found on the spare."""

    @property
    def overwritten(self) -> int:
        """Bytes at the start of the spare that are overwritten at once; 0 if it is only activated."""
        return self.copies * self.spacing if self.action is Action.FORMAT else 0

    @property
    def room(self) -> int:
        """Bytes of the spare there are for bad sectors, about."""
        return max(self.spare.size - self.copies * self.spacing, 0)

    @property
    def table(self) -> TargetLine:
        """The line that joins the two devices."""
        features = ["copies", str(self.copies), "spacing", str(self.spacing // SECTOR)]
        if self.relocate_weak:
            features.append("relocate_weak")
        words = TargetTable(str(self.main.dev), str(self.spare.dev), tuple(features))
        return TargetLine(0, self.main.sectors, TARGET, str(words))


@dataclass(slots=True)
class _Found:
    """What the spare holds: ours, nothing, or something else."""

    action: Action
    uuid: UUID = field(default_factory=uuid4)
    copies: int = COPIES
    spacing: int = SPACING
    loses: list[str] = field(default_factory=list)
    records: int = 0


def plan(control: Control, name: str, main_path: str, spare_path: str, options: Options = _USUAL) -> Plan:
    """Check everything that can be checked without changing anything, and decide.

    Of what is on the spare: metadata of this main device is used as it is; a blank spare, or one
    that was being formatted for it, is to be formatted; anything else is refused, unless
    ``options`` say to format it, and is then in ``loses`` of the plan.  A device of that name that a
    killed command has left without a table is no obstacle.

    WrongDevice, Busy, UsageError or BeyondRecovery say what is wrong with the two devices;
    AccessDenied and TargetMissing what the machine lacks.
    """
    wanted = named(name)
    options.check()
    if blockdev.number(main_path) == blockdev.number(spare_path):
        raise WrongDevice(
            f"{plain(main_path)} and {plain(spare_path)} are the same device; name another spare"
        )
    require_root()
    check_target(control)
    left = unfinished(control, wanted)
    main, spare = blockdev.look(main_path), blockdev.look(spare_path)
    if left is not None:
        main, spare = left.without(main), left.without(spare)
    warnings = check_pair(main, spare)
    if left is None:
        _check_names(control, wanted)
    for device in (main, spare):
        if device.readonly:
            raise WrongDevice(
                f"{plain(device.path)} is read-only; 'blockdev --setrw' or its switch may change that"
            )
        check_free_but_for(left, device)
    found = _examine(main, spare, options)
    if found.action is Action.ACTIVATE:
        check_elsewhere(control, wanted, found.uuid)
    return Plan(
        name=wanted,
        main=main,
        spare=spare,
        action=found.action,
        uuid=found.uuid,
        copies=found.copies,
        spacing=found.spacing,
        relocate_weak=options.relocate_weak,
        loses=tuple(found.loses),
        warnings=tuple(warnings),
        records=found.records,
    )


def proposed(control: Control, decided: Plan, options: Options) -> Plan:
    """The plan with a geometry that fits the spare, where it is to be formatted and none was chosen.

    Looks again: what lies further behind on the spare must be blank as well.
    """
    if decided.action is not Action.FORMAT or options.spacing is not None:
        return decided
    copies = options.copies or COPIES
    chosen = replace(options, copies=copies, spacing=proposed_spacing(decided.spare.size, copies))
    return plan(control, decided.name, decided.main.path, decided.spare.path, chosen)


def _check_names(control: Control, name: DmName) -> None:
    with explained():
        if any(entry.name == name for entry in control.list_devices()):
            raise Busy(f"there is a device named {name} already; choose another name or remove it")


def _examine(main: BlockDevice, spare: BlockDevice, options: Options) -> _Found:
    """Read the spare's metadata region and decide what to do with it."""
    from pycontrol import metadata

    with blockdev.opened(spare) as fd:

        def read(offset: int, length: int) -> bytes:
            return os.pread(fd, length, offset)

        marks = [*spare.known_as, *signatures.probe(read, spare.size)]
        shown = ", ".join(dict.fromkeys(plain(mark) for mark in marks))
        where = plain(spare.path)
        fresh = _Found(Action.FORMAT, copies=options.copies or COPIES, spacing=options.spacing or SPACING)
        if shown:
            fresh.loses.append(shown)
        try:
            loaded = metadata.load(read, spare.size)
        except metadata.OutOfService as error:
            from pycontrol.service.formatting import was_interrupted

            nothing = was_interrupted(error.mark, main) and not shown
            if not (nothing or options.format):
                raise WrongDevice(f"{where}: {plain(error)}; --format makes a fresh spare of it") from error
            if not nothing:
                fresh.loses.append("a spare that is out of service")
        except metadata.Unsupported as error:
            if not options.format:
                raise WrongDevice(f"{where}: {plain(error)}; use a newer dm-remap, or --format") from error
            fresh.loses.append("dm-remap metadata of a newer format")
        except metadata.NotOurs as error:
            region = fresh.copies * fresh.spacing
            blank = is_blank(read, min(region, spare.size))
            what = shown or ("" if blank else f"data in its first {human(region)}")
            if what and not options.format:
                raise Busy(
                    f"{where} carries {what}; use another spare, or --format to overwrite it"
                ) from error
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
                return _activate(main, spare, options, loaded)
            fresh.loses.append(f"dm-remap metadata {loaded.uuid} with {len(loaded.records)} records")
    _check_room(spare, fresh)
    return fresh


def _activate(main: BlockDevice, spare: BlockDevice, options: Options, loaded: "metadata.Loaded") -> _Found:
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
    return _Found(Action.ACTIVATE, loaded.uuid, loaded.copies, spacing, records=len(loaded.records))


def _check_room(spare: BlockDevice, found: _Found) -> None:
    region = found.copies * found.spacing
    if spare.size <= region + MIB:
        raise WrongDevice(
            f"{plain(spare.path)} is too small: {human(spare.size)}, but more than {human(region + MIB)} is"
            " needed; name a larger spare"
        )


def carry_out(
    control: Control, decided: Plan, *, cookie: MakeCookie = Cookie, now: int | None = None
) -> DeviceInfo:
    """Format if planned, then bring the device up; a half-made one is removed, before and on failure.

    Busy if somebody else was quicker, with the same name or the same spare.
    """
    with (
        underway(decided.name, "create"),
        underway(DmName(str(decided.spare.dev)), f"create of {decided.name}"),
    ):
        clear_unfinished(control, decided.name, cookie=cookie)
        for device in (decided.main, decided.spare):
            blockdev.check_free(device)
        if decided.action is Action.FORMAT:
            from pycontrol.service.formatting import write_fresh

            write_fresh(decided, int(time.time()) if now is None else now)
        log = KernelLog()
        try:
            with explained(log):
                uuid = DmUuid(f"{UUID_PREFIX}{decided.uuid}")
                return bring_up(control, decided.name, uuid, [decided.table], cookie=cookie)
        finally:
            log.close()
