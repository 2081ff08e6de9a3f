"""Bringing a device up again from a main device and a spare that belong together; formats nothing."""

from dataclasses import dataclass

from pycontrol import metadata
from pycontrol.dm.cookie import Cookie
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DeviceInfo
from pycontrol.errors import Busy, RemapError, WrongDevice
from pycontrol.service import blockdev
from pycontrol.service.create import Action, FindPaths, Options, Plan, carry_out, plan
from pycontrol.service.directio import direct
from pycontrol.service.find import disks
from pycontrol.service.kernel import require_root
from pycontrol.service.move import retire
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Activated:
    """A device that was brought up."""

    plan: Plan
    """What was found and decided: the two devices, warnings, how many records there are."""
    info: DeviceInfo
    finished: bool
    """A replacement of the spare, which had been cut off at its very end, was finished for it."""


def every_device() -> list[str]:
    """The paths of all block devices with a size."""
    return [disk.path for disk in disks.find()]


def activate(
    control: Control,
    name: str,
    main: str,
    spare: str,
    *,
    relocate_weak: bool = False,
    alone: bool = False,
    find: FindPaths | None = None,
    cookie: MakeCookie = Cookie,
) -> Activated:
    """Bring up the device ``name`` of the two at these paths.

    A new spare to which everything was copied may be used once the old one cannot be: it is
    looked for, and if it is not there, ``alone`` is the word that it will never be used again.
    WrongDevice if they do not belong together, Busy if somebody uses them, has the name, or if
    another spare has the same uuid.
    """
    require_root()
    headers = _arrived(main, spare, alone, find or every_device)
    options = Options(relocate_weak=relocate_weak)
    decided = plan(control, name, main, spare, options, headers=headers, find=find)
    if decided.action is Action.FORMAT:
        raise WrongDevice(
            f"{plain(spare)} holds no metadata of a device; 'dmremapctl create' would make a new spare of it"
        )
    if headers:
        with direct(decided.spare, write=True, exclusive=True) as opened:
            retire.admit(opened, retire.arrived(opened.bytes_at, decided.spare.size)[0])
    return Activated(decided, carry_out(control, decided, cookie=cookie), finished=bool(headers))


def _arrived(main: str, spare: str, alone: bool, find: FindPaths) -> list[retire.Placed]:
    """The headers that finish a replacement; none for a spare that needs no finishing."""
    blockdev.number(main)
    new = blockdev.look(spare)
    with direct(new) as opened:
        headers = metadata.arrived_headers(metadata.Reader(opened.bytes_at, new.size))
        if not headers:
            return []
        blocks, _ = retire.arrived(opened.bytes_at, new.size)
    _check_old(headers[0][1], main, spare, alone, find)
    return blocks


def _check_old(header: metadata.Header, main: str, spare: str, alone: bool, find: FindPaths) -> None:
    """Refuse unless the spare that is replaced cannot be used any more."""
    retired = False
    itself = {blockdev.number(main), blockdev.number(spare)}
    for path in find():
        try:
            if blockdev.number(path) in itself:
                continue
            old = blockdev.look(path)
            with direct(old) as opened:
                metadata.survey(opened.bytes_at, old.size, header.uuid)
        except metadata.OutOfService as error:
            retired = retired or retire.replaced(error.mark, header)
        except (RemapError, OSError):
            continue
        else:
            raise Busy(
                f"the replacement of {plain(path)} by {plain(spare)} was not finished; activate with"
                f" {plain(path)}, and run 'spare replace' again"
            )
    if not retired and not alone:
        raise Busy(
            f"{plain(spare)} is to replace another spare that is not here, and may still be valid; connect"
            " it, or say --alone if it will never be used again"
        )
