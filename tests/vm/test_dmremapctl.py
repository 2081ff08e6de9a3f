"""The command against the real kernel and the real udev: what it does, and what it refuses."""

import json
from typing import Any

import pytest
from command import ctl, ok
from harness import Guest

FORMATTED = "formatted the spare"
USAGE, BEYOND_RECOVERY, WRONG_DEVICE, BUSY, ACCESS = 2, 3, 4, 5, 6
NOT_LOADED, KERNEL_LACKS, REFUSED, CANCELLED = 7, 8, 9, 10


def refused(guest: Guest, code: int, sentence: str, *words: str | int) -> None:
    """It ends with this code and one sentence, and devices and spare are as before."""
    before = guest.run("dmsetup", "table").out, changes(guest)
    done = ctl(guest, *words)
    assert done.rc == code, done
    assert done.out == "", done
    lines = done.err.splitlines()
    if code == USAGE:
        lines = lines[-1:]  # click shows how to use it first
    assert len(lines) == 1, done
    assert sentence in lines[0], done
    assert (guest.run("dmsetup", "table").out, changes(guest)) == before


def create(guest: Guest, name: str = "mapped", *options: str) -> Any:
    made = ok(guest, "create", name, guest.main, guest.spare, "--yes", *options)
    # On a busy host the minute may be over while the spare's requests are counted.
    guest.sh("echo 0 >/sys/module/dm_remap_v4/parameters/dm_remap_autosave_enabled")
    return made


def changes(guest: Guest) -> list[int]:
    """How many requests that change something the spare has had."""
    guest.run("sync")
    count = guest.machine.spare.counters()
    return [count[kind] for kind in ("writes", "trims", "zeroes")]


def partitions(guest: Guest, device: str, *sizes: str) -> list[str]:
    """GPT partitions, seen by udev; the last takes the rest if its size is empty."""
    script = "label: gpt\n" + "".join(f"size={size}\n" if size else "\n" for size in sizes)
    guest.run("sfdisk", "--quiet", device, stdin=script)
    guest.sh(f"udevadm settle; udevadm trigger --settle {device}*; udevadm settle")
    return [f"{device}{number}" for number in range(1, len(sizes) + 1)]


# The life of a device, by the command as people run it.


def test_create_formats_a_blank_spare_then_activates_it(guest: Guest) -> None:
    done = guest.dmremapctl("create", "mapped", guest.main, guest.spare, "--yes")
    assert FORMATTED in done.out and done.err == ""
    # udev has been waited for: the link and its database entry are there.
    assert guest.run("readlink", "-f", "/dev/mapper/mapped").out.startswith("/dev/dm-")
    assert "DM_NAME=mapped" in guest.run("udevadm", "info", "/dev/mapper/mapped").out
    assert "valid_copies=5/5" in guest.run("dmesg").out
    guest.write("/dev/mapper/mapped", 0, b"mine" * 128)
    assert "Remapped 8 sectors" in guest.dmremapctl("remap", "mapped", 0, 8).out
    assert guest.dmremapctl("remove", "mapped").out == "removed mapped\n"
    assert not guest.run("dmsetup", "ls").out.startswith("mapped")
    assert guest.run("test", "-e", "/dev/mapper/mapped", check=False).rc == 1

    done = guest.dmremapctl("create", "mapped", guest.main, guest.spare)
    assert FORMATTED not in done.out
    assert guest.read("/dev/mapper/mapped", 0) == b"mine" * 128
    assert guest.run("dmsetup", "message", "mapped", "0", "list").out.startswith("0 8 ")


