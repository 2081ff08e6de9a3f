"""Following the devices: what happens to them, and their state after it.

uevents of the kernel say what happened.  The control node says that something happened, and
by ioctl comes the truth: which devices there are, and their status.  Neither waits for udev.
The target sends its uevents before it counts the DM event (dmr_event_work), and before the
device is gone, so whoever reads both misses nothing and notices what he missed.
"""

import select
import time
from collections.abc import Callable, Generator
from typing import Final

from pycontrol.dm.ioctl import Control
from pycontrol.service.devices import RemapDevice, list_devices, named
from pycontrol.service.tell.notice import EVENTS_LOST, PRESENT, REMOVED, RESUMED, Notice
from pycontrol.service.tell.sequence import Sequences
from pycontrol.service.tell.totals import totals
from pycontrol.service.tell.uevents import BATCH, KernelUevents, Properties, Uevents, kernel_name
from pycontrol.service.tell.watch import Event, parse

GRACE: Final = 2.0
"""Seconds after a DM event in which its uevents may still come: half a second when a table is replaced."""

_Told = list[tuple[Event, int | None]]
"""Events in order, each with the number of those that were lost (of EVENTS_LOST)."""


class Follower:
    """The devices as they are, and every change to them.

    ``names`` are the devices to follow, none for all.  :meth:`start` once, then :meth:`step`
    whenever one of :attr:`descriptors` is readable or :attr:`deadline` has come.
    """

    def __init__(
        self,
        control: Control,
        source: Uevents,
        names: frozenset[str] = frozenset(),
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.devices: dict[str, RemapDevice] = {}
        """By the kernel's name, ``dm-0``; only those with a live table of ours."""
        self._control = control
        self._source = source
        self._names = names
        self._clock = clock
        self._monotonic = monotonic
        self._sequences = Sequences()
        self._heard_at: dict[str, float] = {}
        self._silent: dict[str, float] = {}

    @property
    def descriptors(self) -> tuple[int, int]:
        """What becomes readable when there is something to do."""
        return self._source.fileno(), self._control.fileno()

    @property
    def deadline(self) -> float | None:
        """When, by the monotonic clock, a uevent that was due is one that was lost; mostly None."""
        return min(self._silent.values(), default=None)

    def wait(self, *others: int) -> None:
        """Sleep until there is something to do, or one of these other descriptors is readable."""
        poll = select.poll()
        for descriptor in (*others, *self.descriptors):
            poll.register(descriptor, select.POLLIN)
        deadline = self.deadline
        # In milliseconds, rounded up.  Without a deadline only an event ends the sleep.
        poll.poll(None if deadline is None else int(max(0.0, deadline - self._monotonic()) * 1000) + 1)

    def start(self) -> list[Notice]:
        """PRESENT for each device there is."""
        self._control.arm_poll()
        self.devices = self._look()
        return self._notices([(self._event(PRESENT, key), None) for key in self.devices])

    def step(self) -> list[Notice]:
        """What has happened since; does not wait."""
        # Armed before anything is read: what happens from here on makes it readable again.
        self._control.arm_poll()
        told: _Told = []
        more = self._read(told)
        now = self._look()
        if self._gone(now):
            # What a device had to say was sent before it went.
            while more := self._read(told):
                pass
            for key in self._gone(now):
                self._leave(key, told)
        self._update(now, told)
        if not more:
            # What is still in the buffer is not lost.
            self._tell_silent(told)
        return self._notices(told)

    # uevents

    def _read(self, told: _Told) -> bool:
        """Take in a batch of uevents; whether there may be more."""
        batch = self._source.read()
        for properties in batch:
            if properties is None:
                told.append((self._event(EVENTS_LOST), None))
                # That is said, and need not be found out of each device once more.
                self._heard_at |= dict.fromkeys(self.devices, self._monotonic())
            else:
                self._hear(properties, told)
        return len(batch) == BATCH

    def _hear(self, properties: Properties, told: _Told) -> None:
        key = kernel_name(properties)
        if properties.get("ACTION") == "remove" and properties.get("SUBSYSTEM") == "block":
            if key in self.devices:
                self._leave(key, told)
            return
        event = parse(properties, self._clock())
        # That a device came up is known from the list, where it has a name in any case.
        if event is None or event.action in (RESUMED, REMOVED) or not self._follows(event.name):
            return
        if key not in self.devices:
            self._update(self._look(), told)
        self._heard_at[key] = self._monotonic()
        self._silent.pop(key, None)
        device = self.devices.get(key)
        # Two targets in one table count for themselves, and an event does not say whose it is.
        if device is None or len(device.targets) == 1:
            missed = self._sequences.missed(key, event.seqnum)
            if missed:
                told.append((self._event(EVENTS_LOST, key, event), missed))
        told.append((event, None))

    # The devices there are

    def _follows(self, name: str) -> bool:
        return not self._names or name in self._names

    def _look(self) -> dict[str, RemapDevice]:
        return {
            f"dm-{device.info.dev.minor}": device
            for device in list_devices(self._control)
            if device.targets and self._follows(device.info.name)
        }

    def _gone(self, now: dict[str, RemapDevice]) -> list[str]:
        """Devices that are not there any more, or whose number is another's."""
        return [
            key
            for key, device in self.devices.items()
            if key not in now or now[key].info.uuid != device.info.uuid
        ]

    def _leave(self, key: str, told: _Told) -> None:
        told.append((self._event(REMOVED, key), None))
        del self.devices[key]
        self._sequences.forget(key)
        self._heard_at.pop(key, None)
        self._silent.pop(key, None)

    def _update(self, now: dict[str, RemapDevice], told: _Told) -> None:
        """Take over the state of every device that is there; its going is another's business."""
        gone = self._gone(now)
        for key, device in now.items():
            if key in gone:
                continue
            before = self.devices.get(key)
            self.devices[key] = device
            if before is None:
                self._sequences.begin(key)
                told.append((self._event(RESUMED, key), None))
            elif before.info.event_nr != device.info.event_nr:
                self._expect(key)

    def _expect(self, key: str) -> None:
        """A DM event was counted: its uevents have been heard, or are to come."""
        now = self._monotonic()
        if now - self._heard_at.get(key, -GRACE) >= GRACE:
            self._silent.setdefault(key, now + GRACE)

    def _tell_silent(self, told: _Told) -> None:
        now = self._monotonic()
        for key in [key for key, deadline in self._silent.items() if deadline <= now]:
            del self._silent[key]
            told.append((self._event(EVENTS_LOST, key), None))

    # What is told

    def _event(self, action: str, key: str = "", before: Event | None = None) -> Event:
        """An event of our own making, about a device, all of them, or what came before another."""
        device = self.devices.get(key)
        return Event(
            time=self._clock(),
            name=device.info.name if device else before.name if before else "",
            uuid=device.info.uuid if device else before.uuid if before else "",
            action=action,
            device=key,
            seqnum=before.seqnum if before else None,
            sector=None,
            sectors=None,
            extents=None,
        )

    def _notices(self, told: _Told) -> list[Notice]:
        found: list[Notice] = []
        for event, lost in told:
            device = self.devices.get(event.device)
            known = device is not None and event.action != REMOVED and device.info.uuid == event.uuid
            found.append(Notice(event, totals(device) if device and known else None, lost))
        return found


def follow(control: Control, *names: str) -> Generator[Notice, None, None]:
    """What happens to the devices of these names, or to all, for ever; each with the state after it.

    Begins with PRESENT for each device there is, from which moment on nothing is missed, or it is
    said by EVENTS_LOST.  The devices may come and go.  Waits in poll(); AccessDenied without root.
    """
    source = KernelUevents()
    try:
        follower = Follower(control, source, frozenset(map(named, names)))
        yield from follower.start()
        while True:
            follower.wait()
            yield from follower.step()
    finally:
        source.close()
