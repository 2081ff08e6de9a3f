"""nbdkit plugin: an image file whose sectors can be made bad at any time.

A request that touches a bad sector fails as a whole with EIO.  As on a disk, a write has
by then stored what comes before the first bad sector, and may have spoilt that one for
reading.  A sector that is lied about stores each bit inverted, and no request fails.

nbdkit hands over one request at a time (its default for Python), so the order of
requests here is the order in which QEMU gets its replies and, since its blklogwrites logs
a write when it has its reply, the order of QEMU's write log.  `powercut` relies on that to
tell which logged writes failed.

Control: a Unix socket, one JSON object a line in, one out; see `Disk._control`.
Parameters: file=IMAGE control=SOCKET block=BYTES.
"""

import bisect
import errno
import json
import os
import socketserver
import threading
import zlib
from typing import Any

import nbdkit  # nbdkit itself provides it

API_VERSION = 2
SECTOR = 512
INVERTED = bytes(range(255, -1, -1))

params: dict[str, str] = {}
lock = threading.Lock()  # requests against control
bad: dict[str, list[int]] = {"read": [], "write": []}  # sorted sector numbers
spoils: set[int] = set()  # sectors that a write which fails there makes unreadable ...
spoilt: set[int] = set()  # ... and has made so
changed = threading.Condition(lock)  # stalled
stalled: set[int] = set()  # sectors whose requests wait, and all that come behind these
lies: set[int] = set()  # sectors that store something else than what is written
weak: dict[int, int] = {}  # how many reads of a sector fail yet
dead: dict[str, bool] = {"read": False, "write": False, "flush": False}
weak_flushes = {"after": 0, "count": 0}  # how many flushes go well, and then fail
counters: dict[str, int] = {}
connections = 0
# How often a write of (offset, length, crc) came, and which of those times it failed,
# after how many bytes.
seen: dict[tuple[int, int, int], int] = {}
failed: list[list[int]] = []


def reset_counters() -> None:
    for kind in ("reads", "writes", "flushes", "trims", "zeroes"):
        counters[kind] = 0
    for kind in ("bad_reads", "bad_writes", "bad_flushes", "stalls"):
        counters[kind] = 0


reset_counters()


def config(key: str, value: str) -> None:
    params[key] = value


def get_ready() -> None:
    block = int(params.setdefault("block", "512"))
    assert block % SECTOR == 0


def after_fork() -> None:
    server = socketserver.ThreadingUnixStreamServer(params["control"], Control)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()


def open(readonly: bool) -> int:
    global connections
    fd = os.open(params["file"], os.O_RDWR)
    with lock:
        connections += 1
    return fd


def close(fd: int) -> None:
    global connections
    os.close(fd)
    with lock:
        connections -= 1


def get_size(fd: int) -> int:
    return os.fstat(fd).st_size


def can_trim(fd: int) -> bool:
    return True


def can_zero(fd: int) -> bool:
    return True


def can_fast_zero(fd: int) -> bool:
    return False


def can_flush(fd: int) -> bool:
    return True


