"""A fleet of eight real sshd hosts with faults: the right table, the right exit code, resumed to the end."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests import fleet_hosts
from tests.fleet_hosts import FAR_PYTHON, FarHost, Hosts

pytestmark = [
    pytest.mark.skipif(bool(fleet_hosts.lacking()), reason=fleet_hosts.lacking()),
    pytest.mark.timeout(600),
]

NAMES = ["one", "two", "three", "away", "changed", "unknown", "full", "killed"]
HASTY = "connect_timeout = 2"
"""For a host that does not answer; the others get the time that a busy machine takes."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with fleet_hosts.made(tmp_path_factory.mktemp("fleet"), NAMES) as hosts:
        trust(hosts)
        yield hosts


def trust(hosts: Hosts, **other: str) -> None:
    """Write known_hosts: every host with its own key, or with another one, or (empty) not at all."""
    lines = (f"{host.address} {other.get(name, host.key)}" for name, host in hosts.hosts.items())
    text = "".join(f"{line}\n" for line in lines if line.split()[1:])
    (hosts.top / "known_hosts").write_text(text)


def inventory(hosts: Hosts, *names: str, **more: str) -> str:
    """The file of these hosts, each with one device; ``more`` are lines for a host."""
    text = f"""
[defaults]
key = "id"
known_hosts = "known_hosts"
python = "{FAR_PYTHON}"
connect_timeout = 30
timeout = 60
"""
    for name in names or NAMES:
        host = hosts[name]
        text += f"""
[hosts.{name}]
address = "{host.address}"
{more.get(name, "")}
[[hosts.{name}.devices]]
name = "data"
main = "{host.top}/dev/main"
spare = "{host.top}/dev/spare"
"""
    (hosts.top / "hosts.toml").write_text(text)
    return "hosts.toml"


Row = dict[str, Any]


def rows(output: str) -> tuple[dict[str, Row], Row]:
    """What was said of each host, and the summary."""
    documents = [json.loads(line) for line in output.splitlines()]
    assert documents[-1]["type"] == "summary"
    hosts = {row["host"]: row for row in documents if row["type"] == "host"}
    assert len(hosts) + 1 == len([row for row in documents if row["type"] != "event"])
    return hosts, documents[-1]


def test_faults_are_told_and_the_rest_is_done_and_resumed(fleet: Hosts) -> None:
    full = f'cache = "{fleet["full"].small}"'
    path = inventory(fleet, away=HASTY, full=full)
    create = ("fleet", "-H", path, "create", "--yes", "--resume", "state", "--json", "--jobs", "4")
    other = fleet_hosts.keygen(fleet.top / "other").rpartition(" ")[0]
    trust(fleet, changed=other, unknown="")
    fleet.link("away", "down")
    hold = fleet["killed"].top / "root/hold"
    os.mkfifo(hold)

    # Not before it says that it is in the midst of it.
    with fleet.popen(*create) as process:
        assert process.stdout is not None
        with hold.open() as said:
            assert said.readline() == "making a device\n"
        fleet["killed"].hang_up()
        output = process.stdout.read()
    hosts, summary = rows(output)
    assert process.returncode == 11
    assert {name: row["state"] for name, row in hosts.items()} == {
        "one": "ok", "two": "ok", "three": "ok", "away": "unreachable", "changed": "unreachable",
        "unknown": "unreachable", "full": "failed", "killed": "lost",
    }  # fmt: skip
    assert summary["ok"] == 3 and summary["unreachable"] == 3 and not summary["interrupted"]
    assert "did not answer within 2 s" in hosts["away"]["sentence"]
    assert "CHANGED" in hosts["changed"]["sentence"] and "SHA256:" in hosts["changed"]["sentence"]
    assert "is not in" in hosts["unknown"]["sentence"] and "known_hosts" in hosts["unknown"]["sentence"]
    assert "No space left on device" in hosts["full"]["sentence"]
    assert "killed" in hosts["killed"]["sentence"] or "lost" in hosts["killed"]["sentence"]
    assert all("Accepted" not in (fleet[name].top / "log").read_text() for name in ("changed", "unknown"))

    # What was wrong is mended; a device that was made is not made again.
    trust(fleet)
    inventory(fleet, full=full)
    fleet.link("away", "up")
    hold.unlink()
    fleet["full"].inside("mount", "-o", "remount,size=64M", fleet["full"].small)
    logins = {name: fleet[name].logins() for name in NAMES}
    done = fleet.dmremapctl(*create)
    hosts, summary = rows(done.stdout)
    assert done.returncode == 0, done.stdout
    assert all(row["state"] == "ok" for row in hosts.values()) and summary["ok"] == 8
    for name in NAMES:
        before = name in ("one", "two", "three")
        assert hosts[name]["before"] == before
        assert (fleet[name].logins() == logins[name]) == before

    # And there they are, on every host; a third run finds nothing to do.
    status = fleet.dmremapctl("fleet", "-H", path, "status", "--json")
    found, _ = rows(status.stdout)
    assert status.returncode == 0
    assert all(row["answer"][0]["name"] == "data" for row in found.values())
    spare = f"{fleet['one'].top}/dev/spare.image"
    inspected = fleet.dmremapctl("fleet", "-H", path, "inspect", spare, "--on", "one")
    assert inspected.stdout.startswith(f"one: ok: {spare}: intact\n")
    third = fleet.dmremapctl("fleet", "-H", path, "create", "--yes", "--json")
    assert {row["sentence"] for row in rows(third.stdout)[0].values()} == {"data: there already"}


