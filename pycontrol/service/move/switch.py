"""The moment at which a device leaves what it works with for something new.

I/O stands still meanwhile.  The steps are taken in an order in which at each moment one of
the two sides is the right one, and what is on the disks says which, see
:mod:`pycontrol.metadata.mark`; if one fails they are taken back in the reverse order.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pycontrol.dm.cookie import Cookie
from pycontrol.dm.errors import CookieError
from pycontrol.dm.flow import MakeCookie
from pycontrol.dm.ioctl import Control
from pycontrol.dm.types import DmName, TargetLine
from pycontrol.errors import DeviceIoError, RemapError, WrongDevice
from pycontrol.metadata import Loaded
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.directio import Direct
from pycontrol.service.move import retire
from pycontrol.service.move.standstill import Standstill, standstill
from pycontrol.service.taken import LetGo
from pycontrol.text import plain


@dataclass(slots=True)
class Outcome:
    """What came of a switch."""

    made: bool = False
    standing: bool = False
    """It was not, and the device could not go on as it was."""
    seconds: float = 0.0
    """How long I/O stood still."""
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A ^C inside the block that comes when the switch has been made ends it with a warning."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.made:
                raise
            self.warnings.append("interrupted when the switch had been made: all is done")


@dataclass(slots=True)
class Switch:
    """What is the same for a new spare and for a new disk; ``now`` in seconds since 1970."""

    name: DmName
    table: TargetLine
    """The one to switch to."""
    old: Direct
    """The spare that is left."""
    new: BlockDevice
    target: Direct
    """The same, open to be written."""
    now: int
    outcome: Outcome
    usable: bool = field(default=False, init=False)
    """What is on the new one could be taken for the device."""

    def finish(self) -> Loaded:
        """Nothing moves any more: have everything on the new device, flushed; gives what the old spare says.

        But for what :meth:`complete` writes.

        To set ``usable`` before the new device could be taken for the old one.
        """
        raise NotImplementedError

    def complete(self) -> None:
        """The new table is loaded, which tells who finds this standing still: write what was kept back."""

    def arrive(self, usable: Callable[[], None]) -> None:
        """The old spare is out of service: put the new one in service.

        ``usable`` is to be called as soon as it is: the guard would go on with it from then on.
        """
        usable()

    def withdraw(self) -> None:
        """Take the new spare out of service, so that it could still be put in service again."""

    def spoil(self) -> None:
        """The device went back: what is on the new one must never be used.

        If the program was killed its guard does this, which knows no more than was known when
        I/O came to stand still.
        """

    def settled(self) -> None:
        """The device goes on with the new table; signals are held still."""

    def make(self, control: Control, let_go: LetGo, cookie: MakeCookie = Cookie) -> None:
        """Make it; the device goes on as it was if anything fails, and the error says what.

        ``let_go`` is called just before the new table is loaded.
        """
        try:
            guarded = standstill(control, self.name, gone_back=self.spoil, keep=(self.target.fd,))
            with cookie() as waiting, guarded as still:
                headers: retire.Headers | None = None
                try:
                    loaded = self.finish()
                    let_go()
                    still.load(self.table)
                    self.complete()
                    headers = retire.Headers.of(self.old, loaded)
                    still.check()
                    self._retire(loaded)
                    self.arrive(lambda: still.decided(on=True))
                    info = still.switch(waiting.arm())
                except BaseException as error:
                    if still.over:
                        self._made(still)
                    else:
                        self._undo(headers, still, error)
                    raise
                self._made(still)
                waiting.sent(info.flags)
        except CookieError as error:
            if not self.outcome.made:
                raise
            self.outcome.warnings.append(str(error))

    def _made(self, still: Standstill) -> None:
        """From here on there is no way back: new data may be on the new device alone."""
        self.outcome.made, self.outcome.seconds = True, still.seconds
        self.settled()

    def _retire(self, loaded: Loaded) -> None:
        went_to = retire.known_as(self.new.path, self.new.identity)
        warning = retire.retire(self.old, loaded, went_to, self.now)
        if warning:
            self.outcome.warnings.append(warning)

    def _undo(self, headers: retire.Headers | None, still: Standstill, cause: BaseException) -> None:
        """Take everything back; ``headers`` are the old spare's, None if they are as they were."""
        failed: RemapError | None = None
        if headers is not None:
            # Before anything else: the new one is not to be gone on with when it is withdrawn.
            still.decided(on=False)
            with suppress(RemapError):
                # A new device that is dead cannot be used, and must not keep the old one from it.
                self.withdraw()
            try:
                headers.put_back()
            except RemapError as error:
                failed = error
        try:
            # What the resume may have left of the new table writes to the new device till it is gone.
            still.go_back()
        except WrongDevice:
            # It is gone, and does not stand still.
            return
        except RemapError as error:
            # It needs what is on the new device: that is not spoiled.
            self.outcome.standing = True
            raise DeviceIoError(
                f"the switch failed ({cause}), and so did going back ({failed or error}): {self.name} stands"
                " still; run the command again"
            ) from cause
        if failed is not None:
            # Without power it may be retired again: then there is nothing else that has everything.
            raise DeviceIoError(
                f"the switch failed ({cause}), and {plain(self.old.path)} could not be put in order"
                f" ({failed}); {self.name} goes on with it: look at 'dmremapctl health', and keep"
                f" {plain(self.new.path)}, which has everything up to this moment"
            ) from cause
        if not self.usable:
            return
        try:
            self.spoil()
        except RemapError as error:
            raise DeviceIoError(
                f"the switch failed ({cause}); {self.name} goes on as it was, but {plain(self.new.path)}"
                f" could not be marked ({error}): never use what is on it, wipe or destroy it"
            ) from cause
