"""Waiting for udev, by libdevmapper's protocol.

A cookie is a System V semaphore with the key ``0x0D4D << 16 | base``.  It starts at 1 for
its owner; each ioctl that carries the base in ``event_nr`` adds 1, and udev's rule
95-dm-notify.rules takes it off again once the uevent is worked through.  The owner then
takes its own 1 and waits for zero.  See libdm-common.c: _udev_notify_sem_create,
dm_task_set_cookie, dm_udev_wait.

Where no udev can answer, no cookie is made, and the node under /dev/mapper is our own work.
"""

import ctypes
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from pycontrol.dm.errors import CookieError
from pycontrol.dm.types import MAPPER_DIR, DevNumber, DmFlags, UdevFlags

MAGIC: Final = 0x0D4D
UDEV_CONTROL: Final = Path("/run/udev/control")
RULE: Final = "95-dm-notify.rules"
RULE_DIRS: Final = tuple(
    Path(top) / "udev/rules.d" for top in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
)
# udev itself kills a worker after 180 seconds.
TIME_LIMIT: Final = 200.0
_LOOK_EACH: Final = 1.0
GONE_FOR: Final = 5.0
"""Seconds without anybody at udev's socket, after which what it had in work is lost."""

_IPC_RMID: Final = 0
_IPC_CREAT: Final = 0o1000
_IPC_EXCL: Final = 0o2000
_IPC_NOWAIT: Final = 0o4000


class Semaphores(Protocol):
    """The four calls a cookie needs; OSError says what failed."""

    def create(self, key: int) -> int:
        """A new semaphore with the value 1, by its id; FileExistsError if the key is taken."""

    def add(self, semid: int, amount: int) -> None:
        """Change its value."""

    def is_zero(self, semid: int) -> bool:
        """Whether all have taken off what they had added; never waits."""

    def destroy(self, semid: int) -> None:
        """Remove it; who waits for it is woken by an error."""


class _Sembuf(ctypes.Structure):
    _fields_ = (
        ("sem_num", ctypes.c_ushort),
        ("sem_op", ctypes.c_short),
        ("sem_flg", ctypes.c_short),
    )


