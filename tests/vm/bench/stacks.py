"""What is laid over the main device: dm-linear, the target, and what people use instead.

Each is a context: it gives the path of a device and takes it away again.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from harness import Guest

from .nulldisk import null_disk, remove_null_disk
from .remaps import EXTENT, Remaps

GiB = 1 << 21  # sectors
THIN_SECTORS = GiB
THIN_BLOCK = 128


class Absent(Exception):
    """The kernel at hand has no such thing."""


@contextmanager
def mapped(guest: Guest, name: str, table: str, uuid: str = "") -> Iterator[str]:
    guest.run("dmsetup", "create", name, *(["--uuid", uuid] if uuid else []), stdin=table, timeout=300)
    try:
        yield f"/dev/mapper/{name}"
    finally:
        guest.run("dmsetup", "remove", "--retry", name)


def linear(guest: Guest, device: str, sectors: int) -> AbstractContextManager[str]:
    return mapped(guest, "linear", f"0 {sectors} linear {device} 0")


def remapped(guest: Guest, main: str, spare: str, remaps: Remaps) -> AbstractContextManager[str]:
    """The target; ``spare`` holds the metadata of ``remaps``, or nothing."""
    table = f"0 {remaps.main_sectors} dm-remap-v4 {main} {spare}"
    return mapped(guest, "remapped", table, uuid=f"DMREMAP-{remaps.uuid}")


def spliced(guest: Guest, main: str, spare: str, remaps: Remaps) -> AbstractContextManager[str]:
    """The recipe by hand: dm-linear with a segment for each extent and each gap."""
    lines = []
    at = 0
    for start, index in sorted((start, index) for index, start in enumerate(remaps.extents)):
        if start > at:
            lines.append(f"{at} {start - at} linear {main} {at}")
        lines.append(f"{start} {EXTENT} linear {spare} {remaps.place(index)}")
        at = start + EXTENT
    if at < remaps.main_sectors:
        lines.append(f"{at} {remaps.main_sectors - at} linear {main} {at}")
    return mapped(guest, "spliced", "\n".join(lines))


# What people use instead.


def _load(guest: Guest, module: str) -> None:
    if guest.run("modprobe", module, check=False).rc:
        raise Absent(module)


@contextmanager
def _memory(guest: Guest, name: str, mebibytes: int) -> Iterator[str]:
    try:
        yield null_disk(guest, name, mebibytes, memory=True)
    finally:
        remove_null_disk(guest, name)


@contextmanager
def thin(guest: Guest, main: str, sectors: int) -> Iterator[str]:
    """A thin volume of which every block has been written."""
    _load(guest, "dm-thin-pool")
    pool = f"0 {sectors} thin-pool /dev/thinmeta {main} {THIN_BLOCK} 0 1 skip_block_zeroing"
    with _memory(guest, "thinmeta", 64), mapped(guest, "pool", pool) as device:
        guest.run("dmsetup", "message", "pool", 0, "create_thin 0")
        with mapped(guest, "thin", f"0 {THIN_SECTORS} thin {device} 0") as volume:
            count = THIN_SECTORS // 2048
            guest.run(
                "dd", "if=/dev/zero", f"of={volume}", "bs=1M", f"count={count}", "oflag=direct", timeout=600
            )
            yield volume


@contextmanager
def snapshot_origin(guest: Guest, main: str, sectors: int) -> Iterator[str]:
    """The origin of snapshots, before there is one."""
    _load(guest, "dm-snapshot")
    with mapped(guest, "origin", f"0 {sectors} snapshot-origin {main}") as device:
        yield device


@contextmanager
def cache(guest: Guest, main: str, sectors: int) -> Iterator[str]:
    """A cache that holds nothing and fetches nothing: all goes to the slow device."""
    _load(guest, "dm-cache")
    _load(guest, "dm-cache-smq")
    policy = "smq 2 migration_threshold 0"
    table = f"0 {sectors} cache /dev/cachemeta /dev/cachefast {main} 512 1 writethrough {policy}"
    with (
        _memory(guest, "cachemeta", 64),
        _memory(guest, "cachefast", 1024),
        mapped(guest, "cache", table) as device,
    ):
        yield device


@contextmanager
def raid1(guest: Guest, main: str, sectors: int) -> Iterator[str]:
    """A mirror of one disk with an entry in its bad-block log, its metadata kept by nobody."""
    _load(guest, "raid1")
    name = main.rsplit("/", 1)[1]
    guest.sh(
        f"""
        echo md1 >/sys/module/md_mod/parameters/new_array
        cd /sys/block/md1/md
        echo external:bench >metadata_version
        echo raid1 >level
        echo 1 >raid_disks
        cat /sys/block/{name}/dev >new_dev
        echo 0 >dev-{name}/offset
        echo {sectors // 2} >dev-{name}/size
        echo {sectors // 2} >component_size
        echo external_bbl >dev-{name}/state
        echo 0 >dev-{name}/slot
        echo 0 >safe_mode_delay
        echo active >array_state
        echo 8 8 >dev-{name}/bad_blocks
        udevadm settle
        # The first write waits until the keeper of the metadata has noted it.
        dd if=/dev/zero of=/dev/md1 bs=4k count=1 seek=1024 oflag=direct &
        until grep -q write-pending array_state; do sleep 0.1; done
        echo active >array_state
        wait
        """
    )
    try:
        yield "/dev/md1"
    finally:
        guest.sh("udevadm settle; echo clear >/sys/block/md1/md/array_state")


Peer = Callable[[Guest, str, int], AbstractContextManager[str]]

# By name, with the sectors that requests may go to (0: all).
PEERS: dict[str, tuple[Peer, int]] = {
    "dm-thin, fully provisioned": (thin, THIN_SECTORS),
    "dm-snapshot-origin": (snapshot_origin, 0),
    "dm-cache, all misses": (cache, 0),
    "md raid1, one disk, bad-block log": (raid1, 0),
}
