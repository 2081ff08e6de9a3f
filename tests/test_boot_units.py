"""What boot/ tells udev of a device, and the units it writes for systemd."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.boot_build import ONE, Machine, Ran, built, damage, pair, run, spare

GOLDEN = Path(__file__).with_name("boot_units.txt")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A main device and its spare."""
    return pair(tmp_path)


# udev


def told(machine: Machine, name: str, **environment: str) -> dict[str, str]:
    done = machine.activator("probe", f"/dev/{name}", **environment)
    assert (done.code, done.err) == (0, "")
    return dict(line.split("=", 1) for line in done.out.splitlines())


def test_udev_is_told_of_a_spare(machine: Machine) -> None:
    found = told(machine, "sdb")
    assert found == {
        "DM_REMAP_ROLE": "spare", "DM_REMAP_UUID": str(ONE), "DM_REMAP_COPIES": "5",
        "DM_REMAP_COPIES_VALID": "5", "ID_FS_TYPE": "dm_remap_member", "ID_FS_USAGE": "raid",
        "ID_FS_VERSION": "4", "ID_FS_UUID": str(ONE), "ID_FS_UUID_ENC": str(ONE),
    }  # fmt: skip
    (machine.top / "dev/sdb").write_bytes(damage(spare(ONE), 0, 3))
    assert told(machine, "sdb")["DM_REMAP_COPIES_VALID"] == "3"
    # Somebody's file system is not searched for what may lie further on.
    assert told(machine, "sdb", ID_FS_TYPE="ext4") == {}


def test_a_partition_is_searched_though_its_disk_has_a_table(machine: Machine) -> None:
    """udev gives a partition what it knows of the disk's."""
    (machine.top / "dev/sdb").write_bytes(damage(spare(ONE), 0))
    assert told(machine, "sdb", ID_PART_TABLE_TYPE="gpt") == {}
    found = told(machine, "sdb", ID_PART_TABLE_TYPE="gpt", DEVTYPE="partition")
    assert found["DM_REMAP_ROLE"] == "spare"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"data /dev/sda UUID={ONE} nofail, timeout=30", "data"),
        (f"data /dev/sda UUID={ONE} nofial", "data"),
        (f"data /dev/sda UUID={ONE} nofail # \u00fcber", "data"),
        ("data /dev/sda", "data"),
        ("a/b /dev/sda /dev/sdb", "-"),
        (f"data /dev/sda /dev/sdb {'x' * 1100}", "data"),
    ],
)
def test_a_main_device_is_hidden_whatever_else_is_wrong_with_its_line(
    machine: Machine, line: str, name: str
) -> None:
    machine.tab.write_text(f"{line}\n")
    done = machine.activator("probe", "--quiet", "/dev/sda")
    assert done.code == 0 and f"DM_REMAP_ROLE=main\nDM_REMAP_DEVICE={name}\n" in done.out
    assert machine.activator("probe", "--quiet", "/dev/sdc").out == ""


def test_udev_is_told_of_a_main_device(machine: Machine) -> None:
    links = "/dev/disk/by-id/a /dev/disk/by-uuid/1 /dev/disk/by-label/x /dev/disk/by-partuuid/2"
    found = told(machine, "sda", DEVLINKS=links, ID_FS_TYPE="ext4")
    assert found["DM_REMAP_ROLE"] == "main" and found["DM_REMAP_DEVICE"] == "data"
    assert found["ID_FS_USAGE"] == "raid"
    assert found["DM_REMAP_LINKS"].split() == ["disk/by-id/a", "disk/by-partuuid/2"]
    machine.tab.write_text("data /dev/disk/by-id/a /dev/sdb\n")
    assert told(machine, "sda", DEVLINKS=links)["DM_REMAP_ROLE"] == "main"
    assert told(machine, "sda", DEVLINKS="/dev/disk/by-id/ab") == {}
    machine.tab.write_text("data PARTUUID=2-b /dev/sdb\n")
    assert told(machine, "sda", ID_PART_ENTRY_UUID="2-b")["DM_REMAP_ROLE"] == "main"


def test_udev_is_told_of_a_partition_of_main(machine: Machine) -> None:
    links = "/dev/disk/by-id/a-part1 /dev/disk/by-uuid/1 /dev/disk/by-partuuid/2"
    found = told(machine, "sdb", DM_REMAP_PARENT="data", DEVLINKS=links)
    assert found["DM_REMAP_ROLE"] == "inside" and found["DM_REMAP_LINKS"].split() == ["disk/by-id/a-part1"]


