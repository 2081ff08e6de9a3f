"""``dmremapctl create`` where it proposes and asks, and what --dry-run shows."""

import errno
import hashlib
import json
import sys
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol import metadata
from pycontrol.service.blockdev import BlockDevice
from pycontrol.service.find import disks as facts
from pycontrol.service.find import smartctl
from pycontrol.service.identity import Identity
from pycontrol.service.signatures import Signature
from tests.conftest import MIB, Disks, Run
from tests.fake_sysfs import FakeSysfs
from tests.fakes import FakeKernel
from tests.terminal import Terminal
from tests.test_smart import DYING_ATA, program

GIB = 1 << 30


class Machine:
    """A machine with disks, of which sda is dying."""

    def __init__(self, top: Path, disks: Disks) -> None:
        self.tree, self.disks = FakeSysfs(top), disks

    def add(
        self, name: str, size: int, *, model: str = "", serial: str = "", logical_block: int = 512
    ) -> str:
        path = self.tree.disk(name, size, model=model, serial=serial, logical_block=logical_block)
        self.disks.known[path] = BlockDevice(
            path, self.tree.numbers[name], size, logical_block, disk=name, identity=Identity(serial=serial)
        )
        return path

    def digests(self) -> dict[str, str]:
        """What each disk begins with, farther than anything here would write."""
        found = {}
        for path in self.tree.dev.iterdir():
            if path.is_file():
                with path.open("rb") as file:
                    found[path.name] = hashlib.sha256(file.read(4 * MIB)).hexdigest()
        return found


@pytest.fixture
def machine(tmp_path: Path, disks: Disks, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "tree", disks)
    monkeypatch.setattr(facts, "PLACES", made.tree.places)
    monkeypatch.setattr(smartctl, "SEARCH", str(tmp_path))
    (tmp_path / "document").write_text(json.dumps(DYING_ATA))
    program(tmp_path, f'case $* in *sda) /bin/cat {tmp_path}/document;; *) echo "{{}}";; esac')
    made.add("sdc", 200 * MIB, model="Good One", serial="S3")
    made.add("sda", 64 * MIB, model="Dying", serial="S1")
    made.add("sdb", 300 * MIB, serial="S2")
    made.add("sdd", 8 * MIB)
    made.tree.put("sdd", 510, b"\x55\xaa")
    return made


def test_everything_proposed_and_accepted(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    result = run("create", "--guide", "--json", answer="\n\n\ny\n")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["name"], told["formatted"]) == ("safe-sda", True)
    main, spare = machine.tree.numbers["sda"], machine.tree.numbers["sdc"]
    # 1 % of 200 MiB holds five copies 256 KiB apart.
    assert told["table"] == f"0 131072 dm-remap-v4 {main} {spare} 4 copies 5 spacing 512"
    assert kernel.devices["safe-sda"].live == [
        (0, 131072, "dm-remap-v4", f"{main} {spare} 4 copies 5 spacing 512")
    ]
    asked = result.stderr
    top = machine.tree.dev
    assert "1. " + f"{top}/sda  64 MiB  disk  WDC WD40EFRX-68N32N0" in asked
    assert "needs protection now" in asked
    assert f"1. {top}/sdc  200 MiB  disk  Good One  serial S3" in asked
    assert f"2. {top}/sdb" in asked and f"{top}/sdd" not in asked.partition("shall be the spare")[2]
    assert f"main: {top}/sda (64 MiB, Dying, serial S1).  What is on it stays" in asked
    assert f"spare: {top}/sdc (200 MiB, Good One, serial S3); blank" in asked
    assert "the first 1.2 MiB of" in asked and "Format it as a spare?" in asked


@pytest.mark.parametrize("answer", ["", "\n", "\n\n", "\n\n\n", "\n\n\nn\n", "\n\n\n\n"])
def test_nothing_is_done_until_the_last_yes(
    machine: Machine, run: Run, kernel: FakeKernel, answer: str
) -> None:
    before = machine.digests()
    result = run("create", "--guide", answer=answer)
    assert result.exit_code == 10, result.stderr
    assert "nothing was changed" in result.stderr and result.stdout == ""
    assert machine.digests() == before and kernel.devices == {}


