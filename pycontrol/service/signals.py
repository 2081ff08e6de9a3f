"""Signals that wait: for the end of a block, or as bytes to be read in a loop that waits in poll()."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals come at the end of a block, which should be short.

    Only if there is no other thread: one that does not hold them would take them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def signal_pipe(*numbers: signal.Signals) -> Iterator[int]:
    """A descriptor that gets a byte, the signal's number, for each of these signals.

    In the main thread only, as Python has it.  What was set before is set again.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, _nothing) for number in numbers}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _nothing(number: int, frame: object) -> None:
    # The byte has been written by the interpreter; SIG_IGN would keep it from that.
    return


def arrived(descriptor: int) -> set[int]:
    """The signals that have come since the last call; does not wait."""
    try:
        return set(os.read(descriptor, 4096))
    except BlockingIOError:
        return set()
