"""A host whose SSH server answers at first, and then no more."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from pycontrol.service.fleet.hosts import Host
from pycontrol.service.fleet.session import HostFailure, State
from pycontrol.service.fleet.ssh import SshSession


class Stalling(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets everybody in, and thinks for ever about what it shall run, as one whose disk hangs."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.over.wait()
        return False


@pytest.fixture
def stalling(tmp_path: Path) -> Iterator[Host]:
    """Such a host."""
    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(tmp_path / "key"))
    server = Stalling()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")

        def serve() -> None:
            transport = paramiko.Transport(listening.accept()[0])
            transport.add_server_key(key)
            transport.start_server(server=server)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Host("one", "127.0.0.1", port=port, key=tmp_path / "key", known_hosts=tmp_path / "known")
        server.over.set()
        thread.join()


@pytest.mark.timeout(60)
def test_what_is_never_begun_ends_within_its_time(stalling: Host) -> None:
    session = SshSession(stalling)
    with pytest.raises(HostFailure) as failure:
        session.execute("true", b"", lambda data: None, time.monotonic() + 1)
    assert failure.value.state is State.TIMEOUT
    session.close()
