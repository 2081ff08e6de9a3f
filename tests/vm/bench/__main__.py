"""``ci/bench``: measure, print a table, and write JSON and a picture."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Guest
from rich.console import Console

from pycontrol.metadata import SECTOR

from . import commit, processors, whole_table
from .images import SERIAL, Images, MiB
from .machine import CountingMachine, PlainMachine
from .nulldisk import INSTANT, Speed, null_disk, remove_null_disk
from .per_request import MAIN_SECTORS, NUMBERS, SIZES, SPARE_SECTORS, PerRequest, Plan
from .plot import draw
from .remaps import Remaps
from .requests import Requester
from .results import MANY, Results, as_json, show

SECTIONS = ("requests", "table", "disk", "processors")
console = Console(highlight=False)


def tell(line: str) -> None:
    console.print(f"[dim]{line}[/dim]", soft_wrap=True)


# Of the disks on which a load and a remap are told in time; docs/performance.md says why.
SLOW = Speed(rate=143)
LATE = Speed(latency=1_000_000)


@contextmanager
def null_disks(guest: Guest, cache: int = 0, speed: Speed = INSTANT) -> Iterator[tuple[str, str]]:
    """Main and a blank spare."""
    try:
        yield (
            null_disk(guest, "main", MAIN_SECTORS * SECTOR // MiB, speed=speed),
            null_disk(guest, "spare", SPARE_SECTORS * SECTOR // MiB, memory=True, cache=cache, speed=speed),
        )
    finally:
        remove_null_disk(guest, "spare")
        remove_null_disk(guest, "main")


def count(directory: Path, images: Images, arguments: argparse.Namespace, results: Results) -> None:
    """Everything that is told in instructions, and in time by a disk whose speed is known."""
    place = directory / "counting"
    place.mkdir()
    machine = CountingMachine(place, {SERIAL: directory / "images"})
    try:
        guest = machine.boot()
        results.kernel = guest.run("uname", "-r").out.strip()
        if "requests" in arguments.sections:
            plan = Plan(arguments.remaps, arguments.sizes)
            results.requests = PerRequest(guest, Requester(guest, place), images, plan, tell).measure()
        if "table" in arguments.sections:
            with null_disks(guest) as (main, spare):
                tell("an empty table, in memory")
                nothing = Remaps(0, MAIN_SECTORS, SPARE_SECTORS)
                results.empty_table = whole_table.measure(guest, main, spare, nothing)
            with null_disks(guest, cache=64) as (main, spare):
                tell("remaps and flushes, in memory")
                results.commit = commit.measure(guest, main, spare)
            with null_disks(guest) as (main, spare):
                many = Remaps(MANY, MAIN_SECTORS, SPARE_SECTORS)
                images.copy(guest, many, spare)
                tell(f"a table of {MANY}, in memory and loaded")
                results.table = whole_table.measure(guest, main, spare, many)
        if "disk" in arguments.sections:
            with null_disks(guest, cache=64, speed=LATE) as (main, spare):
                tell("remaps and flushes, of a millisecond a request")
                results.late_commit = commit.measure(guest, main, spare)
            with null_disks(guest, speed=SLOW) as (main, spare):
                many = Remaps(MANY, MAIN_SECTORS, SPARE_SECTORS)
                images.copy(guest, many, spare)
                tell(f"a table of {MANY}, from a disk of 150 MB/s")
                results.slow_table = whole_table.measure(guest, main, spare, many)
        machine.check_console()
    finally:
        machine.close()


def clock(directory: Path, results: Results) -> None:
    """What is told in seconds, by two processors, as ratios of what was measured side by side."""
    place = directory / "clock"
    place.mkdir()
    machine = PlainMachine(place, cpus=2)
    try:
        guest = machine.boot()
        results.kernel = guest.run("uname", "-r").out.strip()
        tell("one and two processors")
        results.processors = processors.measure(guest)
        machine.check_console()
    finally:
        machine.close()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/bench", description="What dm-remap-v4 costs.")
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"what to measure: {', '.join(SECTIONS)} (default: all)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="directory for bench.json and bench.svg"
    )
    parser.add_argument(
        "--remaps",
        type=int,
        nargs="+",
        default=NUMBERS,
        choices=NUMBERS,
        metavar="N",
        help="sizes of the table",
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, choices=SIZES, metavar="BYTES", help="of requests"
    )
    arguments = parser.parse_args()
    arguments.sections = arguments.sections or list(SECTIONS)
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"unknown section {unknown.pop()}")
    return arguments


def main() -> None:
    arguments = parse()
    arguments.output.mkdir(parents=True, exist_ok=True)
    results = Results()
    with tempfile.TemporaryDirectory(prefix="dm-remap-bench-", dir=arguments.output) as temporary:
        directory = Path(temporary)
        numbers = set(arguments.remaps) if "requests" in arguments.sections else set()
        if {"table", "disk"} & set(arguments.sections):
            numbers.add(MANY)
        tell("making the metadata of the tables")
        tables = [Remaps(number, MAIN_SECTORS, SPARE_SECTORS) for number in sorted(numbers) if number]
        images = Images(directory / "images", tables)
        try:
            if {"requests", "table", "disk"} & set(arguments.sections):
                count(directory, images, arguments, results)
            if "processors" in arguments.sections:
                clock(directory, results)
        finally:
            # What was measured before something went wrong is worth having.
            report(arguments.output, results)


def report(output: Path, results: Results) -> None:
    show(results, console)
    (output / "bench.json").write_text(as_json(results))
    if results.requests.cells:
        draw(results.requests, output / "bench.svg")
    console.print(f"{output}/bench.json and bench.svg")


if __name__ == "__main__":
    main()
