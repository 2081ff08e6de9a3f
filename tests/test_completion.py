"""What a shell is told when somebody presses Tab: by click's own protocol."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from ci.man import contexts, page_name
from pycontrol.cli.arguments import DEVICE, DEVICE_OR_IMAGE, NAME, BlockDevice, DeviceName
from pycontrol.cli.main import COMMANDS, cli
from pycontrol.service import nearby
from tests.test_startup import START

TOP = Path(__file__).resolve().parents[1]


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk with a partition, a drive without a medium, an old controller's disk, and three dm devices."""
    for name, size in {"sdb": 1 << 21, "sdb1": 2048, "sr0": 0, "cciss!c0d0": 8}.items():
        make(tmp_path / "class/block" / name / "size", f"{size}\n")
    for number, (name, uuid) in enumerate(
        {"data": "DMREMAP-1", "home": "LVM-1", "disk": "DMREMAP-2"}.items()
    ):
        for place in (tmp_path / f"class/block/dm-{number}", tmp_path / f"block/dm-{number}"):
            make(place / "size", "8\n")
            make(place / "dm/name", f"{name}\n")
            make(place / "dm/uuid", f"{uuid}\n")
    # In the midst of being removed.
    (tmp_path / "block/dm-9/dm").mkdir(parents=True)
    for function in (nearby.remap_devices, nearby.block_devices):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    return tmp_path


def make(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def completed(*words: str) -> list[tuple[str, str]]:
    """Type and value of each proposal for the last of the words."""
    shell = ShellComplete(cli, {}, "dmremapctl", "_DMREMAPCTL_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(list(words[:-1]), words[-1])]


def plain(*values: str) -> list[tuple[str, str]]:
    return [("plain", value) for value in values]


def test_commands_and_options() -> None:
    assert completed("") == plain(*COMMANDS)
    assert completed("insp") == plain("inspect")
    assert ("plain", "--json") in completed("meta", "check", "--")
    assert completed("module", "l") == plain("load")
    assert completed("--vers") == plain("--version")


@pytest.mark.usefixtures("sysfs")
def test_names_of_our_devices_only() -> None:
    for command in (["status"], ["remove"], ["remap"], ["watch"]):
        assert completed(*command, "") == plain("data", "disk")
    assert completed("status", "da") == plain("data")
    assert completed("status", "/dev/mapper/d") == plain("/dev/mapper/data", "/dev/mapper/disk")
    assert completed("status", "/dev/sd") == []


@pytest.mark.usefixtures("sysfs")
def test_block_devices_and_images() -> None:
    dm = ["/dev/mapper/data", "/dev/mapper/disk", "/dev/mapper/home"]
    assert completed("create", "new", "") == plain("/dev/cciss/c0d0", *dm, "/dev/sdb", "/dev/sdb1")
    assert completed("create", "new", "/dev/sdb", "/dev/sdb") == plain("/dev/sdb", "/dev/sdb1")
    assert completed("create", "new", "/dev/disk/by-id/") == [("file", "/dev/disk/by-id/")]
    assert completed("inspect", "") == [("file", "")]
    assert completed("inspect", "/dev/s") == plain("/dev/sdb", "/dev/sdb1")
    assert completed("meta", "diff", "a.img", "b") == [("file", "b")]


@pytest.mark.parametrize("context", list(contexts()), ids=page_name)
def test_every_name_and_device_is_completed(context: click.Context) -> None:
    """An argument of the kind has the type that completes it, in every command."""
    wanted = {
        "name": NAME, "names": NAME, "main": DEVICE, "newspare": DEVICE, "newdisk": DEVICE,
        "SPARE_OR_IMAGE": DEVICE_OR_IMAGE, "DEVICE_OR_IMAGE": DEVICE_OR_IMAGE,
    }  # fmt: skip
    for param in context.command.params:
        kind = wanted.get(str(param.metavar), wanted.get(str(param.name)))
        if isinstance(param, click.Argument) and kind is not None:
            assert param.type is kind, param.name
            assert isinstance(param.type, (DeviceName, BlockDevice))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(shell: str) -> None:
    def ask(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-B", "-m", "pycontrol"],
            cwd=TOP,
            env=os.environ | more,
            capture_output=True,
            text=True,
            check=False,
        )
        # click ends a completion with 1.
        assert done.stderr == "" and done.returncode in (0, 1)
        return done.stdout

    script = ask(_DMREMAPCTL_COMPLETE=f"{shell}_source")
    assert f"_DMREMAPCTL_COMPLETE={shell}_complete" in script and "dmremapctl" in script
    words = ask(
        _DMREMAPCTL_COMPLETE=f"{shell}_complete",
        COMP_WORDS="dmremapctl insp",
        COMP_CWORD="insp" if shell == "fish" else "1",
    )
    assert "inspect" in words and "module" not in words


def test_a_shell_imports_no_command_to_list_them() -> None:
    program = (
        "import sys, os\n"
        "os.environ.update(_DMREMAPCTL_COMPLETE='bash_complete', COMP_WORDS='dmremapctl ', COMP_CWORD='1')\n"
        "from pycontrol.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*(name for name in sys.modules if name.startswith('pycontrol')), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "plain,inspect" in done.stdout
    assert set(done.stderr.split()) == {f"pycontrol{name}" for name in START}
