"""A file that others read at any moment: replaced as a whole, and only when it changes."""

import os
from pathlib import Path

from pycontrol.errors import UsageError
from pycontrol.text import plain


class TextFile:
    """``path`` ends in ``.prom``, for that is all node_exporter's textfile collector reads."""

    def __init__(self, path: Path) -> None:
        if path.suffix != ".prom":
            raise UsageError(
                f"{plain(path)} does not end in .prom; the textfile collector would pass it over"
            )
        self.path = path
        self._text: str | None = None

    def write(self, text: str, *, anew: bool = False) -> bool:
        """Replace the file if its text differs from what was written last, or ``anew``; whether it did.

        Readable by everybody, for the collector is seldom root.  OSError if it cannot be
        written; then the next call tries again, and the file is as it was.
        """
        if text == self._text and not anew:
            return False
        # Beside the file, for a rename, and hidden from whoever looks for *.prom.
        beside = self.path.with_name(f".{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            # What a monitor that was killed has left, or another user put there, is not written to.
            beside.unlink(missing_ok=True)
            with open(os.open(beside, flags, 0o644), "w", encoding="utf-8") as file:  # noqa: PTH123
                os.fchmod(file.fileno(), 0o644)
                file.write(text)
            beside.replace(self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        self._text = text
        return True
