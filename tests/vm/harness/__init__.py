"""A virtual machine whose disks fail like hardware, for tests.

``Machine`` boots QEMU on ``Disk`` objects and gives a ``Guest`` to run commands in;
``powercut`` rebuilds the disks as a real power cut would have left them.
"""

from .disk import Disk
from .errors import CommandFailed, CommandTimedOut, KernelPanic, KernelWarning, VMDied, VMError, VMHung
from .guest import Guest, Job, Result
from .machine import Machine

__all__ = [
    "CommandFailed",
    "CommandTimedOut",
    "Disk",
    "Guest",
    "Job",
    "KernelPanic",
    "KernelWarning",
    "Machine",
    "Result",
    "VMDied",
    "VMError",
    "VMHung",
]
