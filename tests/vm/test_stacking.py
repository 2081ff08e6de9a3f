"""The device among others: limits come up from both disks, and dmsetup and dmremapctl say the
same about it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import ok
from harness import Guest, Machine
from shared import SharedMachine, lent, shared
from target import create, extents, mappings, message, pending, refused, remapped, remove

MiB = 1 << 20


def limits(guest: Guest, device: str) -> dict[str, str]:
    """The request queue's limits, as sysfs shows them."""
    real = guest.run("readlink", "-f", device).out.strip()
    # Some can't be read for a device without a queue of its own.
    shown = guest.run("grep", "-rs", ".", f"/sys/block/{Path(real).name}/queue", check=False)
    lines = shown.out.splitlines()
    assert lines, f"{real} has no queue"
    return {name.rpartition("/")[2]: value for name, _, value in (line.partition(":") for line in lines)}


# Limits.


def test_the_limits_are_those_of_linear_over_the_same_disk(guest: Guest) -> None:
    size = guest.run("blockdev", "--getsz", guest.main).out.strip()
    guest.run("dmsetup", "create", "plain", "--table", f"0 {size} linear {guest.main} 0")
    plain = limits(guest, "/dev/mapper/plain")
    remove(guest, "plain")
    assert limits(guest, create(guest)) == plain


def trims(guest: Guest) -> tuple[int, int]:
    """How many discards have reached main, and how many the spare."""
    main, spare = (guest.machine.disks[name].counters()["trims"] for name in ("main", "spare"))
    return main, spare


def discard(guest: Guest, device: str, sector: int, count: int) -> None:
    guest.run("blkdiscard", "-f", "-o", sector * 512, "-l", count * 512, device)


def test_discards_reach_main_but_not_what_was_remapped(guest: Guest) -> None:
    device = create(guest)
    guest.write(device, 1000, b"remapped" * 64 * 8)
    message(guest, "remap", 1000, 8)
    guest.write(device, 2000, b"linear.." * 64 * 8)
    main, spare = trims(guest)
    discard(guest, device, 2000, 8)
    assert trims(guest) == (main + 1, spare)
    assert guest.read(device, 2000, 8) == bytes(4096)
    discard(guest, device, 1000, 8)
    assert trims(guest) == (main + 1, spare)
    assert guest.read(device, 1000, 8) == b"remapped" * 64 * 8
    assert mappings(guest) == 8
    # Zeroes must be zeroes, wherever the block lives.
    guest.run("fallocate", "--zero-range", "-o", 996 * 512, "-l", 16 * 512, device)
    assert guest.read(device, 996, 16) == bytes(16 * 512)
    assert mappings(guest) == 8


def test_of_a_discard_main_alone_gets_its_part(guest: Guest) -> None:
    device = create(guest)
    guest.write(device, 1000, b"original" * 64 * 40)
    message(guest, "remap", 1008, 8)
    message(guest, "pending", 1024, 8)
    listed = extents(guest)
    main, spare = trims(guest)
    discard(guest, device, 1004, 32)
    assert trims(guest) == (main + 3, spare)
    assert extents(guest) == listed
    assert guest.failing(device, 1000, 40) == [*range(1024, 1032)]
    with pytest.raises(OSError, match="No data available"):
        guest.read(device, 1024)
    old = b"original" * 64
    kept = old * 4 + bytes(4 * 512) + old * 8 + bytes(8 * 512)
    assert guest.read(device, 1000, 24) == kept
    assert guest.read(device, 1032, 8) == bytes(4 * 512) + old * 4


def test_zeroes_are_written_where_nobody_else_would_write_them(machine: Callable[..., Machine]) -> None:
    """Punching a hole into a block device asks for zeroes and has no other way."""
    box = machine(power_cuts=False)
    guest = box.boot()
    device = create(guest)
    guest.write(device, 1000, b"original" * 64 * 40)
    message(guest, "remap", 1010, 4)
    box.main.fail(1030, on="read")
    assert guest.failing(device, 1000, 40) == [1030]
    box.main.fail(1020, on="write")
    guest.run("fallocate", "--punch-hole", "-o", 1004 * 512, "-l", 32 * 512, device)
    box.main.heal()
    old = b"original" * 64 * 4
    assert guest.read(device, 1000, 40) == old + bytes(32 * 512) + old
    assert remapped(extents(guest)) == [*range(1010, 1014), 1020, 1030]
    assert pending(extents(guest)) == []


