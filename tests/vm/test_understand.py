"""map, events and health against the real kernel: what they say as damage grows, and that they only look."""

import json
from typing import Any
from xml.etree import ElementTree

from command import ctl, ok
from harness import Guest
from target import create, extents, message

PARAMETERS = "/sys/module/dm_remap_v4/parameters/"


def health(guest: Guest, code: int) -> Any:
    done = ctl(guest, "health", "mapped", "--json")
    assert done.rc == code, done
    (said,) = json.loads(done.out)
    return said


def kinds(said: Any) -> set[str]:
    return {reason["kind"] for reason in said["reasons"]}


def events(guest: Guest, *options: str) -> list[tuple[str, int | None, int]]:
    done = ctl(guest, "events", "mapped", "--json", *options)
    assert done.rc == 0, done
    found = [json.loads(line) for line in done.out.splitlines()]
    assert all(each["time"] == each["not_before"] for each in found)
    return [(each["kind"], each["sector"], each["sectors"]) for each in found]


def fail_write(guest: Guest, sector: int) -> None:
    guest.machine.main.fail(sector, on="write")
    guest.write("/dev/mapper/mapped", sector, b"w" * 512)


def test_understanding_as_damage_grows(guest: Guest) -> None:
    guest.sh(f"echo N > {PARAMETERS}dm_remap_autosave_enabled")
    create(guest)
    size = int(guest.run("blockdev", "--getsz", "/dev/mapper/mapped").out)
    region = size // 1024
    assert health(guest, 0)["verdict"] == "good"
    assert events(guest) == [] and ok(guest, "map", "mapped")["regions"] == []

    # A few sectors that cannot be written.
    places = [region * number + 8 for number in (0, 500, 1023)]
    for sector in places:
        fail_write(guest, sector)
    said = health(guest, 0)
    assert (said["verdict"], kinds(said), said["day"]["places"]) == ("watch", {"rate"}, 3)
    found = ok(guest, "map", "mapped")
    assert [(each["region"], each["remapped"], each["pending"]) for each in found["regions"]] == [
        (0, 1, 0),
        (500, 1, 0),
        (1023, 1, 0),
    ]
    assert (found["spare_use"]["data"], found["spare_use"]["bad"]) == (3, 0)
    assert events(guest) == [("remap", sector, 1) for sector in places]

    # One that cannot be read: its data is lost until it is written.
    lost = region * 700
    guest.machine.main.fail(lost, on="read")
    assert guest.failing("/dev/mapper/mapped", lost, 1) == [lost]
    said = health(guest, 1)
    assert (said["verdict"], kinds(said), said["pending_sectors"]) == ("act", {"pending", "rate"}, 1)
    found = ok(guest, "map", "mapped", "--zoom", "700")
    assert found["extents"] == [{"sector": lost, "sectors": 1, "spare": None}]
    shown = ctl(guest, "map", "mapped", "--zoom", "700").out
    assert "!" in shown and f"{lost} 1 pending" in shown
    assert events(guest)[-1] == ("pending", lost, 1)
    guest.write("/dev/mapper/mapped", lost, b"r" * 512)
    said = health(guest, 0)
    assert (said["verdict"], kinds(said), said["day"]["places"]) == ("watch", {"rate"}, 4), (
        "healing is no damage"
    )

    # Many more in a short time.
    for number in range(10):
        fail_write(guest, region * 100 + 16 * number)
    said = health(guest, 1)
    assert (said["verdict"], kinds(said), said["day"]["places"]) == ("act", {"rate"}, 14)
    assert said["exhaustion"]["certainty"] == "rough"
    assert "faster" in ctl(guest, "health").out

    # The way back, and what is not there any more.
    guest.machine.main.heal()
    ok(guest, "unmap", "mapped", places[0])
    assert events(guest, "--since", "1h")[-1] == ("unmap", places[0], 1)
    assert events(guest, "--since", "2036-01-01") == []
    listed = [
        {"sector": each.sector, "sectors": each.sectors, "spare": each.spare} for each in extents(guest)
    ]
    assert ok(guest, "map", "mapped")["extents"] == listed

    # Pictures as files, also where udev makes no links by number; a node is never written over.
    guest.sh("mv /dev/block /dev/away; mknod /dev/keep b 7 200")
    done = ctl(guest, "map", "mapped", "--svg", "/tmp/map.svg", "--html", "/tmp/map.html")
    assert (done.rc, done.err) == (0, ""), done
    assert ctl(guest, "map", "mapped", "--svg", "/dev/keep").rc == 2
    assert guest.run("stat", "-c", "%F", "/dev/keep").out == "block special file\n"
    guest.sh("rm /dev/keep; mv /dev/away /dev/block")
    top = ElementTree.fromstring(guest.run("cat", "/tmp/map.svg").out)
    titles = [each.text or "" for each in top.iter("{http://www.w3.org/2000/svg}title")]
    assert any(title.startswith("region 100, ") and "10 moved" in title for title in titles)
    assert any("14 sectors in all, " in title for title in titles)
    page = ElementTree.fromstring(guest.run("cat", "/tmp/map.html").out.split("\n", 1)[1])
    assert "100" in [each.text for each in page.iter("td")]

    # All of that only looked.
    guest.run("sync")
    disks = guest.machine.main, guest.machine.spare
    before = [disk.counters()["writes"] for disk in disks]
    for words in (("map", "mapped"), ("events", "mapped"), ("health",)):
        ctl(guest, *words)
    guest.run("sync")
    assert [disk.counters()["writes"] for disk in disks] == before
    guest.sh(f"echo Y > {PARAMETERS}dm_remap_autosave_enabled")


def test_the_spares_own_damage_and_a_full_spare(guest: Guest) -> None:
    create(guest)
    found = ok(guest, "map", "mapped")
    first = found["spare_use"]["log"]  # with nothing but metadata on it: where its data begins
    guest.machine.spare.fail(range(first, first + 8), on="write")
    fail_write(guest, 1000)
    found = ok(guest, "map", "mapped")
    assert found["spare_use"]["bad"] > 0 and found["spare_use"]["bad_places"][0]["spare"] == first
    assert ("bad_spare", None) in [each[:2] for each in events(guest)]
    said = health(guest, 1)
    assert (said["verdict"], kinds(said)) == ("act", {"rate", "bad_spare"})
    guest.machine.spare.heal()

    # What was asked for takes room but is no damage; what failed, the spare's own places too, tells how fast
    # the rest goes: 9 sectors in the week.
    free = int(said["total_sectors"]) - int(said["used_sectors"])
    message(guest, "remap", 8192, free - 300)
    said = health(guest, 1)
    assert kinds(said) == {"rate", "bad_spare", "spare_nearly_full"} and said["exhaustion"]["days"] > 30
    message(guest, "remap", 8192 + free - 300, 270)
    said = health(guest, 1)
    assert kinds(said) == {"rate", "bad_spare", "exhaustion"} and 2 < said["exhaustion"]["days"] < 30


def test_what_is_not_there(guest: Guest) -> None:
    for command in ("map", "events", "health"):
        done = ctl(guest, command, "nothing")
        assert done.rc == 4 and "no such device" in done.err and len(done.err.splitlines()) == 1, done
    assert ctl(guest, "health").out == "no devices\n"
