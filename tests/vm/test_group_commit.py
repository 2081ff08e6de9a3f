"""What a commit costs: the same whatever the table holds, and requests that wait share one."""

from harness import Guest
from target import create, extents, message, remapped

REQUESTS = 1000
AT_ONCE = 256  # So many records are worth a commit.
PER_HEADER = 118


def stats(guest: Guest) -> dict[str, int]:
    return {key: int(value) for key, value in map(str.split, message(guest, "cache_stats").splitlines())}


def _remap_all(sectors: list[int], spare: str) -> int:
    """In the guest: so many remaps at once; the seconds they took, from when all had been asked for.

    None can be committed before that.
    """
    import fcntl
    import os
    import struct
    import subprocess
    import threading
    import time
    from pathlib import Path

    def remap(sector: int) -> None:
        # struct dm_ioctl and struct dm_target_msg.  A small buffer: then Python lets others run.
        body = struct.pack("=Q", 0) + f"remap {sector}".encode() + b"\0"
        buffer = bytearray(512)
        struct.pack_into("=3I4I3I", buffer, 0, 4, 0, 0, len(buffer), 312, 1, 0, 0, 0, 0)
        buffer[48:54] = b"mapped"
        buffer[312 : 312 + len(body)] = body
        fcntl.ioctl(control, 0xC138FD0E, buffer)

    def waiting() -> int:
        states = []
        for thread in threads:
            stat = Path(f"/proc/self/task/{thread.native_id}/stat")
            states.append(stat.read_text().rpartition(")")[2].split()[0])
        return states.count("D")

    control = os.open("/dev/mapper/control", os.O_RDWR)
    threading.stack_size(256 << 10)
    threads = [threading.Thread(target=remap, args=(sector,)) for sector in sectors]
    subprocess.run(["dmsetup", "suspend", "--noflush", "--nolockfs", spare], check=True)
    for thread in threads:
        thread.start()
    while waiting() < len(threads):
        time.sleep(0.1)
    began = time.monotonic()
    subprocess.run(["dmsetup", "resume", spare], check=True)
    for thread in threads:
        thread.join()
    os.close(control)
    return int(time.monotonic() - began)


def test_requests_that_wait_share_a_commit(guest: Guest) -> None:
    size = int(guest.run("blockdev", "--getsz", guest.spare).out)
    guest.run("dmsetup", "create", "below", "--table", f"0 {size} linear {guest.spare} 0")
    create(guest, spare="/dev/mapper/below")
    sectors = list(range(10_000, 10_000 + 2 * REQUESTS, 2))
    before = stats(guest)
    seconds = guest.call(_remap_all, sectors, "below", timeout=240)
    after = stats(guest)
    assert remapped(extents(guest)) == sectors
    # A round for the first, which found the spare suspended, and one for each 256 of the others;
    # one for each second where I/O was slow, since rounds are cut then; and one more commit for
    # each header that became full on the way.
    rounds = 1 + -(-(REQUESTS - 1) // AT_ONCE) + seconds
    assert after["commits"] - before["commits"] <= rounds + -(-REQUESTS // PER_HEADER)


def test_a_commit_costs_the_same_whatever_the_table_holds(guest: Guest) -> None:
    box = guest.machine
    device = create(guest)
    # The counters of errors are saved once a minute, which is no commit.
    guest.sh("echo 0 >/sys/module/dm_remap_v4/parameters/dm_remap_autosave_enabled")
    costs = set()
    for start in range(2048, 2048 * 10, 2048):
        before = stats(guest)
        message(guest, "remap", 200_000 + start)
        after = stats(guest)
        costs.add(tuple(after[what] - before[what] for what in ("metadata_writes", "flushes")))
        # And a thousand more.
        box.main.fail(range(start, start + 2048, 2), on="write")
        guest.run(
            f"dd if=/dev/zero of={device} bs=1M count=1 seek={start // 2048} iflag=fullblock oflag=direct"
            " conv=notrunc",
            timeout=120,
        )
    assert len(remapped(extents(guest))) == 9 * 1024 + 9
    # The second is of a commit that fills a header, which is then written into the log as well.
    assert costs <= {(5, 3), (10, 3)}
