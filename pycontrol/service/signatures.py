"""Whose device is this?  Superblocks told by their magic, without udev or libblkid.

Only what must not be overwritten by mistake: a handful of formats, each told by a
few bytes at a fixed place.  udev's database knows many more; both are asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pycontrol.errors import DeviceIoError

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` in bytes; may return less at the end of the device."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Somebody's mark on a device."""

    kind: str
    offset: int
    """Where it stands, in bytes; -1 if udev told and did not say."""

    def __str__(self) -> str:
        return self.kind if self.offset < 0 else f"{self.kind} at byte {self.offset}"


@dataclass(frozen=True, slots=True)
class _Magic:
    kind: str
    offset: int
    magic: bytes


EXT: Final = 0x438
"""Byte of the magic of ext2 and its successors."""

_FIXED: Final = (
    _Magic("ext2/3/4", EXT, b"\x53\xef"),
    _Magic("xfs", 0, b"XFSB"),
    _Magic("btrfs", 0x10040, b"_BHRfS_M"),
    _Magic("f2fs", 0x400, b"\x10\x20\xf5\xf2"),
    _Magic("squashfs", 0, b"hsqs"),
    _Magic("erofs", 0x400, b"\xe2\xe1\xf5\xe0"),
    _Magic("iso9660", 0x8001, b"CD001"),
    _Magic("ntfs", 3, b"NTFS    "),
    _Magic("exfat", 3, b"EXFAT   "),
    _Magic("vfat", 0x36, b"FAT1"),
    _Magic("vfat", 0x52, b"FAT32   "),
    _Magic("LUKS", 0, b"LUKS\xba\xbe"),
    _Magic("LUKS2 (second header)", 0x4000, b"SKUL\xba\xbe"),
    _Magic("bcache", 0x1018, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    # md: 1.1 at the start, 1.2 at 4 KiB; 1.0 and 0.90 are near the end, see below.
    _Magic("md raid 1.1", 0, b"\xfc\x4e\x2b\xa9"),
    _Magic("md raid 1.2", 0x1000, b"\xfc\x4e\x2b\xa9"),
    _Magic("GPT", 512, b"EFI PART"),
    _Magic("GPT", 4096, b"EFI PART"),
)
_SWAP: Final = (b"SWAP-SPACE", b"SWAPSPACE2", b"S1SUSPEND\0")
_SWAP_PAGES: Final = (4096, 8192, 16384, 65536)
_MD: Final = b"\xfc\x4e\x2b\xa9"


def probe(read: Read, size: int) -> list[Signature]:
    """Every signature found on a device or image of ``size`` bytes."""
    found = [
        Signature(entry.kind, entry.offset)
        for entry in _FIXED
        if entry.offset + len(entry.magic) <= size
        and _read(read, entry.offset, len(entry.magic)) == entry.magic
    ]
    found += _lvm(read, size) + _swap(read, size) + _at_the_end(read, size) + _mbr(read, size, found)
    return found


def _read(read: Read, offset: int, length: int) -> bytes:
    try:
        return read(offset, length)
    except OSError as error:
        raise DeviceIoError(
            f"cannot read {length} bytes at {offset} to look for signatures: {error.strerror}"
        ) from error


def _lvm(read: Read, size: int) -> list[Signature]:
    # The label may stand in any of the first four sectors.
    return [
        Signature("LVM physical volume", offset)
        for offset in range(0, min(2048, size), 512)
        if _read(read, offset, 8) == b"LABELONE"
    ]


def _swap(read: Read, size: int) -> list[Signature]:
    return [
        Signature("swap", page - 10)
        for page in _SWAP_PAGES
        if page <= size and _read(read, page - 10, 10) in _SWAP
    ]


def _at_the_end(read: Read, size: int) -> list[Signature]:
    found: list[Signature] = []
    sectors = size // 512
    # md 1.0: 8 to 12 KiB from the end, on a 4 KiB boundary; 0.90: 64 KiB blocks.
    for kind, offset in (
        ("md raid 1.0", ((sectors - 16) & ~7) * 512),
        ("md raid 0.90", (size & ~0xFFFF) - 0x10000),
    ):
        if offset > 0 and _read(read, offset, 4) == _MD:
            found.append(Signature(kind, offset))
    for block in (512, 4096):
        offset = size // block * block - block
        if offset > block and _read(read, offset, 8) == b"EFI PART":
            found.append(Signature("GPT (backup)", offset))
    return found


def _mbr(read: Read, size: int, others: list[Signature]) -> list[Signature]:
    """A partition table has the boot mark, and entries that can be entries."""
    if size < 512 or any(entry.kind in {"ntfs", "exfat", "vfat"} for entry in others):
        return []
    sector = _read(read, 0, 512)
    if sector[510:512] != b"\x55\xaa":
        return []
    entries = [sector[at : at + 16] for at in range(446, 510, 16)]
    if all(entry[0] in (0, 0x80) for entry in entries) and any(entry[4] for entry in entries):
        return [Signature("MBR partition table", 510)]
    return [Signature("boot sector", 510)]
