"""The least that must work on every kernel, in under a minute.

ci/test runs everything on one kernel and this file on the others that are at hand.
"""

import errno
from collections.abc import Callable

import pytest
from command import ok
from harness import Guest, Machine
from patterns import pattern
from target import create, extents, mappings, message, pending, remapped, remove


def test_the_module_comes_and_goes(guest: Guest) -> None:
    """dmremapctl makes a device of it, the device works like its disk, nothing is left over."""
    ok(guest, "create", "mapped", guest.main, guest.spare, "--yes")
    data = pattern(1, 2000)
    guest.write("/dev/mapper/mapped", 1000, data)
    assert guest.read("/dev/mapper/mapped", 1000, 2000) == data
    assert guest.read(guest.main, 1000, 2000) == data
    ok(guest, "remove", "mapped")
    guest.run("rmmod", "dm_remap_v4")
    guest.load_module()


def test_blocks_are_moved_and_moved_back_on_request(guest: Guest) -> None:
    device = create(guest)
    data = pattern(2, 64)
    guest.write(device, 1000, data)
    message(guest, "remap", 1010, 20)
    assert remapped(extents(guest)) == list(range(1010, 1030))
    guest.write(guest.main, 1010, bytes(512) * 20)
    assert guest.read(device, 1000, 64) == data
    message(guest, "unmap", 1010, 20)
    assert mappings(guest) == 0
    assert guest.read(guest.main, 1000, 64) == data
    remove(guest)


def test_a_block_that_cannot_be_read_fails_alone_until_it_is_written(guest: Guest) -> None:
    device = create(guest)
    data = pattern(3, 100)
    guest.write(device, 1000, data)
    guest.machine.main.fail([1050], on="both")
    assert guest.failing(device, 1000, 100) == [1050]
    assert pending(extents(guest)) == [1050]
    with pytest.raises(OSError) as refusal:
        guest.read(device, 1050, 1)
    assert refusal.value.errno == errno.ENODATA
    guest.write(device, 1050, data[50 * 512 : 51 * 512])
    assert guest.read(device, 1000, 100) == data
    remove(guest)


def test_a_failed_write_lives_on_the_spare_even_after_a_power_cut(
    machine: Callable[..., Machine],
) -> None:
    vm = machine()
    guest = vm.boot()
    device = create(guest)
    bad = [1000, 1001, 1040]
    vm.main.fail(bad, on="write")
    data = pattern(4, 64)
    guest.write(device, 1000, data)
    assert remapped(extents(guest)) == bad
    vm.power_cut(seed=1, keep=0)
    guest = vm.boot()
    device = create(guest)
    assert remapped(extents(guest)) == bad
    assert guest.failing(device, bad[0], 64) == []
    # The write was not flushed: only what was remapped had to be safe.
    for sector in bad:
        at = (sector - 1000) * 512
        assert guest.read(device, sector, 1) == data[at : at + 512]
    remove(guest)
    vm.power_off()
