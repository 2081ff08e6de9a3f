"""The packages: what is in them, that they are built alike, and their own tests (debian/tests)."""

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from ci.man import contexts, page_name
from pycontrol import __version__

TOP = Path(__file__).resolve().parents[1]

# Debian trees are made in the first run, and the module is built a few times.
pytestmark = pytest.mark.timeout(1800)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built() -> Path:
    return Path(run("ci/package").splitlines()[-1])


def contents(package: Path) -> set[str]:
    """Every file of a Debian package, from the root on."""
    lines = run("dpkg-deb", "--contents", package).splitlines()
    return {line.split()[5].removeprefix(".") for line in lines if not line.startswith("d")}


def named(built: Path, name: str) -> set[str]:
    (package,) = built.glob(f"{name}_*.deb")
    return contents(package)


def test_one_version() -> None:
    changelog = re.match(r"dm-remap \((\S+)\)", (TOP / "debian/changelog").read_text())
    assert changelog is not None
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert changelog[1] == project["version"] == __version__


def test_the_module_s_source_is_whole(built: Path) -> None:
    source = {path.name for path in (TOP / "kernel").iterdir() if path.suffix in {".c", ".h"}}
    found = {Path(path).name for path in named(built, "dm-remap-dkms") if path.startswith("/usr/src/")}
    assert found == source | {"Makefile", "dkms.conf"}


def test_the_command_is_whole(built: Path) -> None:
    files = named(built, "dmremapctl")
    packages = "/usr/lib/python3/dist-packages"
    code = {f"{packages}/{path.relative_to(TOP)}" for path in (TOP / "pycontrol").rglob("*.py")}
    assert code | {f"{packages}/pycontrol/py.typed", "/usr/bin/dmremapctl"} <= files
    pages = {f"/usr/share/man/man8/{page_name(context)}.8.gz" for context in contexts()}
    assert pages == {path for path in files if "/man8/" in path}
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.endswith(".py")} == {
            path.removeprefix(f"{packages}/") for path in code
        }


def test_every_page_is_there(built: Path) -> None:
    pages = {f"/usr/share/doc/dmremapctl/docs/{path.name}" for path in (TOP / "docs").glob("*.md")}
    assert pages <= named(built, "dm-remap-doc")


def test_what_fits_other_tools_is_there_as_an_example(built: Path) -> None:
    contrib = TOP / "contrib"
    files = [path for path in contrib.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    wanted = {path.relative_to(contrib) for path in files} - {Path("systemd/dmremap-monitor.service")}
    assert {f"/usr/share/doc/dmremapctl/examples/{path}" for path in wanted} <= named(built, "dmremapctl")


def test_lintian_has_nothing_to_say(built: Path) -> None:
    assert (built / "lintian.log").read_text() == ""
    # Each override has its reason before it.
    for overrides in (TOP / "debian").rglob("*lintian-overrides"):
        assert overrides.read_text().startswith("# ")


def test_built_again_they_are_the_same(built: Path) -> None:
    again = Path(run("ci/package", "-v", __version__).splitlines()[-1])
    assert again != built
    packages = sorted(path.name for path in built.glob("*.deb"))
    assert packages == sorted(path.name for path in again.glob("*.deb"))
    assert [name for name in packages if (built / name).read_bytes() != (again / name).read_bytes()] == []


def test_their_own_tests() -> None:
    run("ci/test-package")