def test_json_of_every_command(guest: Guest) -> None:
    made = create(guest)
    assert made["formatted"] is True and made["records"] == 0
    assert made["path"] == "/dev/mapper/mapped" and made["uuid"].startswith("DMREMAP-")
    numbers = {}
    for device in ("main", "spare"):
        words = guest.run("lsblk", "-dno", "MAJ:MIN", guest.devices[device]).out.split()
        numbers[device] = words[0]
    assert (made["main"], made["spare"]) == (numbers["main"], numbers["spare"])
    assert made["table"] == guest.run("dmsetup", "table", "mapped").out.strip()

    moved = ok(guest, "remap", "mapped", 4096, 16)
    assert moved == {"name": "mapped", "answer": "Remapped 16 sectors"}
    again = ok(guest, "remap", "mapped", 4096, 16)
    assert again["answer"] == "Remapped 0 sectors"
    assert ok(guest, "message", "mapped", "list")["answer"].startswith("4096 16 ")
    assert ok(guest, "message", "mapped", "health")["answer"] == "remapped: 16 sectors live on the spare"
    assert "test_remap" in ok(guest, "message", "mapped", "help")["answer"]

    (listed,) = ok(guest, "list")
    assert listed["name"] == "mapped" and listed["mode"] == "rw" and listed["uuid"] == made["uuid"]
    (state,) = ok(guest, "status")
    (target,) = state["targets"]
    assert (target["remapped_extents"], target["used_sectors"]) == (1, 16)
    assert ok(guest, "status", "mapped") == ok(guest, "status", "/dev/mapper/mapped")

    seen = ok(guest, "inspect", guest.spare)
    assert seen["valid_copies"] == 5 and seen["intact"] and f"DMREMAP-{seen['uuid']}" == made["uuid"]
    assert [(e["main"], e["sectors"], e["kind"]) for e in seen["extents"]] == [(4096, 16, "remap")]

    assert ok(guest, "unmap", "mapped", 4096, 16)["answer"] == "Unmapped 16 sectors"
    assert ok(guest, "message", "mapped", "list")["answer"] == "none"
    assert ok(guest, "remove", "mapped") == {"name": "mapped", "removed": True}
    assert ok(guest, "list") == [] and ok(guest, "status") == []

    back = create(guest)
    assert back["formatted"] is False and back["uuid"] == made["uuid"]


def test_output_for_people(guest: Guest) -> None:
    create(guest)
    ok(guest, "remap", "mapped", 1000)
    shown = ctl(guest, "list").out
    assert "mapped" in shown and "rw" in shown
    shown = ctl(guest, "status", "mapped").out
    assert "1 extents" in shown and "5 of 5 copies valid" in shown
    shown = ctl(guest, "inspect", guest.spare).out
    assert "5/5" in shown and "1000" in shown
    shown = ctl(guest, "module", "status").out
    assert "loaded" in shown and "dm_remap_autosave_interval" in shown


def test_options_reach_the_table(guest: Guest) -> None:
    made = create(guest, "mapped", "--copies", "3", "--spacing", "64K", "--relocate-weak")
    assert made["table"].endswith("5 copies 3 spacing 128 relocate_weak")
    (state,) = ok(guest, "status", "mapped")
    assert (state["targets"][0]["valid_copies"], state["targets"][0]["copies"]) == (3, 3)
    ok(guest, "remove", "mapped")
    refused(
        guest, USAGE, "formatted with 3 copies", "create", "mapped", guest.main, guest.spare, "--copies", 5
    )
    # What was chosen at creation is found again without naming it.
    assert "copies 3 spacing 128" in create(guest)["table"]
    ok(guest, "remove", "mapped")
    again = create(guest, "mapped", "--format")
    assert again["formatted"] is True and again["uuid"] != made["uuid"]


def test_a_device_in_use_goes_when_its_last_user_leaves(guest: Guest) -> None:
    create(guest)
    guest.sh("mkfs.ext4 -q -F /dev/mapper/mapped && mkdir -p /tmp/here && mount /dev/mapper/mapped /tmp/here")
    refused(guest, BUSY, "mounted on /tmp/here", "remove", "mapped")
    assert ok(guest, "remove", "mapped", "--deferred") == {"name": "mapped", "removed": False}
    assert ok(guest, "status", "mapped")[0]["deferred_remove"] is True
    guest.run("umount", "/tmp/here")
    # The kernel removes it in the background.
    guest.sh("while ls -d /sys/block/dm-*; do sleep 0.1; done")
    assert ok(guest, "list") == []


