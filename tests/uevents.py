"""Listeners to uevents, made to lose some."""

import os
import socket
import struct

from pycontrol.service.tell.uevents import Uevents


def overflow(listener: Uevents) -> None:
    """Lose events: the kernel's answers to requests that ask for nothing, for which there is no room.

    That needs neither root nor udev, and libudev drops what it can take of them.
    """
    header, no_op, request_and_acknowledge, kernel_itself = 16, 1, 1 | 4, 0
    request = struct.pack("=IHHII", header, no_op, request_and_acknowledge, 0, 0)
    with socket.socket(fileno=os.dup(listener.fileno())) as theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(50):
            theirs.sendto(request, (kernel_itself, 0))
