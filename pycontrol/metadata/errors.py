"""Why a spare cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycontrol.errors import BeyondRecovery, RemapError, WrongDevice

if TYPE_CHECKING:
    from uuid import UUID

    from pycontrol.metadata.mark import Mark
    from pycontrol.metadata.state import Slot


class MetadataError(RemapError):
    """The metadata cannot be read; nothing else is raised for what a device contains."""


class NotOurs(MetadataError, WrongDevice):
    """There is no metadata of ours, or not of the uuid that was asked for."""

    def __init__(self, message: str, *, all_zero: bool = False) -> None:
        super().__init__(message)
        self.all_zero = all_zero
        """The metadata region holds nothing but zeros."""


class OutOfService(NotOurs):
    """A spare of ours that must not be used, or not yet; see :mod:`pycontrol.metadata.mark`."""

    def __init__(self, message: str, uuid: UUID, mark: Mark | None) -> None:
        super().__init__(message)
        self.uuid = uuid
        self.mark = mark
        """What is written in place of the headers; None if all has arrived and waits to be used."""


class Unsupported(NotOurs):
    """Ours, but of a newer format than this code knows."""


class Legacy(MetadataError, WrongDevice):
    """An image of one of the two earlier formats."""

    def __init__(self, message: str, *, version: str) -> None:
        super().__init__(message)
        self.version = version
        """``4.2`` or ``3.0``."""


class Corrupt(MetadataError, BeyondRecovery):
    """Ours, but what it says cannot be so, or a part of it cannot be had from any copy."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.slots: list[Slot] = []
        """The condition of each copy, where a header could be chosen."""
