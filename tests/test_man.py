"""Manual pages: one for each command, without a complaint of groff, and with every word of --help."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from ci.man import contexts, page_name, write
from pycontrol.cli.main import COMMANDS, cli
from pycontrol.cli.meta import COMMANDS as META


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    written = write(tmp_path_factory.mktemp("man") / "man8")
    return {path.stem: path for path in written}


def shown(path: Path) -> str:
    """A page as text, in lines of 500 characters so that nothing is broken; groff must be content."""
    assert shutil.which("groff"), "ci/packages installs groff-base"
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=500n", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def words(text: str) -> list[str]:
    """Words without the marks that --help draws, and without what it may cut off."""
    return re.findall(r"[^\s.]+", text.replace("\b", ""))


def test_every_command_has_a_page(pages: dict[str, Path]) -> None:
    wanted = {"dmremapctl", *(f"dmremapctl-{name}" for name in COMMANDS)}
    wanted |= {f"dmremapctl-meta-{name}" for name in META}
    wanted |= {f"dmremapctl-module-{name}" for name in ("build", "load", "unload", "status")}
    assert wanted - pages.keys() == set()


@pytest.mark.parametrize("context", list(contexts()), ids=page_name)
def test_a_page_says_what_help_says(context: click.Context, pages: dict[str, Path]) -> None:
    text = shown(pages[page_name(context)])
    found = set(words(text))
    command = context.command
    missing = [word for word in words(command.help or "") if word not in found]
    for option in command.get_params(context):
        if isinstance(option, click.Option):
            record = option.get_help_record(context)
            missing += [word for part in record or () for word in words(part) if word not in found]
    assert missing == []
    assert f"{context.command_path} {command.collect_usage_pieces(context)[0]}" in text
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{title}\n" in text


@pytest.mark.parametrize("context", list(contexts()), ids=page_name)
def test_every_command_has_an_example_and_json(context: click.Context) -> None:
    command = context.command
    if isinstance(command, click.Group):
        return
    _, found, example = (command.help or "").partition("Example")
    assert found and re.search(rf"^ +.*dmremapctl .*\b{context.info_name}\b", example, re.MULTILINE)
    assert any("--json" in param.opts for param in command.params)


def test_lists_keep_their_lines(pages: dict[str, Path]) -> None:
    lines = [line.strip() for line in shown(pages["dmremapctl-meta-check"]).splitlines()]
    assert "note    odd, nothing needs repair            0" in lines
    assert "dmremapctl meta check /dev/sdc1" in lines


def test_nothing_of_roff_is_obeyed(tmp_path: Path) -> None:
    """What begins with a dot, or has a backslash, is shown as it is."""

    @click.command("odd", help=".so /etc/passwd \\fBbold\n\n'quoted' --dash")
    def odd() -> None: ...

    from ci.man import page

    path = tmp_path / "odd.8"
    context = click.Context(odd, click.Context(cli, info_name="dmremapctl"), "list")
    path.write_text("\n".join(page(context)) + "\n")
    text = shown(path)
    assert ".so /etc/passwd \\fBbold" in text and "'quoted' --dash" in text
