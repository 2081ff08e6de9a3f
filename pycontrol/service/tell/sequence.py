"""Finding events that were missed, by the number the target gives each uevent."""


class Sequences:
    """The last DM_SEQNUM of each device, by any key.

    A target counts its uevents from one, so a table that was loaded anew begins again.
    """

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def begin(self, key: str) -> None:
        """The device has just come: its first event is number one."""
        self._last[key] = 0

    def forget(self, key: str) -> None:
        """Begin anew with ``key``, which is gone."""
        self._last.pop(key, None)

    def missed(self, key: str, number: int | None) -> int:
        """How many events are missing before this one, at least.

        None can be told of a device that was there before: its first number is the start.
        """
        if number is None:
            return 0
        last = self._last.get(key)
        self._last[key] = number
        if last is None:
            return 0
        # A number that went back is a new target's: what the old one sent last is not known.
        return number - 1 - (last if number > last else 0)
