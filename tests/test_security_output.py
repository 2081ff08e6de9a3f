"""Nothing that others name is obeyed: by a terminal, rich, JSON, a browser, mail or Prometheus."""

import json
import re
from dataclasses import astuple
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pycontrol.service import live
from pycontrol.service.tell.bursts import Burst
from pycontrol.service.tell.mail import MailHook
from pycontrol.service.tell.notice import Notice
from pycontrol.service.tell.watch import Event
from tests.hostile_commands import CASES, Case
from tests.hostile_process import isolated
from tests.hostile_strings import EVIL, HostileCase
from tests.hostile_terminals import SCREENS, shown
from tests.hostile_world import Outcome, prepare

LINES = [HostileCase(*astuple(case)) for case in CASES]
LINES += [
    HostileCase(line)
    for line in (
        "watch --count 2",
        "monitor",
        "monitor --textfile {out}/x.prom",
        "scan --main {main}",
        "create new {newdisk} {spare} --yes --format",
        "inspect {image} --headers",
        "inspect {image} --copy 0",
        "map data --html {out}/map.html",
        "message data {image}",
        "inspect {out}/none",
    )
]
each_line = pytest.mark.parametrize("case", LINES, ids=lambda case: case.line)

ORDINARY = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\(B|[78=>])")
"""What rich may write to a terminal."""


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    prepare()


def harmless(text: str) -> None:
    """Nothing but visible characters and ends of lines, and none of these in what others name."""
    assert "Traceback" not in text, text
    assert all(char == "\n" or char.isprintable() for char in text), ascii(text)
    assert not re.search(r"^\W*Injected", text, re.MULTILINE), text


@each_line
def test_names_are_shown_and_not_obeyed(case: Case, tmp_path: Path) -> None:
    def work() -> Outcome:
        world = case.world(tmp_path)
        return world.run(*case.words(world))

    outcome = isolated(work)
    text = outcome.out + outcome.err
    harmless(text)
    assert text.count("EVIL") == text.count("[red]EVIL[blink]"), "markup was taken for such"


@each_line
def test_a_terminal_is_told_nothing(case: Case, tmp_path: Path) -> None:
    outcome = isolated(lambda: shown(case, tmp_path, SCREENS["narrow"]))
    text = outcome.out + outcome.err
    assert "\x1b[66" not in text and "\x1b]" not in text, ascii(text)
    harmless(ORDINARY.sub("", text).replace("\r", ""))


@each_line
def test_json_holds_the_names_as_they_are(case: Case, tmp_path: Path) -> None:
    def work() -> Outcome:
        world = case.world(tmp_path)
        return world.run(*case.words(world, "--json"))

    outcome = isolated(work)
    harmless(outcome.out + outcome.err)
    assert outcome.out.isascii()
    if outcome.out:
        try:
            json.loads(outcome.out)
        except ValueError:
            for line in outcome.out.splitlines():
                json.loads(line)


# Files that others read


def test_a_picture_has_no_elements_but_its_own(tmp_path: Path) -> None:
    case = HostileCase("map data --svg {out}/map.svg --html {out}/map.html")

    def work() -> tuple[str, str]:
        world = case.world(tmp_path)
        # What a command takes as a name has no such characters, but disks may be called anything.
        world.patch.setattr(live, "kernel_name", lambda dev, sysfs=None: EVIL)
        world.run(*case.words(world))
        files = [Path(world.place["out"]) / name for name in ("map.svg", "map.html")]
        return files[0].read_text(), files[1].read_text()

    known = {"svg", "style", "title", "rect", "text", "line", "polyline"}
    known |= {"html", "head", "meta", "body", "h1", "h2", "p", "table", "tr", "th", "td"}
    for text in isolated(work):
        assert "EVIL" in text
        harmless(text)
        tree = ElementTree.fromstring(text.partition("\n")[2] if text.startswith("<!") else text)
        for element in tree.iter():
            assert element.tag.rpartition("}")[2] in known
            assert not any(name.startswith("on") or "href" in name for name in element.attrib)


def burst() -> Burst:
    event = Event(0.0, EVIL, EVIL, EVIL, EVIL, 1, None, None, None)
    return Burst(Notice(event), 0.0)


def test_mail_has_the_headers_it_should_have() -> None:
    call = MailHook("root", "/usr/sbin/sendmail").call(burst())
    message = message_from_bytes(call.stdin, policy=default)
    content = {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert set(message.keys()) == {"To", "Subject", "Date", "Auto-Submitted"} | content
    assert message["To"] == "root" and "Injected" in message["Subject"]
    harmless(message.get_content())
    assert call.argv[-2:] == ("--", "root"), "an address is no option"
    harmless(call.about)
