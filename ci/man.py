"""Manual pages of ``dmremapctl``: the same commands, options and words as ``--help``.

``ci/man`` runs it.  There are tools for click in general, but they see no command that is
imported only when it is called, and fill examples and lists into paragraphs.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pycontrol import __version__
from pycontrol.cli.exitcodes import MEANING
from pycontrol.cli.main import LazyGroup, cli

PROGRAM = "dmremapctl"
SECTION = 8


def contexts(
    command: click.Command = cli, name: str = PROGRAM, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """A context of the program, and of each command below it."""
    context = click.Context(command, parent, name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for each, _ in subcommands(context):
            found = command.get_command(context, each)
            if found is None:
                raise LookupError(f"the command {each} is listed, but is not there")
            yield from contexts(found, each, context)


def subcommands(context: click.Context) -> list[tuple[str, str]]:
    """Name and help line of each command of a group."""
    group = context.command
    if isinstance(group, LazyGroup):
        return [(name, text) for name, (_, text) in group.commands_at.items()]
    if isinstance(group, click.Group):
        return [(name, each.get_short_help_str(100)) for name, each in group.commands.items()]
    return []


def page_name(context: click.Context) -> str:
    """``dmremapctl-meta-check`` for ``dmremapctl meta check``."""
    return context.command_path.replace(" ", "-")


def escape(text: str) -> str:
    """``text`` as roff prints it; a dash is one that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    # A dot or an apostrophe that begins a line would make it a command.
    return f"\\&{text}" if text.startswith((".", "'")) else text


def page(context: click.Context) -> Iterator[str]:
    """The lines of the page of one command."""
    command, name = context.command, page_name(context)
    yield f'.TH "{escape(name.upper())}" {SECTION} "" "dm\\-remap {__version__}" "dm\\-remap"'
    # Neither hyphens nor blanks that nobody wrote.
    yield from (".nh", ".ad l", ".SH NAME")
    yield f"{escape(name)} \\- {escape(summary(context))}"
    yield ".SH SYNOPSIS"
    yield f".B {escape(context.command_path)}"
    yield escape(" ".join(command.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    yield from body(command.help or "")
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [option.get_help_record(context) for option in options]
    yield from entries("OPTIONS", [record for record in records if record])
    yield from entries("COMMANDS", subcommands(context))
    yield from entries("EXIT STATUS", [(str(int(code)), text) for code, text in MEANING.items()])
    related = [f"{page_name(context)}-{each}" for each, _ in subcommands(context)]
    related += [page_name(context.parent)] if context.parent else []
    yield ".SH SEE ALSO"
    yield ",\n".join(f".BR {escape(each)} ({SECTION})" for each in related)


def summary(context: click.Context) -> str:
    """The line that names what a command does, without its full stop."""
    if context.parent is None:
        return inspect.cleandoc(context.command.help or "").partition("\n")[0].rstrip(".")
    return dict(subcommands(context.parent))[str(context.info_name)].rstrip(".")


def body(help_text: str) -> Iterator[str]:
    """Paragraphs, which are filled, and those that click is told to leave as they are."""
    for paragraph in inspect.cleandoc(help_text).split("\n\n"):
        lines = paragraph.strip("\n").splitlines()
        yield ".PP"
        if lines and lines[0] == "\b":
            yield from (".nf", *map(escape, lines[1:]), ".fi")
        else:
            yield from (escape(line.strip()) for line in lines)


def entries(title: str, items: list[tuple[str, str]]) -> Iterator[str]:
    """A section of terms, each with what it means."""
    if items:
        yield f".SH {title}"
    for term, text in items:
        yield from (".TP", f".B {escape(term)}", escape(text))


def write(directory: Path) -> list[Path]:
    """Write every page into ``directory``, which is made if need be; the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for context in contexts():
        path = directory / f"{page_name(context)}.{SECTION}"
        path.write_text("\n".join(page(context)) + "\n")
        written.append(path)
    return written


def main() -> int:
    """Entry point of ``ci/man``."""
    parser = argparse.ArgumentParser(description="Write the manual pages of dmremapctl.")
    parser.add_argument("directory", type=Path)
    print(f"{len(write(parser.parse_args().directory))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
