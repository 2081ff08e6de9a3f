"""/etc/dmremaptab: what a line may say, and that both readers of it agree."""

import random
from pathlib import Path

import pytest

from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.service.boot import tab
from pycontrol.service.boot.tab import Entry, Fault, parse
from tests.boot_build import Ran, run

UUID = "d14f3388-114f-4e99-90e3-64c0bffa5a8a"
GOOD = f"data /dev/sda UUID={UUID}"


def sentence(line: str) -> str:
    found = parse(line.encode())
    assert not found.entries and len(found.faults) == 1
    return found.faults[0].sentence


def test_a_table() -> None:
    found = parse(
        f"""
# comment, \xe4nywhere
  # and here
data\t/dev/disk/by-id/wwn-0x5 \tUUID={UUID.upper()}  nofail,timeout=120\t
other /dev/sdb /dev/sdc1 -
 third PARTUUID=ABCD-01 PARTUUID=abcd-02 ro,degraded,noauto,initramfs,relocate-weak
""".encode()
    )
    assert found.faults == []
    assert found.entries == [
        Entry(4, "data", "/dev/disk/by-id/wwn-0x5", f"UUID={UUID}", nofail=True, timeout=120),
        Entry(5, "other", "/dev/sdb", "/dev/sdc1"),
        Entry(
            6, "third", "PARTUUID=abcd-01", "PARTUUID=abcd-02",
            ro=True, degraded=True, noauto=True, initramfs=True, relocate_weak=True,
        ),
    ]  # fmt: skip
    assert found.entries[0].uuid == UUID and found.entries[1].uuid == ""
    assert found.find("other") is found.entries[1] and found.find("none") is None
    assert tab.device_path(f"UUID={UUID}") == f"/dev/disk/by-id/dm-remap-spare-{UUID}"
    assert tab.device_path("PARTUUID=1-2") == "/dev/disk/by-partuuid/1-2"
    assert tab.device_path("/dev/sda=1") == "/dev/sda=1"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data /dev/sda", "it has 2 fields"),
        (f"{GOOD} ro nofail", "it has 5 fields"),
        (f"a/b /dev/sda UUID={UUID}", "'a/b' cannot name a device"),
        (f"control /dev/sda UUID={UUID}", "'control' cannot name a device"),
        (f"{'n' * 128} /dev/sda UUID={UUID}", "at most 127 characters"),
        (f"data sda UUID={UUID}", "'sda' is no main device"),
        (f"data UUID={UUID} /dev/sda", "is no main device"),
        (f"data /dev/../etc/passwd UUID={UUID}", "is no main device"),
        ("data /dev/sda UUID=1", "'UUID=1' is no spare"),
        ("data /dev/sda /dev/", "'/dev/' is no spare"),
        ("data /dev/sda /dev/..", "'/dev/..' is no spare"),
        ("data /dev/sda PARTUUID=", "'PARTUUID=' is no spare"),
        ("data /dev/sda /dev/sda", "are the same"),
        (f"{GOOD} read-only", "'read-only' is no option; there are ro, degraded"),
        (f"{GOOD} ro,", "'' is no option"),
        (f"{GOOD} timeout", "'timeout' is no option"),
        (f"{GOOD} ro=1", "'ro=1' is no option"),
        (f"{GOOD} ro,ro", "option ro is given twice"),
        (f"{GOOD} timeout=1,timeout=2", "option timeout is given twice"),
        (f"{GOOD} timeout=86401", "'86401' is no timeout"),
        (f"{GOOD} timeout=-1", "'-1' is no timeout"),
        (f"{GOOD} timeout=", "'' is no timeout"),
        (f"{GOOD}\r", "control character"),
        (f"d\xe4ta /dev/sda UUID={UUID}", "not ASCII"),
        (f"{GOOD} {'x' * 1024}", "longer than 1024"),
    ],
)
def test_a_line_that_is_refused(line: str, words: str) -> None:
    assert words in sentence(line)


