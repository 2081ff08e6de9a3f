"""Control plane of dm-remap.

The command is :mod:`pycontrol.cli`; programs use :mod:`pycontrol.service`, which
speaks to the kernel through :mod:`pycontrol.dm`.  Nothing is imported from here
at start-up: each command loads only what it needs.
"""

from typing import Final

__all__ = ["TARGET", "UUID_PREFIX", "__version__"]

__version__: Final = "1.0.0"

TARGET: Final = "dm-remap-v4"
"""Name of the device-mapper target, as in a table line."""

UUID_PREFIX: Final = "DMREMAP-"
"""What the device-mapper uuid of each of our devices begins with."""
