# Copyright (c) dm-remap authors
# SPDX-License-Identifier: GPL-2.0-only
"""/etc/dmremaptab: the line of one device.  What else is in the file stays as it is, byte for byte."""

from __future__ import annotations

import re
from dataclasses import dataclass

WEAK = "relocate-weak"
FLAGS = ("ro", "degraded", "nofail", "noauto", "initramfs", WEAK)
LASTING = ("/dev/disk/by-id/", "/dev/disk/by-partuuid/", "/dev/disk/by-path/", "/dev/mapper/")
"""Names below these stay with a disk."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
# What begins with "#" would be a comment.
_NAME = re.compile(r"(?!#|\.{1,2}$|control$)[A-Za-z0-9#+\-.:=@_]{1,127}")
_DEVICE = re.compile(r"/dev/[!-~]+")
_TIMEOUT = re.compile(r"timeout=[0-9]{1,5}")


@dataclass(frozen=True)
class Line:
    """The four fields, in the order of the file."""

    name: str
    main: str
    spare: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.name, self.main, self.spare, ",".join(self.options) or "-"))

    def means(self, other: Line) -> bool:
        """Options have no order, and a uuid is the same in capitals."""
        return (self.name, self.main, self.spare.lower(), set(self.options)) == (
            other.name,
            other.main,
            other.spare.lower(),
            set(other.options),
        )

    def fault(self) -> str:
        """Why it would be left out at boot, in one sentence; empty if it would not."""
        if not _NAME.fullmatch(self.name):
            return f"{self.name!r} cannot stand in the table; use letters, digits and #+-.:=@_"
        if not _DEVICE.fullmatch(self.main) or ".." in self.main.split("/"):
            return f"{self.main!r} cannot stand in the table; give main as a path below /dev, without blanks"
        wrong = [word for word in self.options if word not in FLAGS and not _TIMEOUT.fullmatch(word)]
        if wrong:
            return f"{wrong[0]!r} is no option of the table; it knows {', '.join(FLAGS)} and timeout=SECONDS"
        return ""


def _read(text: str) -> Line | None:
    """A line of the file; None if it is blank, a comment or wrong."""
    fields = text.split()
    if not 3 <= len(fields) <= 4 or fields[0].startswith("#"):
        return None
    options = fields[3] if len(fields) == 4 else "-"
    return Line(*fields[:3], () if options == "-" else tuple(options.split(",")))


def _is_of(text: str, name: str) -> bool:
    return text.split()[:1] == [name]


def find(table: str, name: str) -> Line | None:
    """The line that counts for a device: its first."""
    lines = (_read(text) for text in _LINE.findall(table) if _is_of(text, name))
    return next((line for line in lines if line), None)


def with_line(table: str, name: str, line: Line | None) -> str:
    """The table with this line as the only one of that device, in its place; without, if it is None."""
    texts, left = [], [f"{line}\n"] if line else []
    for text in _LINE.findall(table):
        if _is_of(text, name):
            texts += left
            left = []
        else:
            texts.append(text)
    if left and texts and not texts[-1].endswith("\n"):
        texts[-1] += "\n"
    return "".join(texts + left)
