"""The connection that is SSH, by fabric: whom it trusts, and what may go wrong with it.

~/.ssh/config and fabric's own files are not read: how a host is reached is said by hosts.toml
alone.  Passwords are never asked for.
"""

import base64
import contextlib
import errno
import functools
import hashlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import paramiko
from fabric import Config, Connection

from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.session import Ended, HostFailure, State
from pycontrol.text import plain

ERRORS: Final = 16 << 10
"""Bytes of standard error that are kept, from its end."""
KEEPALIVE: Final = 15
DEAD: Final = 45
"""Seconds after which a connection whose other end says nothing at all is lost."""

_TOO_SLOW: Final = "did not end within its time"

# What paramiko has to say beyond its exceptions goes nowhere: it would go to standard error.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
logging.getLogger("paramiko").propagate = False


class SshSession:
    """A connection over SSH, and those to its jump hosts."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._connections: list[Connection] = []
        try:
            self._connection = self._open(host)
        except BaseException:
            self.close()
            raise

    def _open(self, host: Host) -> Connection:
        jump = self._open(host.jump) if host.jump else None
        config = Config(lazy=True, overrides={"load_ssh_configs": False})
        connection = Connection(
            host.address,
            user=host.user,
            port=host.port,
            config=config,
            gateway=jump,
            connect_timeout=int(host.connect_timeout),
            connect_kwargs=_how(host),
        )
        # fabric would take any key of a host it does not know.
        connection.client.set_missing_host_key_policy(_Refuse())
        _trust(connection.client.get_host_keys(), host)
        self._connections.append(connection)
        begun = time.monotonic()
        try:
            connection.open()
        except (OSError, EOFError, paramiko.SSHException, ValueError, _UnknownKey) as error:
            sentence = _reason(error, host, time.monotonic() - begun)
            if host is not self._host:
                sentence = f"jump host {host.name}: {sentence}"
            raise HostFailure(State.UNREACHABLE, sentence) from error
        _prepare(connection.transport, host)
        return connection

    def execute(self, command: str, data: bytes, take: Callable[[bytes], None], deadline: float) -> Ended:
        """As :class:`pycontrol.service.fleet.session.Session` has it."""
        errors, late = bytearray(), threading.Event()
        try:
            # Not create_session(), which would open anew what was closed to end this.
            with self._connection.transport.open_session() as channel:
                with self._closed_after(min(_left(deadline), self._host.timeout), late):
                    channel.exec_command(command)
                self._send(channel, data, deadline)
                self._receive(channel, take, errors, deadline)
                if not channel.status_event.wait(_left(deadline)):
                    raise TimeoutError
                code = channel.exit_status
        except TimeoutError as error:
            raise HostFailure(State.TIMEOUT, _TOO_SLOW) from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            if late.is_set():
                raise HostFailure(State.TIMEOUT, _TOO_SLOW) from error
            raise HostFailure(State.LOST, f"the connection was lost: {_short(error)}") from error
        return Ended(code if code >= 0 else None, bytes(errors))

    @contextlib.contextmanager
    def _closed_after(self, seconds: float, late: threading.Event) -> Iterator[None]:
        """Close the connection then: paramiko waits without a limit for the answer to a request."""

        def close() -> None:
            late.set()
            self.close()

        timer = threading.Timer(seconds, close)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _send(self, channel: paramiko.Channel, data: bytes, deadline: float) -> None:
        channel.settimeout(_left(deadline))
        try:
            channel.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            # It ended before it had read all: what it said tells why.
            return

    def _receive(
        self, channel: paramiko.Channel, take: Callable[[bytes], None], errors: bytearray, deadline: float
    ) -> None:
        poll = select.poll()
        poll.register(channel.fileno(), select.POLLIN)
        while True:
            # Asked before it is emptied: what comes in between makes another round.
            over = channel.eof_received or channel.closed
            while channel.recv_ready():
                take(channel.recv(1 << 15))
            while channel.recv_stderr_ready():
                errors += channel.recv_stderr(1 << 15)
                del errors[:-ERRORS]
            if over:
                return
            left = _left(deadline)
            if not left:
                raise TimeoutError
            poll.poll(left * 1000)

    def close(self) -> None:
        """Close the connection, then those that carry it."""
        for connection in reversed(self._connections):
            connection.client.close()


def _left(deadline: float) -> float:
    """Seconds, as what waits takes them; there may be no deadline."""
    return min(max(0.0, deadline - time.monotonic()), 86400.0)


class _UnknownKey(Exception):
    """Says which."""


class _Refuse:
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownKey(_print_of(key))


def _how(host: Host) -> dict[str, Any]:
    limit = host.connect_timeout
    how: dict[str, Any] = {
        "banner_timeout": limit,
        "auth_timeout": limit,
        "allow_agent": host.key is None,
        "look_for_keys": host.key is None,
    }
    if host.key:
        how["key_filename"] = str(host.key)
    return how


@functools.cache
def _known(path: Path) -> tuple[tuple[paramiko.hostkeys.HostKeyEntry, ...], frozenset[str]]:
    """The lines of known_hosts that are without a marker, and the keys that are marked as revoked.

    paramiko knows no markers, not even the one that takes trust away, and refuses a file for one
    bad line.  A line that cannot be read gives no trust.
    """
    entries, revoked = [], set()
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith("@"):
            if words[0] == "@revoked" and len(words) > 3:
                revoked.add(words[3])
            continue
        with contextlib.suppress(paramiko.SSHException, ValueError):
            if entry := paramiko.hostkeys.HostKeyEntry.from_line(line):
                entries.append(entry)
    return tuple(entries), frozenset(revoked)


def _trust(keys: paramiko.HostKeys, host: Host) -> None:
    """Take what known_hosts has for this host."""
    try:
        entries, revoked = _known(host.known_hosts)
    except OSError as error:
        reason = f"{plain(host.known_hosts)} cannot be read: {error.strerror}"
        raise HostFailure(
            State.UNREACHABLE, f"{reason}; it has the keys of hosts that are trusted"
        ) from error
    name = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    for entry in entries:
        if any(_is(pattern, name) for pattern in entry.hostnames) and entry.key.get_base64() not in revoked:
            keys.add(name, entry.key.get_name(), entry.key)


def _is(pattern: str, name: str) -> bool:
    """Whether this is the name, as it is or hashed; patterns with wildcards are none."""
    if pattern.startswith("|1|"):
        return bool(paramiko.HostKeys.hash_host(name, pattern) == pattern)
    return pattern == name


def _prepare(transport: paramiko.Transport, host: Host) -> None:
    # Of channels to what is behind a jump host; an hour otherwise.
    transport.channel_timeout = host.connect_timeout
    transport.set_keepalive(KEEPALIVE)
    if isinstance(transport.sock, socket.socket):
        # A peer that is gone without a word is noticed by what it does not acknowledge.
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD * 1000)


def _print_of(key: paramiko.PKey) -> str:
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{plain(key.get_name())} SHA256:{digest}"


def _reason(error: Exception, host: Host, seconds: float) -> str:
    """Why a connection could not be opened, and what to do."""
    where = f"{plain(host.address)} port {host.port}"
    known = plain(host.known_hosts)
    match error:
        case _UnknownKey():
            return f"its host key ({error}) is not in {known}; verify it and add it there"
        case paramiko.BadHostKeyException():
            return (
                f"its host key has CHANGED: it shows {_print_of(error.key)}, {known} has"
                f" {_print_of(error.expected_key)}; find out why before you trust it"
            )
        case paramiko.PasswordRequiredException():
            return f"the key {plain(host.key)} has a passphrase; load it into ssh-agent and leave out 'key'"
        case paramiko.AuthenticationException():
            return f"{plain(host.user)} is not let in with the keys there are"
        case TimeoutError():
            return f"{where} did not answer within {host.connect_timeout:g} s"
        case socket.gaierror():
            return f"the name {plain(host.address)} is not known"
        case paramiko.ssh_exception.NoValidConnectionsError():
            return f"{where}: {_short(next(iter(error.errors.values())))}"
        case FileNotFoundError() if host.key:
            return f"the key {plain(host.key)} does not exist"
        case paramiko.SSHException() if seconds >= host.connect_timeout:
            # paramiko goes on without an answer, to fail for another reason.
            return f"{where} did not answer within {host.connect_timeout:g} s"
        case _:
            return f"{where}: {_short(error)}"


def _short(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return " ".join(plain(error).split()) or "it was closed"


def connect(host: Host) -> SshSession:
    """Open a connection to a host; HostFailure says why there is none."""
    return SshSession(host)