def test_lines_for_people(fleet: Hosts) -> None:
    done = fleet.dmremapctl(
        "fleet", "-H", inventory(fleet), "status", "nothing", "--on", "one", "--on", "two"
    )
    assert done.returncode == 11
    lines = sorted(done.stdout.splitlines())
    assert lines[0] == "2 hosts: 2 failed"
    assert lines[1].startswith("one: failed: ") and "nothing" in lines[1]


def test_what_is_copied_is_private_and_mended(fleet: Hosts) -> None:
    path = inventory(fleet, "one", one=f'cache = "{fleet["one"].top}"')
    status = ("fleet", "-H", path, "status", "--json")
    assert fleet.dmremapctl(*status).returncode == 0
    kept = fleet["one"].top / "dm-remap-fleet"
    assert kept.stat().st_mode & 0o777 == 0o700
    (tool,) = kept.iterdir()
    good = tool.read_bytes()
    tool.write_bytes(good[:-1] + b"?")
    assert fleet.dmremapctl(*status).returncode == 0
    assert tool.read_bytes() == good

    kept.chmod(0o755)
    done = fleet.dmremapctl(*status)
    hosts, _ = rows(done.stdout)
    assert done.returncode == 11 and "mode 0700" in hosts["one"]["sentence"]


def test_through_a_jump_host_whose_key_is_checked_too(fleet: Hosts) -> None:
    # From the machine in front there is no way to it but through the other one.
    one, two = fleet["one"], fleet["two"]
    command = fleet_hosts.command
    command("ip", "-n", one.space, "link", "add", "side", "type", "veth", "peer", "side", "netns", two.space)
    for host, address in ((one, "10.78.0.1/30"), (two, "10.78.0.2/30")):
        command("ip", "-n", host.space, "address", "add", address, "dev", "side")
        command("ip", "-n", host.space, "link", "set", "side", "up")
    fleet_hosts.knock(one.space, "10.78.0.2")
    text = (fleet.top / inventory(fleet, "one", "two", two='jump = "one"')).read_text()
    (fleet.top / "hosts.toml").write_text(text.replace(f'"{two.address}"', '"10.78.0.2"'))
    with (fleet.top / "known_hosts").open("a") as file:
        file.write(f"10.78.0.2 {two.key}\n")
    status = ("fleet", "-H", "hosts.toml", "status", "--on", "two", "--json")
    done = fleet.dmremapctl(*status)
    assert done.returncode == 0, done.stdout
    trust(fleet, one="")
    hosts, _ = rows(fleet.dmremapctl(*status).stdout)
    trust(fleet)
    assert hosts["two"]["state"] == "unreachable"
    assert hosts["two"]["sentence"].startswith("jump host one: its host key")


def test_interrupted_it_ends_there_too_and_can_be_resumed(fleet: Hosts) -> None:
    host = fleet["three"]
    (host.top / "root/kernel.pickle").unlink()
    hold = host.top / "root/hold"
    os.mkfifo(hold)
    create = (
        "fleet",
        "-H",
        inventory(fleet, "two", "three"),
        "create",
        "--yes",
        "--resume",
        "again",
        "--json",
    )
    with fleet.popen(*create, "--jobs", "1") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        with hold.open() as said:
            said.readline()
            process.send_signal(signal.SIGINT)
            output = first + process.stdout.read()
            # The other end is closed when the process over there has ended.
            assert said.read() == ""
    hosts, summary = rows(output)
    assert process.returncode == 10 and summary["interrupted"]
    assert hosts["two"]["state"] == "ok" and hosts["three"]["state"] == "stopped"
    hold.unlink()
    done = fleet.dmremapctl(*create)
    assert done.returncode == 0, done.stdout
    assert rows(done.stdout)[0]["two"]["before"]


