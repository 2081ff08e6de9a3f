"""Random tables, messages, suspends, removals and I/O on a few devices, for so many seconds.

    python3 -m guest.fuzzer SEED SECONDS MAIN SPARE
    python3 -m guest.fuzzer keep SECONDS

What is asked is often nonsense and mostly refused; the kernel says if it should not have
been tried.  Several of these run at once, on the same devices.  Prints how often each
kind of request was accepted, and how often refused.  `keep` resumes what others have left
suspended, so that nobody waits for ever.
"""

import contextlib
import errno
import fcntl
import json
import mmap
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from pycontrol.dm import codec
from pycontrol.dm.types import DmCommand, DmFlags, TargetLine

MAPPED = ["f0", "f1", "f2"]
MAINS = ["main0", "main1"]
SPARES = ["spare0", "spare1"]
MAIN_SECTORS = 16384
SPARE_SECTORS = 6144
TARGET = "dm-remap-v4"
WORDS = [
    *("help", "status", "stats", "clear_stats", "health", "cache_stats", "remap", "test_remap", "unmap"),
    *("list", "sync", "save", "restore", "repair", "rearm", "Remap", "", "%s%n", "x" * 900),
]
FEATURES = ["copies", "spacing", "relocate_weak", "no_such_feature", "0"]


