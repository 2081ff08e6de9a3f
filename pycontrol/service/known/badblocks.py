"""Lists as badblocks(8) writes them and e2fsck(8) reads them: a decimal block number a line."""

from collections.abc import Iterable, Iterator
from typing import Final

from pycontrol.errors import UsageError
from pycontrol.service.known.textlines import ListError, decimal
from pycontrol.service.ranges import Range, inward, outward
from pycontrol.sizes import SECTOR

BLOCK: Final = 1024
"""The block size of badblocks(8) in bytes, unless it is told another."""


def check_block_size(size: int) -> None:
    """UsageError for a block size in bytes that badblocks(8) would not take, or that cuts sectors."""
    if size % SECTOR or not SECTOR <= size <= 1 << 30:
        raise UsageError(f"--block-size is a multiple of {SECTOR} bytes, not {size}")


def parse(lines: Iterable[str], block_size: int = BLOCK) -> Iterator[Range]:
    """The listed blocks as ranges of bytes, in the order of the list.

    Blank lines are allowed, order and repetition do not matter.  ListError for a line that
    is no decimal number.
    """
    for number, line in enumerate(lines, 1):
        word = line.strip()
        if not word:
            continue
        block = decimal(word)
        if block is None:
            raise ListError(number, line, "is not a block number; badblocks(8) writes one decimal number")
        yield block * block_size, (block + 1) * block_size


def written(ranges: list[Range], block_size: int = BLOCK, *, rounded: bool = False) -> Iterator[str]:
    """The lines of a list of these bytes.

    UsageError if they are not whole blocks, unless ``rounded`` allows to name blocks that are
    bad in part only.
    """
    if not rounded and inward(ranges, block_size) != ranges:
        raise UsageError(
            f"what is to be listed is not whole blocks of {block_size} bytes; use a smaller --block-size,"
            " or --round to list every block that is touched"
        )
    for start, end in outward(ranges, block_size):
        for block in range(start // block_size, end // block_size):
            yield f"{block}\n"
