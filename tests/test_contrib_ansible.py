"""The collection for Ansible: its modules on a fake kernel, its playbooks through Ansible itself."""

import hashlib
import json
import os
import pickle
import re
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pycontrol.service.boot import tab
from tests.fake_dmremapctl import SIZES, Directory, install
from tests.fakes import Device

TOP = Path(__file__).resolve().parents[1]
COLLECTION = TOP / "contrib/ansible/dmremap/dmremap"
NAME = "dmremap.dmremap"
Task = Callable[..., Any]
Play = Callable[..., str]


def made(*words: str) -> str:
    """What ci/ansible prints."""
    done = subprocess.run([TOP / "ci/ansible", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def ansible() -> Path:
    return Path(made())


@pytest.fixture
def host(tmp_path: Path) -> Directory:
    try:
        return install(tmp_path / "host")
    except PermissionError:
        pytest.skip("device nodes may only be made by root; tests/vm/test_ansible.py shows the same")


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    """A directory in which the collection has its place."""
    place = tmp_path / "collections/ansible_collections/dmremap"
    place.mkdir(parents=True)
    (place / "dmremap").symlink_to(COLLECTION)
    return tmp_path / "collections"


@pytest.fixture
def task(ansible: Path, host: Directory, collections: Path, tmp_path: Path) -> Task:
    """``task(state="absent", check=True)``: what the module answers about the device ``data``."""

    def run(module: str = "dmremap", check: bool = False, **params: object) -> Any:
        given = {"executable": str(host.program), "_ansible_check_mode": check, **params}
        if module == "dmremap":
            given = {"name": "data", **given}
        if module == "dmremap" and given.get("state", "present") == "present":
            given = {"main": str(host.node("main")), "spare": str(host.node("spare")), **given}
        given = {key: value for key, value in given.items() if value is not ...}
        arguments = tmp_path / "arguments"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
        name = f"ansible_collections.{NAME}.plugins.modules.{module}"
        done = subprocess.run(
            [ansible / "bin/python", "-B", "-m", name, arguments],
            capture_output=True, text=True,
            env={"PYTHONPATH": str(collections), "PATH": os.environ["PATH"], "ONCE": "$TWICE", "TWICE": "x"},
        )  # fmt: skip
        assert done.stderr == "" and "Traceback" not in done.stdout, done.stdout + done.stderr
        answer = json.loads(done.stdout)
        assert (done.returncode == 0) is not answer.get("failed", False)
        return answer

    return run


def failure(answer: Any) -> str:
    """Of a task that failed: its one sentence."""
    assert answer["failed"] and not answer.get("changed")
    sentence: str = answer["msg"]
    assert "\n" not in sentence and "Traceback" not in sentence
    return sentence


def digests(host: Directory) -> list[str]:
    paths = [*sorted((host.top / "images").iterdir()), host.kernel]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_a_device_is_made_once(host: Directory, task: Task) -> None:
    first = task()
    assert first["changed"] and first["formatted"] and first["loses"] == []
    assert first["device"]["name"] == "data" and first["device"]["targets"][0]["spare"] == "8:16"
    assert first["diff"]["before"] == {} and first["diff"]["after"]["copies"] == 5
    assert host.devices()["data"].uuid == first["device"]["uuid"]
    before = digests(host)
    host.called()
    second = task()
    assert not second["changed"] and second["device"] == first["device"] and "diff" not in second
    assert host.called() == [["status", "--json", "--"]] and digests(host) == before


def test_by_another_path_it_is_the_same_device(host: Directory, task: Task) -> None:
    first = task()
    for name in ("main", "spare"):
        (host.top / "nodes/by-id").mkdir(exist_ok=True)
        (host.top / "nodes/by-id" / name).symlink_to(host.node(name))
    again = task(main=str(host.node("by-id/main")), spare=str(host.node("by-id/spare")))
    assert not again["changed"]
    assert not task(uuid=first["device"]["uuid"].removeprefix("DMREMAP-").upper())["changed"]
    assert not task(name="/dev/mapper/data")["changed"]


def test_check_mode_says_and_does_nothing(host: Directory, task: Task) -> None:
    before = digests(host)
    would = task(check=True, copies=3, spacing="256K", relocate_weak=True)
    assert would["changed"] and would["formatted"] and would["device"] is None
    assert would["diff"]["after"] == {
        "main": "8:0", "spare": "8:16", "copies": 3, "spacing": 256 << 10, "relocate_weak": True,
        "formatted": True, "loses": [],
    }  # fmt: skip
    assert digests(host) == before and [words[:2] for words in host.called()] == [
        ["status", "--json"], ["create", "--dry-run"],
    ]  # fmt: skip
    made = task(copies=3, spacing="256K", relocate_weak=True)
    assert made["diff"] == would["diff"]
    assert not task(check=True, copies=3, spacing="262144", relocate_weak=True)["changed"]
    before = digests(host)
    gone = task(check=True, state="absent")
    assert gone["changed"] and gone["device"] == made["device"] and digests(host) == before
    assert gone["diff"]["before"]["copies"] == 3 and gone["diff"]["after"] == {}


def test_absent_and_present_again_keeps_the_remaps(host: Directory, task: Task) -> None:
    assert not task(state="absent")["changed"]
    uuid = task()["device"]["uuid"]
    before = digests(host)[:-1]
    gone = task(state="absent", wait=0)
    assert gone["changed"] and gone["device"] is None and host.devices() == {}
    assert not task(state="absent")["changed"] and digests(host)[:-1] == before
    back = task()
    assert back["changed"] and not back["formatted"] and back["device"]["uuid"] == uuid
    assert digests(host)[:-1] == before, "activated, nothing was written"


def test_what_is_on_the_spare_is_kept_until_somebody_gives_it_up(host: Directory, task: Task) -> None:
    with host.image("spare").open("r+b") as file:
        file.seek(0x438)
        file.write(b"\x53\xef")
    before = digests(host)
    assert "ext2/3/4" in failure(task())
    assert digests(host) == before
    would = task(check=True, format=True)
    assert would["changed"] and would["loses"] == ["ext2/3/4 at byte 1080"] and digests(host) == before
    assert task(format=True)["formatted"]


def test_format_that_stays_set_never_loses_remaps(host: Directory, task: Task) -> None:
    uuid = task(format=True)["device"]["uuid"]
    host.called()
    task(state="absent")
    assert task(format=True)["device"]["uuid"] == uuid
    task(state="absent")
    # Its own metadata, in a geometry that is not asked for; and of another main device.
    assert "formatted with 5 copies" in failure(task(format=True, copies=3))
    assert "belongs to" in failure(task(format=True, main=str(host.node("other"))))
    # Damaged: there may be something to repair.
    with host.image("spare").open("r+b") as file:
        for copy in range(5):
            file.seek(copy * (128 << 10) + 0x40)
            file.write(b"\xff" * 64)
    before = digests(host)
    assert "beyond recovery" in failure(task(format=True))
    assert digests(host) == before and not any("--format" in words for words in host.called())


def test_a_spare_that_is_busy_is_not_formatted_for_that(host: Directory, task: Task) -> None:
    task()
    assert not task(name="other", state="absent")["changed"] and set(host.devices()) == {"data"}
    # The name is taken by somebody else: refused as busy, like a device that somebody holds.
    host.kernel.write_bytes(
        pickle.dumps({"data": Device("data", "FOREIGN", 0, live=[(0, 8, "linear", "8:0 0")])})
    )
    host.called()
    assert "named data already" in failure(task(format=True))
    assert [words[0] for words in host.called()] == ["status", "create", "inspect"]


def test_another_device_is_not_touched(host: Directory, task: Task) -> None:
    task()
    before = digests(host)
    for params, words in (
        ({"spare": "other"}, "the spare of data is 8:16, but .*other is 8:32; 'dmremapctl spare replace'"),
        ({"main": "other"}, "the main of data is 8:0, but .*other is 8:32; 'dmremapctl evacuate'"),
        ({"main": "gone"}, "gone is not a block device, and data is there"),
        ({"copies": 3}, "copies of data is 5, not 3"),
        ({"spacing": "1M"}, "spacing of data is 131072, not 1048576"),
        ({"relocate_weak": True}, "relocate_weak of data is False, not True"),
        ({"uuid": "DMREMAP-x"}, "data has the uuid DMREMAP-.*, not DMREMAP-x"),
        ({"state": "absent", "uuid": "x"}, "data has the uuid DMREMAP-.*, not x"),
    ):
        given = {key: str(host.node(str(to))) if key in SIZES else to for key, to in params.items()}
        assert re.search(words, failure(task(**given)))
    assert digests(host) == before


def test_wrong_parameters_are_one_sentence(host: Directory, task: Task) -> None:
    before = digests(host)
    for params, words in (
        ({"main": ...}, "state is present but all of the following are missing: main"),
        ({"main": None}, "main is missing"),
        ({"spare": ""}, "spare is missing"),
        ({"state": "gone"}, "value of state must be one of: present, absent, got: gone"),
        ({"copies": "many"}, "cannot be converted to an int"),
        ({"copies": 9}, "--copies is 1 to 8, not 9"),
        ({"spacing": "100K"}, "--spacing is a power of two"),
        ({"spacing": "much"}, "spacing is a size like 128K or 4M, not much"),
        ({"name": "a/b"}, "a/b"),
        ({"spare": "/nowhere"}, "/nowhere does not exist"),
        ({"main": "/$HOME/~;`id`"}, "does not exist"),
        ({"executable": "/nowhere/dmremapctl"}, "/nowhere/dmremapctl"),
    ):
        assert re.search(words, failure(task(**params)))
    assert digests(host) == before


def test_names_go_through_as_they_are(host: Directory, task: Task) -> None:
    assert task(name="--yes")["device"]["name"] == "--yes"
    failure(task(spare="/$ONCE ~ `id` \x1b[2J"))
    # Ansible expands the variables in a path, once; nobody does it again, and there is no shell.
    assert host.called()[-1][-1] == "/$TWICE ~ `id` \x1b[2J"


def test_info(host: Directory, task: Task) -> None:
    assert task(module="dmremap_info")["devices"] == []
    device = task()["device"]
    told = task(module="dmremap_info", check=True)
    assert not told["changed"]
    (found,) = told["devices"]
    assert found.pop("verdict") == "good" and found.pop("health")[0]["reasons"][0]["sentence"]
    assert found == device
    assert task(module="dmremap_info", name="data", health=False)["devices"] == [device]
    assert task(module="dmremap_info", name="none")["devices"] == []
    assert "/nowhere" in failure(task(module="dmremap_info", executable="/nowhere/dmremapctl"))


# /etc/dmremaptab

OTHERS = b"# as it was: \xe4\nother /dev/sdx /dev/sdy nofail\n\nwrong\n"


@pytest.fixture
def boot(host: Directory, tmp_path: Path) -> Iterator[dict[str, object]]:
    """What a task about boot gives besides: disks with names below /dev, and a table that is not empty."""
    table = tmp_path / "dmremaptab"
    table.write_bytes(OTHERS)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as below:
        for name in ("main", "spare"):
            (Path(below) / name).symlink_to(host.node(name))
        yield {
            "main": f"{below}/main", "spare": f"{below}/spare", "dmremaptab": str(table), "boot": True,
        }  # fmt: skip


def entries(path: Path) -> dict[str, tab.Entry]:
    """The lines as they are understood at boot, less what was wrong before."""
    found = tab.load(path)
    assert len(found.faults) == 1
    return {entry.name: entry for entry in found.entries}


def test_a_line_for_boot_is_written_once(task: Task, boot: dict[str, object], tmp_path: Path) -> None:
    table = tmp_path / "dmremaptab"
    would = task(check=True, **boot, boot_options=["nofail", "timeout=120"])
    assert would["changed"] and would["boot_changed"] and would["boot"].split()[2] == "UUID=?"
    assert table.read_bytes() == OTHERS
    first = task(**boot, boot_options=["nofail", "timeout=120"])
    uuid = first["device"]["uuid"].removeprefix("DMREMAP-")
    line = f"data {boot['main']} UUID={uuid} nofail,timeout=120"
    assert first["boot"] == line and first["diff"]["after"]["boot"] == line
    assert table.read_bytes() == OTHERS + line.encode() + b"\n"
    entry = entries(table)["data"]
    assert (entry.main, entry.uuid, entry.nofail, entry.timeout) == (boot["main"], uuid, True, 120)
    # In another order, or not given, they are the same.
    for options in ({"boot_options": ["timeout=120", "nofail"]}, {}):
        for check in (True, False):
            again = task(check=check, **boot, **options)
            assert not again["changed"] and not again["boot_changed"] and again["boot"] == line
            assert "diff" not in again
    assert "may be another disk at the next boot" in str(again["warnings"])
    assert "boot" not in task(main=boot["main"]), "who does not ask is not told"


def test_a_line_for_boot_is_corrected_and_taken_out(
    task: Task, boot: dict[str, object], tmp_path: Path
) -> None:
    table = tmp_path / "dmremaptab"
    stale = f"data /dev/gone UUID={uuid4()} noauto\n".encode()
    twice = f"data {boot['main']} wrong\n".encode()
    # Without a newline at the end, and in the middle of others.
    table.write_bytes(stale + OTHERS + twice.rstrip())
    made = task(**boot, backup=True)
    assert Path(made["backup_file"]).read_bytes() == stale + OTHERS + twice.rstrip()
    assert made["diff"]["before"] == {"boot": stale.decode().strip()}
    assert table.read_bytes() == made["boot"].encode() + b"\n" + OTHERS and entries(table)["data"].noauto
    changed = task(check=True, **boot, boot_options=[])
    assert changed["changed"] and changed["boot"].endswith(" -")
    assert changed["diff"] == {"before": {"boot": made["boot"]}, "after": {"boot": changed["boot"]}}

    gone = {**boot, "boot": False}
    before = table.read_bytes()
    assert task(check=True, **gone)["boot_changed"] and table.read_bytes() == before
    assert task(**gone)["boot"] is None and table.read_bytes() == OTHERS
    assert not task(**gone)["changed"]
    task(**boot)
    assert task(state="absent", boot=False, dmremaptab=str(table))["changed"]
    assert table.read_bytes() == OTHERS


def test_a_feature_that_is_asked_for_is_there_after_boot(
    task: Task, boot: dict[str, object], tmp_path: Path
) -> None:
    task(**boot, relocate_weak=True, boot_options=["ro"])
    entry = entries(tmp_path / "dmremaptab")["data"]
    assert entry.relocate_weak and entry.ro
    assert not task(**boot, relocate_weak=True, boot_options=["relocate-weak", "ro"])["changed"]
    assert not task(**boot)["changed"]


def test_there_need_be_no_table(task: Task, boot: dict[str, object], tmp_path: Path) -> None:
    table = tmp_path / "dmremaptab"
    table.unlink()
    assert not task(state="absent", boot=False, dmremaptab=str(table))["changed"] and not table.exists()
    line = task(**boot)["boot"]
    assert table.read_text() == f"{line}\n" and stat.S_IMODE(table.stat().st_mode) == 0o644
    assert [entry.name for entry in tab.load(table).entries] == ["data"]


def test_a_line_that_would_be_left_out_at_boot_is_refused_at_once(
    host: Directory, task: Task, boot: dict[str, object], tmp_path: Path
) -> None:
    before = digests(host)
    for params, words in (
        ({"boot_options": ["nofial"]}, "'nofial' is no option of the table; it knows ro, .* timeout=SECONDS"),
        ({"boot_options": ["timeout=1h"]}, "'timeout=1h' is no option"),
        ({"boot_options": ["nofail,ro\nx /dev/a /dev/b"]}, "is no option"),
        ({"main": "main"}, "give main as a path below /dev"),
        ({"main": "/dev/shm/../../tmp/main"}, "give main as a path below /dev"),
        ({"main": "/dev/a b"}, "without blanks"),
        ({"name": "#data"}, "'#data' cannot stand in the table"),
        ({"name": "a b"}, "'a b' cannot stand in the table"),
        ({"state": "absent"}, "boot is true, but state is absent"),
        ({"dmremaptab": str(tmp_path)}, "cannot be read: Is a directory"),
    ):
        for check in (True, False):
            assert re.search(words, failure(task(check=check, **{**boot, **params})))
    assert digests(host) == before and (tmp_path / "dmremaptab").read_bytes() == OTHERS


@pytest.fixture
def play(ansible: Path, host: Directory, collections: Path, tmp_path: Path) -> Play:
    """Run a playbook of the collection on this machine, without becoming root; what Ansible says."""
    variables = {
        "ansible_connection": "local",
        "ansible_become": False,
        "ansible_python_interpreter": str(ansible / "bin/python"),
        "dmremap_devices": [
            {"name": "data", "main": str(host.node("main")), "spare": str(host.node("spare")), "copies": 3}
        ],
    }
    (tmp_path / "variables").write_text(json.dumps(variables))

    def run(book: str, *words: str) -> str:
        environment = {
            "PATH": f"{host.top}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [
                ansible / "bin/ansible-playbook", "-i", "one,", "-e", f"@{tmp_path / 'variables'}",
                *words, f"{NAME}.{book}",
            ],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert (done.returncode == 0) is ("failed=0" in done.stdout), done.stdout + done.stderr
        return done.stdout

    return run


def test_the_playbooks(host: Directory, play: Play, tmp_path: Path) -> None:
    """As somebody would use them: what would be, then so, then again, and a look at the health."""
    # The module cannot be loaded here; the playbook goes on with what it is about.
    book = ("protect", "--start-at-task", "Join each disk and its spare")
    before = digests(host)
    said = play(*book, "--check", "--diff")
    assert "changed=1" in said and '+    "copies": 3' in said and digests(host) == before
    assert "changed=1" in play(*book)
    before = digests(host)
    said = play(*book, "--diff")
    assert "changed=0" in said and "failed=0" in said and digests(host) == before
    assert "failed=0" in play("health")


@pytest.mark.parametrize("wrong", [{"spacng": 4096}, {"state": "absent"}])
def test_the_playbook_does_nothing_for_a_list_it_does_not_know(
    host: Directory, play: Play, wrong: dict[str, object]
) -> None:
    """A word with a typing error would leave a device without what was asked for, 'absent' make one."""
    before = digests(host)
    device = {"name": "data", "main": str(host.node("main")), "spare": str(host.node("spare")), **wrong}
    said = play(
        "protect", "--start-at-task", "Check the list of devices",
        "-e", json.dumps({"dmremap_devices": [device]}),
    )  # fmt: skip
    assert f"data: protect does not know {next(iter(wrong))}; it makes devices of name, main" in said
    assert "Join each disk" not in said and digests(host) == before


def test_who_brings_devices_up_is_told_once(
    host: Directory, play: Play, boot: dict[str, object], tmp_path: Path
) -> None:
    told = tmp_path / "told"
    for program in ("systemctl", "udevadm", "update-initramfs"):
        (host.top / program).write_text(f'#!/bin/sh\necho {program} "$@" >>{told}\n')
        (host.top / program).chmod(0o755)
    device = {"name": "data", **boot, "boot_options": ["initramfs"]}
    book = (
        "protect",
        "--start-at-task",
        "Join each disk and its spare",
        "-e",
        json.dumps({"dmremap_devices": [device]}),
    )
    assert "failed=0" in play(*book, "--check") and not told.exists()
    play(*book)
    assert told.read_text().splitlines() == [
        "systemctl daemon-reload", "udevadm trigger --subsystem-match=block", "update-initramfs -u",
    ]  # fmt: skip
    told.unlink()
    assert "changed=0" in play(*book) and not told.exists()


def test_ansible_lint_has_nothing_to_say() -> None:
    made("--lint")
