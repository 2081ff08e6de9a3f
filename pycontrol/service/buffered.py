"""Reading through the page cache; :mod:`pycontrol.service.directio` reads past it."""

import os


def read_at(fd: int, offset: int, length: int) -> bytes:
    """So many bytes, or fewer at the end of the device; OSError if one of them cannot be read.

    Where a later page is bad the kernel gives what lies before it, as it does at the end: only
    asking for the rest tells the two apart.
    """
    parts = []
    while length > 0 and (part := os.pread(fd, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)