def test_a_revoked_key_and_a_login_that_is_refused(fleet: Hosts) -> None:
    path = inventory(fleet, "one", "two")
    with (fleet.top / "known_hosts").open("a") as file:
        file.write(f"@revoked * {fleet['one'].key}\n")
    allowed = fleet["two"].top / "authorized_keys"
    before = allowed.read_text()
    allowed.write_text("")
    hosts, _ = rows(fleet.dmremapctl("fleet", "-H", path, "status", "--json").stdout)
    allowed.write_text(before)
    trust(fleet)
    assert hosts["one"]["state"] == hosts["two"]["state"] == "unreachable"
    assert "host key" in hosts["one"]["sentence"]
    assert "is not let in" in hosts["two"]["sentence"]


def test_no_python_and_a_shell_that_talks(fleet: Hosts) -> None:
    (fleet["one"].top / "root/.bashrc").write_text("echo '{\"token\": 1}'; echo welcome\n")
    path = inventory(fleet, "one", "two", two='python = "python3.999"')
    hosts, _ = rows(fleet.dmremapctl("fleet", "-H", path, "status", "--json").stdout)
    assert hosts["one"]["state"] == "ok"
    assert hosts["two"]["state"] == "failed" and "python3.999" in hosts["two"]["sentence"]


def test_too_slow(fleet: Hosts) -> None:
    os.kill(fleet["one"].server.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    try:
        hosts, _ = rows(
            fleet.dmremapctl("fleet", "-H", inventory(fleet, "one", one=HASTY), "status", "--json").stdout
        )
    finally:
        os.kill(fleet["one"].server.pid, signal.SIGCONT)  # type: ignore[union-attr]
    assert hosts["one"]["state"] == "unreachable" and "did not answer within 2 s" in hosts["one"]["sentence"]


MAKE = """#!/bin/sh
[ -e /root/broken ] && { echo no luck >&2; exit 2; }
for word in "$@"; do case $word in M=*) place=${word#M=} ;; esac; done
[ -e "$place/dm-remap-v4-real-main.c" ] || exit 3
echo built >>/root/built
{ printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\1\\0\\76\\0'
  printf '\\0vermagic=%s SMP mod_unload \\0' "$(cat /root/release)"; } >"$place/dm-remap-v4.ko"
"""


def runs(host: FarHost, release: str, *, headers: bool, broken: bool = False) -> None:
    """Let a host run this kernel, with or without what building takes."""
    (host.top / "root/release").write_text(release)
    if headers:
        build = host.top / "modules" / release / "build"
        build.mkdir(parents=True)
        (build / "Makefile").touch()
        for tool in ("make", "gcc"):
            (host.top / "bin" / tool).write_text(MAKE)
            (host.top / "bin" / tool).chmod(0o755)
    if broken:
        (host.top / "root/broken").touch()


def test_one_build_for_each_kernel_and_its_way_to_the_hosts(fleet: Hosts) -> None:
    runs(fleet["one"], "6.1.0-9-test", headers=True, broken=True)
    runs(fleet["two"], "6.1.0-9-test", headers=True)
    runs(fleet["three"], "6.1.0-9-test", headers=False)
    runs(fleet["away"], "6.1.0-10-test", headers=False)
    path = inventory(fleet, "one", "two", "three", "away")
    hosts, _ = rows(fleet.dmremapctl("fleet", "-H", path, "load", "--json").stdout)
    assert "run 'dmremapctl fleet build' first" in hosts["one"]["sentence"]

    done = fleet.dmremapctl("fleet", "-H", path, "build", "--json", "--resume", "built")
    hosts, _ = rows(done.stdout)
    assert done.returncode == 11
    # On the first one it fails, so the second is asked.
    for name in ("one", "two", "three"):
        assert hosts[name]["sentence"] == "6.1.0-9-test: built on two"
    assert "6.1.0-10-test" in hosts["away"]["sentence"] and "headers" in hosts["away"]["sentence"]
    again, _ = rows(fleet.dmremapctl("fleet", "-H", path, "build", "--json").stdout)
    assert again["one"]["sentence"] == "6.1.0-9-test: built before"
    assert (fleet["two"].top / "root/built").read_text() == "built\n"

    done = fleet.dmremapctl("fleet", "-H", path, "load", "--json", "--jobs", "2")
    hosts, _ = rows(done.stdout)
    assert done.returncode == 11 and hosts["away"]["code"] == 7
    for name in ("one", "two", "three"):
        assert hosts[name]["answer"]["changed"] and (fleet[name].top / "root/sys/dm_remap_v4").is_dir()
    done = fleet.dmremapctl("fleet", "-H", path, "load", "--on", "one")
    assert done.returncode == 0
    assert done.stdout.startswith("one: ok: there already, for 6.1.0-9-test, loaded already\n")
