"""What can go wrong, told apart by type.

``CommandFailed`` and ``KernelWarning`` are failures of the thing under test: they are
assertion errors.  A ``VMError`` means that there is no machine left to ask.
"""


class CommandFailed(AssertionError):
    """A command in the guest ended with another status than 0."""


class CommandTimedOut(CommandFailed):
    """A command did not end in time; the guest itself still answers."""


class KernelWarning(AssertionError):
    """The guest's kernel said something that it never should."""


class VMError(Exception):
    """The machine is gone.  ``tail`` holds the end of its console."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(f"{message}\n--- end of the console ---\n{tail}" if tail else message)
        self.tail = tail


class VMDied(VMError):
    """QEMU ended, or the agent's line was cut, without anybody having asked for it."""


class KernelPanic(VMDied):
    """... and the console shows a panic."""


class VMHung(VMError):
    """The guest does not answer any more."""