# What create refuses; nothing may have been written when it did.


def test_create_refuses_what_is_in_use(guest: Guest) -> None:
    guest.sh(f"mkfs.ext4 -q -F {guest.main} && mkdir -p /tmp/here && mount {guest.main} /tmp/here")
    refused(guest, BUSY, "mounted on /tmp/here", "create", "mapped", guest.main, guest.spare, "--yes")
    guest.run("umount", "/tmp/here")

    guest.run("dmsetup", "create", "other", "--table", f"0 2048 linear {guest.spare} 0")
    refused(guest, BUSY, "in use by other", "create", "mapped", guest.main, guest.spare, "--yes")
    guest.run("dmsetup", "remove", "--retry", "other")

    create(guest, "first")
    for main, spare in ((guest.main, guest.spare), (guest.spare, guest.main)):
        refused(guest, BUSY, "in use by first", "create", "second", main, spare, "--yes")
    refused(guest, BUSY, "a device named first", "create", "first", guest.main, guest.spare, "--yes")


def test_create_refuses_a_spare_with_somebodys_data(guest: Guest) -> None:
    guest.run("mkfs.ext4", "-q", "-F", guest.spare)
    guest.wait_for_udev(guest.spare)
    refused(guest, BUSY, "ext4", "create", "mapped", guest.main, guest.spare, "--yes")
    guest.sh(f"wipefs -qa {guest.spare}; blkdiscard -f {guest.spare}")
    guest.wait_for_udev(guest.spare)
    guest.write(guest.spare, 100, b"?" * 512)
    refused(guest, BUSY, "data in its first 640 KiB", "create", "mapped", guest.main, guest.spare, "--yes")
    # It takes both words to overwrite: --format, and yes.
    refused(guest, CANCELLED, "nothing was changed", "create", "mapped", guest.main, guest.spare, "--format")
    assert create(guest, "mapped", "--format")["formatted"] is True


def test_create_asks_before_it_formats(guest: Guest) -> None:
    before = changes(guest)
    done = guest.sh(f"dmremapctl create mapped {guest.main} {guest.spare}", check=False, stdin="n\n")
    assert done.rc == CANCELLED and "is blank" in done.err and "nothing was changed" in done.err
    assert changes(guest) == before
    guest.sh(f"dmremapctl create mapped {guest.main} {guest.spare}", stdin="y\n")
    assert len(ok(guest, "list")) == 1


def test_create_refuses_pairs_that_make_no_sense(guest: Guest) -> None:
    first, second, small = partitions(guest, guest.main, "100M", "100M", "1M")
    refused(guest, WRONG_DEVICE, "same device", "create", "x", guest.main, guest.main, "--yes")
    by_id = "/dev/disk/by-id/virtio-spare"
    refused(guest, WRONG_DEVICE, "same device", "create", "x", guest.spare, by_id, "--yes")
    refused(guest, WRONG_DEVICE, "overlap", "create", "x", guest.main, first, "--yes")
    refused(guest, WRONG_DEVICE, "too small", "create", "x", guest.spare, small, "--yes")
    refused(guest, WRONG_DEVICE, "does not exist", "create", "x", "/dev/nothing", guest.spare, "--yes")
    refused(guest, WRONG_DEVICE, "not a block device", "create", "x", guest.main, "/dev/null", "--yes")
    refused(guest, USAGE, "cannot name a device", "create", "a/b", guest.main, guest.spare, "--yes")
    refused(guest, USAGE, "--copies", "create", "x", guest.main, guest.spare, "--yes", "--copies", 9)
    refused(
        guest, USAGE, "power of two", "create", "x", guest.main, guest.spare, "--yes", "--spacing", "100K"
    )

    # A spare that belongs to another main device, of another size and of the same.
    ok(guest, "create", "x", first, guest.spare, "--yes")
    ok(guest, "remove", "x")
    refused(
        guest, WRONG_DEVICE, "belongs to another main device", "create", "x", second, guest.spare, "--yes"
    )
    refused(guest, WRONG_DEVICE, "belongs to a main device of", "create", "x", small, guest.spare, "--yes")
    done = ctl(guest, "create", "y", second, first, "--yes")
    assert done.rc == 0 and "on the same disk" in done.err