def first_bad(kind: str, offset: int, length: int) -> int | None:
    """The first bad sector that [offset, offset + length) touches."""
    if dead[kind]:
        return offset // SECTOR
    if kind == "read" and spoilt:
        touched = spoilt.intersection(range(offset // SECTOR, -(-(offset + length) // SECTOR)))
        if touched:
            return min(touched)
    sectors = bad[kind]
    i = bisect.bisect_left(sectors, offset // SECTOR)
    if i < len(sectors) and sectors[i] * SECTOR < offset + length:
        return sectors[i]
    return None


def fails_for_a_while(offset: int, length: int) -> bool:
    """Whether [offset, offset + length) touches a weak sector; this read of it is counted."""
    touched = [sector for sector in weak if offset < (sector + 1) * SECTOR <= offset + length]
    for sector in touched:
        weak[sector] -= 1
        if not weak[sector]:
            del weak[sector]
    return bool(touched)


def wait_while_stalled(offset: int, length: int) -> None:
    """With the lock, which the wait lets go."""
    touched = range(offset // SECTOR, -(-(offset + length) // SECTOR))
    if stalled.intersection(touched):
        counters["stalls"] += 1
        changed.wait_for(lambda: not stalled.intersection(touched))


def io_error(kind: str) -> None:
    counters[kind] += 1
    nbdkit.set_error(errno.EIO)
    raise OSError(errno.EIO, "bad sector")


def pread(fd: int, buf: Any, offset: int, flags: int) -> None:
    with lock:
        wait_while_stalled(offset, len(buf))
        counters["reads"] += 1
        if fails_for_a_while(offset, len(buf)) or first_bad("read", offset, len(buf)) is not None:
            io_error("bad_reads")
        os.preadv(fd, [buf], offset)


def as_stored(buf: Any, offset: int) -> Any:
    """What is written there, inverted where that is a lie."""
    first = offset // SECTOR
    stored = bytearray(buf)
    for sector in lies.intersection(range(first, first + len(buf) // SECTOR)):
        part = slice((sector - first) * SECTOR, (sector - first + 1) * SECTOR)
        stored[part] = stored[part].translate(INVERTED)
    return stored


def write(fd: int, buf: Any, offset: int) -> None:
    length = len(buf)
    key = (offset, length, zlib.crc32(buf))
    seen[key] = seen.get(key, 0) + 1
    stored = as_stored(buf, offset) if lies else buf
    sector = first_bad("write", offset, length)
    if sector is None:
        os.pwritev(fd, [stored], offset)
        return
    block = int(params["block"])
    done = max(0, sector * SECTOR // block * block - offset)
    os.pwritev(fd, [memoryview(stored)[:done]], offset)
    failed.append([*key, seen[key], done])
    spoilt.update(spoils & {sector})
    io_error("bad_writes")


def pwrite(fd: int, buf: Any, offset: int, flags: int) -> None:
    with lock:
        wait_while_stalled(offset, len(buf))
        counters["writes"] += 1
        write(fd, buf, offset)


def zero(fd: int, count: int, offset: int, flags: int) -> None:
    with lock:
        counters["zeroes"] += 1
        write(fd, bytes(count), offset)


def trim(fd: int, count: int, offset: int, flags: int) -> None:
    # A discard is a promise about nothing: it never fails on a bad sector.
    with lock:
        counters["trims"] += 1
        punch_hole(fd, offset, count)


def punch_hole(fd: int, offset: int, count: int) -> None:
    import ctypes

    keep_size_and_punch = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if libc.fallocate(fd, keep_size_and_punch, offset, count):
        os.pwrite(fd, bytes(count), offset)


def flush(fd: int, flags: int) -> None:
    # Nothing to do for the file: what a power cut loses is decided from QEMU's log.
    with lock:
        counters["flushes"] += 1
        if dead["flush"]:
            io_error("bad_flushes")
        if weak_flushes["count"] and weak_flushes["after"]:
            weak_flushes["after"] -= 1
        elif weak_flushes["count"]:
            weak_flushes["count"] -= 1
            io_error("bad_flushes")


class Control(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            request = json.loads(line)
            with lock:
                reply = answer(**request)
            self.wfile.write(json.dumps(reply).encode() + b"\n")


def answer(what: str, **args: Any) -> Any:
    if what == "bad":
        bad.update({kind: sorted(sectors) for kind, sectors in args.items()})
    elif what == "spoil":
        spoils.clear()
        spoils.update(args["sectors"])
        spoilt.clear()
    elif what == "stall":
        stalled.clear()
        stalled.update(args["sectors"])
        changed.notify_all()
    elif what == "lie":
        lies.clear()
        lies.update(args["sectors"])
    elif what == "weaken":
        weak.clear()
        weak.update(dict.fromkeys(args["sectors"], args["reads"]))
    elif what == "dead":
        dead.update(args)
    elif what == "weak_flushes":
        weak_flushes.update(args)
    elif what == "counters":
        return counters
    elif what == "clear_counters":
        reset_counters()
    elif what == "connections":
        return connections
    elif what == "writes":
        return {"seen": [[*key, times] for key, times in seen.items()], "failed": failed}
    elif what == "new_log":
        seen.clear()
        failed.clear()
    return True
