"""Columns of numbers as one large integer each: what is done to a million numbers is one operation.

Each number has 64 bits of the integer to itself, the first one the lowest.  Numbers and their
sums are below 2**63, so that the highest bit is there for what a subtraction borrows and an
addition carries.  Source: L. Lamport, "Multiple byte processing with full-word instructions",
Communications of the ACM 18(8), 1975.
"""

import sys
from array import array
from functools import lru_cache
from typing import Self

_BYTES = 8
_BITS = 8 * _BYTES
_LARGEST = (1 << _BITS - 1) - 1


@lru_cache(maxsize=1)
def _highest(count: int) -> int:
    """The highest bit of each lane."""
    return int.from_bytes((1 << _BITS - 1).to_bytes(_BYTES, "little") * count, "little")


class Lanes:
    """Numbers below 2**63, as many as it was made of."""

    __slots__ = ("_all", "_count")

    def __init__(self, every: int, count: int) -> None:
        self._all, self._count = every, count

    @classmethod
    def of(cls, column: "array[int]") -> Self:
        """The numbers of a column."""
        in_order = column if sys.byteorder == "little" else column[::-1]
        return cls(int.from_bytes(in_order, sys.byteorder), len(column))

    def column(self) -> "array[int]":
        """The numbers as a column."""
        column = array("Q", self._all.to_bytes(_BYTES * self._count, sys.byteorder))
        return column if sys.byteorder == "little" else column[::-1]

    def flags(self) -> bytes:
        """Of each number its lowest byte, which is all there is of the answer to a question."""
        if not self._all:
            return bytes(self._count)
        return self._all.to_bytes(_BYTES * self._count, "little")[::_BYTES]

    def __bool__(self) -> bool:
        """Whether any is not zero."""
        return bool(self._all)

    def __add__(self, other: "Lanes | int") -> "Lanes":
        """To each number the one at its place, or to all the same one."""
        if isinstance(other, int):
            other = Lanes((_highest(self._count) >> _BITS - 1) * other, self._count)
        return Lanes(self._all + other._all, self._count)

    def __and__(self, other: "Lanes") -> "Lanes":
        """Of two answers, whether both are yes."""
        return Lanes(self._all & other._all, self._count)

    def following(self) -> "Lanes":
        """Of each number the one behind it; of the last, the largest there is."""
        return Lanes((self._all | _LARGEST << _BITS * self._count) >> _BITS, self._count)

    def above(self, other: "Lanes") -> "Lanes":
        """Of each number 1 if it is larger than the one at its place, else 0."""
        highest = _highest(self._count)
        not_above = (other._all | highest) - self._all & highest
        return Lanes((not_above ^ highest) >> _BITS - 1, self._count)

    def equal(self, other: "Lanes") -> "Lanes":
        """Of each number 1 if it is the one at its place, else 0."""
        highest = _highest(self._count)
        differ = (self._all ^ other._all) + (highest - (highest >> _BITS - 1)) & highest
        return Lanes((differ ^ highest) >> _BITS - 1, self._count)
