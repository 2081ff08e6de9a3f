"""Programs that start ``dmremapctl`` with a device there to be shown, for what a start costs."""

_BEFORE = """
import sys
import click
from tests.fakes import FakeKernel
before = set(sys.modules)
"""

# Only for commands that ask the kernel: what this imports they need, too.
_KERNEL = """
from pycontrol.dm import ioctl
fake = FakeKernel()
fake.add("r0", "DMREMAP-0", (0, 2048, "dm-remap-v4", "7:0 7:1"))
init = ioctl.Control.__init__
ioctl.Control.__init__ = lambda self, *_: init(self, fake)
"""

_RUN = """
from pycontrol.cli.main import main
sys.argv = ["dmremapctl", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""

_AFTER = """
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def program(*arguments: str, kernel: bool = True, modules: bool = False) -> str:
    """Python that runs ``dmremapctl`` with these arguments, in a fake kernel with one device.

    With ``modules`` it ends by writing to standard error the names of all modules that were
    imported for it, beyond those of click.
    """
    run = _RUN.format(arguments=list(arguments))
    return _BEFORE + _KERNEL * kernel + run + _AFTER * modules
