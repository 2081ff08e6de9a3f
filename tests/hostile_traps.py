"""Something happens at the n-th step of a command."""

import sys
from collections.abc import Callable

from tests.hostile_world import World

_ITS_OWN = (".py", ".pyc", ".so")


class Trap:
    """Steps are begin and end of each ioctl, with ``files`` also each file that is opened.

    ``count`` is how many there were.  To be set in a process that ends with its test: what
    listens to the interpreter cannot be taken away again.  Only the next command is caught.
    """

    def __init__(self, world: World, at: int, spring: Callable[[], None], *, files: bool = False) -> None:
        self.count = 0
        self._at, self._spring = at, spring
        self._armed = True
        world.kernel.step = self._step
        world.over = self._disarm
        if files:
            self._places = str(world.top), "/dev", "/proc", "/sys", "/run"
            sys.addaudithook(self._audit)

    def _disarm(self) -> None:
        self._armed = False

    def _step(self, _label: str = "") -> None:
        if not self._armed:
            return
        self.count += 1
        if self.count == self._at:
            self._spring()

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and self._armed:
            path = arguments[0]
            if isinstance(path, str) and path.startswith(self._places) and not path.endswith(_ITS_OWN):
                self._step()
