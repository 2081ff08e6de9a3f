"""Device-mapper on a host of tests/fleet_hosts.py: a fake one, as there is none in these namespaces.

A line in a .pth file imports this when Python starts there.  dmremapctl itself runs as it is;
once it is imported, the control node is put aside for tests/fakes.py, whose devices are kept in
a file, and a block device is a node beside which a file of its name with .image has its data.
While there is a FIFO ``hold`` in /root, the next device that is made says so in it and waits.
The kernel's release is what the file ``release`` says, and loading a module makes a directory.
"""

import atexit
import importlib.abc
import importlib.machinery
import pickle
import platform
import signal
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = Path("/root")
KEPT = HOME / "kernel.pickle"
RELEASE = HOME / "release"
SYSFS = HOME / "sys"


class Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Waits for the module that main() is in."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        if name != "pycontrol.cli.main":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        self.loader.exec_module(module)
        replace()


def replace() -> None:
    from fleet_fakes import FakeKernel  # type: ignore[import-not-found]

    from pycontrol.dm import cookie, flow, ioctl
    from pycontrol.service import blockdev, kernellog, module

    class Kernel(FakeKernel):  # type: ignore[misc]
        def _DM_DEV_CREATE(self, *words: Any) -> Any:
            if (HOME / "hold").exists():
                with (HOME / "hold").open("w") as held:
                    held.write("making a device\n")
                    held.flush()
                    signal.pause()
            return super()._DM_DEV_CREATE(*words)

    fake = Kernel()
    if KEPT.exists():
        fake.devices, fake.minors = pickle.loads(KEPT.read_bytes())
    atexit.register(lambda: KEPT.write_bytes(pickle.dumps((fake.devices, fake.minors))))
    real = ioctl.Control.__init__

    def look(path: str, *_: object) -> blockdev.BlockDevice:
        number = blockdev.number(path)
        image = f"{path}.image"
        return blockdev.BlockDevice(image, number, Path(image).stat().st_size, 512, disk=Path(path).name)

    patches: list[tuple[Any, str, Any]] = [
        (ioctl.Control, "__init__", lambda self, *_: real(self, fake)),
        (cookie, "udev_answers", lambda *_: False),
        (flow, "ensure_node", lambda name, dev: None),
        (flow, "drop_node", lambda name: None),
        (kernellog.KernelLog, "sentence", lambda self: ""),
        (blockdev, "look", look),
        (module, "_syscall", lambda *_: (SYSFS / "dm_remap_v4").mkdir()),
        (module, "_load_dependencies", lambda: None),
        (module.is_loaded, "__defaults__", (SYSFS,)),
    ]
    for where, name, new in patches:
        setattr(where, name, new)


if RELEASE.exists():
    platform.release = RELEASE.read_text
SYSFS.mkdir(exist_ok=True)
sys.meta_path.insert(0, Hook())
