"""Scrubbing a device by its name: one run of it, how the runs stand, and stopping the one at work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.service.extents import listed, pending
from pycontrol.service.find import scrubrun
from pycontrol.service.find.pace import Pace
from pycontrol.service.find.scrub import (
    Ending,
    Finding,
    Scrub,
    Summary,
    direct_reader,
    position,
    subject,
)
from pycontrol.service.find.scrubrun import Files, Run, State, only_one
from pycontrol.service.kernel import check_target, require_root
from pycontrol.service.ranges import total

RATE: Final = 50 << 20
"""Bytes a second that are read if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the scrubs of a device stand; in sectors of 512 bytes."""

    running: bool
    position: int
    """How far the one that runs has come, or where one that stopped goes on; 0 if none did."""
    sectors: int
    """Size of the device."""
    last: State | None
    """What the one that runs told last, or else the last one since the machine was booted."""


def scrub(
    control: Control,
    name: str,
    *,
    rate: int = RATE,
    restart: bool = False,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    begin: Callable[[int], None] = lambda start: None,
    tell: Callable[[Finding], None] = lambda finding: None,
    progress: Callable[[int, int, int], None] = lambda position, read, found: None,
) -> Summary:
    """Read a whole device, from where the last scrub stopped; what cannot be read becomes pending.

    At most ``rate`` bytes a second are read, 0 for no limit.  ``restart`` begins anew, wherever
    the last one stopped; ``resume`` does nothing unless one stopped (the summary's ending says so).
    ``stop`` is asked after every piece (1 MiB), and where it says yes the place is kept.
    ``begin`` is told the first sector, ``tell`` every finding, and ``progress`` the position,
    the sectors read and those found bad in this run.

    Busy if it is being scrubbed already, or suspended; DeviceIoError if it fails as a whole.
    """
    require_root()
    check_target(control)
    of = subject(control, name)
    files = Files(of)
    # Within the lock: a scrub that ends this moment has still to note its place.
    with only_one(files), direct_reader(of) as read:
        start = 0 if restart else position(control, of)
        if resume and not start:
            left = total(pending(listed(control, of.name, at=of.at)))
            return Summary(Ending.NOTHING, 0, 0, of.sectors, 0, 0, left, 0, 0.0)
        # Not before it is known that there is something to do: the last one's result goes with it.
        run = Run(files, start)
        begin(start)

        def ending() -> Ending | None:
            if stop():
                return Ending.INTERRUPTED
            return Ending.PAUSED if run.asked_to_pause() else None

        def told(position: int, read: int, found: int) -> None:
            run.update(position, read, found)
            progress(position, read, found)

        done = Scrub(control, of, read, Pace(rate), ending, tell=tell, progress=told).run(start)
        run.end(done.ending, done.position, done.read, done.found)
    return done


def standing(control: Control, name: str) -> Standing:
    """Whether a scrub of a device runs, and how far it has come."""
    of = subject(control, name)
    files = Files(of)
    running, last = files.running(), files.read()
    # While one runs its own word is newer than what it last noted on the device; what has an
    # ending is the word of the one before.
    place = last.position if running and last and not last.ending else position(control, of)
    return Standing(running, place, of.sectors, last)


def pause(control: Control, name: str) -> bool:
    """Ask the scrub of a device that runs in another process to stop, and wait until it has.

    False if none runs; Busy if it does not stop within two minutes.
    """
    return scrubrun.pause(Files(subject(control, name)))
