"""The log of the metadata grows and is compacted, and nothing of it is lost meanwhile."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

from harness import Guest, Machine
from harness.disk import MiB
from target import Extent, create, extents, message, pending, refused, remapped, remove, status

from pycontrol import metadata

SMALL = ("spacing", 64)  # Two log blocks, of 118 records each, in every slot.
ROOM = 3 * 118  # So many records stand in those and the header.


def _send(messages: list[str]) -> None:
    """In the guest: many messages, one after the other."""
    from pycontrol.dm.ioctl import Control
    from pycontrol.dm.types import DmName

    with Control() as dm:
        for words in messages:
            dm.message(DmName("mapped"), words)


def send(guest: Guest, messages: Iterable[str]) -> None:
    guest.call(_send, list(messages), timeout=200)


def log_state(guest: Guest) -> tuple[int, int]:
    """Generation and length of the log, in blocks."""
    stats = dict(line.split() for line in message(guest, "cache_stats").splitlines())
    return int(stats["generation"]), int(stats["log_blocks"])


def on_disk(image: Path) -> tuple[metadata.Loaded, list[Extent]]:
    """What the other implementation of the format makes of the image."""
    with image.open("rb") as f:

        def read(offset: int, length: int) -> bytes:
            f.seek(offset)
            return f.read(length)

        loaded = metadata.load(read, image.stat().st_size)
    return loaded, [Extent(e.main, e.sectors, e.spare) for e in loaded.extents]


def scattered(seed: int, count: int) -> list[int]:
    """Sectors that make an extent each."""
    return sorted(random.Random(seed).sample(range(10_000, 100_000, 2), count))


def test_the_log_grows_beyond_its_slot_and_survives_power_cuts(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    device = create(guest, *SMALL)
    # Segments 1 and 2 are in use from 472 and 2360 records on.
    for start in 2048, 4096, 6144:
        box.main.fail(range(start, start + 2048, 2), on="write")
        guest.run(
            f"dd if=/dev/urandom of={device} bs=1M count=1 seek={start // 2048} iflag=fullblock oflag=direct"
            " conv=fsync,notrunc",
            timeout=120,
        )
        listed = extents(guest)
        assert remapped(listed) == list(range(2048, start + 2048, 2))
        assert log_state(guest) == (1, (len(listed) - 1) // 118)
        digest = guest.run("sha256sum", device, timeout=200).out

        box.power_cut(seed=start)
        loaded, found = on_disk(box.spare.image)
        assert found == listed and loaded.header.log_blocks == (len(listed) - 1) // 118
        guest = box.boot()
        create(guest)
        assert extents(guest) == listed
        assert guest.run("sha256sum", device, timeout=200).out == digest
    assert status(guest).valid == 5


def test_the_log_is_compacted_when_half_of_it_is_dead(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    create(guest, *SMALL)
    keep = scattered(1, 40)
    send(guest, (f"remap {sector}" for sector in keep))
    used = status(guest).used
    for cut in range(3):
        come_and_go = scattered(2 + cut, 180)
        send(guest, (f"{word} {sector}" for sector in come_and_go for word in ("remap", "unmap")))
        generation, blocks = log_state(guest)
        assert generation == 2 + cut and blocks <= 2
        # The last one is acknowledged, and that is the end of the machine.
        last = 120_000 + 2 * cut
        guest.run("dmsetup", "message", "mapped", 0, f"remap {last}", kill_on_reply=True)
        keep.append(last)
        box.power_cut(seed=cut)
        loaded, found = on_disk(box.spare.image)
        assert loaded.header.generation == generation
        guest = box.boot()
        create(guest)
        listed = extents(guest)
        assert remapped(listed) == keep and listed == found
        assert status(guest).used == used + 1 + cut
        assert status(guest).valid == 5


def test_bad_places_of_the_spare_outlive_a_compaction(guest: Guest) -> None:
    box = guest.machine
    device = create(guest, *SMALL)
    bad = [2048, 2050, 2053]
    box.spare.fail(bad, on="write")
    box.main.fail(range(1000, 1004), on="write")
    guest.write(device, 1000, bytes(4 * 512))
    box.spare.heal()
    send(guest, (f"{word} {sector}" for sector in scattered(1, 180) for word in ("remap", "unmap")))
    assert log_state(guest)[0] == 2
    listed, used = extents(guest), status(guest).used
    assert used == 4 + len(bad)
    remove(guest)
    loaded, found = on_disk(box.spare.image)
    assert found == listed
    assert [(start, sectors) for start, sectors in loaded.bad_spare] == [(sector, 1) for sector in bad]
    create(guest)
    assert extents(guest) == listed and status(guest).used == used


def test_a_log_that_cannot_grow_is_compacted_while_that_helps(guest: Guest) -> None:
    size = 2 * MiB // 512
    guest.run("dmsetup", "create", "small", "--table", f"0 {size} linear {guest.spare} 0")
    create(guest, *SMALL, spare="/dev/mapper/small")
    # No room for a further segment, which takes 640 sectors.
    assert message(guest, "remap", 200_000, 1500) == "Remapped 1500 sectors"
    keep = scattered(1, 200)
    send(guest, (f"remap {sector}" for sector in keep))
    send(guest, (f"{word} {sector}" for sector in scattered(2, 150) for word in ("remap", "unmap")))
    assert log_state(guest)[0] >= 2
    listed = extents(guest)
    assert remapped(listed) == keep + list(range(200_000, 201_500))

    # With as many extents as the log has room for it is full, and says so.
    more = scattered(3, 300)
    done = 0
    while not refused(guest, "remap", more[done]):
        done += 1
    now = extents(guest)
    assert ROOM - 118 <= len(now) <= ROOM
    assert set(remapped(now)) == {*remapped(listed), *more[:done]}
    assert status(guest).mode == "rw"
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert extents(guest) == now


def test_a_request_of_several_commits_fails_when_any_of_them_does(guest: Guest) -> None:
    """One finds the log full; the rest would fit again."""
    size = 2 * MiB // 512
    guest.run("dmsetup", "create", "small", "--table", f"0 {size} linear {guest.spare} 0")
    create(guest, *SMALL, spare="/dev/mapper/small")
    assert message(guest, "remap", 200_000, 1500) == "Remapped 1500 sectors"
    guest.machine.main.fail(range(10_000, 10_576, 2), on="read")
    assert refused(guest, "remap", 10_000, 576)
    # What came before is done, to the sector: 256 records, or as many as a slow machine commits in time.
    listed = extents(guest)
    moved, lost = remapped(listed)[:-1500], pending(listed)
    assert remapped(listed)[-1500:] == list(range(200_000, 201_500))
    assert len(moved) > 0 and len(listed) <= ROOM
    assert moved == list(range(10_001, 10_001 + 2 * len(moved), 2))
    assert lost == list(range(10_000, 10_000 + 2 * len(lost), 2)) and 0 <= len(lost) - len(moved) <= 1
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert extents(guest) == listed
