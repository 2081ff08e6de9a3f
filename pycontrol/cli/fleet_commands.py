"""The commands of ``dmremapctl fleet``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pycontrol.cli.arguments import NAME
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.fleet_run import Options, fleet_options, run
from pycontrol.text import plain

if TYPE_CHECKING:
    from pycontrol.service.fleet.bundle import Blob
    from pycontrol.service.fleet.hosts import Host
    from pycontrol.service.fleet.runner import Work

_source_option = click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the module's source is, if not beside this program.",
)


@click.command()
@fleet_options()
@_source_option
def build(options: Options, source: Path | None) -> ExitCode:
    """Build the module once for each kernel that the hosts run.

    Here, if the headers of that kernel are; else on one of the hosts that has them, and the
    next one if that fails.  What is built is kept here.

    \b
    Example:
      dmremapctl fleet -H hosts.toml build
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet build

    JSON: one object a line, see docs/dmremapctl.md; answer has kernel, machine.
    """
    from pycontrol.service.fleet.building import Building
    from pycontrol.service.fleet.modules import Store

    hosts = options.hosts()
    directory, blob = _source(source)
    store = Store(blob)
    return run(
        options,
        ["build", blob.digest],
        hosts,
        lambda fleet, left: Building(fleet, directory, blob, store).run(left),
    )


@click.command()
@fleet_options()
@_source_option
def install(options: Options, source: Path | None) -> ExitCode:
    """Copy the module to the hosts that run its kernel, where 'module load' finds it.

    \b
    Example:
      dmremapctl fleet -H hosts.toml install
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet install

    JSON: one object a line, see docs/dmremapctl.md; answer has kernel, machine, copied.
    """
    return _install(options, source, load_it=False, parameters=())


@click.command()
@fleet_options()
@_source_option
@click.argument("parameters", nargs=-1, metavar="[PARAMETER=VALUE]...")
def load(options: Options, source: Path | None, parameters: tuple[str, ...]) -> ExitCode:
    """Copy the module to the hosts that run its kernel, and load it.

    A module is copied and loaded only where its vermagic names the kernel that runs there.

    \b
    Example:
      dmremapctl fleet -H hosts.toml load
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet load

    JSON: one object a line, see docs/dmremapctl.md; answer has kernel, machine, copied, changed.
    """
    for parameter in parameters:
        if parameter.startswith("-") or "=" not in parameter:
            raise click.UsageError(f"'{plain(parameter)}' is no PARAMETER=VALUE")
    return _install(options, source, load_it=True, parameters=parameters)


def _install(
    options: Options, source: Path | None, *, load_it: bool, parameters: tuple[str, ...]
) -> ExitCode:
    from pycontrol.service.fleet import modules

    hosts = options.hosts()
    _, blob = _source(source)
    work = modules.install(modules.Store(blob), load=load_it, parameters=parameters)
    words = ["load" if load_it else "install", blob.digest, *parameters]
    return run(options, words, hosts, lambda fleet, left: fleet.run(left, work))


def _source(given: Path | None) -> "tuple[Path, Blob]":
    from pycontrol.service.fleet.bundle import source
    from pycontrol.service.module import source_dir

    directory = given or source_dir()
    if not (directory / "Makefile").is_file():
        from pycontrol.errors import UsageError

        raise UsageError(f"{plain(directory)} does not hold the module's source; name it with --source")
    return directory, source(directory)


@click.command()
@fleet_options()
@click.argument("name", type=NAME, required=False)
def status(options: Options, name: str | None) -> ExitCode:
    """Show the state of the devices of every host.

    \b
    Example:
      dmremapctl fleet -H hosts.toml status --on rack1
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet status

    JSON: one object a line, see docs/dmremapctl.md; answer is that of 'dmremapctl status'.
    """
    from pycontrol.service.fleet import tasks

    return _simple(options, "status", name, tasks.status(_maybe(name)))


@click.command()
@fleet_options()
@click.argument("name", type=NAME, required=False)
def health(options: Options, name: str | None) -> ExitCode:
    """Say how the devices are, why, and what to do.

    \b
    Example:
      dmremapctl fleet -H hosts.toml health
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet health

    JSON: one object a line, see docs/dmremapctl.md; answer is that of 'dmremapctl health'.
    """
    from pycontrol.service.fleet import tasks

    return _simple(options, "health", name, tasks.health(_maybe(name)))


def _simple(options: Options, command: str, name: str | None, work: "Work") -> ExitCode:
    words = [command] if name is None else [command, name]
    return run(options, words, options.hosts(), lambda fleet, left: fleet.run(left, work))


@click.command()
@fleet_options()
@click.option("--dry-run", is_flag=True, help="Show what each host would do; write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def create(options: Options, dry_run: bool, yes: bool) -> ExitCode:
    """Make the devices that the file of hosts lists.

    A device that is there already, of the same main and spare, is left as it is.

    \b
    Example:
      dmremapctl fleet -H hosts.toml create --dry-run
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet create --resume made.state

    JSON: one object a line, see docs/dmremapctl.md; answer is a list of what 'dmremapctl create'
    answers.
    """
    from pycontrol.service.fleet import tasks

    hosts = options.hosts()
    tasks.with_devices(hosts)
    if not dry_run and not yes:
        _ask(hosts)
    words = ["create", *(["--dry-run"] if dry_run else [])]
    work = tasks.create(dry_run=dry_run)
    return run(options, words, hosts, lambda fleet, left: fleet.run(left, work))


def _ask(hosts: "Sequence[Host]") -> None:
    count = 0
    for host in hosts:
        for device in host.devices:
            count += 1
            how = "overwriting what is on the spare" if device.format else "the spare must be blank"
            how += ", or dm-remap's"
            words = f"{device.name} of {plain(device.main)} and {plain(device.spare)}; {how}"
            click.echo(f"{host.name}: {words}", err=True)
    click.confirm(f"Make {count} {'device' if count == 1 else 'devices'}?", abort=True, err=True)


@click.command()
@fleet_options()
@click.option("--rate", metavar="SIZE", help="Read at most so much a second; 0 is no limit (50M).")
@click.option("--restart", is_flag=True, help="Begin anew, wherever the last one stopped.")
@click.argument("name", type=NAME)
def scrub(options: Options, name: str, rate: str | None, restart: bool) -> ExitCode:
    """Read a device of every host to find bad sectors early.

    ^C stops it everywhere; its place is kept by every host, and the next scrub goes on there.
    There is no time limit unless --timeout gives one.

    \b
    Example:
      dmremapctl fleet -H hosts.toml scrub data --rate 20M
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet scrub data

    JSON: one object a line, see docs/dmremapctl.md; document and answer are the findings and the
    summary of 'dmremapctl scrub'.
    """
    from pycontrol.service.fleet import tasks
    from pycontrol.sizes import parse_size

    if rate is not None:
        parse_size(rate)
    more = [*(["--rate", rate] if rate is not None else []), *(["--restart"] if restart else [])]
    work = tasks.scrub(_checked(name), more)
    return run(
        options,
        ["scrub", name, *more],
        options.hosts(),
        lambda fleet, left: fleet.run(left, work),
        unlimited=True,
    )


@click.command()
@fleet_options(resume=False)
@click.argument("name", type=NAME, required=False)
def watch(options: Options, name: str | None) -> ExitCode:
    """Show what happens to the devices of every host, until ^C.

    It takes a connection to each host at a time, so --jobs must be at least their number.

    \b
    Example:
      dmremapctl fleet -H hosts.toml watch --json
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet watch data

    JSON: one object a line, see docs/dmremapctl.md; document is that of 'dmremapctl watch'.
    """
    from pycontrol.service.fleet import tasks

    work, hosts = tasks.watch(_maybe(name)), options.hosts()
    if len(hosts) > options.jobs:
        raise click.UsageError(
            f"watching takes a connection to each of {len(hosts)} hosts; allow them with --jobs {len(hosts)}"
        )
    return run(
        options,
        ["watch"],
        hosts,
        lambda fleet, left: fleet.run(left, work),
        endless=True,
        unlimited=True,
    )


@click.command()
@fleet_options()
@click.option("--headers", is_flag=True, help="Look at headers and info blocks only.")
@click.argument("spare", required=False)
def inspect(options: Options, spare: str | None, headers: bool) -> ExitCode:
    """Read the spares of the devices in the file of hosts, or SPARE on every host; changes nothing.

    Where a spare has so many extents that the answer is too long, --headers still does.

    \b
    Example:
      dmremapctl fleet -H hosts.toml inspect
      DMREMAP_HOSTS=hosts.toml; export DMREMAP_HOSTS; dmremapctl fleet inspect /dev/sdc1

    JSON: one object a line, see docs/dmremapctl.md; answer is a list of what 'dmremapctl inspect'
    answers.
    """
    from pycontrol.service.fleet import tasks

    hosts = options.hosts()
    if spare is None:
        tasks.with_devices(hosts)
    elif not spare.startswith("/"):
        raise click.UsageError("SPARE must be a path from the root on, as each host has it.")
    more = ["--headers"] if headers else []
    words = ["inspect", *more, *([] if spare is None else [spare])]
    work = tasks.inspect(spare, more)
    return run(options, words, hosts, lambda fleet, left: fleet.run(left, work))


def _maybe(name: str | None) -> str | None:
    return None if name is None else _checked(name)


def _checked(name: str) -> str:
    """A name that cannot be taken for an option there, or for anything else."""
    from pycontrol.dm.types import DmName

    if name.startswith("-"):
        raise click.UsageError(f"'{plain(name)}' cannot name a device")
    return str(DmName(name.removeprefix("/dev/mapper/")))
