"""``dmremapctl module``, by what it prints: the kernel's two system calls alone are not made."""

import errno
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontrol import __version__
from pycontrol.errors import AccessDenied, BrokenError, KernelLacks
from pycontrol.service import module
from tests.conftest import Run
from tests.test_module import MAKE, modules, source

__all__ = ["modules"]

RELEASE = "6.1.0-9"


@pytest.fixture
def machine(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own below a directory, which runs kernel 6.1.0-9; system calls succeed."""
    sysfs = tmp_path / "sys"
    (sysfs / "dm_mod").mkdir(parents=True)
    (sysfs / "dm_bufio").mkdir()
    monkeypatch.setattr(module.build, "__kwdefaults__", {"modules": modules})
    monkeypatch.setattr(module.status, "__kwdefaults__", {"modules": modules, "sysfs": sysfs})
    monkeypatch.setattr(module.is_loaded, "__defaults__", (sysfs,))
    monkeypatch.setattr(module.users, "__defaults__", (sysfs,))
    monkeypatch.setattr(module, "running", lambda: RELEASE)
    loaded = sysfs / "dm_remap_v4"

    def syscall(which: int, *_: object) -> None:
        if which == 0:
            loaded.mkdir()
        else:
            loaded.rmdir()

    monkeypatch.setattr(module, "_syscall", syscall)
    return tmp_path


def fails(code: int) -> Callable[..., None]:
    def syscall(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return syscall


def test_loaded_and_unloaded(machine: Path, run: Run) -> None:
    (machine / "m.ko").touch()
    load = ["module", "load", "--file", str(machine / "m.ko"), "dm_remap_autosave_interval=5"]
    assert run(*load).stdout == "module loaded\n"
    assert run(*load).stdout == "the module was loaded already\n"
    assert json.loads(run(*load, "--json").stdout) == {"loaded": True, "changed": False}
    assert run("module", "unload").stdout == "module unloaded\n"
    assert run("module", "unload").stdout == "the module was not loaded\n"
    assert json.loads(run("module", "unload", "--json").stdout) == {"loaded": False, "changed": False}


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
@pytest.mark.skipif(shutil.which("gcc-12") is None, reason="no gcc-12 here, for which the kernel asks")
def test_built(machine: Path, run: Run) -> None:
    kernel = source(machine, MAKE)
    built = machine / f"cache/{RELEASE}/dm-remap-v4.ko"
    result = run("module", "build", "--source", str(kernel))
    assert result.stdout == f"built {built} for {RELEASE}\n"
    told = json.loads(run("module", "build", "--json", "--source", str(kernel)).stdout)
    assert told == {"kernel": RELEASE, "module": str(built)}
    # What was built is found by the next commands.
    assert f"built     {built}" in run("module", "status").stdout
    assert run("module", "load").stdout == "module loaded\n"
    (kernel / "a.c").write_text("int b;")
    (machine / f"modules/{RELEASE}/build/Makefile").write_text(
        "modules:\n\t@echo 'a.c:1: \x1b[31mno'; false\n"
    )
    result = run("module", "build", "--source", str(kernel))
    assert (result.exit_code, "a.c:1: \\x1b[31mno" in result.stderr) == (6, True)


def test_what_is_there(machine: Path, run: Run) -> None:
    lines = run("module", "status").stdout.splitlines()
    assert f"kernel    {RELEASE}" in lines and "loaded    no" in lines and "headers   yes" in lines
    assert "built     no; run 'dmremapctl module build'" in lines
    loaded = machine / "sys/dm_remap_v4"
    (loaded / "parameters").mkdir(parents=True)
    (loaded / "version").write_text("1.0.0\n")
    (loaded / "refcnt").write_text("2\n")
    (loaded / "parameters/dm_remap_autosave_enabled").write_text("Y\n")
    words = [line.split() for line in run("module", "status").stdout.splitlines()]
    assert ["loaded", "yes"] in words and ["version", "1.0.0"] in words and ["users", "2"] in words
    assert ["dm_remap_autosave_enabled", "Y"] in words
    assert "no; install linux-headers-6.2" in run("module", "status", "--kernel", "6.2").stdout


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENODEV, BrokenError), (errno.ENOKEY, AccessDenied), (errno.EACCES, AccessDenied)],
)
def test_a_load_that_fails(
    machine: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    monkeypatch.setattr(module, "_syscall", fails(code))
    (machine / "m.ko").touch()
    with pytest.raises(kind, match=r"m\.ko"):
        module.load(machine / "m.ko")


def test_somebody_else_was_quicker(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "m.ko").touch()
    monkeypatch.setattr(module, "_syscall", fails(errno.EEXIST))
    assert not module.load(machine / "m.ko")
    (machine / "sys/dm_remap_v4").mkdir()
    monkeypatch.setattr(module, "_syscall", fails(errno.ENOENT))
    assert not module.unload()


@pytest.mark.parametrize(("code", "kind"), [(errno.EPERM, AccessDenied), (errno.EIO, BrokenError)])
def test_an_unload_that_fails(
    machine: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    (machine / "sys/dm_remap_v4").mkdir()
    monkeypatch.setattr(module, "_syscall", fails(code))
    with pytest.raises(kind):
        module.unload()


def test_dependencies_that_are_missing(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "sys/dm_bufio").rmdir()
    (machine / "m.ko").touch()
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(KernelLacks, match="install the package kmod"):
        module.load(machine / "m.ko")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/false")
    with pytest.raises(KernelLacks, match="the kernel lacks dm-bufio"):
        module.load(machine / "m.ko")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/true")
    assert module.load(machine / "m.ko")


def test_where_modules_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert module.cache_dir("6.1") == Path("/var/cache/dm-remap/6.1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert module.cache_dir("6.1") == Path("/cache/dm-remap/6.1")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert module.cache_dir("6.1") == Path("/home/somebody/.cache/dm-remap/6.1")


# The program itself


def test_run_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["dmremapctl", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("pycontrol", run_name="__main__")
    assert (end.value.code, capsys.readouterr().out) == (0, f"dmremapctl, version {__version__}\n")


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_in_the_c_locale_tables_are_ascii(tmp_path: Path, locale: str) -> None:
    from tests.test_metadata_images import spare

    path = tmp_path / "spare.img"
    path.write_bytes(spare(spare_sectors=5120, name="ä").flat())
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pycontrol", "meta", "inspect", str(path)],
        cwd=Path(__file__).resolve().parents[1],
        env={"LC_ALL": locale, "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn = b"\n".join(line for line in done.stdout.splitlines() if not line.startswith(b"Name"))
    assert b"Verdict" in drawn and drawn.isascii()
