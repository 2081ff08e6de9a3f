"""The command group: finds a command when it is called for, and ends in an exit code."""

import _thread
import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from pycontrol import __version__
from pycontrol.cli import streams
from pycontrol.cli.exitcodes import MEANING, ExitCode

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Items = list[CompletionItem[Any]]

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "module": ("pycontrol.cli.module:module", "Build, load and unload the kernel module."),
    "scan": ("pycontrol.cli.scan:scan", "List the disks: what needs protection, what makes a spare."),
    "create": ("pycontrol.cli.create:create", "Join a main device and a spare."),
    "activate": ("pycontrol.cli.activate:activate", "Bring a device up again; formats nothing."),
    "deactivate": ("pycontrol.cli.activate:deactivate", "Take a device down, waiting for its users."),
    "spare": ("pycontrol.cli.spare:spare", "Replace the spare of a device in use."),
    "evacuate": ("pycontrol.cli.evacuate:evacuate", "Copy a device in use to a healthy disk, go on there."),
    "leave": ("pycontrol.cli.leave:leave", "Go back to the bare disk, if nothing is lost by it."),
    "remove": ("pycontrol.cli.devices:remove", "Take a device down."),
    "list": ("pycontrol.cli.devices:list_", "List the devices."),
    "status": ("pycontrol.cli.devices:status", "Show the state of one device, or of all."),
    "scrub": ("pycontrol.cli.scrub:scrub", "Read the whole device to find bad sectors early."),
    "health": ("pycontrol.cli.health:health", "Say how a device is, why, and what to do."),
    "map": ("pycontrol.cli.map:map_", "Draw where on a disk the damage lies."),
    "events": ("pycontrol.cli.events:events", "List what has happened to a device."),
    "import": ("pycontrol.cli.importing:import_", "Move blocks that are known to be bad to the spare."),
    "export": ("pycontrol.cli.exporting:export", "List the bad blocks in a format that others read."),
    "fill": ("pycontrol.cli.fill:fill", "Write what was lost back from a copy of the disk."),
    "remap": ("pycontrol.cli.message:remap", "Move sectors to the spare."),
    "unmap": ("pycontrol.cli.message:unmap", "Move sectors back to the main device."),
    "message": ("pycontrol.cli.message:message", "Send the target a message, print its answer."),
    "inspect": ("pycontrol.cli.inspect:inspect", "Read a spare or its image; changes nothing."),
    "meta": ("pycontrol.cli.meta:meta", "Check, dump, mend or convert the metadata of a spare."),
    "watch": ("pycontrol.cli.watch:watch", "Show what happens to the devices."),
    "monitor": ("pycontrol.cli.monitor:monitor", "Tell of every event, as a service."),
    "fleet": ("pycontrol.cli.fleet:fleet", "Do any of this on many hosts at once, over SSH."),
}

EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:>2}  {MEANING[code]}" for code in ExitCode)


class LazyGroup(click.Group):
    """Imports the file of a command when that command is called, and no other."""

    def __init__(self, *args: Any, commands_at: dict[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which help shows them."""
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        place = self.commands_at.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place[0].partition(":")
        try:
            found: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            return None
        # click prints the epilog of the command asked about, so each carries the codes.
        if found.epilog is None:
            found.epilog = EPILOG
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of commands; click's own would import each for its help line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_at.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "Items":
        """Commands with their help lines, and options; click's own would import every command."""
        from click.shell_completion import CompletionItem

        found: Items = [
            CompletionItem(name, help=text)
            for name, (_, text) in self.commands_at.items()
            if name.startswith(incomplete)
        ]
        # Of options alone: what click.Group adds to them are the commands.
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Take the options apart; what click quotes of them in an error is escaped."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            _escape(error)
            raise
        except OSError:
            # Of --help and --version.
            if not streams.broken():
                raise
            sys.exit()

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; a failure that is expected ends in one sentence and its exit code."""
        try:
            return super().invoke(ctx)
        except click.exceptions.Exit:
            raise
        except click.ClickException as error:
            _escape(error)
            raise
        except click.Abort:
            _fail(ctx, "cancelled; nothing was changed", ExitCode.CANCELLED)
        except (Exception, KeyboardInterrupt) as error:
            from pycontrol.cli.failures import exit_code, expected, sentence

            if not expected(error):
                raise
            if isinstance(error, OSError) and streams.broken():
                sys.exit()
            _fail(ctx, sentence(error), exit_code(error))
        return None


def _escape(error: click.ClickException) -> None:
    from pycontrol.cli.failures import visible

    # Which is the whole help, in lines, and quotes nothing; click 8.1 has no such error.
    if not isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        # click declares it final, for others.
        error.message = visible(error.message)  # type: ignore[misc,unused-ignore]


def _fail(ctx: click.Context, sentence: str, code: ExitCode) -> None:
    with suppress(OSError):
        click.echo(f"dmremapctl: {sentence}", err=True)
    ctx.exit(int(code))


@click.group(
    cls=LazyGroup,
    commands_at=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="dmremapctl")
def cli() -> None:
    """Keep a failing disk in use: dm-remap moves its bad sectors to a spare device.

    Sectors are always 512 bytes.
    """


def _interrupt_again(lost: "sys.UnraisableHookArgs") -> None:
    """A ^C that came while Python ran a callback of its own, which can't raise, is not lost."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        # By a thread, and a little later: raised in here it would be lost as well.
        _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
    else:
        sys.__unraisablehook__(lost)


def _interrupt_soon(thread: int) -> None:
    import signal
    import time

    time.sleep(0.01)
    signal.pthread_kill(thread, signal.SIGINT)


def main() -> None:
    """Entry point of ``dmremapctl``."""
    # Nobody else may write to what this makes, whatever umask it was given.
    os.umask(os.umask(0o022) | 0o022)
    streams.prepare()
    sys.unraisablehook = _interrupt_again
    try:
        cli(prog_name="dmremapctl")
    except SystemExit as end:
        sys.exit(streams.finished(end.code))
    except Exception:
        # Python itself would end with 1, which is to say that damage was found.
        sys.excepthook(*sys.exc_info())
        sys.exit(streams.finished(ExitCode.FAULT))
