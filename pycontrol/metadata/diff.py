"""What is different between two states."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise

from pycontrol.metadata.records import Extents, Kind
from pycontrol.metadata.state import Loaded

_FIELDS = (
    "uuid", "name", "main_id", "main_sectors", "spare_sectors", "copies", "spacing", "block_size",
    "sequence", "time", "generation", "needs_check", "read_errors", "write_errors", "salvaged", "lost",
    "scrub",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where main sectors live: on the spare from ``spare`` on, or pending (``spare`` is None)."""

    kind: Kind
    spare: int | None


@dataclass(frozen=True, slots=True)
class Moved:
    """Main sectors that are elsewhere in the second state; None is the main device."""

    main: int
    sectors: int
    first: Place | None
    second: Place | None


@dataclass(frozen=True, slots=True)
class Difference:
    """How two states differ: in what they say, not in how it is stored."""

    fields: tuple[tuple[str, object, object], ...]
    """As from :func:`fields`."""
    moved: tuple[Moved, ...]
    """As from :func:`moved`."""

    @property
    def same(self) -> bool:
        """They say the same."""
        return not self.fields and not self.moved


def diff(first: Loaded, second: Loaded) -> Difference:
    """Compare two states, of two spares or of one at two times."""
    return Difference(tuple(fields(first, second)), tuple(moved(first.extents, second.extents)))


def fields(first: Loaded, second: Loaded) -> Iterator[tuple[str, object, object]]:
    """Name and both values of every field of header and info that differs, and the bad places."""
    for name in (*_FIELDS, "bad_spare"):
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            yield name, one, other


def moved(first: Extents, second: Extents) -> Iterator[Moved]:
    """Every run of main sectors that is not at the same place, in order."""
    edges: set[int] = set()
    for each in chain(first, second):
        edges.update((each.main, each.main + each.sectors))
    one, other = _Walk(first), _Walk(second)
    last: Moved | None = None
    for begin, end in pairwise(sorted(edges)):
        was, now = one.at(begin), other.at(begin)
        if was == now:
            continue
        if last is not None and last.main + last.sectors == begin and _goes_on(last, was, now):
            last = Moved(last.main, end - last.main, last.first, last.second)
            continue
        if last is not None:
            yield last
        last = Moved(begin, end - begin, was, now)
    if last is not None:
        yield last


def _goes_on(last: Moved, was: Place | None, now: Place | None) -> bool:
    return _moved_by(last.first, last.sectors) == was and _moved_by(last.second, last.sectors) == now


def _moved_by(place: Place | None, sectors: int) -> Place | None:
    if place is None or place.spare is None:
        return place
    return Place(place.kind, place.spare + sectors)


class _Walk:
    """The places of main sectors, asked for in ascending order."""

    def __init__(self, extents: Extents) -> None:
        self.extents = iter(extents)
        self.extent = next(self.extents, None)

    def at(self, main: int) -> Place | None:
        while self.extent and self.extent.main + self.extent.sectors <= main:
            self.extent = next(self.extents, None)
        if not self.extent or self.extent.main > main:
            return None
        if self.extent.kind is Kind.PENDING:
            return Place(Kind.PENDING, None)
        return Place(self.extent.kind, self.extent.spare + main - self.extent.main)
