"""Devices that carry marks or headers of ours, and something else as well: whose are they now?"""

from pycontrol import metadata
from pycontrol.errors import RemapError
from pycontrol.service import signatures
from pycontrol.text import plain


def leftover(read: metadata.Read) -> bool:
    """Whether the first block of a spare that was marked, or never finished, is blank or was ours.

    If it is not, somebody has put something else in its place since.  That it cannot be read is no sign
    of that.
    """
    try:
        block = read(0, metadata.BLOCK)
    except OSError:
        return True
    return not any(block) or block.startswith((metadata.MARKED, metadata.HEADED))


def put_since(read: metadata.Read, region: int) -> str:
    """What somebody has put into the first ``region`` bytes of a spare since; "" if nothing known.

    The rest of the device tells nothing: what lives on a spare may look like anything.
    """
    try:
        block = read(0, metadata.BLOCK)
        found = [mark for mark in signatures.probe(read, region) if mark.offset < region]
    except (RemapError, OSError):
        return ""
    try:
        metadata.decode_header(block)
    except metadata.BlockError:
        if block.startswith((metadata.MARKED, metadata.HEADED)):
            # Two bytes that any record may hold; mke2fs leaves nothing of what was before them.
            found = [mark for mark in found if mark.offset != signatures.EXT]
    else:
        found = [mark for mark in found if mark.offset >= metadata.BLOCK]
    return ", ".join(plain(mark) for mark in found)
