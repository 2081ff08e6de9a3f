"""The disk of the journey: where it fails, what has happened to it, and what must be shown of that."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from accounting import BLOCK, PER_BLOCK, Model, ranges
from command import ctl, ok
from harness import Guest, Machine
from harness.disk import MiB

SIZE = 64 * MiB
RAW = SIZE // 2  # Where the file system ends; behind it the load has the device for itself.
NAME = "data"
DEVICE = f"/dev/mapper/{NAME}"
WATCHED = "/tmp/watched"
LISTED, UNLISTED = 1000, 1500
DAMAGED = 1

RUN = range(RAW // 512, (RAW + 16 * MiB) // 512)  # Sectors: more than is left for a switch.

Sectors = set[int]


class Journey:
    """The machine, and what the host knows of the disk."""

    def __init__(self, box: Machine, seed: int) -> None:
        self.box = box
        self.rng = random.Random(seed)
        self.model = Model(bytes(SIZE))
        self.files: dict[str, bytes] = {}
        self.remapped: Sectors = set()
        self.told: Counter[tuple[str, str]] = Counter()
        # Every second block, so that no two places touch.
        places = self.rng.sample(range(RAW // BLOCK, SIZE // BLOCK, 2), LISTED + UNLISTED)
        self.listed, self.unlisted = places[:LISTED], places[LISTED:]

    @property
    def guest(self) -> Guest:
        return self.box.guest

    @property
    def pending(self) -> Sectors:
        return self.model.lost

    # Where there will be damage.

    def places(self, *files: int, raw: int) -> list[Sectors]:
        """A run of sectors in a block of each of these files, and in so many other blocks."""
        blocks = [self.unlisted.pop() for _ in range(raw)]
        lie = self.blocks_of_files()
        blocks += [self.rng.choice(lie[f"file{number}"]) for number in files]
        return [self.run(block) for block in blocks]

    def blocks_of_files(self) -> dict[str, list[int]]:
        """The blocks of the device in which each file lies, found by what is in them."""
        index = {self.model.block(number): number for number in range(RAW // BLOCK)}
        return {
            name: [index[data[at : at + BLOCK]] for at in range(0, len(data), BLOCK)]
            for name, data in self.files.items()
        }

    def run(self, block: int) -> Sectors:
        """Some sectors of a block, beside each other."""
        first, count = self.rng.randrange(5), self.rng.choice([1, 1, 2, 3])
        return set(range(block * PER_BLOCK + first, block * PER_BLOCK + first + count))

    # What has happened, as watch must have told it.

    def happened(self, action: str, sectors: Iterable[int]) -> None:
        listed = set(sectors)
        self.told[action, "sectors"] += len(listed)
        self.told[action, "extents"] += len(ranges(listed))
        if action == "PENDING":
            self.model.lost |= listed
        else:
            self.model.lost -= listed
            self.remapped |= listed

    def watched(self) -> list[Any]:
        said = self.guest.run("cat", f"{WATCHED}.out").out
        # It may be writing a line.
        lines = said[: said.rfind("\n") + 1].splitlines()
        return [event for event in map(json.loads, lines) if event["sectors"] is not None]

    def check_told(self) -> None:
        """watch has told all of it, and nothing else, without a gap."""
        while True:
            seen: Counter[tuple[str, str]] = Counter()
            events = self.watched()
            for event in events:
                for what in ("sectors", "extents"):
                    seen[event["action"], what] += event[what]
            if not all(seen[key] >= count for key, count in self.told.items()):
                continue  # What comes within half a second is told together.
            assert seen == self.told, (seen, self.told)
            assert [event["seqnum"] for event in events] == list(range(1, len(events) + 1))
            return

    def check_shown(self) -> None:
        """The map shows what there is, by region and by extent."""
        found = ok(self.guest, "map", NAME, "--max", 100_000)
        wanted: dict[int, list[int]] = {}
        for which, sectors in enumerate((self.remapped, self.pending)):
            for sector in sectors:
                wanted.setdefault(sector // found["region_sectors"], [0, 0])[which] += 1
        shown = {each["region"]: [each["remapped"], each["pending"]] for each in found["regions"]}
        assert shown == wanted, (shown, wanted)
        extents = found["extents"]
        assert _sectors(each for each in extents if each["spare"] is not None) == self.remapped
        assert _sectors(each for each in extents if each["spare"] is None) == self.pending

    def health(self) -> Any:
        done = ctl(self.guest, "health", NAME, "--json")
        (said,) = json.loads(done.out)
        assert done.rc == (DAMAGED if said["verdict"] in ("act", "failing") else 0), done
        assert said["pending_sectors"] == len(self.pending)
        return said


def _sectors(extents: Iterable[Any]) -> Sectors:
    return {sector for e in extents for sector in range(e["sector"], e["sector"] + e["sectors"])}