@pytest.mark.parametrize("whose", ["main", "third"])
def test_zeroes_cut_off_within_a_block_remap_whole_blocks_only(
    machine: Callable[..., Machine], whose: str
) -> None:
    """Some disks take 65535 sectors at once: that is no number of whole blocks of a 4Kn spare."""
    most = dict.fromkeys(("main", "spare", "third"), 1 << 20) | {whose: 65535}
    box = machine(spare_block_size=4096, power_cuts=False, extra={"third": 8 * MiB}, most_zeroes=most)
    guest = box.boot()
    assert limits(guest, guest.devices[whose])["write_zeroes_max_bytes"] == str(65535 * 512)
    # Its other target brings a limit to the table that ours can't know of.
    lines = (
        f"0 131072 dm-remap-v4 {guest.main} {guest.spare}",
        f"131072 16384 linear {guest.devices['third']} 0",
    )
    table = "\n".join(lines)
    guest.run("dmsetup", "create", "mapped", stdin=table)
    device = "/dev/mapper/mapped"
    guest.write(device, 65504, b"original" * 64 * 48)
    box.main.fail(65535, on="write")
    box.main.fail(70000, on="write")
    guest.run("fallocate", "--zero-range", "-l", 131072 * 512, device)
    whole = [*range(65528, 65536), *range(70000, 70008)]
    assert remapped(extents(guest)) == whole
    remove(guest)
    guest.run("dmsetup", "create", "mapped", stdin=table)
    assert remapped(extents(guest)) == whole
    # And once more, where what is cut off there has its end on the spare.
    guest.write(device, 65504, b"original" * 64 * 48)
    guest.run("fallocate", "--zero-range", "-l", 65536 * 512, device)
    assert guest.read(device, 65504, 48) == bytes(32 * 512) + b"original" * 64 * 16
    most_bytes = "0" if whose == "main" else str(65535 * 512)
    assert limits(guest, device)["write_zeroes_max_bytes"] == most_bytes
    remove(guest)


def test_a_part_of_a_block_at_the_end_of_main_is_left_alone(machine: Callable[..., Machine]) -> None:
    box = machine(spare_block_size=4096)
    guest = box.boot()
    guest.run("dmsetup", "create", "odd", "--table", f"0 80007 linear {guest.main} 0")
    table = f"0 80000 dm-remap-v4 /dev/mapper/odd {guest.spare}"
    guest.run("dmsetup", "create", "mapped", "--table", table)
    for words in (("remap", 80000), ("unmap", 80000), ("test_remap", 80000, 4096)):
        assert refused(guest, *words)
    assert message(guest, "remap", 79992) == "Remapped 8 sectors"
    remove(guest)
    guest.run("dmsetup", "create", "mapped", "--table", table)
    assert remapped(extents(guest)) == list(range(79992, 80000))
    # Nor is there more to list behind it.
    assert "next" not in message(guest, "list", 0, 1)


@pytest.fixture(scope="module")
def different_disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMachine]:
    """A 4Kn main disk, a spare with blocks of 512 bytes, and a third disk like the spare."""

    def make() -> Machine:
        return Machine(tmp_path_factory.mktemp("mixed"), main_block_size=4096, extra={"third": 64 * MiB})

    with shared(make) as machine:
        yield machine


