"""The target as the tests speak of it: made by dmsetup, asked by message and by status."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness import Guest

EVENTS = "/tmp/uevents"  # In the guest: what events() saw.

SPARE_DATA = 2048  # Where a spare's data begins, with the defaults.


@dataclass(frozen=True)
class Extent:
    """One line of the message `list`; a pending extent has no place on the spare."""

    sector: int
    sectors: int
    spare: int | None

    @classmethod
    def parse(cls, line: str) -> "Extent":
        sector, sectors, spare, kind = line.split()
        assert kind == ("pending" if spare == "-" else "remap"), line
        return cls(int(sector), int(sectors), None if spare == "-" else int(spare))


@dataclass(frozen=True)
class Status:
    used: int
    total: int
    remapped: int
    pending: int
    valid: int
    copies: int
    sequence: int
    read_errors: int
    write_errors: int
    salvaged: int
    lost: int
    features: tuple[str, ...]
    errors: tuple[str, ...]
    mode: str
    check: str

    @classmethod
    def parse(cls, line: str) -> "Status":
        """Of a line as dmsetup prints it: start, length, target, and then our own words."""
        words = line.split()[3:]
        features, rest = _counted(words[9:])
        errors, (mode, check) = _counted(rest)
        used, total, valid, copies = map(int, f"{words[0]}/{words[3]}".split("/"))
        counts = map(int, (*words[1:3], *words[4:9]))
        remapped, pending, sequence, read_errors, write_errors, salvaged, lost = counts
        return cls(
            used=used,
            total=total,
            remapped=remapped,
            pending=pending,
            valid=valid,
            copies=copies,
            sequence=sequence,
            read_errors=read_errors,
            write_errors=write_errors,
            salvaged=salvaged,
            lost=lost,
            features=features,
            errors=errors,
            mode=mode,
            check=check,
        )


def _counted(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The words that a number announces, and what follows them."""
    end = 1 + int(words[0])
    return tuple(words[1:end]), words[end:]


def create(guest: Guest, *features: str | int, main: str = "", spare: str = "", name: str = "mapped") -> str:
    """Map all of `main` with `spare`, by default the guest's own, and give the new device's path."""
    main, spare = main or guest.main, spare or guest.spare
    size = int(guest.run("blockdev", "--getsz", main).out)
    words = ["0", size, "dm-remap-v4", main, spare, *([len(features), *features] if features else [])]
    guest.run("dmsetup", "create", name, "--table", " ".join(map(str, words)))
    return f"/dev/mapper/{name}"


def remove(guest: Guest, name: str = "mapped") -> None:
    guest.run("dmsetup", "remove", "--retry", name)


def message(guest: Guest, *words: str | int, name: str = "mapped") -> str:
    return guest.run("dmsetup", "message", name, "0", *words).out.strip()


def refused(guest: Guest, *words: str | int, name: str = "mapped") -> bool:
    return guest.run("dmsetup", "message", name, "0", *words, check=False).rc != 0


def mappings(guest: Guest, name: str = "mapped") -> int:
    return int(guest.run("cat", f"/sys/kernel/dm_remap/{name}/active_mappings").out)


def status(guest: Guest, name: str = "mapped") -> Status:
    return Status.parse(guest.run("dmsetup", "status", name).out)


def extents(guest: Guest, name: str = "mapped") -> list[Extent]:
    """All that the target lists, page by page."""
    found: list[Extent] = []
    start = 0
    while True:
        lines = message(guest, "list", start, name=name).splitlines()
        if lines == ["none"]:
            return found
        more = lines.pop().split()[1] if lines[-1].startswith("next ") else None
        found += map(Extent.parse, lines)
        if more is None:
            return found
        start = int(more)


def remapped(listed: Iterable[Extent]) -> list[int]:
    """The sectors of the main device that live on the spare."""
    return [s for e in listed if e.spare is not None for s in range(e.sector, e.sector + e.sectors)]


def pending(listed: Iterable[Extent]) -> list[int]:
    """The sectors that can't be read until they are written."""
    return [s for e in listed if e.spare is None for s in range(e.sector, e.sector + e.sectors)]


def places(listed: Iterable[Extent]) -> list[int]:
    """The sectors of the spare that hold data."""
    return [s for e in listed if e.spare is not None for s in range(e.spare, e.spare + e.sectors)]


@contextmanager
def events(guest: Guest) -> Iterator[Callable[[str], dict[str, str]]]:
    """A function that waits until an action was told by a uevent, and gives the first of these."""
    guest.run("rm", "-f", EVENTS)
    job = guest.start_sh(f"exec stdbuf -oL udevadm monitor --kernel --property >{EVENTS}", timeout=600)
    guest.sh(f"until grep -qs KERNEL {EVENTS}; do sleep 0.1; done")

    def told(action: str) -> dict[str, str]:
        mark = f"DM_ACTION={action}"
        # An empty line ends it.
        guest.sh(f"until grep -A99 {mark}$ {EVENTS} | grep -q ^$; do sleep 0.1; done")
        blocks = (block.splitlines() for block in guest.pull(EVENTS).decode().split("\n\n"))
        block = next(block for block in blocks if mark in block)
        return dict(line.split("=", 1) for line in block if "=" in line)

    yield told
    job.kill()
