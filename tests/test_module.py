"""Building and loading: what is missing is named, with the package that brings it."""

import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from pycontrol.errors import AccessDenied, Busy, KernelLacks, TargetMissing
from pycontrol.service import module, trust
from pycontrol.service.kernellog import KernelLog
from tests.conftest import Run


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/lib/modules with headers for kernel 6.1.0-9, and everything else in a place of its own."""
    build = tmp_path / "modules/6.1.0-9/build"
    build.mkdir(parents=True)
    (build / ".config").write_text('CONFIG_X=y\nCONFIG_CC_VERSION_TEXT="gcc-12 (Debian 12.2.0-14) 12.2.0"\n')
    (build / "Makefile").touch()
    monkeypatch.setattr(module, "SYSFS", tmp_path / "sys")
    monkeypatch.setattr(module, "cache_dir", lambda release: tmp_path / "cache" / release)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "modules"


def source(top: Path, makefile: str) -> Path:
    kernel = top / "kernel"
    kernel.mkdir()
    (kernel / "Makefile").touch()
    (kernel / "a.c").write_text("int a;")
    (kernel / "a.o").touch()
    (top / "modules/6.1.0-9/build/Makefile").write_text(makefile)
    return kernel


MAKE = "modules:\n\t@test -f $(M)/a.c && cp $(M)/a.c $(M)/dm-remap-v4.ko\n"


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    monkeypatch.setattr(module, "check_tools", lambda build: None)


def test_missing_headers_name_the_package(modules: Path, run: Run) -> None:
    with pytest.raises(KernelLacks, match=r"install linux-headers-6\.1\.0-10"):
        module.build("6.1.0-10", modules=modules)
    result = run("module", "build", "--kernel", "0.0.0-none")
    assert result.exit_code == 8 and "linux-headers-0.0.0-none" in result.stderr


@pytest.mark.parametrize("release", ["../../etc", "", "a b", "-x"])
def test_a_release_is_not_a_path(run: Run, release: str) -> None:
    assert run("module", "build", "--kernel", release).exit_code == 2 or release == ""


def test_missing_compiler_and_make_name_their_packages(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, **_: None)
    with pytest.raises(KernelLacks, match="install the package gcc-12 and make"):
        module.build("6.1.0-9", modules=modules)


def test_build_leaves_the_source_alone(modules: Path, tmp_path: Path, tools: None) -> None:
    kernel = source(tmp_path, MAKE)
    before = sorted(path.name for path in kernel.iterdir())
    built = module.build("6.1.0-9", kernel, modules=modules)
    assert built.read_text() == "int a;" and built.parent == tmp_path / "cache/6.1.0-9"
    assert sorted(path.name for path in kernel.iterdir()) == before
    assert not (built.parent / "a.o").exists()


def test_a_second_build_follows_the_source(modules: Path, tmp_path: Path, tools: None) -> None:
    kernel = source(tmp_path, MAKE)
    built = module.build("6.1.0-9", kernel, modules=modules)
    stamp = (built.parent / "a.c").stat().st_mtime_ns
    (kernel / "b.c").touch()
    module.build("6.1.0-9", kernel, modules=modules)
    assert (built.parent / "a.c").stat().st_mtime_ns == stamp, "an unchanged file must not be rebuilt"
    (kernel / "b.c").unlink()
    (kernel / "a.c").write_text("int b;")
    module.build("6.1.0-9", kernel, modules=modules)
    assert built.read_text() == "int b;" and not (built.parent / "b.c").exists()


def test_a_failed_build_brings_makes_words(modules: Path, tmp_path: Path, tools: None) -> None:
    kernel = source(tmp_path, "modules:\n\t@echo a.c:1: error; false\n")
    with pytest.raises(module.BuildError) as caught:
        module.build("6.1.0-9", kernel, modules=modules)
    assert "a.c:1: error" in caught.value.output


def test_load_without_a_module(modules: Path) -> None:
    with pytest.raises(TargetMissing, match="dmremapctl module build"):
        module.load()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.EPERM, AccessDenied), (errno.EKEYREJECTED, AccessDenied), (errno.ENOEXEC, KernelLacks)],
)
def test_load_refused_by_the_kernel(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def fails(which: int, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, "_syscall", fails)
    monkeypatch.setattr(module, "_load_dependencies", lambda: None)
    (tmp_path / "m.ko").touch()
    with pytest.raises(kind):
        module.load(tmp_path / "m.ko")


def test_load_passes_parameters_and_is_done_once(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(module, "_syscall", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(module, "_load_dependencies", lambda: None)
    (tmp_path / "m.ko").touch()
    assert module.load(tmp_path / "m.ko", ("a=1", "b=2"))
    assert calls[0][0] == 0 and getattr(calls[0][2], "value", None) == b"a=1 b=2"
    loaded = tmp_path / "sys/dm_remap_v4"
    loaded.mkdir(parents=True)
    monkeypatch.setattr(module, "is_loaded", lambda: loaded.is_dir())
    assert not module.load(tmp_path / "m.ko")
    assert len(calls) == 1


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
@pytest.mark.parametrize("place", ["updates", "updates/dkms", "extra"])
def test_an_installed_module_is_found_and_loaded(
    modules: Path, monkeypatch: pytest.MonkeyPatch, place: str, suffix: str
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(module, "_syscall", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(module, "_load_dependencies", lambda: None)
    monkeypatch.setattr(module, "find_built", partial(module.find_built, modules=modules))
    monkeypatch.setattr(module, "running", lambda: "6.1.0-9")
    assert module.find_built("6.1.0-9") is None
    file = modules / f"6.1.0-9/{place}/dm-remap-v4.ko{suffix}"
    file.parent.mkdir(parents=True)
    file.touch(0o644)
    assert module.find_built("6.1.0-9") == file
    monkeypatch.setattr(trust, "only_ours", lambda found: True)
    assert module.load()
    # MODULE_INIT_COMPRESSED_FILE
    assert getattr(calls[0][3], "value", None) == (4 if suffix else 0)
    # What was built for this kernel comes before, until a newer one is installed.
    built = module.cache_dir("6.1.0-9") / "dm-remap-v4.ko"
    built.parent.mkdir(parents=True)
    built.touch()
    os.utime(file, (1000, 1000))
    assert module.find_built("6.1.0-9") == built
    os.utime(built, (999, 999))
    assert module.find_built("6.1.0-9") == file


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_a_kernel_that_does_not_unpack_modules(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module, "_syscall", fails)
    monkeypatch.setattr(module, "_load_dependencies", lambda: None)
    (tmp_path / "m.ko.xz").touch()
    with pytest.raises(KernelLacks, match=r"cannot unpack .*modprobe dm-remap-v4"):
        module.load(tmp_path / "m.ko.xz")


def test_unload_of_a_module_in_use(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise OSError(errno.EWOULDBLOCK, "busy")

    monkeypatch.setattr(module, "is_loaded", lambda: True)
    monkeypatch.setattr(module, "users", lambda: 3)
    monkeypatch.setattr(module, "_syscall", busy)
    with pytest.raises(Busy, match="in use by 3"):
        module.unload()


def test_load_and_unload_need_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("load", "unload"):
        result = run("module", command)
        assert result.exit_code == 6 and "root" in result.stderr


def test_status_of_a_loaded_module(modules: Path, tmp_path: Path) -> None:
    loaded = tmp_path / "sys/dm_remap_v4"
    (loaded / "parameters").mkdir(parents=True)
    (loaded / "version").write_text("1.0.0\n")
    (loaded / "refcnt").write_text("2\n")
    (loaded / "parameters/dm_remap_autosave_interval").write_text("60\n")
    state = module.status("6.1.0-9", sysfs=tmp_path / "sys", modules=modules)
    assert (state.loaded, state.version, state.users, state.headers) == (True, "1.0.0", 2, True)
    assert state.parameters == {"dm_remap_autosave_interval": "60"}
    assert state.built is None


def test_status_json_keys(run: Run) -> None:
    told = json.loads(run("module", "status", "--json").stdout)
    assert set(told) == {"loaded", "version", "users", "parameters", "kernel", "built", "headers", "compiler"}


def log_of(tmp_path: Path, *lines: str, priority: int = 3) -> str:
    log = tmp_path / "kmsg"
    log.write_text("")
    mark = KernelLog(log)
    records = [f"{priority},{number},99,-;{line}\n SUBSYSTEM=block\n" for number, line in enumerate(lines)]
    log.write_text("".join(records))
    try:
        return mark.sentence()
    finally:
        mark.close()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "device-mapper: table: 253:0: dm-remap-v4: Unknown feature 'x' (-EINVAL)",
            "Unknown feature 'x' (-EINVAL)",
        ),
        ("device-mapper: remap-v4: no such extent", "no such extent"),
        ("device-mapper: remap-v4 metadata: r0: no valid copy", "r0: no valid copy"),
        ("usb 1-1: new device", ""),
    ],
)
def test_the_kernels_sentence(tmp_path: Path, line: str, told: str) -> None:
    assert log_of(tmp_path, line) == told


@pytest.mark.parametrize(
    ("priority", "told"), [(3, True), (4, False), (6, False), (8 + 3, True), (8 + 4, False)]
)
def test_what_the_target_has_done_meanwhile_is_no_reason(tmp_path: Path, priority: int, told: bool) -> None:
    line = "device-mapper: remap-v4: r0: moved to the spare: 8 sectors, 1 extents, from sector 8 on"
    assert bool(log_of(tmp_path, line, priority=priority)) is told


def test_a_log_that_cannot_be_read_is_silent(tmp_path: Path) -> None:
    assert KernelLog(tmp_path / "none").sentence() == ""
