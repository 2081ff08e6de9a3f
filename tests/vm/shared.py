"""A machine that several tests use one after the other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness import Guest, Machine

machines = pytest.StashKey[list[Machine]]()
"""Those a test uses: the complaints of their kernels make it fail."""

failed = pytest.StashKey[bool]()

# What udev just looks at stays, and remove_all says nothing of it.
REMOVE_ALL = """
timeout 40 sh -c '
    until
        dmsetup remove_all
        udevadm settle
        ! dmsetup ls | grep -qv "^No devices"
    do sleep 0.1; done
'
"""


class SharedMachine:
    """One machine for the tests of a file, replaced when a test has spoilt it."""

    def __init__(self, make: Callable[[], Machine]) -> None:
        self._make = make
        self._machine: Machine | None = None

    @property
    def running(self) -> bool:
        return self._machine is not None and self._machine.running

    def guest(self) -> Guest:
        if self._machine is None:
            machine = self._make()
            try:
                machine.boot()
            except BaseException:
                machine.close()
                raise
            self._machine = machine
        return self._machine.guest

    def tidy(self) -> None:
        """Make it as new for the next test, or give it up."""
        machine = self._machine
        if machine is None or not machine.running:
            self.close()
            return
        for disk in machine.disks.values():
            disk.revive()
            disk.heal()
        try:
            self._clean(machine)
        except BaseException:
            self.close()
            raise

    def _clean(self, machine: Machine) -> None:
        # What is said, or not done, when its devices are removed is that test's as well.
        machine.guest.sh(f"umount -a -t ext4,xfs\n{REMOVE_ALL}", timeout=200)
        machine.check_console()
        disks = " ".join(machine.guest.devices.values())
        blank = machine.guest.sh(
            f"""
            for disk in {disks}; do blkdiscard -f $disk; done
            # Until udev has seen that they are blank: what it knows of a disk is asked for, and
            # that it still looks at a partition which is gone keeps the next one from being made.
            udevadm settle --timeout=40
            for disk in {disks}; do [ -z "$(compgen -G "$disk[0-9]*")" ]; done
            """,
            check=False,
            timeout=200,
        )
        for disk in machine.disks.values():
            disk.clear_counters()
        # A disk may have been pulled out.
        if blank.rc != 0:
            self.close()

    def check_leaks(self) -> None:
        if self._machine:
            self._machine.check_leaks()

    def close(self) -> None:
        if self._machine:
            self._machine.close()
        self._machine = None


@contextmanager
def shared(make: Callable[[], Machine]) -> Iterator[SharedMachine]:
    """For the tests of a file; what it has leaked by the end is an error."""
    machine = SharedMachine(make)
    try:
        yield machine
        machine.check_leaks()
    finally:
        machine.close()


@contextmanager
def lent(machine: SharedMachine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """That machine for one test, as new."""
    guest = machine.guest()
    request.node.stash.setdefault(machines, []).append(guest.machine)
    yield guest
    # After a failure nothing about the machine can be relied upon.
    if request.node.stash.get(failed, False):
        machine.close()
    else:
        machine.tidy()