@pytest.fixture
def mixed(different_disks: SharedMachine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    with lent(different_disks, request) as guest:
        yield guest


@pytest.mark.parametrize(("main", "spare"), [("main", "spare"), ("third", "main")])
def test_the_larger_block_counts_on_either_side(mixed: Guest, main: str, spare: str) -> None:
    guest = mixed
    device = create(guest, main=guest.devices[main], spare=guest.devices[spare])
    found = limits(guest, device)
    assert (found["logical_block_size"], found["physical_block_size"]) == ("4096", "4096")
    assert found["minimum_io_size"] == "4096"
    with pytest.raises(OSError, match="Invalid argument"):
        guest.write(device, 0, b"x" * 512)
    guest.machine.disks[main].fail(16 + 3, on="write")
    guest.write(device, 8, b"16 kilobytes ok." * 1024)
    assert guest.read(device, 8, 32) == b"16 kilobytes ok." * 1024
    assert mappings(guest) == 1
    start, sectors, place, _ = message(guest, "list").split()
    assert (start, sectors) == ("16", "8") and int(place) % 8 == 0
    # Saved for blocks of 4096 bytes, and found again.
    remove(guest)
    create(guest, main=guest.devices[main], spare=guest.devices[spare])
    assert guest.read(device, 8, 32) == b"16 kilobytes ok." * 1024


def test_a_part_of_a_block_at_the_end_of_the_spare_is_left_alone(mixed: Guest) -> None:
    guest = mixed
    guest.run("dmsetup", "create", "small", "--table", f"0 4103 linear {guest.spare} 0")
    device = create(guest, spare="/dev/mapper/small")
    assert message(guest, "remap", 0, 2048) == "Remapped 2048 sectors"
    assert refused(guest, "remap", 4096, 8)
    remove(guest)
    create(guest, spare="/dev/mapper/small")
    assert guest.read(device, 2040, 8) == bytes(4096)


# dmsetup and dmremapctl.


def by_dmsetup(guest: Guest, name: str = "mapped") -> dict[str, Any]:
    """All that dmsetup tells about a device, under the names that dmremapctl gives it."""
    columns = "name,uuid,major,minor,open,events,attr"
    line = guest.run(*("dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", columns, name)).out
    shown, uuid, major, minor, opened, events, attributes = line.split()
    info = guest.run("dmsetup", "info", name).out
    targets = []
    tables = guest.run("dmsetup", "table", name).out.splitlines()
    # dmsetup asks the target to commit before it answers; dmremapctl does not.
    states = guest.run("dmsetup", "status", "--noflush", name).out.splitlines()
    for table, state in zip(tables, states, strict=True):
        start, length, kind, main, spare, *features = table.split()
        assert kind == "dm-remap-v4" and state.split()[:3] == [start, length, kind]
        words = state.split()[3:]
        (used, total), (valid, copies) = words[0].split("/"), words[3].split("/")
        options = words[10 : 10 + int(words[9])]
        assert options == features[1:]
        rest = words[10 + int(words[9]) :]
        errors, (mode, check) = rest[1 : 1 + int(rest[0])], rest[1 + int(rest[0]) :]
        targets.append(
            {
                "start": int(start),
                "length": int(length),
                "main": main,
                "spare": spare,
                "features": options,
                "used_sectors": int(used),
                "total_sectors": int(total),
                "remapped_extents": int(words[1]),
                "pending_extents": int(words[2]),
                "valid_copies": int(valid),
                "copies": int(copies),
                "sequence": int(words[4]),
                "read_errors": int(words[5]),
                "write_errors": int(words[6]),
                "sectors_salvaged": int(words[7]),
                "sectors_lost": int(words[8]),
                "errors": errors,
                "mode": mode,
                "needs_check": check == "needs_check",
            }
        )
    return {
        "name": shown,
        "path": f"/dev/mapper/{shown}",
        "uuid": uuid,
        "dev": f"{major}:{minor}",
        "open": int(opened),
        "event_nr": int(events),
        "suspended": attributes[2] == "s",
        "readonly": attributes[3] == "r",
        "deferred_remove": "DEFERRED REMOVE" in info,
        "targets": targets,
    }


def agree(guest: Guest) -> dict[str, Any]:
    """Ask both, compare, and give what they agree on."""
    # Events, and udev with them, come a moment after what they tell: ask until nothing changes, and
    # udev has not had it open for one of the two alone.
    mine: dict[str, Any] = {}
    opened: set[int] = set()
    while mine != (now := by_dmsetup(guest)) or len(opened) > 1:
        mine = now
        guest.wait_for_udev()
        (theirs,) = ok(guest, "status", "mapped")
        (listed,) = ok(guest, "list")
        opened = {each["open"] for each in (mine, theirs, listed)}
    for target in theirs["targets"]:
        target.pop("healthy")
    assert theirs.pop("doing") == ""  # dmsetup knows of no long change.
    assert theirs == mine
    first = mine["targets"][0] if mine["targets"] else {"main": None, "spare": None, "mode": "no table"}
    for key in ("name", "path", "uuid", "dev", "open"):
        assert listed[key] == mine[key]
    for key in ("main", "spare", "mode"):
        assert listed[key] == first[key]
    deps = guest.run("dmsetup", "deps", "-o", "devno", "mapped").out
    numbers = {
        f"({target[key].replace(':', ', ')})" for target in mine["targets"] for key in ("main", "spare")
    }
    assert all(number in deps for number in numbers)
    assert int(deps.split()[0]) == len(numbers)
    assert guest.run("dmsetup", "ls", "--target", "dm-remap-v4").out.split()[0] == mine["name"]
    return mine


def test_dmsetup_and_dmremapctl_agree(guest: Guest) -> None:
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    fresh = agree(guest)
    assert fresh["targets"][0]["features"] == ["copies", "5", "spacing", "256"]

    message(guest, "remap", 1000, 8)
    guest.machine.main.fail([5000, 6001])
    assert guest.failing("/dev/mapper/mapped", 5000, 1) == [5000]
    guest.write("/dev/mapper/mapped", 6000, b"x" * 1024)
    (target,) = agree(guest)["targets"]
    assert (target["remapped_extents"], target["pending_extents"], target["used_sectors"]) == (2, 1, 9)
    assert target["read_errors"] > 0 and target["write_errors"] > 0 and target["sectors_lost"] == 1

    # The sysfs folder is a third witness.
    def counter(name: str) -> int:
        return int(guest.run("cat", f"/sys/kernel/dm_remap/mapped/{name}").out)

    for file, key in (
        ("remapped_extents", "remapped_extents"),
        ("spare_sectors_used", "used_sectors"),
        ("spare_sectors_total", "total_sectors"),
        ("read_errors", "read_errors"),
        ("write_errors", "write_errors"),
        ("sectors_salvaged", "sectors_salvaged"),
        ("sectors_lost", "sectors_lost"),
        ("sequence", "sequence"),
    ):
        assert counter(file) == target[key], file
    assert message(guest, "status").split() == by_status(guest)

    guest.run("dmsetup", "suspend", "mapped")
    assert agree(guest)["suspended"]
    guest.run("dmsetup", "resume", "mapped")

    table = guest.run("dmsetup", "table", "mapped").out.strip()
    guest.run("dmsetup", "load", "mapped", "--table", table.replace(" 4 copies", " 5 relocate_weak copies"))
    guest.run("dmsetup", "resume", "mapped")
    assert "relocate_weak" in agree(guest)["targets"][0]["features"]

    # Degraded: two copies lost, the breaker not.
    guest.machine.spare.fail([0, 256], on="write")
    message(guest, "remap", 9000)
    (target,) = agree(guest)["targets"]
    assert (target["valid_copies"], target["errors"]) == (3, ["degraded"])
    guest.machine.spare.heal()
    message(guest, "repair")
    assert agree(guest)["targets"][0]["valid_copies"] == 5

    # Opened by the shell: the process in the background may come to that later.
    guest.sh(
        """
        exec 3</dev/mapper/mapped
        sleep 600 >/dev/null 2>&1 &
        echo $! >/tmp/pid
        dmsetup remove --deferred mapped
        """
    )
    state = agree(guest)
    assert state["deferred_remove"] and state["open"] == 1
    # It goes when the dead process has closed it, and then by a work item of the kernel's.
    guest.sh("kill $(cat /tmp/pid); until dmsetup ls | grep -q '^No devices'; do sleep 0.1; done")
    guest.wait_for_udev()
    assert ok(guest, "list") == []


def by_status(guest: Guest) -> list[str]:
    return guest.run("dmsetup", "status", "mapped").out.split()[3:]


def test_they_agree_on_a_read_only_table_and_on_none(guest: Guest) -> None:
    create(guest)
    message(guest, "remap", 1000)
    remove(guest)
    size = guest.run("blockdev", "--getsz", guest.main).out.strip()
    line = f"0 {size} dm-remap-v4 {guest.main} {guest.spare}"
    writes = guest.machine.spare.counters()["writes"]
    guest.run("dmsetup", "create", "mapped", "--readonly", "--uuid", "LOCAL-1", "--table", line)
    state = agree(guest)
    assert state["readonly"] and state["targets"][0]["mode"] == "ro"
    assert message(guest, "health") == "remapped: 1 sectors live on the spare"
    remove(guest)
    assert guest.machine.spare.counters()["writes"] == writes

    # A device of ours whose table is gone is listed all the same.
    uuid = f"DMREMAP-{ok(guest, 'inspect', guest.spare)['uuid']}"
    guest.run("dmsetup", "create", "mapped", "--notable", "--uuid", uuid)
    (listed,) = ok(guest, "list")
    assert (listed["mode"], listed["main"]) == ("no table", None)
    assert ok(guest, "status", "mapped")[0]["targets"] == []
