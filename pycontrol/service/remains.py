"""Devices that carry marks or headers of ours, and something else as well: whose are they now?"""

from pycontrol import metadata
from pycontrol.errors import RemapError
from pycontrol.service import signatures
from pycontrol.sizes import MIB
from pycontrol.text import plain


def leftover(read: metadata.Read) -> bool:
    """Whether the beginning of a spare that was marked, or never finished, is blank or still ours.

    If it is not, somebody has put something else in its place since.
    """
    block = read(0, metadata.BLOCK)
    return not any(block) or block.startswith((metadata.MARKED, metadata.HEADED))


def put_since(read: metadata.Read, size: int) -> str:
    """What somebody has put in the place of the first header since, for people; "" if nothing known.

    The end of a disk tells nothing: what lives on a spare may look like anything.
    """
    try:
        metadata.decode_header(read(0, metadata.BLOCK))
    except metadata.BlockError:
        try:
            return ", ".join(plain(mark) for mark in signatures.probe(read, min(MIB, size)))
        except RemapError:
            return ""
    except OSError:
        return ""
    return ""