def test_numbers_paths_and_a_name_of_ones_own(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    path = str(machine.tree.dev / "sdb")
    result = run("create", "--guide", answer=f"1\n{path}\ndata\ny\n")
    assert result.exit_code == 0, result.stderr
    assert (
        kernel.devices["data"].live and str(machine.tree.numbers["sdb"]) in kernel.devices["data"].live[0][3]
    )
    assert result.stdout.startswith("/dev/mapper/data: ")


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("9\n", 2, "no number 9"),
        ("0\n", 2, "no number 0"),
        ("/dev/gone\n", 4, "does not exist"),
        ("1\n/dev/gone\n\n", 4, "does not exist"),
        ("1\n1\ntwo words\n", 2, "cannot name a device"),
    ],
)
def test_answers_that_make_no_sense(
    machine: Machine, run: Run, kernel: FakeKernel, answer: str, code: int, words: str
) -> None:
    before = machine.digests()
    result = run("create", "--guide", answer=answer)
    assert result.exit_code == code and words in result.stderr, result.stderr
    assert machine.digests() == before and kernel.devices == {}


def test_what_was_given_is_not_asked_for(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    top = machine.tree.dev
    result = run("create", "data", f"{top}/sdb", "--guide", answer="1\ny\n")
    assert result.exit_code == 0, result.stderr
    assert "to be protected" not in result.stderr and "Name of" not in result.stderr
    # sdc is a good one and comes first; sda is failing itself.
    assert f"{top}/sdb with spare {top}/sdc" in result.stdout and f". {top}/sda" not in result.stderr


def test_all_given_and_the_geometry_proposed_or_chosen(
    machine: Machine, run: Run, kernel: FakeKernel
) -> None:
    devices = [str(machine.tree.dev / name) for name in ("sda", "sdc")]
    run("create", "a", *devices, "--guide", "--yes")
    assert kernel.devices["a"].live and "copies 5 spacing 512" in kernel.devices["a"].live[0][3]
    del kernel.devices["a"]
    run("create", "b", *devices, "--guide", "--yes", "--format", "--copies", "3", "--spacing", "64K")
    assert kernel.devices["b"].live and "copies 3 spacing 128" in kernel.devices["b"].live[0][3]


def test_the_larger_region_must_be_blank_as_well(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    """Data behind the region of the defaults, but within what the proposal would overwrite."""
    machine.tree.put("sdc", MIB, b"data")
    before = machine.digests()
    result = run(
        "create", "--guide", "a", str(machine.tree.dev / "sda"), str(machine.tree.dev / "sdc"), answer="y\n"
    )
    assert result.exit_code == 5 and "carries data in its first 1.2 MiB" in result.stderr
    assert machine.digests() == before and kernel.devices == {}


def test_a_spare_of_this_main_is_proposed_first_and_activated(
    machine: Machine, run: Run, kernel: FakeKernel
) -> None:
    for offset, data in metadata.fresh(
        uuid=UUID(int=7), main_sectors=64 * MIB // 512, spare_sectors=300 * MIB // 512, copies=5, spacing=256,
        block_size=512, main_id="serial:S1", name="old", time=1,
    ):  # fmt: skip
        machine.tree.put("sdb", offset, data)
    before = machine.digests()
    result = run("create", "--guide", answer="\n\n\nn\n")
    assert result.exit_code == 10 and "Do it?" in result.stderr and kernel.devices == {}
    assert "Nothing of it is overwritten" in result.stderr
    result = run("create", "--guide", answer="\n\n\ny\n")
    assert result.exit_code == 0 and "activated, 0 records" in result.stdout
    assert machine.digests() == before


def test_a_name_that_is_free(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    kernel.add("safe-sda", "OTHER", (0, 8, "linear", "8:0 0"))
    assert run("create", "--guide", answer="\n\n\ny\n").exit_code == 0
    assert "safe-sda-2" in kernel.devices


def test_no_disk_and_no_spare(machine: Machine, run: Run) -> None:
    for name in ("sdb", "sdc", "sdd"):
        machine.tree.mount(name, "/mnt")
    result = run("create", "--guide", answer="1\n")
    assert result.exit_code == 4 and "no device that could be the spare" in result.stderr
    machine.tree.mount("sda", "/mnt")
    result = run("create", "--guide")
    assert result.exit_code == 4 and "no disk that could be protected" in result.stderr


def test_nothing_is_proposed_where_nothing_speaks_for_it(machine: Machine, run: Run, tmp_path: Path) -> None:
    """Without smartctl one disk is as good as the other: an empty answer chooses none."""
    (tmp_path / "smartctl").unlink()
    result = run("create", "--guide", answer="\n\n")
    assert result.exit_code == 10 and "install smartmontools" in result.stderr
    assert "shall be the spare" not in result.stderr


@pytest.mark.parametrize("given", [(), ("data",), ("data", "/dev/sda")])
def test_without_a_terminal_all_must_be_named(
    machine: Machine, run: Run, kernel: FakeKernel, given: tuple[str, ...]
) -> None:
    result = run("create", *given)
    assert result.exit_code == 2 and "Missing argument" in result.stderr and kernel.calls == []
    result = run("create", *given, "--guide", "--yes")
    assert result.exit_code == 2 and "--yes chooses no devices" in result.stderr and kernel.calls == []


def test_on_a_terminal_it_guides_by_itself(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel
) -> None:
    from pycontrol.cli.main import cli

    monkeypatch.setenv("COLUMNS", "40")
    with Terminal("\n\n\nn\n") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal.keyboard)
        monkeypatch.setattr(sys, "stderr", terminal.screen)
        with pytest.raises(SystemExit) as ended:
            cli(["create"])
        shown = terminal.shown()
    assert ended.value.code == 10 and "Format it as a spare?" in shown and kernel.devices == {}


# --dry-run


def test_dry_run_in_words(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    main, spare = (str(machine.tree.dev / name) for name in ("sda", "sdc"))
    machine.disks.known[main] = BlockDevice(
        main, machine.tree.numbers["sda"], 64 * MIB, 512, disk="sda", known_as=(Signature("ext4\x1b", -1),)
    )
    before = machine.digests()
    result = run("create", "data", main, spare, "--dry-run")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "/dev/mapper/data is made, 64 MiB.",
        f"  main: {main} (64 MiB, Dying).  What is on it stays, and nothing is written to it now.",
        f"  spare: {spare} (200 MiB, Good One, serial S3); blank.",
        f"  written now: the first 640 KiB of {spare}, 5 copies of the metadata, 128 KiB apart; the rest"
        " when sectors fail.",
        "  room: 199.4 MiB for bad sectors, 3.1e+02 % of main.",
        f"  table: 0 131072 dm-remap-v4 {machine.tree.numbers['sda']} {machine.tree.numbers['sdc']} 4 copies"
        " 5 spacing 256",
        f"  afterwards: what is on {main} (ext4\\x1b) is to be used through /dev/mapper/data only; change"
        " /etc/fstab if it names the disk.",
        "dry run: nothing was written",
    ]
    assert machine.digests() == before and kernel.devices == {}


def test_dry_run_as_json(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    main, spare = (str(machine.tree.dev / name) for name in ("sda", "sdd"))
    before = machine.digests()
    refused = run("create", "data", main, spare, "--dry-run", "--json")
    assert refused.exit_code == 5 and refused.stdout == ""
    result = run("create", "data", main, spare, "--dry-run", "--json", "--format")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told.pop("table").endswith("4 copies 5 spacing 256")
    assert told == {
        "dry_run": True, "name": "data", "path": "/dev/mapper/data", "main": "8:1", "spare": "8:3",
        "formatted": True, "records": 0, "warnings": [], "copies": 5, "spacing": 131072,
        "loses": ["boot sector at byte 510"], "metadata": False, "overwritten": 655360,
        "room": 8 * MIB - 655360,
    }  # fmt: skip
    assert machine.digests() == before and kernel.devices == {}
    in_words = run("create", "data", main, spare, "--dry-run", "--format").stdout
    assert "holds boot sector at byte 510, WHICH IS LOST" in in_words


def test_a_spare_of_larger_blocks_is_warned_of(machine: Machine, run: Run) -> None:
    native = machine.add("sde", 64 * MIB, logical_block=4096)
    result = run("create", "data", str(machine.tree.dev / "sda"), native, "--dry-run")
    assert result.exit_code == 0 and "its logical block is 4096 bytes, main's 512" in result.stderr


def test_a_failure_between_question_and_answer(machine: Machine, run: Run, kernel: FakeKernel) -> None:
    kernel.fail["DM_LIST_DEVICES"] = errno.EACCES
    result = run("create", "--guide", answer="\n\n\ny\n")
    assert result.exit_code == 6 and kernel.devices == {}
