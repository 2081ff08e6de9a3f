"""``fleet build``: one build for each kernel, here or on a host that has what it takes."""

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from pycontrol.service.fleet import modules
from pycontrol.service.fleet.bundle import Blob
from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.modules import Kernel, Store
from pycontrol.service.fleet.runner import Event, Fleet, Outcome, Told
from pycontrol.service.fleet.session import HostFailure, State


class Building:
    """Hosts by the kernel that they run, and what became of each kernel."""

    def __init__(self, fleet: Fleet, directory: Path, source: Blob, store: Store) -> None:
        self._fleet, self._directory, self._source, self._store = fleet, directory, source, store
        self._runs: dict[Kernel, list[Host]] = defaultdict(list)
        self._can_build: dict[Kernel, list[Host]] = defaultdict(list)
        self._seconds: dict[str, float] = {}

    def run(self, hosts: Sequence[Host]) -> Generator[Event, None, None]:
        """The events of all of it, the last of each host an Outcome."""
        looked: set[str] = set()
        for event in self._fleet.run(hosts, modules.look(self._found)):
            if isinstance(event, Outcome) and event.state is State.OK:
                looked.add(event.host)
                self._seconds[event.host] = event.seconds
            else:
                yield event
        # What a thread has found of a host that failed after all is not counted.
        for kernel, those in self._runs.items():
            self._runs[kernel] = [host for host in those if host.name in looked]
        waiting = [kernel for kernel, those in self._runs.items() if those]
        for kernel in list(waiting):
            if not self._fleet.interrupted:
                yield Told(self._runs[kernel][0].name, f"looking for a build for {kernel.release}")
            how = self._without_hosts(kernel)
            if how:
                waiting.remove(kernel)
                yield from self._ended(kernel, State.OK, how)
        yield from self._on_hosts(waiting)

    def _found(self, host: Host, kernel: Kernel, can_build: bool) -> None:
        self._runs[kernel].append(host)
        if can_build:
            self._can_build[kernel].append(host)

    def _without_hosts(self, kernel: Kernel) -> str:
        """How there is a module without asking a host; empty if there is none."""
        try:
            if self._store.get(kernel) is not None:
                return "built before"
        except HostFailure:
            # What is kept was damaged; it is made anew.
            pass
        built = None if self._fleet.interrupted else modules.here(kernel, self._directory)
        if built is None:
            return ""
        self._store.put(kernel, built)
        return "built here"

    def _on_hosts(self, waiting: list[Kernel]) -> Iterator[Event]:
        """One host for each kernel, and where that fails the next one."""
        reasons: dict[Kernel, str] = {}
        while waiting:
            builders = {}
            for kernel in list(waiting):
                if self._can_build[kernel]:
                    builders[self._can_build[kernel].pop(0).name] = kernel
                else:
                    waiting.remove(kernel)
                    lacking = (
                        f"no host with kernel {kernel} has its headers, gcc and make; install them on one"
                    )
                    yield from self._ended(kernel, State.FAILED, reasons.get(kernel, lacking))
            those = [
                host for kernel in builders.values() for host in self._runs[kernel] if host.name in builders
            ]
            for event in self._fleet.run(those, modules.build(self._source, self._store)):
                if not isinstance(event, Outcome):
                    yield event
                    continue
                kernel = builders[event.host]
                self._seconds[event.host] += event.seconds
                if event.state is State.OK:
                    waiting.remove(kernel)
                    yield from self._ended(kernel, State.OK, f"built on {event.host}")
                elif event.state is State.STOPPED:
                    waiting.remove(kernel)
                    yield from self._ended(kernel, State.STOPPED, event.sentence)
                else:
                    reasons[kernel] = f"building on {event.host} failed: {event.sentence}"

    def _ended(self, kernel: Kernel, state: State, how: str) -> Iterator[Outcome]:
        answer = {"kernel": kernel.release, "machine": kernel.machine}
        for host in self._runs[kernel]:
            sentence = f"{kernel.release}: {how}" if state is State.OK else how
            yield Outcome(
                host.name,
                state,
                sentence,
                self._seconds[host.name],
                0 if state is State.OK else None,
                answer if state is State.OK else None,
            )
