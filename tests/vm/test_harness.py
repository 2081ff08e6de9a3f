"""The machine itself: that its disks fail, lose and keep what real ones would, and that
the ways in which a test can end badly are told apart."""

import errno
from collections.abc import Callable, Iterator

import pytest
from harness import CommandFailed, CommandTimedOut, Guest, KernelPanic, KernelWarning, Machine, VMDied, VMHung

MachineFactory = Callable[..., Machine]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest without the module: these tests are about everything else."""
    machine = Machine(tmp_path_factory.mktemp("bare"))
    yield machine.boot(load_module=False)
    machine.close()


@pytest.fixture
def plain(bare: Guest) -> Iterator[Guest]:
    yield bare
    for disk in bare.machine.disks.values():
        disk.revive()
        disk.heal()


def test_udev_names_the_disks(plain: Guest) -> None:
    for name, device in plain.devices.items():
        assert plain.run("readlink", "-f", f"/dev/disk/by-id/virtio-{name}").out.strip() == device


def test_commands_report_what_they_did(plain: Guest) -> None:
    assert plain.sh("cat; echo oops >&2", stdin="hello\n").out == "hello\n"
    with pytest.raises(CommandFailed, match=r"-> 3"):
        plain.sh("exit 3")
    assert plain.run("false", check=False).rc == 1
    with pytest.raises(CommandFailed, match="ZeroDivisionError"):
        plain.python("1 / 0")
    plain.push(b"\0binary\xff", "/tmp/file")
    assert plain.pull("/tmp/file") == b"\0binary\xff"
    assert plain.call(_sum_inside, [1, 2, 3]) == 6


def _sum_inside(numbers: list[int]) -> int:
    import math

    return int(math.fsum(numbers))


def test_commands_run_beside_each_other(plain: Guest) -> None:
    job = plain.start("sleep", 30)
    assert plain.run("echo", "meanwhile").out == "meanwhile\n"
    job.kill()
    assert job.wait(check=False).rc != 0


@pytest.mark.parametrize("kind", ["read", "write", "both"])
def test_bad_sectors_fail_exactly_there_and_heal(plain: Guest, kind: str) -> None:
    disk = plain.machine.main
    bad = {"read": [1003, 1004, 1010], "write": [2003, 2004, 2010], "both": [3003, 3004, 3010]}[kind]
    around = range(bad[0] - 3, bad[-1] + 4)

    def written(sector: int) -> bool:
        try:
            plain.write(plain.main, sector, bytes([sector % 251]) * 512)
        except OSError as e:
            assert e.errno == errno.EIO
            return False
        return True

    disk.fail(bad, on=kind)  # type: ignore[arg-type]
    assert plain.failing(plain.main, around[0], len(around)) == (bad if kind != "write" else [])
    assert [s for s in around if not written(s)] == (bad if kind != "read" else [])
    with pytest.raises(OSError, match="Input/output error"):
        if kind == "read":
            plain.read(plain.main, around[0], len(around))
        else:
            plain.write(plain.main, around[0], b"x" * 512 * len(around))
    disk.heal()
    assert plain.failing(plain.main, around[0], len(around)) == []
    assert all(written(s) for s in around)
    assert disk.read(bad[1]) == bytes([bad[1] % 251]) * 512


def test_a_weak_sector_fails_so_many_reads_and_no_more(plain: Guest) -> None:
    disk = plain.machine.main
    disk.weaken([5003], reads=2)
    disk.clear_counters()
    assert [plain.failing(plain.main, 5000, 8) for _ in range(3)] == [[5003], [5003], []]
    assert disk.counters()["bad_reads"] == 2
    disk.weaken([5003], reads=2)
    disk.heal()
    assert plain.failing(plain.main, 5000, 8) == []


def test_a_disk_that_lies_stores_something_else_until_it_is_healed(plain: Guest) -> None:
    disk = plain.machine.main
    disk.lie([6001])
    plain.write(plain.main, 6000, b"\x0f" * 512 * 3)
    assert plain.read(plain.main, 6000, 3) == b"\x0f" * 512 + b"\xf0" * 512 + b"\x0f" * 512
    disk.heal()
    plain.write(plain.main, 6000, b"\x0f" * 512 * 3)
    assert plain.read(plain.main, 6000, 3) == b"\x0f" * 512 * 3


def test_requests_are_counted(plain: Guest) -> None:
    disk = plain.machine.spare
    disk.fail(5, on="read")
    disk.clear_counters()
    before = plain.flushes(plain.spare)
    plain.write(plain.spare, 5, b"a" * 1024)
    plain.flush(plain.spare)
    with pytest.raises(OSError):
        plain.read(plain.spare, 4, 4)
    count = disk.counters()
    assert count["writes"] == 1 and count["flushes"] >= 1
    assert count["bad_reads"] >= 1 and count["bad_writes"] == 0
    assert plain.flushes(plain.spare) == before + 1


def test_a_dead_disk_fails_everywhere(plain: Guest) -> None:
    plain.machine.main.die()
    assert plain.failing(plain.main, 100, 3) == [100, 101, 102]
    plain.machine.main.revive()
    assert plain.failing(plain.main, 100, 3) == []


def test_4k_native_disks(machine: MachineFactory) -> None:
    guest = machine(main_block_size=4096).boot(load_module=False)
    assert guest.run("blockdev", "--getss", "--getpbsz", guest.main).out.split() == ["4096", "4096"]
    guest.machine.main.fail(8 * 5 + 3)
    assert guest.failing(guest.main, 0, 80, step=8) == [40]


def test_more_disks_and_write_zeroes(machine: MachineFactory) -> None:
    guest = machine(extra={"third": 8 << 20}, power_cuts=False).boot(load_module=False)
    assert set(guest.devices) == {"main", "spare", "third"}
    guest.write(guest.devices["third"], 0, b"x" * 4096)
    guest.run("fallocate", "--zero-range", "--offset", 0, "--length", 4096, guest.devices["third"])
    assert guest.read(guest.devices["third"], 0, 8) == bytes(4096)
    assert guest.machine.disks["third"].counters()["zeroes"] == 1


def test_a_kernel_warning_fails_the_test(plain: Guest) -> None:
    plain.machine.check_console()
    plain.sh("echo 'WARNING: CPU: 0 PID: 1 at drivers/md/nothing.c:1' >/dev/kmsg")
    with pytest.raises(KernelWarning, match=r"nothing\.c"):
        plain.machine.check_console()
    plain.machine.check_console()


def test_a_command_that_never_ends_is_told_from_a_guest_that_hangs(machine: MachineFactory) -> None:
    guest = machine().boot(load_module=False)
    with pytest.raises(CommandTimedOut):
        guest.run("sleep", 100, timeout=1)
    guest.machine.forgive()  # It was asked where it is stuck, and told with a call trace.
    assert guest.run("echo", "alive").out == "alive\n"
    with pytest.raises(VMHung):
        # The agent stops itself: nobody is there to keep the time any more.
        guest.python("import os, time; os.kill(os.getpid(), 19); time.sleep(9)", timeout=-10)
    assert not guest.machine.running


def test_a_panic_is_told_from_other_deaths(machine: MachineFactory) -> None:
    vm = machine()
    guest = vm.boot(load_module=False)
    with pytest.raises(KernelPanic, match="sysrq triggered crash"):
        guest.sh("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
    vm.forgive()
    guest = vm.boot(load_module=False)
    with pytest.raises(VMDied) as death:
        guest.sh("busybox reboot -f")
    assert death.type is VMDied


def test_killing_the_machine_loses_nothing(machine: MachineFactory) -> None:
    vm = machine()
    guest = vm.boot(load_module=False)
    guest.write(guest.main, 7, b"a" * 512)
    vm.kill()
    assert vm.main.read(7) == b"a" * 512
    with pytest.raises(VMDied):
        guest.run("true")


def test_a_power_cut_loses_what_was_not_flushed(machine: MachineFactory) -> None:
    vm = machine()
    guest = vm.boot(load_module=False)
    for device in guest.main, guest.spare:
        guest.write(device, 8, b"flushed." * 64)
        guest.flush(device)
        guest.write(device, 8, b"too late" * 64)
        guest.write(device, 9, b"too late" * 64)
    assert guest.read(guest.main, 9) == b"too late" * 64
    cut = vm.power_cut(keep=0)
    for disk in vm.main, vm.spare:
        assert disk.read(8) == b"flushed." * 64
        assert disk.read(9) == bytes(512)
    assert cut["main"].lost == 2

    guest = vm.boot(load_module=False)
    assert guest.read(guest.main, 8) == b"flushed." * 64
    guest.write(guest.main, 9, b"lucky..." * 64)
    vm.power_cut(keep=1)
    assert vm.main.read(9) == b"lucky..." * 64


def test_a_power_cut_keeps_failed_writes_out_of_bad_sectors(machine: MachineFactory) -> None:
    vm = machine()
    guest = vm.boot(load_module=False)
    vm.main.fail(103, on="write")
    with pytest.raises(OSError):
        guest.write(guest.main, 100, b"abcdefgh" * 64 * 8)
    guest.flush(guest.main)
    live = guest.read(guest.main, 96, 16)
    vm.power_cut(keep=1)
    assert vm.main.read(96, 16) == live
    assert vm.main.read(103) == bytes(512)


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_under_load_leaves_a_readable_log(machine: MachineFactory, seed: int) -> None:
    """All that was written and synced before the cut is there, however busy the disks were."""
    vm = machine()
    guest = vm.boot(load_module=False)
    guest.start_sh(
        f"""
        fio --name=load --filename={guest.main} --direct=1 --ioengine=libaio --iodepth=32 \\
            --rw=randwrite --bsrange=512-1m --offset=64m --size=128m --fsync=16 \\
            --time_based --runtime=60 --randseed={seed + 1}
        """,
        timeout=240,
    )
    while vm.main.counters()["writes"] < 200:
        guest.python("import time; time.sleep(0.1)")
    for i in range(20):
        guest.write(guest.main, i, bytes([i + 1]) * 512)
        guest.flush(guest.main)
    guest.python("reply(1)", kill_on_reply=True)
    cut = vm.power_cut(seed)
    assert not vm.running and cut["main"].flushed > 200
    for i in range(20):
        assert vm.main.read(i) == bytes([i + 1]) * 512


def test_the_machine_dies_the_moment_a_reply_arrives(machine: MachineFactory) -> None:
    vm = machine()
    guest = vm.boot(load_module=False)
    assert guest.run("echo", "done", kill_on_reply=True).out == "done\n"
    assert not vm.running
    with pytest.raises(VMDied):
        guest.run("true")