def test_a_device_belongs_to_one_line() -> None:
    lines = [
        GOOD,
        "data /dev/sdb /dev/sdc",
        "more /dev/sda /dev/sdc",
        f"last /dev/sdd UUID={UUID}",
        "good /dev/sde /dev/sdf",
    ]
    found = parse("\n".join(lines).encode())
    assert [entry.name for entry in found.entries] == ["data", "good"]
    assert found.faults == [
        Fault(2, "the name data is that of line 1 already"),
        Fault(3, "the main device /dev/sda is that of line 1 already"),
        Fault(4, f"the spare UUID={UUID} is that of line 1 already"),
    ]


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tab"
    assert tab.load(path).entries == []
    path.write_text(GOOD)
    assert [entry.name for entry in tab.load(path).entries] == ["data"]
    path.write_bytes(b"#" * (tab.MAX_FILE + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        tab.load(path)
    assert "larger than 1 MiB" in run("activator", "tab", "--tab", path).err
    with pytest.raises(DeviceIoError, match="Is a directory"):
        tab.load(tmp_path)
    assert run("activator", "tab", "--tab", tmp_path).code == 6


NAMES = ["data", "x", "-", "a/b", "..", "#n", "n" * 127, "n" * 128]
UUIDS = [f"UUID={UUID}", f"UUID={UUID.upper()}"]
PLACES = ["/dev/sda", "/dev/sdb", "/dev/a=b", "PARTUUID=1-2", "PARTUUID=AB", *UUIDS]
NO_PLACES = ["UUID=1", "PARTUUID=", "/dev/", "/dev/../x", "sda"]
OPTIONS = ["ro", "degraded,nofail", "noauto,ro", "initramfs", "relocate-weak", "timeout=5", "timeout=00007"]
NO_OPTIONS = ["-", "ro,ro", "timeout=99999", "timeout=1,timeout=2", ",", "rw", "timeout"]
STRANGE = ["", "\t", "\r", "\0", "\x7f", "\xe4", "x" * 1000]
WORDS = [*NAMES, *PLACES, *NO_PLACES, *OPTIONS, *NO_OPTIONS, *STRANGE]


def _random_line(choose: random.Random) -> str:
    if choose.random() < 0.5:
        shapes = ([f"n{choose.randrange(400)}"], PLACES, PLACES + NO_PLACES, OPTIONS + NO_OPTIONS)
        return choose.choice(" \t").join(choose.choice(words) for words in shapes[: choose.choice((3, 4, 4))])
    return " ".join(choose.choice(WORDS) for _ in range(choose.randrange(6)))


@pytest.mark.parametrize("seed", range(4))
def test_both_readers_agree(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    lines = [_random_line(choose).encode("latin-1") for _ in range(400)]
    # The words of a line may be those of one that was refused, but not of one that was taken.
    lines += [f"m{n} /dev/m{n} /dev/s{n} timeout={n}".encode() for n in range(20)]
    data = b"\n".join(lines)
    path = tmp_path / "tab"
    path.write_bytes(data)
    found = parse(data)
    theirs: Ran = run("activator", "tab", "--tab", path)
    assert theirs.out.splitlines() == [str(entry) for entry in found.entries]
    faults = [f"dm-remap: {path}:{fault.line}: {fault.sentence}" for fault in found.faults]
    assert theirs.err.splitlines() == faults
    assert len(faults) > 100 and len(found.entries) > 20


def test_no_table_is_too_strange() -> None:
    choose = random.Random(7)
    tables = []
    for _ in range(3000):
        table = bytearray("\n".join(_random_line(choose) for _ in range(4)).encode("latin-1"))
        for _ in range(choose.randrange(6)):
            if table:
                table[choose.randrange(len(table))] = choose.randrange(256)
        tables.append(b"%d\n%b\n" % (len(table), bytes(table)))
    done = run("fuzz", given=b"".join(tables))
    assert done.code == 0, done.err
    assert done.out.startswith("tables=3000 ")
