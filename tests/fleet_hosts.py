"""A fleet of real sshd processes, each in network, mount and host name namespaces of its own.

A namespace more is the machine in front of which we sit: it has a link to each host and no
other way out.  Needs root, iproute2, util-linux and openssh-server.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
FAR_PYTHON = "/usr/bin/python3"
MIB = 1 << 20

_CONFIG = """
Port 22
HostKey {top}/hostkey
AuthorizedKeysFile {top}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
"""


def command(*words: str | Path, **options: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True, **options)  # type: ignore[call-overload]


def knock(space: str, address: str) -> None:
    """Wait until sshd can be reached from a namespace."""
    again = f"until : </dev/tcp/{address}/22; do :; done"
    command("ip", "netns", "exec", space, "bash", "-c", again, timeout=60)


def keygen(path: Path) -> str:
    """Make a key pair; the public half."""
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path.with_name(path.name + ".pub").read_text()


def lacking() -> str:
    """Why such a fleet cannot be made here; empty if it can."""
    if os.geteuid() != 0:
        return "namespaces take root"
    tools = "ip", "unshare", "nsenter", "ssh-keygen", "/usr/sbin/sshd"
    missing = [tool for tool in tools if not shutil.which(tool)]
    return f"{' and '.join(missing)} missing, ci/packages installs what is needed" if missing else ""


@dataclass
class FarHost:
    """A host; ``address`` is as the machine in front sees it."""

    name: str
    top: Path
    space: str
    address: str
    server: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        """What it proves itself with, as in known_hosts."""
        kind, data = (self.top / "hostkey.pub").read_text().split()[:2]
        return f"{kind} {data}"

    @property
    def small(self) -> Path:
        """A directory there that is full soon."""
        return self.top / "small"

    def make(self, login: str) -> None:
        for name in ("root", "packages", "small", "dev", "bin", "modules"):
            (self.top / name).mkdir(parents=True)
        keygen(self.top / "hostkey")
        (self.top / "authorized_keys").write_text(login)
        (self.top / "sshd_config").write_text(_CONFIG.format(top=self.top))
        packages = self.top / "packages"
        shutil.copy(TOP / "tests/fleet_far.py", packages)
        shutil.copy(TOP / "tests/fakes.py", packages / "fleet_fakes.py")
        (packages / "fleet_far.pth").write_text("import fleet_far\n")
        for minor, (name, size) in enumerate({"main": 16 * MIB, "spare": 4 * MIB}.items()):
            os.mknod(self.top / "dev" / name, 0o60600, os.makedev(240, minor))
            with (self.top / "dev" / f"{name}.image").open("wb") as file:
                file.truncate(size)

    def start(self) -> None:
        """Start sshd, and wait until it listens."""
        log = self.top / "log"
        words = ["ip", "netns", "exec", self.space, "unshare", "--mount", "--uts", FAR_PYTHON]
        words += [str(TOP / "tests/fleet_init.py"), str(self.top), self.name, str(TOP)]
        with log.open("wb") as file:
            # Each of them becomes the next, so that this is sshd in the end.
            self.server = subprocess.Popen(words, stderr=file, stdout=file)
        self._until_it_listens(log)

    def _until_it_listens(self, log: Path) -> None:
        # sshd says so in its log; tail waits for that.
        assert self.server is not None
        words = ["tail", "-F", "-s", "0.05", "-n", "+1", f"--pid={self.server.pid}", str(log)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as tail:
            assert tail.stdout is not None
            said = []
            for line in tail.stdout:
                said.append(line)
                if "Server listening on 0.0.0.0" in line:
                    break
            else:
                raise AssertionError(f"sshd did not start: {''.join(said)}")
            tail.kill()

    def logins(self) -> int:
        """How often somebody was let in."""
        return (self.top / "log").read_text().count("Accepted publickey")

    def sessions(self) -> list[int]:
        """The processes of sshd that serve a connection."""
        assert self.server is not None
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def hang_up(self) -> None:
        """Kill what serves its connections; some of that may end by itself just now."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def inside(self, *words: str | Path) -> None:
        """Run a program in its mount namespace."""
        assert self.server is not None
        command("nsenter", "-t", str(self.server.pid), "-m", *words)

    def stop(self) -> None:
        if self.server is not None:
            self.hang_up()
            self.server.kill()
            self.server.wait()


@dataclass
class Hosts:
    """All of them, and the machine in front."""

    top: Path
    space: str
    hosts: dict[str, FarHost] = field(default_factory=dict)

    def __getitem__(self, name: str) -> FarHost:
        return self.hosts[name]

    @property
    def environment(self) -> dict[str, str]:
        path = os.environ["PATH"]
        return {"HOME": str(self.top / "home"), "PATH": path, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(TOP)}

    def link(self, name: str, state: str) -> None:
        """Pull the cable of a host out (``down``), or put it in (``up``) and wait until it carries.

        The kernel takes a second to believe in a cable, and longer to ask for an address again.
        """
        host = self.hosts[name]
        command("ip", "-n", host.space, "link", "set", "far", state)
        if state == "up":
            knock(self.space, host.address)

    def words(self, *words: str) -> list[str]:
        """How dmremapctl is called on the machine in front."""
        return ["ip", "netns", "exec", self.space, sys.executable, "-B", "-m", "pycontrol", *words]

    def dmremapctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.top,
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.words(*words), env=self.environment, stdout=subprocess.PIPE, text=True, cwd=self.top
        )


@contextmanager
def made(top: Path, names: Sequence[str]) -> Iterator[Hosts]:
    """The fleet, with ``id``, the key that all let in, in ``top``."""
    login = keygen(top / "id")
    tag = f"dmr{os.getpid()}"
    fleet = Hosts(top, tag)
    (top / "home/.ssh").mkdir(parents=True)
    with ExitStack() as stack:
        _namespace(stack, tag)
        for number, name in enumerate(names):
            space = f"{tag}-{number}"
            _namespace(stack, space)
            near = f"n{number}"
            command("ip", "-n", tag, "link", "add", near, "type", "veth", "peer", "far", "netns", space)
            command("ip", "-n", tag, "address", "add", f"10.77.{number}.1/30", "dev", near)
            command("ip", "-n", space, "address", "add", f"10.77.{number}.2/30", "dev", "far")
            command("ip", "-n", tag, "link", "set", near, "up")
            command("ip", "-n", space, "link", "set", "far", "up")
            host = FarHost(name, top / name, space, f"10.77.{number}.2")
            host.make(login)
            stack.callback(host.stop)
            host.start()
            fleet.hosts[name] = host
        yield fleet


def _namespace(stack: ExitStack, name: str) -> None:
    command("ip", "netns", "add", name)
    stack.callback(command, "ip", "netns", "delete", name)
    command("ip", "-n", name, "link", "set", "lo", "up")
