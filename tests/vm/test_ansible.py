"""The collection for Ansible against the real target: the second run changes nothing."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Guest
from target import message

TOP = Path(__file__).resolve().parents[2]
COLLECTION = TOP / "contrib/ansible/dmremap/dmremap"
Task = Callable[..., Any]


def archive() -> bytes:
    """What Ansible sends to a host along with a module, and the collection."""
    done = subprocess.run([TOP / "ci/ansible"], stdout=subprocess.PIPE, text=True, check=True)
    (ansible,) = Path(done.stdout.strip()).glob("lib/python3*/site-packages/ansible")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        # Its own is that of the controller, and imports more.
        tar.addfile(tarfile.TarInfo("ansible/__init__.py"))
        for path in (ansible / "release.py", *ansible.glob("module_utils/**/*.py")):
            tar.add(path, f"ansible/{path.relative_to(ansible)}")
        for path in COLLECTION.glob("plugins/**/*.py"):
            tar.add(path, f"ansible_collections/dmremap/dmremap/{path.relative_to(COLLECTION)}")
    return out.getvalue()


@pytest.fixture
def task(guest: Guest) -> Task:
    """``task(state="absent", check=True)``: what a module answers, run as Ansible runs it."""
    if guest.run("test", "-e", "/tmp/ansible", check=False).rc:
        guest.push(archive(), "/tmp/ansible.tar.gz")
        guest.sh("mkdir /tmp/ansible; tar -xzf /tmp/ansible.tar.gz -C /tmp/ansible")

    def run(module: str = "dmremap", check: bool = False, **params: object) -> Any:
        given: dict[str, object] = {"_ansible_check_mode": check}
        if module == "dmremap":
            given |= {"name": "data"}
        if params.get("state", "present") == "present" and module == "dmremap":
            given |= {"main": guest.main, "spare": guest.spare}
        guest.push(json.dumps({"ANSIBLE_MODULE_ARGS": given | params}), "/tmp/arguments")
        name = f"ansible_collections.dmremap.dmremap.plugins.modules.{module}"
        done = guest.sh(f"cd /tmp/ansible; exec python3 -m {name} /tmp/arguments", check=False)
        assert done.err == "", done
        answer = json.loads(done.out)
        assert (done.rc == 0) is not answer.get("failed", False)
        if "failed" in answer:
            assert "\n" not in answer["msg"]
        return answer

    return run


def test_the_second_run_changes_nothing(guest: Guest, task: Task) -> None:
    would = task(check=True)
    assert would["changed"] and would["diff"]["after"]["copies"] == 5
    assert guest.read(guest.spare, 0, 1024) == bytes(512 << 10), "check mode writes nothing"
    assert guest.run("dmremapctl", "list", "--json").out.strip() == "[]"

    first = task()
    assert first["changed"] and first["formatted"] and first["diff"] == would["diff"]
    # On a busy host the minute may be over while nothing must be written but by what is tested.
    guest.sh("echo 0 >/sys/module/dm_remap_v4/parameters/dm_remap_autosave_enabled")
    message(guest, "remap", 1000, 8, name="data")
    spare = guest.read(guest.spare, 0, 2048)
    guest.run("ln", "-sfn", guest.main, "/tmp/by-another-name")
    second = task(main="/tmp/by-another-name", copies=5, spacing="128K", relocate_weak=False)
    assert not second["changed"] and second["device"]["uuid"] == first["device"]["uuid"]
    assert guest.read(guest.spare, 0, 2048) == spare

    (found,) = task(module="dmremap_info")["devices"]
    assert found["targets"][0]["remapped_extents"] == 1 and found["verdict"] == "good"

    # Down, again, and up: the remap is still there.
    assert task(state="absent")["changed"] and not task(state="absent")["changed"]
    back = task(format=True)
    assert back["changed"] and not back["formatted"]
    assert back["device"]["targets"][0]["remapped_extents"] == 1


def test_what_is_wrong_is_one_sentence_and_changes_nothing(guest: Guest, task: Task) -> None:
    guest.run("mkfs.ext4", "-q", guest.spare)
    before = guest.read(guest.spare, 0, 2048)
    refused = task()
    assert refused["rc"] == 5 and "ext2/3/4" in refused["msg"]
    assert guest.read(guest.spare, 0, 2048) == before

    made = task(format=True)
    assert made["formatted"] and any("ext2/3/4" in each for each in made["loses"])
    assert "the spare of data is" in task(spare=guest.main)["msg"]
    guest.sh("mkfs.ext4 -q /dev/mapper/data; mount /dev/mapper/data /mnt")
    held = task(state="absent", wait=0)
    assert held["rc"] == 5 and "mounted on /mnt" in held["msg"]
    guest.run("umount", "/mnt")
    # It does not wait: udev may still look at what mkfs has written.
    guest.wait_for_udev()
    assert task(state="absent", wait=0)["changed"]
