"""Counters that need not be durable at once are saved from time to time, and at the end."""

from collections.abc import Callable

from harness import Guest, Machine

PARAMETERS = "/sys/module/dm_remap_v4/parameters/"


def create(guest: Guest) -> None:
    size = int(guest.run("blockdev", "--getsz", guest.main).out)
    guest.run("dmsetup", "create", "soft", "--table", f"0 {size} dm-remap-v4 {guest.main} {guest.spare}")


def counter(guest: Guest, name: str) -> int:
    return int(guest.run("cat", f"/sys/kernel/dm_remap/soft/{name}").out)


def wait_for_autosave(guest: Guest) -> None:
    guest.sh("until [ $(cat /sys/kernel/dm_remap/soft/autosaves) != 0 ]; do sleep 0.1; done")


def test_autosave_keeps_the_error_counters_over_a_power_cut(machine: Callable[..., Machine]) -> None:
    box = machine()
    guest = box.boot()
    guest.sh(f"echo 1 > {PARAMETERS}dm_remap_autosave_interval")
    create(guest)
    box.main.fail(4000, on="write")
    guest.write("/dev/mapper/soft", 4000, b"x" * 512)
    assert counter(guest, "write_errors") == 1
    wait_for_autosave(guest)
    box.power_cut(seed=3, keep=0.0)

    guest = box.boot()
    create(guest)
    assert counter(guest, "write_errors") == 1
    assert guest.read("/dev/mapper/soft", 4000) == b"x" * 512


def test_removal_saves_them_and_a_remap_does_not_wait_for_autosave(guest: Guest) -> None:
    guest.sh(f"echo N > {PARAMETERS}dm_remap_autosave_enabled")
    create(guest)
    guest.machine.main.fail(4000, on="write")
    guest.write("/dev/mapper/soft", 4000, b"y" * 512)
    assert counter(guest, "active_mappings") == 1
    assert counter(guest, "autosaves") == 0
    guest.run("dmsetup", "remove", "--retry", "soft")  # udev may look at it still
    create(guest)
    assert counter(guest, "write_errors") == 1
    assert counter(guest, "active_mappings") == 1


def test_sync_commits_although_there_is_nothing_new(guest: Guest) -> None:
    """What was left half done is done then, or refused."""
    create(guest)
    first, second = (guest.run("dmsetup", "message", "soft", "0", "sync").out for _ in range(2))
    assert first.startswith("Saved, sequence ") and second.startswith("Saved, sequence ")
    assert int(second.split()[-1]) > int(first.split()[-1])


def test_the_interval_is_checked(guest: Guest) -> None:
    for wrong in ("0", "3601", "x"):
        done = guest.sh(f"echo {wrong} > {PARAMETERS}dm_remap_autosave_interval", check=False)
        assert done.rc != 0
    assert guest.sh(f"echo 3600 > {PARAMETERS}dm_remap_autosave_interval").rc == 0
