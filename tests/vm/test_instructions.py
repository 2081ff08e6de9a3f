"""The healthy path costs no more instructions than it did.

Only ratios to dm-linear in the same run are looked at, which differ by less than 0.1 % from
run to run however busy the host is.  ``ci/bench`` measures all there is to know.
"""

from collections.abc import Iterator

import pytest
from bench.images import SERIAL, Images
from bench.machine import CountingMachine
from bench.per_request import MAIN_SECTORS, SPARE_SECTORS, TARGET, Figures, PerRequest, Plan
from bench.remaps import EXTENT, Remaps
from bench.requests import Operation, Requester, Workload

from pycontrol.metadata import SECTOR

pytestmark = pytest.mark.timeout(900)

REMAPS = Remaps(1000, MAIN_SECTORS, SPARE_SECTORS)
SIZE = 4096


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("counting") / "images", [REMAPS])


@pytest.fixture(scope="module")
def counting(images: Images) -> Iterator[CountingMachine]:
    machine = CountingMachine(images.file.parent, {SERIAL: images.file})
    try:
        machine.boot()
        yield machine
        machine.check_console()
    finally:
        machine.close()


@pytest.fixture(scope="module")
def figures(counting: CountingMachine, images: Images) -> Figures:
    plan = Plan(numbers=(0, REMAPS.number), sizes=(SIZE,), depths=(1,), others=False)
    guest = counting.guest
    return PerRequest(guest, Requester(guest, counting.directory), images, plan).measure()


def test_a_machine_boots_within_six_seconds(counting: CountingMachine) -> None:
    """Of a processor that does as much as QEMU emulates here, half a billion instructions a second."""
    assert 0 < counting.boot_instructions <= 6 * 500_000_000


@pytest.mark.parametrize(
    ("operation", "remaps", "pattern", "limit"),
    [
        ("read", 0, "random", 1.012),
        ("write", 0, "random", 1.006),
        ("read", 1000, "missed", 1.028),
        ("write", 1000, "missed", 1.013),
        ("read", 1000, "hit", 1.047),
        ("write", 1000, "hit", 1.023),
    ],
)
def test_instructions_over_dm_linear(
    figures: Figures, operation: Operation, remaps: int, pattern: str, limit: float
) -> None:
    ratio = figures.ratio_of(TARGET, remaps, pattern, Workload(operation, SIZE))
    assert ratio is not None
    # Below 1 something else was measured.
    assert 1 < ratio <= limit


def test_requests_go_where_they_say() -> None:
    inside = {start + sector for start in REMAPS.extents for sector in range(EXTENT)}

    def touched(offset: int, size: int) -> int:
        return len(inside & set(range(offset // SECTOR, (offset + size) // SECTOR)))

    assert not any(touched(offset, 65536) for offset in REMAPS.missing(65536, 100))
    assert {touched(offset, 512) for offset in REMAPS.hitting(512, 100)[0]} == {1}
    assert [touched(offset, SIZE) > 0 for offset in REMAPS.mixed(SIZE, 100)] == [True, False] * 50
