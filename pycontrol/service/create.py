"""Joining a main device and a spare: first look and plan, then do.

:func:`plan` writes nothing and says what would be destroyed; :func:`carry_out` does it.
Between the two the command asks the user.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final
from uuid import UUID

from pycontrol import TARGET, UUID_PREFIX
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie, bring_up
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo, DmName, DmUuid, TargetLine
from pycontrol.errors import UsageError, WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.devices import named
from pycontrol.service.find.judge import COPIES
from pycontrol.service.find.judge import spacing as proposed_spacing
from pycontrol.service.kernel import check_target, explained, require_root
from pycontrol.service.kernellog import KernelLog
from pycontrol.service.move.underway import underway
from pycontrol.service.pair import about_partitions, check_pair
from pycontrol.service.status import TargetTable
from pycontrol.service.unfinished import check_elsewhere, check_free_but_for, clear_unfinished, free_name
from pycontrol.sizes import SECTOR, human
from pycontrol.text import plain

FindPaths = Callable[[], Iterable[str]]
"""The paths of all block devices."""

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
    metadata: bool = False
    """Whether the spare carries any of ours, be it damaged or out of service."""
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


def plan(
    control: Control,
    name: str,
    main_path: str,
    spare_path: str,
    options: Options = _USUAL,
    *,
    headers: Sequence[tuple[int, bytes]] = (),
    readonly: bool = False,
    find: FindPaths | None = None,
) -> Plan:
    """Check everything that can be checked without changing anything, and decide.

    Of what is on the spare: metadata of this main device is used as it is; a blank spare, or one
    that was being formatted for it, is to be formatted; anything else is refused, unless
    ``options`` say to format it, and is then in ``loses`` of the plan.  A device of that name that a
    killed command has left without a table is no obstacle.  ``headers`` are taken for written on
    the spare, at these bytes.  With ``readonly`` a device that is write-protected will do.
    ``find`` gives the paths of all block devices, among which a copy of the spare is looked for.

    WrongDevice, Busy, UsageError or BeyondRecovery say what is wrong with the two devices;
    AccessDenied and TargetMissing what the machine lacks.
    """
    wanted = named(name)
    options.check()
    if blockdev.number(main_path) == blockdev.number(spare_path):
        raise WrongDevice(
            f"{plain(main_path)} and {plain(spare_path)} are the same device; name another spare"
        )
    from pycontrol.service.examining import check_main, examine

    require_root()
    check_target(control)
    left = free_name(control, wanted)
    main, spare = blockdev.look(main_path), blockdev.look(spare_path)
    if left is not None:
        main, spare = left.without(main), left.without(spare)
    warnings = check_pair(main, spare)
    for device in (main, spare):
        if device.readonly and not readonly:
            raise WrongDevice(
                f"{plain(device.path)} is read-only; 'blockdev --setrw' or its switch may change that"
            )
        check_free_but_for(left, device)
    found = examine(main, spare, options, headers)
    if found.action is Action.ACTIVATE:
        check_elsewhere(control, wanted, found.uuid)
        from pycontrol.service.boot.halves import refuse_copies

        refuse_copies(spare, find)
    else:
        warnings += check_main(main) + about_partitions(main)
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
        metadata=found.metadata,
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


def carry_out(
    control: Control, decided: Plan, *, cookie: MakeCookie = Cookie, now: int | None = None
) -> DeviceInfo:
    """Format if planned, then bring the device up; a half-made one is removed, before and on failure.

    Busy if somebody else was quicker, with the same name or the same spare.
    """
    with (
        underway(decided.name, "create"),
        underway(DmName(str(decided.spare.dev)), f"create of {decided.name}"),
        # The table names them by number, which nobody else is given meanwhile.
        blockdev.opened(decided.main),
        blockdev.opened(decided.spare),
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