def test_nothing_is_told_of_other_disks(machine: Machine) -> None:
    machine.disk("sdc")
    assert told(machine, "sdc") == {} and told(machine, "none") == {}


# systemd

TAB = f"""
data /dev/disk/by-id/wwn-0x5000 UUID={ONE}
root-1 PARTUUID=ABCD-01 /dev/sdb1 initramfs,timeout=180
late /dev/sdc /dev/sdd nofail,timeout=0
hand /dev/sde /dev/sdf noauto
"""


def written(top: Path) -> dict[str, str]:
    """The files of a directory, and where its links lead."""
    return {
        str(path.relative_to(top)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(top.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def generated(top: Path, tab: str = TAB) -> Path:
    (top / "tab").write_text(tab)
    (top / "units").mkdir()
    assert run("activator", "generate", "--tab", top / "tab", top / "units") == Ran(0, "", "")
    return top / "units"


def test_the_units(tmp_path: Path) -> None:
    found = "".join(f"=== {name}\n{text}\n" for name, text in written(generated(tmp_path)).items())
    assert found == GOLDEN.read_text()


def test_a_caller_s_mask_makes_nothing_private(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        units = generated(tmp_path)
    finally:
        os.umask(before)
    modes = {
        path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in units.rglob("*") if not path.is_symlink()
    }
    assert modes == {True: 0o755, False: 0o644}


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if not verify:
        pytest.skip("systemd-analyze is not installed")
    units = generated(tmp_path)
    # It wants the program of a service to be there.
    for service in units.glob("*.service"):
        service.write_text(service.read_text().replace("/usr/lib/dm-remap/activator", "/bin/true"))
    shutil.copy(Path(__file__).parents[1] / "boot/systemd/dm-remap.target", units)
    done = subprocess.run(
        [verify, "verify", *map(str, sorted(units.glob("*.service"))), str(units / "dm-remap.target")],
        env={"SYSTEMD_UNIT_PATH": f"{units}:", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_boot_goes_on_without_a_table_or_a_directory(tmp_path: Path) -> None:
    generator = tmp_path / "dm-remap-generator"
    generator.symlink_to(built() / "activator")
    done = subprocess.run([generator, tmp_path / "none", "x", "y"], capture_output=True, check=False)
    assert done.returncode == 0
    (tmp_path / "tab").write_text(TAB + "wrong\n")
    told = run("activator", "generate", "--tab", tmp_path / "tab", tmp_path / "none")
    assert told.code == 0 and "cannot be written" in told.err and ":6: it has 1 fields" in told.err


def test_a_name_too_long_for_a_unit_is_told(tmp_path: Path) -> None:
    (tmp_path / "tab").write_text(f"data /dev/{'-' * 70} /dev/sdb\n")
    (tmp_path / "units").mkdir()
    told = run("activator", "generate", "--tab", tmp_path / "tab", tmp_path / "units")
    assert told.code == 0 and ":1: a name is too long for a unit" in told.err
    assert written(tmp_path / "units") == {}


def test_install(tmp_path: Path) -> None:
    boot = Path(__file__).parents[1] / "boot"
    words = ["make", "-C", str(boot), f"O={tmp_path}", f"DESTDIR={tmp_path}/tree", "install"]
    subprocess.run(words, capture_output=True, check=True)
    tree = tmp_path / "tree"
    assert {str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()} == {
        "usr/lib/dm-remap/activator",
        "usr/lib/udev/rules.d/61-dm-remap.rules",
        "usr/lib/systemd/system/dm-remap.target",
        "usr/lib/systemd/system/sysinit.target.wants/dm-remap.target",
        "usr/lib/systemd/system-generators/dm-remap-generator",
        "usr/share/initramfs-tools/hooks/dm-remap",
        "usr/share/initramfs-tools/scripts/local-top/dm-remap",
        "usr/share/initramfs-tools/scripts/local-block/dm-remap",
        "etc/kernel/header_postinst.d/zz-dm-remap",
        "usr/lib/dracut/modules.d/90dm-remap/module-setup.sh",
    }
    assert (tree / "usr/lib/systemd/system-generators/dm-remap-generator").exists()
