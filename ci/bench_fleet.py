"""What each host costs ``dmremapctl fleet``: CPU time and memory for more and more of them.

``ci/bench-fleet`` runs it.  The hosts are those of tests/fleet_simulated.py, which take the place of
fabric's connections; all above that is what users run.  Each figure is of a process of its own.
"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
HOSTS = (1, 250, 500, 1000, 2000)
FACTOR = 2.0
"""How much dearer a host may be among the most than among fewer."""
NOISE = 0.5, 4 << 10
"""Milliseconds and bytes a host that are not worth a word."""


def one(hosts: int) -> None:
    """A status of so many hosts, twice, for the second finds all done; prints what that took."""
    from pycontrol.cli.main import cli
    from pycontrol.service.fleet import ssh
    from tests.fleet_simulated import Simulation, inventory

    simulation = Simulation()
    ssh.connect = simulation.connect  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as top, Path(os.devnull).open("w") as nowhere:
        path = inventory(Path(top) / "hosts.toml", hosts)
        words = ["fleet", "-H", str(path), "status", "--json", "--resume", f"{top}/state"]
        with contextlib.redirect_stdout(nowhere):
            assert cli(words, standalone_mode=False) == 0
            assert cli(words, standalone_mode=False) == 0
        # The second time nobody was asked.
        assert simulation.opened == hosts
        state = Path(top, "state").stat().st_size
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, simulation.most, state)


def measured(hosts: int) -> tuple[float, int, int, int]:
    """CPU seconds, KiB of memory, connections at a time, bytes of the state file."""
    words = [sys.executable, "-B", "-m", "ci.bench_fleet", "--one", str(hosts)]
    done = subprocess.run(words, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    seconds, memory, most, state = done.stdout.split()
    return float(seconds), int(memory), int(most), int(state)


def main() -> None:
    """Print a table; exit code 1 if it is not a straight line."""
    if sys.argv[1:2] == ["--one"]:
        one(int(sys.argv[2]))
        return
    counts = sorted(map(int, sys.argv[1:])) or HOSTS
    print("hosts   CPU s   MiB  connections  state KiB")
    found = {}
    for count in counts:
        seconds, memory, most, state = found[count] = measured(count)
        print(f"{count:>5}  {seconds:>6.2f}  {memory / 1024:>4.0f}  {most:>11}  {state / 1024:>9.1f}")
    if len(counts) < 3:
        return
    first, middle, last = found[counts[0]], found[counts[-2]], found[counts[-1]]
    few, more = counts[-2] - counts[0], counts[-1] - counts[-2]
    times = [1000 * (b[0] - a[0]) / n for a, b, n in ((first, middle, few), (middle, last, more))]
    sizes = [1024 * (b[1] - a[1]) / n for a, b, n in ((first, middle, few), (middle, last, more))]
    print(f"a host among few: {times[0]:.2f} ms, {sizes[0] / 1024:.1f} KiB; ", end="")
    print(f"among many: {times[1]:.2f} ms, {sizes[1] / 1024:.1f} KiB")
    if times[1] > FACTOR * times[0] + NOISE[0] or sizes[1] > FACTOR * max(sizes[0], 0) + NOISE[1]:
        sys.exit("that grows faster than the number of hosts")


if __name__ == "__main__":
    main()
