"""Who polls for completions, and doesn't just now, holds nobody up."""

from typing import Any

from bench.nulldisk import null_disk
from harness import Guest
from target import create, extents, remapped


def read_and_poll_late(*args: Any) -> Any:
    import importlib

    return importlib.import_module("guest.polling").read_and_poll_late(*args)


def test_a_read_that_nobody_polls_for_holds_up_no_remap(guest: Guest) -> None:
    """The disk would give it up after half a minute; there are some that never do."""
    main, spare = (null_disk(guest, name, 64, memory=True, poll_queues=1) for name in ("main", "spare"))
    device = create(guest, main=main, spare=spare)
    assert guest.run("cat", "/sys/block/dm-0/queue/io_poll").out == "1\n"
    for action, expected in (("remap", [0]), ("unmap", [])):
        command = ["dmsetup", "message", "mapped", "0", action, "0"]
        assert guest.call(read_and_poll_late, device, command) == 4096
        assert remapped(extents(guest)) == expected
