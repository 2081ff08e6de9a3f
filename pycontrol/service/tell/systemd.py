"""The two things a service says to systemd: that it is ready, and how urgent a line is."""

import os
import socket


def notify(state: str) -> bool:
    """Send ``READY=1`` and the like (sd_notify(3)); False if nobody wants to know.

    Errors are the caller's: OSError if the socket is named but cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect(address)
        sender.sendall(state.encode())
    return True


def in_journal(descriptor: int) -> bool:
    """Whether what is written to a descriptor goes to the journal, which takes ``<4>`` as a priority."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
