"""A disk: a sparse image file, served with the bad sectors that the test asks for."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from .powercut import Cut, Failures, as_stored, rebuild
from .processes import spawn
from .writelog import read_log

Kind = Literal["read", "write", "both"]
_KINDS: dict[str, tuple[str, ...]] = {"read": ("read",), "write": ("write",), "both": ("read", "write")}

MiB = 1 << 20


class Disk:
    """`serial` names it in the guest (/dev/disk/by-id/virtio-<serial>), `image` is the host's view."""

    def __init__(
        self,
        directory: Path,
        serial: str,
        size: int,
        block_size: int = 512,
        physical_block_size: int | None = None,
        power_cuts: bool = True,
    ) -> None:
        self.serial = serial
        self.size = size
        self.block_size = block_size
        self.physical_block_size = physical_block_size or block_size
        # Without power cuts there is no log to grow with every write, and the disk knows
        # write-zeroes: QEMU 7.2 misplaces that command's data in its log when other
        # requests are under way.
        self.power_cuts = power_cuts
        self.most_zeroes: int | None = None  # Sectors that one write-zeroes may have.
        self.image = directory / f"{serial}.img"
        self.log = directory / f"{serial}.log"
        self.socket = directory / f"{serial}.nbd"
        self._base = directory / f"{serial}.base"
        self._control_socket = directory / f"{serial}.ctl"
        self._bad: dict[str, set[int]] = {"read": set(), "write": set()}
        with self.image.open("wb") as f:
            f.truncate(size)
        self._server = spawn(
            [
                *("nbdkit", "--foreground", "--exit-with-parent", "--unix", str(self.socket)),
                *("python", str(Path(__file__).with_name("bad_sectors_plugin.py"))),
                *(f"file={self.image}", f"control={self._control_socket}", f"block={block_size}"),
            ],
            directory / f"{serial}.nbdkit.log",
        )
        self._wait_for_server()

    # Bad sectors, in units of 512 bytes from the start of the disk.  Everything here has
    # taken effect when it returns, while the machine runs.

    def fail(self, sectors: int | Iterable[int], on: Kind = "both") -> None:
        """Make sectors bad for reading, for writing, or for both."""
        self._change(sectors, on, set.update)

    def heal(self, sectors: int | Iterable[int] | None = None, on: Kind = "both") -> None:
        """Make sectors good again, or all of them."""
        if sectors is None:
            self.spoil([])
            self.lie([])
            self.stall([])
            self.weaken([], reads=0)
            sectors = self._bad["read"] | self._bad["write"]
        self._change(sectors, on, set.difference_update)

    def spoil(self, sectors: Iterable[int]) -> None:
        """Let a write that fails on one of these sectors make it unreadable, till all are healed."""
        self._control("spoil", sectors=sorted(sectors))

    def stall(self, sectors: Iterable[int]) -> None:
        """Let requests that touch one of these sectors wait, and all that come behind; no others any more."""
        self._control("stall", sectors=sorted(sectors))

    def lie(self, sectors: Iterable[int]) -> None:
        """Let writes of these sectors succeed and store the inverse, till all are healed.

        A power cut knows nothing of it: what it keeps of such a write is what was written.
        """
        self._control("lie", sectors=sorted(sectors))

    def weaken(self, sectors: Iterable[int], reads: int) -> None:
        """Let so many reads of each of these sectors fail, the next ones, and no others."""
        self._control("weaken", sectors=sorted(sectors), reads=reads)

    def fail_flushes(self, count: int = 1, after: int = 0) -> None:
        """Let so many of the guest's flushes fail, behind so many that go well, and no others."""
        # Of each that goes well there are two, see counters(); of one that fails only the first.
        self._control("weak_flushes", count=count, after=2 * after)

    def die(self, on: Kind | None = "both", flush: bool = True) -> None:
        """Fail every request, as a disk does whose controller is gone; on=None: flushes only."""
        self._control("dead", flush=flush, **dict.fromkeys(_KINDS[on] if on else (), True))

    def revive(self) -> None:
        self._control("dead", read=False, write=False, flush=False)

    def counters(self) -> dict[str, int]:
        """Requests so far: reads, writes, flushes, trims, zeroes, bad_reads, bad_writes, bad_flushes, stalls.

        Each of the guest's flushes comes twice, see Guest.flushes().
        """
        reply: dict[str, int] = self._control("counters")
        return reply

    def clear_counters(self) -> None:
        self._control("clear_counters")

    def _change(self, sectors: int | Iterable[int], on: Kind, how: Any) -> None:
        chosen = {sectors} if isinstance(sectors, int) else set(sectors)
        for kind in _KINDS[on]:
            how(self._bad[kind], chosen)
        self._control("bad", **{kind: sorted(s) for kind, s in self._bad.items()})

    # The host's view, for when the machine is off.

    def read(self, sector: int, count: int = 1) -> bytes:
        with self.image.open("rb") as f:
            f.seek(sector * 512)
            return f.read(count * 512)

    def write(self, sector: int, data: bytes) -> None:
        with self.image.open("r+b") as f:
            f.seek(sector * 512)
            f.write(data)

    # The life of the machine.

    def arguments(self) -> list[str]:
        """QEMU's options: virtio-blk over the write log over the server's socket."""
        s = self.serial
        device = (
            f"virtio-blk-pci,drive={s},serial={s},write-cache=on,rerror=report,werror=report"
            f",logical_block_size={self.block_size},physical_block_size={self.physical_block_size}"
            f",write-zeroes={'off' if self.power_cuts else 'on'}"
            # Merged requests can have as many parts as pwritev() takes, and then blklogwrites'
            # header is one too many: the guest would see writes fail that the disk never saw.
            ",request-merging=off"
        )
        if self.most_zeroes:
            device += f",max-write-zeroes-sectors={self.most_zeroes}"
        server = f"driver=nbd,server.type=unix,server.path={self.socket},discard=unmap"
        if not self.power_cuts:
            return ["-blockdev", f"{server},node-name={s}", "-device", device]
        # The log survives the death of QEMU in the page cache, it need not be flushed.
        log = f"driver=file,node-name={s}-log,filename={self.log},cache.no-flush=on"
        both = f"driver=blklogwrites,node-name={s},file={s}-nbd,log={s}-log,log-sector-size=512"
        nodes = [f"{server},node-name={s}-nbd", log, f"{both},discard=unmap"]
        return [word for node in nodes for word in ("-blockdev", node)] + ["-device", device]

    def before_boot(self) -> None:
        """Remember the present state and begin a new log."""
        self._wait_until_idle()
        if self.power_cuts:
            _sparse_copy(self.image, self._base)
        self.log.write_bytes(b"")
        self._control("new_log")

    def power_cut(self, seed: int, keep: float | None, torn: bool) -> Cut:
        """Turn the image into what a power cut at the moment of QEMU's death leaves."""
        assert self.power_cuts, "the machine was made with power_cuts=False"
        self._wait_until_idle()
        failures = Failures.decode(self._control("writes"))
        log = as_stored(read_log(self.log, self.size), failures)
        target = self.image.with_suffix(".new")
        _sparse_copy(self._base, target)
        cut = rebuild(target, log, seed, keep=keep, torn=torn)
        target.replace(self.image)
        return cut

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
        if "DM_REMAP_KEEP" not in os.environ:
            for path in (self.image, self._base, self.log):
                path.unlink(missing_ok=True)

    # The server.

    def _control(self, what: str, **args: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as s, s.makefile("rwb") as f:
            s.settimeout(60)
            s.connect(str(self._control_socket))
            f.write(json.dumps({"what": what, **args}).encode() + b"\n")
            f.flush()
            return json.loads(f.readline())

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + 60
        while not (self.socket.exists() and self._control_socket.exists()):
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nbdkit did not start: {self.image.parent}/{self.serial}.nbdkit.log")
            time.sleep(0.01)

    def _wait_until_idle(self) -> None:
        """Wait until a dead QEMU's last requests have been served."""
        deadline = time.monotonic() + 60
        while self._control("connections"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.serial} is still in use")
            time.sleep(0.005)


def _sparse_copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True)