def test_create_refuses_damaged_metadata(guest: Guest) -> None:
    create(guest)
    ok(guest, "remap", "mapped", 1000)
    ok(guest, "remove", "mapped")
    # Two damaged copies are no obstacle, and are mended; with all five damaged it is over.
    for copy in (0, 3):
        guest.write(guest.spare, copy * 256, b"\xff" * 512)
    seen = ctl(guest, "inspect", guest.spare, "--json")
    assert seen.rc == 1 and json.loads(seen.out)["valid_copies"] == 3
    create(guest)
    assert ok(guest, "inspect", guest.spare)["valid_copies"] == 5
    ok(guest, "remove", "mapped")
    for copy in range(5):
        guest.write(guest.spare, copy * 256, guest.read(guest.spare, copy * 256)[:100] + b"\xff" * 412)
    assert ctl(guest, "inspect", guest.spare).rc == BEYOND_RECOVERY
    refused(guest, BEYOND_RECOVERY, "beyond recovery", "create", "mapped", guest.main, guest.spare, "--yes")


# The other commands.


def test_a_name_that_is_not_ours(guest: Guest) -> None:
    guest.run("dmsetup", "create", "other", "--table", f"0 2048 linear {guest.main} 0")
    for words in (("status",), ("remove",), ("remap", 0), ("unmap", 0), ("message", "help")):
        command, *rest = words
        refused(guest, WRONG_DEVICE, "no such device", str(command), "nothing", *rest)
        refused(guest, WRONG_DEVICE, "not one of dm-remap", str(command), "other", *rest)
    assert ok(guest, "list") == []


def test_the_targets_refusals_come_in_its_own_words(guest: Guest) -> None:
    create(guest)
    sectors = int(guest.run("blockdev", "--getsz", guest.main).out)
    refused(guest, REFUSED, "behind the end of the device", "remap", "mapped", sectors)
    refused(guest, REFUSED, "ends behind the end", "remap", "mapped", sectors - 1, 2)
    refused(guest, REFUSED, "unknown message", "message", "mapped", "dance")
    refused(guest, USAGE, "x>=0", "remap", "mapped", "--", "-1")
    refused(guest, USAGE, "x>=1", "remap", "mapped", 0, 0)
    # A block that main can't give back stays where it is.
    ok(guest, "remap", "mapped", 1000)
    guest.machine.main.fail(1000)
    refused(guest, REFUSED, "still fails there", "unmap", "mapped", 1000)
    guest.machine.main.heal()
    assert ok(guest, "unmap", "mapped", 1000)["answer"] == "Unmapped 1 sectors"


def test_a_user_who_is_not_root_is_told_so(guest: Guest) -> None:
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "dmremapctl")
    done = guest.run(*nobody, "create", "mapped", guest.main, guest.spare, "--yes", check=False)
    assert done.rc == ACCESS and "root" in done.err and len(done.err.splitlines()) == 1
    done = guest.run(*nobody, "list", check=False)
    assert done.rc == ACCESS and "root" in done.err and len(done.err.splitlines()) == 1


def pack(module: str, packed: str) -> None:
    """In the guest: compress it with what the kernel can undo."""
    import lzma
    from pathlib import Path

    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    data = lzma.compress(Path(module).read_bytes(), check=lzma.CHECK_CRC32, filters=filters)
    Path(packed).write_bytes(data)


