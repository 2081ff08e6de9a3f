"""What ``dmremapctl meta`` costs on a large table, in CPU time and memory.

``ci/bench-meta`` runs it.  Each command is a process of its own, as it is for the user;
zlib's crc32 over the same bytes is measured beside it.
"""

import argparse
import random
import sys
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from ci.cost import Cost, bytecode_elsewhere, run
from pycontrol.metadata import Record, encode_image, pack

SECTORS_EACH = 8
TIMES = 9
CHECK_SECONDS, CHECK_CRCS, CHECK_MIB = 2.0, 4, 300
HEADERS_SECONDS = 0.3


@dataclass(frozen=True)
class Table:
    """What is measured.  On the spare, extents lie as they were made, and each has ``SECTORS_EACH``."""

    name: str
    step: int  # sectors from one to the next on the main device
    shuffled: bool = False
    replaced: bool = False  # some records replace others, a place is bad
    any_length: bool = False  # up to that many sectors
    any_place: bool = False  # on the spare, in another order than they were made


TABLES = [
    Table("in order", 3 * SECTORS_EACH),
    Table("neighbours in any order", SECTORS_EACH, shuffled=True),
    Table("in order, some replaced", 3 * SECTORS_EACH, replaced=True),
    Table("in any order, some replaced", 3 * SECTORS_EACH, shuffled=True, replaced=True),
    Table("neighbours in any order, some replaced", SECTORS_EACH, shuffled=True, replaced=True),
    Table("in any order, of any length", 2048 * SECTORS_EACH, shuffled=True, any_length=True),
    Table("in any order on both devices", 3 * SECTORS_EACH, shuffled=True, any_place=True),
]


def make(path: Path, extents: int, table: Table) -> float:
    """An image with such a table; returns the CPU seconds of one crc32 over its metadata."""
    chance = random.Random(1)
    order, places = list(range(extents)), list(range(extents))
    if table.shuffled:
        chance.shuffle(order)
    if table.any_place:
        chance.shuffle(places)
    lengths = range(1, SECTORS_EACH + 1) if table.any_length else (SECTORS_EACH,)
    first = 1 << 22  # behind the log
    sectors = first + 2 * SECTORS_EACH * extents
    records = pack(
        Record(table.step * number, first + SECTORS_EACH * at, chance.choice(lengths), 1, 1, 1_700_000_000)
        for number, at in zip(order, places, strict=True)
    )
    if table.replaced:
        more = [Record(table.step * number, 0, SECTORS_EACH, 4) for number in range(0, extents, 1000)]
        records += pack([*more, Record(0, sectors - SECTORS_EACH, SECTORS_EACH, 8)])
    blocks = encode_image(
        records,
        uuid=UUID(int=1),
        main_sectors=max(3 * SECTORS_EACH, table.step) * extents,
        spare_sectors=sectors,
        time=1,
    )
    with path.open("wb") as file:
        file.truncate(sectors * 512)
        for offset, block in blocks:
            file.seek(offset)
            file.write(block)
    begun = time.process_time()
    for _, block in blocks:
        zlib.crc32(block)
    return time.process_time() - begun


def cost(*arguments: str) -> Cost:
    """Of ``dmremapctl``."""
    return run("-m", "pycontrol", *arguments)


def least(runs: list[Cost]) -> Cost:
    """The least time: what else the machine does adds to each's.  The most memory."""
    return Cost(min(each.seconds for each in runs), max(each.memory for each in runs))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extents", type=int, default=1_000_000, metavar="N")
    options = parser.parse_args()
    with bytecode_elsewhere() as directory:
        paths = [directory / f"spare{number}.img" for number in range(len(TABLES))]
        crcs: list[float] = []
        checks: list[list[Cost]] = [[] for _ in TABLES]
        headers: list[list[Cost]] = [[] for _ in TABLES]
        for path, table in zip(paths, TABLES, strict=True):
            # In a process of its own: what a child begins with counts as its memory, too.
            with ProcessPoolExecutor(1) as elsewhere:
                crcs.append(elsewhere.submit(make, path, options.extents, table).result())
        # In turns: a host may be slow for a minute.
        for _ in range(TIMES):
            for number, path in enumerate(paths):
                checks[number].append(cost("meta", "check", "--quiet", str(path)))
                headers[number].append(cost("meta", "inspect", "--headers", str(path)))
    limit = CHECK_CRCS * min(crcs) + CHECK_SECONDS
    print(f"crc32 of the metadata {min(crcs):.3f} s")
    too_much = 0
    for table, check, inspect in zip(TABLES, map(least, checks), map(least, headers), strict=True):
        too_much += check.seconds > limit or check.memory > CHECK_MIB or inspect.seconds > HEADERS_SECONDS
        print(f"{options.extents} extents, {table.name}")
        print(
            f"  meta check               {check.seconds:6.3f} s (limit {limit:.3f}), {check.memory:.0f} MiB"
        )
        print(f"  meta inspect --headers   {inspect.seconds:6.3f} s (limit {HEADERS_SECONDS})")
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())