class Fuzzer:
    def __init__(self, seed: int, main: str, spare: str) -> None:
        self.random = random.Random(seed)
        self.disks = {"main": main, "spare": spare}
        self.control = os.open("/dev/mapper/control", os.O_RDWR)
        self.counts: Counter[str] = Counter()

    # Numbers and words, most of them nearly right.

    def number(self, limit: int) -> int:
        r = self.random
        return r.choice(
            [
                r.randrange(limit),
                r.randrange(limit),
                r.randrange(0, limit, 8),
                r.choice([0, 1, limit - 1, limit, limit + 1, 2**31, 2**32, 2**63 - 1, 2**64 - 1, 2**64]),
            ]
        )

    def word(self, limit: int) -> str:
        r = self.random
        return r.choice([str(self.number(limit))] * 8 + ["-1", "0x10", "\u0661", "nan", r.choice(WORDS)])

    def device(self, names: list[str]) -> str:
        r = self.random
        return r.choice([f"/dev/mapper/{name}" for name in names] * 8 + ["", "/dev/null", "7:99", "/"])

    def target(self, start: int) -> TargetLine:
        r = self.random
        words = [self.device(MAINS), self.device(SPARES)]
        if r.random() < 0.1:
            words[1] = words[0]
        if r.random() < 0.5:
            features: list[str] = []
            for _ in range(r.randrange(4)):
                feature = r.choice(FEATURES)
                features.append(feature)
                if feature in ("copies", "spacing") and r.random() < 0.9:
                    features.append(r.choice(["1", "2", "5", "8", "9", "64", "128", "256", self.word(300)]))
            count = len(features) if r.random() < 0.9 else self.number(9)
            words += [str(count), *features]
        if r.random() < 0.05:
            words = words[: r.randrange(len(words))]
        length = r.choice([MAIN_SECTORS, MAIN_SECTORS, 8192, 8, self.number(MAIN_SECTORS)])
        return TargetLine(start, max(1, length % 2**63), TARGET, " ".join(words))

    # Requests.

    def ioctl(self, command: DmCommand, name: str, size: int = 1024, **fields: object) -> None:
        buffer = codec.Request(name=name, **fields).encode(size)  # type: ignore[arg-type]
        fcntl.ioctl(self.control, codec.ioctl_number(command), buffer)

    def create(self, name: str) -> None:
        uuid = f"DMREMAP-{name}" if self.random.random() < 0.05 else ""
        self.ioctl(DmCommand.DM_DEV_CREATE, name, uuid=uuid)

    def load(self, name: str) -> None:
        lines = [self.target(0)]
        if self.random.random() < 0.15:
            lines.append(self.target(lines[0].length))
        flags = DmFlags.READONLY if self.random.random() < 0.1 else DmFlags.NONE
        payload = codec.encode_table(lines)
        self.ioctl(
            DmCommand.DM_TABLE_LOAD, name, size=8192, payload=payload, target_count=len(lines), flags=flags
        )

    def start(self, name: str) -> None:
        """All that it takes, so that there is something to be unkind to."""
        with contextlib.suppress(OSError):
            self.ioctl(DmCommand.DM_DEV_CREATE, name)
        words = f"/dev/mapper/{self.random.choice(MAINS)} /dev/mapper/{self.random.choice(SPARES)}"
        payload = codec.encode_table([TargetLine(0, MAIN_SECTORS, TARGET, words)])
        self.ioctl(DmCommand.DM_TABLE_LOAD, name, size=8192, payload=payload, target_count=1)
        self.resume(name)

    def suspend(self, name: str) -> None:
        flags = self.random.choice([DmFlags.NONE, DmFlags.NOFLUSH, DmFlags.SKIP_LOCKFS])
        self.ioctl(DmCommand.DM_DEV_SUSPEND, name, flags=DmFlags.SUSPEND | flags)

    def resume(self, name: str) -> None:
        self.ioctl(DmCommand.DM_DEV_SUSPEND, name)

    def clear(self, name: str) -> None:
        self.ioctl(DmCommand.DM_TABLE_CLEAR, name)

    def remove(self, name: str) -> None:
        flags = DmFlags.DEFERRED_REMOVE if self.random.random() < 0.3 else DmFlags.NONE
        self.ioctl(DmCommand.DM_DEV_REMOVE, name, flags=flags)

    def status(self, name: str) -> None:
        flags = self.random.choice([DmFlags.NONE, DmFlags.STATUS_TABLE, DmFlags.NOFLUSH])
        self.ioctl(DmCommand.DM_TABLE_STATUS, name, size=self.random.choice([400, 1024, 16384]), flags=flags)

    def message(self, name: str) -> None:
        numbers = [self.word(MAIN_SECTORS) for _ in range(self.random.choice([0, 1, 1, 2, 2, 3]))]
        words = " ".join([self.random.choice(WORDS), *numbers])
        payload = codec.encode_message(self.random.choice([0, 0, 0, 8192]), words)
        self.ioctl(DmCommand.DM_TARGET_MSG, name, size=self.random.choice([2048, 16384]), payload=payload)

    def change_disk(self, _name: str) -> None:
        """What stands below fails, in part or whole, or is well again."""
        kind = self.random.choice(["main", "spare"])
        name = kind + self.random.choice("01")
        lines = self.disk(name, self.random.choice(["well", "well", "bad", "dead", "flaky"]))
        payload = codec.encode_table(lines)
        self.ioctl(DmCommand.DM_TABLE_LOAD, name, size=8192, payload=payload, target_count=len(lines))
        self.ioctl(DmCommand.DM_DEV_SUSPEND, name, flags=DmFlags.SUSPEND | DmFlags.NOFLUSH)
        self.ioctl(DmCommand.DM_DEV_SUSPEND, name)

    def disk(self, name: str, state: str) -> list[TargetLine]:
        kind, number = name[:-1], int(name[-1])
        sectors = MAIN_SECTORS if kind == "main" else SPARE_SECTORS
        path, begin = self.disks[kind], number * sectors
        if state == "dead":
            return [TargetLine(0, sectors, "error", "")]
        if state == "flaky":
            return [TargetLine(0, sectors, "flakey", f"{path} {begin} 1 1 1 error_writes")]
        if state == "well":
            return [TargetLine(0, sectors, "linear", f"{path} {begin}")]
        first = self.random.randrange(8, sectors - 64)
        end = first + self.random.choice([1, 2, 8, 32])
        return [
            TargetLine(0, first, "linear", f"{path} {begin}"),
            TargetLine(first, end - first, "error", ""),
            TargetLine(end, sectors - end, "linear", f"{path} {begin + end}"),
        ]

    def scribble(self, _name: str) -> None:
        """Rubbish, zeros or another copy over a part of a spare's metadata."""
        fd = os.open("/dev/mapper/" + self.random.choice(SPARES), os.O_RDWR)
        try:
            at = self.random.randrange(5) * 131072 + self.random.choice([0, 0, 4096, 12288])
            what = self.random.choice(["noise", "zeros", "copy", "all zeros"])
            if what == "all zeros":
                os.pwrite(fd, bytes(1 << 20), 0)
            elif what == "copy":
                os.pwrite(fd, os.pread(fd, 4096, self.random.randrange(5) * 131072), at)
            else:
                os.pwrite(fd, self.random.randbytes(4096) if what == "noise" else bytes(4096), at)
            os.fsync(fd)
        finally:
            os.close(fd)

    def io(self, name: str) -> None:
        """Some direct requests, of any size and kind."""
        r = self.random
        fd = os.open(f"/dev/mapper/{name}", os.O_RDWR | os.O_DIRECT | os.O_NONBLOCK)
        try:
            for _ in range(r.randrange(1, 20)):
                size = r.choice([512, 512, 4096, 65536, 1 << 20])
                at = r.randrange(0, MAIN_SECTORS * 512, 512)
                with mmap.mmap(-1, size) as buffer, contextlib.suppress(OSError):
                    what = r.random()
                    if what < 0.45:
                        os.preadv(fd, [buffer], at)
                    elif what < 0.9:
                        os.pwritev(fd, [buffer], at)
                    elif what < 0.95:
                        os.fsync(fd)
                    else:
                        discard_or_zero = r.choice([0x1277, 0x127F])  # BLKDISCARD, BLKZEROOUT
                        range_ = at.to_bytes(8, "little") + size.to_bytes(8, "little")
                        fcntl.ioctl(fd, discard_or_zero, range_)
        finally:
            os.close(fd)

    def run(self, seconds: float) -> None:
        kinds: list[tuple[int, Callable[[str], None]]] = [
            *((2, self.create), (6, self.start), (4, self.load), (2, self.suspend), (6, self.resume)),
            *((1, self.clear), (1, self.remove), (3, self.status), (12, self.message), (10, self.io)),
            *((2, self.change_disk), (1, self.scribble)),
        ]
        weights = [weight for weight, _ in kinds]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            _, do = self.random.choices(kinds, weights)[0]
            try:
                do(self.random.choice(MAPPED))
                self.counts[f"{do.__name__} accepted"] += 1
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, str(error.errno))
                self.counts[f"{do.__name__} {name}"] += 1

    def keep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.1)
            for name in MAINS + SPARES + MAPPED:
                with contextlib.suppress(OSError):
                    self.resume(name)
                    continue
                with contextlib.suppress(OSError):
                    payload = codec.encode_table([TargetLine(0, MAIN_SECTORS, "error", "")])
                    self.ioctl(DmCommand.DM_TABLE_LOAD, name, payload=payload, target_count=1)
                    self.resume(name)


if __name__ == "__main__":
    if sys.argv[1] == "keep":
        Fuzzer(0, "", "").keep(float(sys.argv[2]))
        sys.exit()
    seed, seconds, main, spare = sys.argv[1:]
    fuzzer = Fuzzer(int(seed), main, spare)
    fuzzer.run(float(seconds))
    print(json.dumps(fuzzer.counts))
