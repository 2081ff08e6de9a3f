"""Every command with sensible arguments, and what it cannot do without; see tests/test_hostile.py."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from pycontrol.cli.main import cli
from tests.hostile_world import World


class Needs(Enum):
    """What a command needs; the exit codes without device-mapper, without the target, and without root."""

    NOTHING = 0, 0, 0
    ROOT = 0, 0, 6
    DEVICE_MAPPER = 7, 0, 6
    DEVICE = 7, 4, 6
    DEVICE_AND_TARGET = 7, 7, 6


@dataclass(frozen=True)
class Case:
    """``line`` has the names of :class:`World`'s places in braces."""

    line: str
    needs: Needs = Needs.DEVICE
    code: int = 0
    interrupted: int = 10
    """The exit code after ^C."""
    waits: bool = False
    """Waits for events: NAME need not exist."""
    makes: bool = False
    """NAME is that of a device that does not exist yet."""
    pending: bool = True
    """The device has sectors that cannot be read."""
    stays: str = ""
    """What is said of what was done when it is interrupted half way."""

    def words(self, world: World, *options: str) -> list[str]:
        return [*(word.format_map(world.place) for word in self.line.split()), *options]

    def world(self, top: Path) -> World:
        """Where it can be run."""
        return self.prepared(World(top, pending=self.pending))

    def prepared(self, made: World) -> World:
        """What the command asks of a world besides."""
        if self.line.startswith("fleet"):
            made.place["hosts"] = str(made.top / "hosts.toml")
            (made.top / "hosts.toml").write_text(NOBODY)
        if self.line == "module unload":
            made.loaded.mkdir()
        if self.line.startswith("monitor"):
            # As soon as it waits for events.
            made.kernel.armed = lambda: os.kill(os.getpid(), signal.SIGTERM)
        if self.line.startswith("watch"):
            made.kernel.uevent(
                "change", 0, DM_TARGET="dm-remap-v4", DM_ACTION="REMAP", DM_NAME="data", DM_UUID="DMREMAP-1",
                DM_SEQNUM=1, DM_SECTOR=8, DM_SECTORS=8, DM_EXTENTS=1,
            )  # fmt: skip
        return made

    @property
    def name_at(self) -> int | None:
        """Which of the words is NAME."""
        words = self.line.split()
        found = [at for at, word in enumerate(words) if word in ("data", "new", "again")]
        return found[0] if found else None


STAYS = "what was done stays"
FORMATTED = "may be formatted already"

# Of a fleet: a host where nobody listens.  With real ones see tests/test_fleet_sshd.py.
NOBODY = """
[hosts.one]
address = "127.0.0.1"
port = 1
known_hosts = "/dev/null"
devices = [{ name = "data", main = "/dev/sdb", spare = "/dev/sdc" }]
"""

CASES = [
    Case("module build --source {source}", Needs.NOTHING),
    Case("module load --file {module}", Needs.ROOT),
    Case("module unload", Needs.ROOT),
    Case("module status", Needs.NOTHING),
    Case("scan", Needs.NOTHING),
    Case("create new {bare} {blank} --yes", Needs.DEVICE_AND_TARGET, makes=True, stays=FORMATTED),
    Case(
        "create new {idle} {idlespare} --yes --format", Needs.DEVICE_AND_TARGET, makes=True, stays=FORMATTED
    ),
    Case("activate again {idle} {idlespare}", Needs.DEVICE_AND_TARGET, makes=True),
    Case("deactivate data"),
    Case("spare replace data {newspare} --yes"),
    Case("evacuate data {newdisk} --yes --give-up-lost {out}/lost"),
    Case("leave data"),
    Case("leave data --do --yes", pending=False, stays="what was copied back stays"),
    Case("remove data"),
    Case("remove data --retry"),
    Case("list", Needs.DEVICE_MAPPER),
    Case("status", Needs.DEVICE_MAPPER),
    Case("status data"),
    Case("scrub data --rate 0", Needs.DEVICE_AND_TARGET, code=1),
    Case("scrub data --status", Needs.DEVICE_AND_TARGET),
    Case("scrub data --pause", Needs.DEVICE_AND_TARGET),
    Case("health", Needs.DEVICE_MAPPER),
    Case("health data"),
    Case("map data"),
    Case("map data --svg {out}/map.svg"),
    Case("events data"),
    Case("import data --list {bad}", stays=STAYS),
    Case("import data --list {bad} --dry-run"),
    Case("export data"),
    Case("export data --ddrescue -o {out}/map"),
    Case("fill data --from {copy} --yes", stays="what was filled stays"),
    Case("remap data 64 8"),
    Case("unmap data 1000 8"),
    Case("message data help"),
    Case("inspect {image}", Needs.NOTHING),
    Case("meta inspect {image}", Needs.NOTHING),
    Case("meta check {hurt}", Needs.NOTHING, code=1),
    Case("meta diff {image} {hurt}", Needs.NOTHING),
    Case("meta search {image}", Needs.NOTHING),
    Case("meta dump {image} -o {out}/dump", Needs.NOTHING),
    Case("meta dump {image}", Needs.NOTHING),
    Case("meta restore {dump} {out}/image --yes", Needs.NOTHING),
    Case("meta backup {image} {out}/backup", Needs.NOTHING),
    Case("meta repair {hurt} -o {out}/mended", Needs.NOTHING),
    Case("meta repair {hurt} --in-place --backup {out}/backup --yes", Needs.NOTHING),
    Case("meta import-legacy {old} {out}/new --uuid 00112233-4455-6677-8899-aabbccddeeff", Needs.NOTHING),
    Case("watch data --count 1", Needs.NOTHING, interrupted=0, waits=True),
    Case("monitor data", Needs.DEVICE_MAPPER, interrupted=0, waits=True),
    Case("fleet -H {hosts} build --source {source}", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} install --source {source}", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} load --source {source}", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} status", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} create --yes", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} health", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} scrub everywhere", Needs.NOTHING, code=11),
    Case("fleet -H {hosts} watch", Needs.NOTHING, code=11, interrupted=0),
    Case("fleet -H {hosts} inspect", Needs.NOTHING, code=11),
]


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, by the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*path, name))
    else:
        yield " ".join(path), command


COMMANDS = dict(leaves(cli))


def of_line(line: str) -> str:
    """The command that a line calls."""
    line = line.replace(" -H {hosts}", "")
    return max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)
