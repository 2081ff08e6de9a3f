"""The command group: finds a command when it is called for, and ends in an exit code."""

import importlib
from typing import Any, Final

import click

from pycontrol import __version__
from pycontrol.cli.exitcodes import MEANING, ExitCode

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "module": ("pycontrol.cli.module:module", "Build, load and unload the kernel module."),
    "create": ("pycontrol.cli.create:create", "Join a main device and a spare."),
    "remove": ("pycontrol.cli.devices:remove", "Take a device down."),
    "list": ("pycontrol.cli.devices:list_", "List the devices."),
    "status": ("pycontrol.cli.devices:status", "Show the state of one device, or of all."),
    "remap": ("pycontrol.cli.message:remap", "Move sectors to the spare."),
    "unmap": ("pycontrol.cli.message:unmap", "Move sectors back to the main device."),
    "message": ("pycontrol.cli.message:message", "Send the target a message, print its answer."),
    "inspect": ("pycontrol.cli.inspect:inspect", "Read a spare or its image; changes nothing."),
    "meta": ("pycontrol.cli.meta:meta", "Check, dump, mend or convert the metadata of a spare."),
    "watch": ("pycontrol.cli.watch:watch", "Print events as they happen."),
}

EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:>2}  {MEANING[code]}" for code in ExitCode)


class LazyGroup(click.Group):
    """Imports the file of a command when that command is called, and no other."""

    def __init__(self, *args: Any, commands_at: dict[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands_at = commands_at

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
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
        # click's own would import every command for its help line.
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_at.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except click.Abort:
            _fail(ctx, "cancelled; nothing was changed", ExitCode.CANCELLED)
        except BrokenPipeError:
            # The reader of our output went away; click ends quietly on EPIPE.
            raise
        except (Exception, KeyboardInterrupt) as error:
            from pycontrol.cli.failures import exit_code, expected, sentence

            if not expected(error):
                raise
            _fail(ctx, sentence(error), exit_code(error))
        return None


def _fail(ctx: click.Context, sentence: str, code: ExitCode) -> None:
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


def main() -> None:
    """Entry point of ``dmremapctl``."""
    cli(prog_name="dmremapctl")
