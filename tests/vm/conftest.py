"""Fixtures for tests that need a machine, and what they all have in common.

`guest` is a booted machine with the module loaded, two blank disks and no bad sectors;
the tests of one file share its boots.  `machine` makes machines of a test's own, for
those that reboot, cut the power or want other disks.
"""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Guest, KernelPanic, KernelWarning, Machine, kernels
from shared import SharedMachine, failed, lent, machines, shared

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def shared_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMachine]:
    with shared(lambda: Machine(tmp_path_factory.mktemp("shared"))) as machine:
        yield machine


@pytest.fixture
def guest(shared_machine: SharedMachine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    with lent(shared_machine, request) as guest:
        yield guest


@pytest.fixture
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Machine]]:
    """A function that makes a machine, powered off, with blank disks; see `Machine`."""
    made = request.node.stash.setdefault(machines, [])

    def make(**options: Any) -> Machine:
        directory = tmp_path / f"machine{len(made)}"
        directory.mkdir()
        new = Machine(directory, **options)
        made.append(new)
        return new

    yield make
    try:
        for one in made:
            if not request.node.stash.get(failed, False):
                one.check_leaks()
    finally:
        for one in made:
            one.close()


# Every test fails on any complaint of the kernel; a failed one shows the console.


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    try:
        result = yield
    except BaseException as error:
        pyfuncitem.stash[failed] = True
        # What the kernel said is more than what came of it; and is no matter of chance.
        for one in pyfuncitem.stash.get(machines, []):
            said = one.console.complaint()
            if said and not isinstance(error, KernelWarning | KernelPanic):
                raise KernelWarning(f"the guest's kernel complains:\n{said}") from error
        raise
    try:
        for one in pyfuncitem.stash.get(machines, []):
            one.check_console()
    except BaseException:
        pyfuncitem.stash[failed] = True
        raise
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for one in item.stash.get(machines, []):
            report.sections.append((f"console of {one.directory}", one.console.tail(60)))
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    limit = float(config.getini("timeout")) * kernels.selected().slowness
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("vm")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(limit))
