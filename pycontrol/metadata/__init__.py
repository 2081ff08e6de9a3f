"""The metadata on a spare: bytes to dataclasses and back, without any I/O of its own.

``docs/on-disk-format.md`` is the specification.  :func:`load` finds the state by its
rules, :func:`fresh` and :func:`encode_image` make what :func:`load` reads.  Nothing
that was read is trusted: bad input raises a :class:`MetadataError`, never anything else
(an ``OSError`` of the ``read`` callable passes through where no header could be read).
"""

from pycontrol.metadata.blocks import (
    BlockError,
    Header,
    Info,
    LogBlock,
    crc,
    decode_header,
    decode_info,
    decode_log,
    encode_header,
    encode_info,
    encode_log,
    header_as_it_is,
    info_as_it_is,
)
from pycontrol.metadata.check import Finding, Report, Severity, check
from pycontrol.metadata.errors import (
    Corrupt,
    Legacy,
    MetadataError,
    NotOurs,
    OutOfService,
    Unsupported,
)
from pycontrol.metadata.image import encode_image, fresh
from pycontrol.metadata.layout import BLOCK, SECTOR, Geometry, data_start
from pycontrol.metadata.load import fingerprint, load, log_bytes, survey
from pycontrol.metadata.mark import (
    HEADED,
    MARKED,
    Condition,
    Mark,
    admitted,
    arrived_headers,
    decode_mark,
    encode_mark,
    find_mark,
    marked,
    valid_headers,
    waves,
)
from pycontrol.metadata.moved import moved
from pycontrol.metadata.reader import Read, Reader
from pycontrol.metadata.records import Extent, Extents, Kind, Record, Records, pack
from pycontrol.metadata.snapshot import Snapshot
from pycontrol.metadata.state import BlockState, Loaded, LogState, Slot, State, Survey
from pycontrol.metadata.table import replay

__all__ = [
    "BLOCK",
    "HEADED",
    "MARKED",
    "SECTOR",
    "BlockError",
    "BlockState",
    "Condition",
    "Corrupt",
    "Extent",
    "Extents",
    "Finding",
    "Geometry",
    "Header",
    "Info",
    "Kind",
    "Legacy",
    "Loaded",
    "LogBlock",
    "LogState",
    "Mark",
    "MetadataError",
    "NotOurs",
    "OutOfService",
    "Read",
    "Reader",
    "Record",
    "Records",
    "Report",
    "Severity",
    "Slot",
    "Snapshot",
    "State",
    "Survey",
    "Unsupported",
    "admitted",
    "arrived_headers",
    "check",
    "crc",
    "data_start",
    "decode_header",
    "decode_info",
    "decode_log",
    "decode_mark",
    "encode_header",
    "encode_image",
    "encode_info",
    "encode_log",
    "encode_mark",
    "find_mark",
    "fingerprint",
    "fresh",
    "header_as_it_is",
    "info_as_it_is",
    "load",
    "log_bytes",
    "marked",
    "moved",
    "pack",
    "replay",
    "survey",
    "valid_headers",
    "waves",
]
