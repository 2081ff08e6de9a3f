"""Makes a host of a namespace: run in one of its own, it ends by becoming sshd.

Arguments: the host's directory, its name, and what shall not be seen there.  It has its own
network, name, /root, /run, /var/cache, /usr/local/bin, kernels and Python packages; of the rest
of the file system it shares what is not hidden.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

SMALL = "size=64k"
"""Of a file system that is full soon."""


def mount(*words: str) -> None:
    subprocess.run(["/bin/mount", *words], check=True)


def main() -> None:
    top, name, *hidden = Path(sys.argv[1]), *sys.argv[2:]
    socket.sethostname(name)
    for place in ("/run", "/var/cache", *hidden):
        mount("-t", "tmpfs", "-o", "mode=0755", "none", place)
    mount("--bind", str(top / "root"), "/root")
    mount("--bind", str(top / "packages"), "/usr/local/lib/python3.11/dist-packages")
    mount("--bind", str(top / "bin"), "/usr/local/bin")
    mount("--bind", str(top / "modules"), "/lib/modules")
    mount("-t", "tmpfs", "-o", f"mode=0755,{SMALL}", "none", str(top / "small"))
    Path("/run/sshd").mkdir()
    os.chdir("/")
    os.execv("/usr/sbin/sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(top / "sshd_config")])


main()
