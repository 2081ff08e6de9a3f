"""Looking at the metadata of a spare that nobody needs to have activated; writes nothing."""

import os
import stat
from dataclasses import dataclass
from uuid import UUID

from pycontrol.errors import DeviceIoError, WrongDevice
from pycontrol.metadata import Loaded, load
from pycontrol.service.blockdev import open_device
from pycontrol.text import plain


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found on ``path``, which has ``size`` bytes."""

    path: str
    size: int
    loaded: Loaded

    @property
    def notes(self) -> list[str]:
        """What is readable, but not as it should be."""
        loaded = self.loaded
        found = []
        if loaded.device_sectors != loaded.spare_sectors:
            found.append(
                f"made for a spare of {loaded.spare_sectors} sectors, this one has {loaded.device_sectors}:"
                " the target will refuse it"
            )
        if loaded.read_only:
            found.append(f"read-only compatible features {loaded.header.ro_compat:#x} are not known here")
        if loaded.needs_check:
            found.append("needs_check is set: a change could not be recorded")
        if not loaded.intact:
            found.append("some blocks are damaged or stale: the target mends them when it is activated")
        return found


def inspect(path: str, uuid: UUID | None = None) -> Inspection:
    """Read the metadata from a device or an image file, opened read-only.

    MetadataError says why there is none; the other errors are about the device.
    """
    shown = plain(path)
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    fd = open_device(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
            raise WrongDevice(f"{shown} is neither a block device nor an image file; name one of these")
        size = os.lseek(fd, 0, os.SEEK_END)
        if stat.S_ISBLK(mode):
            # dm-bufio writes past the page cache of the device: pages from an earlier look are old.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        loaded = load(lambda offset, length: os.pread(fd, length, offset), size, uuid=uuid)
    except OSError as error:
        raise DeviceIoError(f"{shown} cannot be read: {error.strerror}; check the device") from error
    finally:
        os.close(fd)
    return Inspection(path, size, loaded)
