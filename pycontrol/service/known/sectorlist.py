"""Lists of sectors of 512 bytes: ``sector [count]`` a line, or what the target itself lists.

'#' begins a comment.  Of the target's list, ``sector count place kind``, the place on the
spare means nothing elsewhere; ``none`` stands for an empty list, and ``next`` for a page
that must follow.
"""

from collections.abc import Iterable, Iterator

from pycontrol.service.extents import Extent
from pycontrol.service.known.textlines import ListError, decimal
from pycontrol.service.ranges import Range


def parse(lines: Iterable[str]) -> Iterator[Range]:
    """The listed sectors in the order of the list; ListError for a line that is no such thing."""
    following: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        match words:
            case []:
                continue
            case ["none"]:
                pass
            case ["next", word] if decimal(word) is not None:
                following = number, line
                continue
            case _:
                yield _range(number, line, words)
        following = None
    if following:
        raise ListError(*following, "says that the list goes on; 'dmremapctl export' gives the whole of it")


def _range(number: int, line: str, words: list[str]) -> Range:
    if len(words) == 4:
        try:
            extent = Extent.parse(" ".join(words))
        except ValueError as error:
            raise ListError(number, line, "is not a line of the target's list") from error
        return extent.sector, extent.end
    if len(words) > 2:
        raise ListError(number, line, "has more than a sector and a count")
    sector, count = decimal(words[0]), decimal(words[1]) if len(words) == 2 else 1
    if sector is None or not count:
        raise ListError(number, line, "is not a sector and a count of at least 1, in decimal")
    return sector, sector + count


def written(extents: Iterable[Extent], comment: str = "") -> Iterator[str]:
    """The lines of a list; each extent as the target writes it."""
    if comment:
        yield f"# {comment}\n"
    yield "# sector count spare-sector kind, in sectors of 512 bytes\n"
    for extent in extents:
        yield f"{extent}\n"
