"""hosts.toml: what it says, and each way to get it wrong, by its sentence."""

from pathlib import Path

import pytest

from pycontrol.errors import UsageError
from pycontrol.service.fleet.hosts import Inventory, read

GOOD = """
[defaults]
user = "admin"
become = true
key = "keys/id"

[groups.rack1]
port = 2222
jump = "gate"

[groups.slow]
timeout = 7200

[hosts.gate]
address = "192.0.2.1"
user = "jump"
become = false

[hosts.alpha]
groups = ["rack1", "slow"]
timeout = 3600

[[hosts.alpha.devices]]
name = "data"
main = "/dev/disk/by-id/ata-1"
spare = "/dev/disk/by-id/ata-2"
copies = 3

[hosts.beta]
address = "fd00::2"
groups = ["rack1"]
"""


def made(tmp_path: Path, text: str) -> Inventory:
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    return read(path)


def test_what_is_said_for_all_for_a_group_and_for_one(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD)
    alpha, beta, gate = (found.hosts[name] for name in ("alpha", "beta", "gate"))
    assert (alpha.address, alpha.user, alpha.port, alpha.timeout) == ("alpha", "admin", 2222, 3600)
    assert alpha.jump == gate and gate.jump is None and gate.user == "jump"
    assert alpha.become and not gate.become and beta.address == "fd00::2"
    assert alpha.key == tmp_path / "keys/id" and alpha.known_hosts.is_absolute()
    (device,) = alpha.devices
    assert (device.name, device.copies, device.format) == ("data", 3, False)


def test_hosts_are_chosen_by_name_and_by_group(tmp_path: Path) -> None:
    found = made(tmp_path, GOOD)

    def names(*wanted: str) -> list[str]:
        return [host.name for host in found.select(wanted)]

    assert names() == ["gate", "alpha", "beta"]
    assert names("rack1") == ["alpha", "beta"]
    assert names("slow", "gate", "alpha") == ["gate", "alpha"]
    with pytest.raises(UsageError, match="no host or group 'rack2'"):
        names("alpha", "rack2")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no hosts"),
        ("[hosts", "is not TOML"),
        ("\n[host.a]\n", "line 2: unknown table 'host'"),
        ("[hosts.a]\nuser = 'x'\n\nprot = 22\n", "line 4: unknown key 'prot'; there are address"),
        ("[defaults]\naddress = 'x'\n[hosts.a]\n", "line 2: unknown key 'address'"),
        ("[hosts.a]\n[[hosts.a.devices]]\nname = 'd'\nmian = '/x'\n", "line 4: unknown key 'mian'"),
        (
            "[hosts.a]\n[[hosts.a.devices]]\nname='d'\nmain='/a'\nspare='/b'\n[[hosts.a.devices]]\nx=1\n",
            "line 7: unknown key 'x'",
        ),
        ("[hosts.a]\ndevices = [{ name = 'd', x = 1 }]\n", "line 2: unknown key 'x'"),
        ("[hosts.a]\n[[hosts.a.devices]]\nname = 'd'\nmain = '/a'\n", "lacks 'spare'"),
        ("[hosts.a]\nport = 65536\n", "line 2: 'port' must be a number from 1 to 65535"),
        ("[hosts.a]\nport = true\n", "'port' must be a number"),
        ("[hosts.a]\nbecome = 'yes'\n", "'become' must be true or false"),
        ("[hosts.a]\naddress = '-oProxyCommand=x'\n", "will not do as 'address'"),
        ("[hosts.a]\nuser = '-l'\n", "will not do as 'user'"),
        ("[hosts.a]\npython = '--version'\n", "will not do as 'python'"),
        ("[hosts.a]\ncache = 'tmp'\n", "will not do as 'cache'"),
        ("[hosts.'a b']\n", "'a b' is no name"),
        ('[hosts."\\u001b[31m"]\n', r"'\\x1b\[31m' is no name"),
        ("[hosts.a]\ngroups = ['g']\n", "line 2: there is no group 'g'"),
        ("[hosts.a]\ngroups = 'g'\n", "'groups' must be a list of names"),
        ("[groups.a]\n[hosts.a]\n", "is the name of a host and of a group"),
        ("[hosts.a]\njump = 'b'\n", "line 2: the jump host 'b' of 'a' is no host of this file"),
        ("[hosts.a]\njump = 'b'\n[hosts.b]\njump = 'a'\n", "each other's jump hosts"),
        ("[hosts.a]\n[[hosts.a.devices]]\nname='-d'\nmain='/a'\nspare='/b'\n", "will not do as 'name'"),
        ("[hosts.a]\n[[hosts.a.devices]]\nname='d'\nmain='sdb'\nspare='/b'\n", "will not do as 'main'"),
        (
            "[hosts.a]\n" + 2 * "[[hosts.a.devices]]\nname='d'\nmain='/a'\nspare='/b'\n",
            "two devices of 'a' have one name",
        ),
        ("hosts = 3\n", "'hosts' must be a table"),
        ("[hosts]\na = 3\n", "line 2: 'hosts.a' must be a table"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        made(tmp_path, text)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
