"""The message test_remap: what it answers, and that it is durable when it does."""

import struct
import zlib
from collections.abc import Callable

from harness import Machine
from target import create, extents, mappings, message, remapped, remove, status

COPIES = [i * 0x20000 for i in range(5)]


def headers(machine: Machine) -> list[bytes]:
    """The first block of every copy on the spare's image."""
    return [machine.spare.read(offset // 512, 8) for offset in COPIES]


SEND = """
    import ctypes, fcntl, os, struct
    name, words = args
    # struct dm_ioctl, version 4.0.0, followed by struct dm_target_msg: one ioctl, so that the
    # answer leaves the guest the moment the kernel gives it.
    body = struct.pack("=Q", 0) + " ".join(words).encode() + b"\\0"
    buffer = bytearray(16384)
    struct.pack_into("=3I4I3I", buffer, 0, 4, 0, 0, len(buffer), 312, 1, 0, 0, 0, 0)
    buffer[48:48 + len(name)] = name.encode()
    buffer[312:312 + len(body)] = body
    control = os.open("/dev/mapper/control", os.O_RDWR)
    fcntl.ioctl(control, 0xC138FD0E, buffer)
    os.close(control)
    start = struct.unpack_from("=I", buffer, 16)[0]
    result = bytes(buffer[start:]).split(b"\\0")[0].decode()
"""


def test_remap_answers_and_is_on_disk_when_it_does(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    create(guest)
    answer = guest.python(SEND, "mapped", ["test_remap", "1000", "5000"], kill_on_reply=True)
    assert answer == "Created test remap: bad_sector=1000 spare_sector=5000"
    box.power_cut(seed=1, keep=0.0)

    blocks = headers(box)
    for block in blocks:
        magic, version, _, _, crc = struct.unpack_from("<IIQQI", block)
        assert (magic, version) == (0x444D5234, 4)
        assert crc == zlib.crc32(block[:0x18] + bytes(4) + block[0x1C:])
        assert struct.unpack_from("<QQ", block, 0x130) == (1000, 5000)
    (sequence,) = {struct.unpack_from("<Q", block, 8)[0] for block in blocks}

    guest = box.boot()
    create(guest)
    assert mappings(guest) == 1
    assert message(guest, "list") == "1000 1 5000 remap"
    log = guest.run("dmesg").out
    assert f"Selected metadata copy 0: seq={sequence}, valid_copies=5/5" in log
    assert "Restored remap: sector 1000 -> 5000" in log
    assert "Restored 1 remap entries from persistent metadata" in log
    assert " 5/5 " in guest.run("dmsetup", "status", "mapped").out


def test_fifty_remaps_likewise(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    create(guest)
    wanted = [(1000 + 7 * i, 5000 + 3 * i) for i in range(50)]
    for bad, spare in wanted[:-1]:
        assert f"spare_sector={spare}" in message(guest, "test_remap", bad, spare)
    last = [str(n) for n in wanted[-1]]
    guest.python(SEND, "mapped", ["test_remap", *last], kill_on_reply=True)
    box.power_cut(seed=2, keep=0.0)

    for block in headers(box):
        records = [struct.unpack_from("<QQ", block, 0x130 + 32 * i) for i in range(50)]
        assert records == wanted

    guest = box.boot()
    create(guest)
    assert mappings(guest) == 50
    assert message(guest, "list").splitlines() == [f"{bad} 1 {spare} remap" for bad, spare in wanted]
    assert "valid_copies=5/5" in guest.run("dmesg").out


def test_destroyed_headers_are_named_and_mended(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    create(guest)
    message(guest, "test_remap", 1000, 5000)
    remove(guest)
    box.power_off()
    for copy in (1, 3):
        box.spare.write(COPIES[copy] // 512, b"destroyed" * 455)
    guest = box.boot()
    create(guest)
    log = guest.run("dmesg").out
    assert "valid_copies=3/5" in log
    assert "of these are damaged, stale or can't be read: 1,3\n" in log
    assert "mended 2 copies of the metadata" in log
    assert message(guest, "list") == "1000 1 5000 remap"
    assert (status(guest).valid, status(guest).errors) == (5, ())
    remove(guest)
    assert [struct.unpack_from("<QQ", block, 0x130) for block in headers(box)] == [(1000, 5000)] * 5


def test_a_clock_that_is_set_back_makes_nothing_old(machine: Callable[..., Machine]) -> None:
    """What is newest is told by the sequence: one copy stays behind, with a later time."""
    box = machine()
    guest = box.boot()
    create(guest)
    message(guest, "remap", 1000)
    guest.run("date", "-s", "-2 days")
    box.spare.fail(range(8), on="write")
    remove(guest)
    create(guest)
    message(guest, "remap", 2000)
    box.power_cut(seed=3, keep=0.0)
    (old, late), (new, early) = (struct.unpack_from("<QQ", block, 8) for block in headers(box)[:2])
    assert new > old and early < late - 86400
    box.spare.heal()
    guest = box.boot()
    create(guest)
    assert remapped(extents(guest)) == [1000, 2000]
    assert (status(guest).sequence > new, status(guest).valid) == (True, 5)