def test_the_module_is_loaded_and_unloaded(guest: Guest) -> None:
    create(guest)
    state = ok(guest, "module", "status")
    assert state["loaded"] and state["users"] == 1
    assert state["parameters"]["dm_remap_autosave_interval"] == "60"
    refused(guest, BUSY, "in use by 1 target", "module", "unload")
    ok(guest, "remove", "mapped")
    assert ok(guest, "module", "unload") == {"loaded": False, "changed": True}
    assert ok(guest, "module", "unload") == {"loaded": False, "changed": False}
    assert ok(guest, "module", "status")["loaded"] is False
    refused(guest, NOT_LOADED, "dmremapctl module load", "create", "mapped", guest.main, guest.spare, "--yes")
    refused(guest, NOT_LOADED, "dmremapctl module build", "module", "load")
    refused(guest, KERNEL_LACKS, "linux-headers-", "module", "build", "--source", "/payload")
    refused(guest, KERNEL_LACKS, "does not fit", "module", "load", "--file", "/payload/agent.py")
    assert ok(guest, "list") == []

    # As a kernel with packed modules has it.
    guest.call(pack, "/payload/dm-remap-v4.ko", "/tmp/dm-remap-v4.ko.xz")
    if guest.sh("grep -q 'ko\\.xz:' /lib/modules/$(uname -r)/modules.dep", check=False).rc == 0:
        assert ok(guest, "module", "load", "--file", "/tmp/dm-remap-v4.ko.xz")["changed"]
        ok(guest, "module", "unload")
    else:
        refused(
            guest, KERNEL_LACKS, "modprobe dm-remap-v4", "module", "load", "--file", "/tmp/dm-remap-v4.ko.xz"
        )

    loaded = ok(guest, "module", "load", "--file", "/payload/dm-remap-v4.ko", "dm_remap_autosave_interval=30")
    assert loaded == {"loaded": True, "changed": True}
    assert ok(guest, "module", "load", "--file", "/payload/dm-remap-v4.ko")["changed"] is False
    assert ok(guest, "module", "status")["parameters"]["dm_remap_autosave_interval"] == "30"
    guest.sh("echo 60 >/sys/module/dm_remap_v4/parameters/dm_remap_autosave_interval")
    assert create(guest)["formatted"] is False


@pytest.mark.parametrize("origin", ["udev", "kernel"])
def test_watch_shows_what_happens(guest: Guest, origin: str) -> None:
    create(guest)
    watched = guest.start_sh(
        f"""
        {"mv /run/udev/control /run/udev/away" if origin == "kernel" else ""}
        dmremapctl watch mapped --count 2 --json 2>/tmp/watch.err
        """
    )
    guest.sh(
        "until grep -qs watching /tmp/watch.err; do sleep 0.1; done; [ ! -e /run/udev/away ] ||"
        " mv /run/udev/away /run/udev/control"
    )
    assert f"watching events from {origin}" in guest.run("cat", "/tmp/watch.err").out
    guest.run("rm", "/tmp/watch.err")
    guest.machine.main.fail(range(1000, 1003), on="write")
    guest.write("/dev/mapper/mapped", 992, b"w" * 512 * 16)
    guest.machine.main.heal()
    ok(guest, "unmap", "mapped", 1000, 3)
    events = [json.loads(line) for line in watched.wait().out.splitlines()]
    assert [(e["action"], e["sector"], e["sectors"]) for e in events] == [
        ("REMAP", 1000, 3),
        ("UNMAP", 1000, 3),
    ]
    (device,) = ok(guest, "list")
    for event in events:
        assert event["name"] == "mapped" and event["uuid"] == device["uuid"]
        assert event["device"].startswith("dm-")
    assert events[0]["seqnum"] < events[1]["seqnum"]
