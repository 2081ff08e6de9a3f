"""Disks that the target does not take, and requests that its device does not."""

import errno

import pytest
from harness import Guest
from patterns import pattern
from simulated import simulated
from target import create, remove

ZONED = "null_blk", "nr_devices=1", "gb=1", "zoned=1"
INTEGRITY = "scsi_debug", "dif=1", "dix=1"


@pytest.mark.parametrize("role", ["main", "spare"])
@pytest.mark.parametrize(
    ("disk", "reason"),
    [
        pytest.param(ZONED, "Zoned devices are not supported", id="zoned"),
        pytest.param(INTEGRITY, "Devices with an integrity profile are not supported", id="integrity"),
    ],
)
def test_a_disk_is_refused_with_a_reason(guest: Guest, disk: tuple[str, ...], reason: str, role: str) -> None:
    guest.run("dmesg", "--clear")
    with simulated(guest, *disk) as path:
        main, spare = (path, guest.spare) if role == "main" else (guest.main, path)
        table = f"0 8192 dm-remap-v4 {main} {spare}"
        assert guest.run("dmsetup", "create", "mapped", "--table", table, check=False).rc != 0
    assert f"dm-remap-v4: {reason} (" in guest.run("dmesg").out
    assert guest.run("dmsetup", "ls").out.startswith("No devices")


def test_secure_erase_is_not_offered(guest: Guest) -> None:
    device = create(guest)
    guest.write(device, 1000, pattern(1, 8))
    erased = guest.run(*("blkdiscard", "-f", "--secure", "-o", 1000 * 512, "-l", 4096, device), check=False)
    assert erased.rc != 0 and erased.err.endswith("Operation not supported\n")
    assert guest.read(device, 1000, 8) == pattern(1, 8)


def test_scsi_commands_do_not_pass(guest: Guest) -> None:
    with simulated(guest, "scsi_debug") as disk:
        device = create(guest, main=disk)
        assert guest.call(_test_unit_ready, disk) == 0
        assert guest.call(_test_unit_ready, device) == errno.ENOTTY
        remove(guest)


def _test_unit_ready(path: str) -> int:
    """In the guest: this command by SG_IO.  0 or the error."""
    import ctypes
    import fcntl
    import struct
    from pathlib import Path

    command = ctypes.create_string_buffer(6)
    # struct sg_io_hdr: interface, direction (none), sizes, data, command, sense, timeout, ...; answers.
    words = (ord("S"), -1, len(command), 0, 0, 0, 0, ctypes.addressof(command), 0, 10_000, 0, 0, 0)
    header = struct.pack("@iiBBHIPPPIIiP24x", *words)
    with Path(path).open("rb") as f:
        try:
            answer = fcntl.ioctl(f, 0x2285, header)
        except OSError as e:
            return e.errno or -1
    return 0 if answer[64:72] == bytes(8) else errno.EIO