class SystemSemaphores:
    """System V semaphores through the C library; Python has no module for them."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def create(self, key: int) -> int:
        """semget(), for our user alone, and the value 1."""
        semid = self._check(self._libc.semget(key, 1, 0o600 | _IPC_CREAT | _IPC_EXCL))
        try:
            # From the 0 that Linux begins with.  SETVAL would take a union, which has its int in the
            # upper half of a long on some machines and is no long at all on others.
            self.add(semid, 1)
        except OSError:
            self.destroy(semid)
            raise
        return semid

    def add(self, semid: int, amount: int) -> None:
        """semop() with this amount, which must not make the value negative: that would wait."""
        self._semop(semid, amount, 0)

    def is_zero(self, semid: int) -> bool:
        """semop() for zero that does not wait; OSError (EIDRM, EINVAL) if the semaphore is gone."""
        try:
            self._semop(semid, 0, _IPC_NOWAIT)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return False
            raise
        return True

    def destroy(self, semid: int) -> None:
        """semctl() with IPC_RMID; OSError (EIDRM, EINVAL) if it is gone already."""
        self._check(self._libc.semctl(semid, 0, _IPC_RMID, ctypes.c_long(0)))

    def _semop(self, semid: int, amount: int, flags: int) -> None:
        operation = _Sembuf(0, amount, flags)
        self._check(self._libc.semop(semid, ctypes.byref(operation), ctypes.c_size_t(1)))

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


def udev_answers(control: Path = UDEV_CONTROL, rule_dirs: tuple[Path, ...] = RULE_DIRS) -> bool:
    """Whether udev runs, has the rule that completes cookies, and is not switched off."""
    if os.environ.get("DM_DISABLE_UDEV"):
        return False
    return udev_listens(control) and any((top / RULE).exists() for top in rule_dirs)


def udev_listens(control: Path = UDEV_CONTROL) -> bool:
    """Whether udev runs: one that was killed leaves its socket behind."""
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(control))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # Forbidden to this user, or with others waiting to be heard: somebody is there.
            return True
    return True


class Cookie:
    """One wait for udev, around the ioctls whose uevents belong to it.

    ``with Cookie() as cookie: info = control.resume(..., event_nr=cookie.arm());
    cookie.sent(info)``.  Leaving the block waits; leaving it by an error cancels.
    """

    def __init__(
        self,
        *,
        enabled: bool | None = None,
        semaphores: Semaphores | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        listens: Callable[[], bool] = udev_listens,
    ) -> None:
        self.enabled = udev_answers() if enabled is None else enabled
        self._sems = semaphores
        self._clock = clock
        self._sleep = sleep
        self._listens = listens
        self._semid: int | None = None
        self._base = 0

    def __enter__(self) -> Self:
        if self.enabled:
            try:
                self._create()
            except OSError as error:
                raise CookieError(f"cannot make a semaphore to wait for udev: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        else:
            self.cancel()

    def arm(self, flags: UdevFlags = UdevFlags.NONE) -> int:
        """The ``event_nr`` for the next ioctl.

        Without udev the rules are told to leave the nodes to us, in case one starts meanwhile.
        """
        flags |= UdevFlags.PRIMARY_SOURCE
        if self._semid is None:
            return (flags | UdevFlags.DISABLE_DM_RULES | UdevFlags.DISABLE_SUBSYSTEM_RULES) << 16
        self._add(self._semid, 1)
        return flags << 16 | self._base

    def sent(self, flags: DmFlags) -> None:
        """Tell the outcome of an armed ioctl: one that sent no uevent will never be answered.

        CookieError if the semaphore is gone.
        """
        if self._semid is not None and not flags & DmFlags.UEVENT_GENERATED:
            self._add(self._semid, -1)

    def wait(self) -> None:
        """Give up our own count and wait until udev has taken the others.

        CookieError if udev ends meanwhile, or takes longer than :data:`TIME_LIMIT` seconds.
        """
        if self._semid is None:
            return
        try:
            self._semaphores.add(self._semid, -1)
            seen = looked = self._clock()
            deadline = seen + TIME_LIMIT
            pause = 0.002
            # Polled rather than slept in semop(): an interrupt must be able to end it.
            while not self._semaphores.is_zero(self._semid):
                now = self._clock()
                if now - looked >= _LOOK_EACH:
                    looked, seen = now, now if self._listens() else seen
                if looked - seen > GONE_FOR:
                    raise CookieError(
                        "udev ended before it was finished with the device; start it, and 'udevadm trigger'"
                    )
                if now > deadline:
                    raise CookieError(
                        f"udev did not finish with the device in {TIME_LIMIT:.0f} s;"
                        " look at 'udevadm info' and the journal"
                    )
                self._sleep(pause)
                pause = min(pause * 1.5, 0.05)
        except OSError as error:
            # EIDRM, EINVAL: somebody ran 'dmsetup udevcomplete_all'; then all is complete.
            if error.errno not in (errno.EIDRM, errno.EINVAL):
                raise CookieError(f"cannot wait for udev: {error.strerror}") from error
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Drop the semaphore; udev's late answers find nothing and are harmless.

        CookieError if it cannot be removed.
        """
        if self._semid is None:
            return
        semid, self._semid = self._semid, None
        try:
            self._semaphores.destroy(semid)
        except OSError as error:
            if error.errno not in (errno.EIDRM, errno.EINVAL):
                raise CookieError(f"cannot remove semaphore {semid}: {error.strerror}") from error

    def _add(self, semid: int, amount: int) -> None:
        try:
            self._semaphores.add(semid, amount)
        except OSError as error:
            # Somebody ran 'dmsetup udevcomplete_all' meanwhile.
            raise CookieError(f"cannot count what udev has to do: {error.strerror}") from error

    @property
    def _semaphores(self) -> Semaphores:
        if self._sems is None:
            self._sems = SystemSemaphores()
        return self._sems

    def _create(self) -> None:
        while self._semid is None:
            base = secrets.randbelow(0xFFFF) + 1
            try:
                self._semid = self._semaphores.create(MAGIC << 16 | base)
            except FileExistsError:
                continue
            self._base = base


def ensure_node(name: str, dev: DevNumber, directory: Path = MAPPER_DIR) -> None:
    """Make /dev/mapper/NAME if udev did not, for root only, as libdevmapper would.

    OSError if it cannot be made.
    """
    node = directory / name
    wanted = os.makedev(dev.major, dev.minor)
    try:
        found = node.stat()
        if stat.S_ISBLK(found.st_mode) and found.st_rdev == wanted:
            return
        node.unlink()
    except FileNotFoundError:
        if node.is_symlink():
            node.unlink()
    os.mknod(node, 0o600 | stat.S_IFBLK, wanted)


def drop_node(name: str, directory: Path = MAPPER_DIR) -> None:
    """Remove what is left of /dev/mapper/NAME once the device is gone."""
    (directory / name).unlink(missing_ok=True)
