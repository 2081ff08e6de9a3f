"""Programs and mail: how they are called, and what becomes of them.  Real processes."""

import email
import email.policy
import json
import os
import select
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest

from pycontrol.errors import KernelLacks, UsageError
from pycontrol.service.tell.bursts import Burst
from pycontrol.service.tell.hooks import ANY, Call, Hook, ProgramHook, Runner
from pycontrol.service.tell.mail import MailHook
from pycontrol.service.tell.notice import LEVELS, Notice
from pycontrol.service.tell.totals import Totals
from pycontrol.service.tell.watch import Event

STATE = Totals("ro", ("degraded",), True, False, 9, 3, 16, 4096, 4, 5, 1, 2, 8, 24)
HOSTILE = "r0\nBcc: mallory@example.org\n\n$(reboot) `id`; -x"


def burst(name: str = "r0", action: str = "PENDING", state: Totals | None = STATE) -> Burst:
    event = Event(1700000000.25, name, "DMREMAP-1", action, "dm-3", 7, 1000, 8, 2)
    made = Burst(Notice(event, state), 1699999999.5)
    made.add(made.latest)
    made.add(made.latest)
    return made


def script(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def runner(said: list[str], limit: int = 2, clock: Clock | None = None) -> Runner:
    return Runner(limit, 60, said.append, clock or Clock())


def finish(running: Runner) -> None:
    """Wait as the monitor does: on the descriptors."""
    while not running.idle:
        assert select.select(running.descriptors, [], [], 60)[0]
        running.attend()


def test_a_program_gets_its_words_and_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "WATCHDOG_USEC"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("KEPT", "1")
    program = script(
        tmp_path / "hook",
        f"import json, os, sys\n"
        f"found = [sys.argv[1:], dict(os.environ), sys.stdin.read(), os.getpid() == os.getsid(0)]\n"
        f"json.dump(found, open({str(tmp_path / 'out')!r}, 'w'))",
    )
    said: list[str] = []
    running = runner(said)
    running.start(ProgramHook.parse(f"pending={program}").call(burst(HOSTILE)))
    finish(running)
    words, environment, stdin, leads = json.loads((tmp_path / "out").read_text())
    assert words == ["PENDING", HOSTILE, "2"] and stdin == "" and leads
    assert environment["KEPT"] == "1"
    assert not {"NOTIFY_SOCKET", "JOURNAL_STREAM", "WATCHDOG_USEC"} & set(environment)
    ours = {key: value for key, value in environment.items() if key.startswith("DMREMAP_")}
    assert ours.pop("DMREMAP_MESSAGE").startswith("r0\\x0aBcc")
    assert ours == {
        "DMREMAP_CLASS": "PENDING", "DMREMAP_NAME": HOSTILE, "DMREMAP_UUID": "DMREMAP-1",
        "DMREMAP_DEVICE": "dm-3", "DMREMAP_LEVEL": "3", "DMREMAP_COUNT": "2", "DMREMAP_EXTENTS": "4",
        "DMREMAP_SECTORS": "16", "DMREMAP_SECTOR": "1000", "DMREMAP_LOST": "0", "DMREMAP_SEQNUM": "7",
        "DMREMAP_FIRST": "1699999999.500", "DMREMAP_LAST": "1700000000.250", "DMREMAP_MODE": "ro",
        "DMREMAP_ERRORS": "degraded", "DMREMAP_HEALTHY": "0", "DMREMAP_REMAPPED_EXTENTS": "9",
        "DMREMAP_PENDING_EXTENTS": "3", "DMREMAP_SPARE_USED_SECTORS": "16",
        "DMREMAP_SPARE_TOTAL_SECTORS": "4096", "DMREMAP_VALID_COPIES": "4", "DMREMAP_COPIES": "5",
    }  # fmt: skip
    assert said == [] and running.outcomes == {"ok": 1, "failed": 0, "timeout": 0}


def test_a_device_that_is_gone_has_no_figures() -> None:
    call = ProgramHook(ANY, "/bin/true").call(burst(action="REMOVED", state=None))
    assert call.environment["DMREMAP_MODE"] == call.environment["DMREMAP_COPIES"] == ""


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("import sys; sys.exit(3)", "ended with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
    ],
)
def test_a_failure_is_reported(tmp_path: Path, program: str, sentence: str) -> None:
    said: list[str] = []
    running = runner(said)
    hook = script(tmp_path / "hook", program)
    running.start(ProgramHook.parse(f"ANY={hook}").call(burst()))
    finish(running)
    assert said == [f"the hook {hook} for PENDING of r0 {sentence}"] and running.outcomes["failed"] == 1


def test_a_program_that_went_away_is_reported(tmp_path: Path) -> None:
    said: list[str] = []
    running = runner(said)
    running.start(Call((str(tmp_path / "no"),), {}, about="the hook"))
    assert said == ["the hook could not be started: No such file or directory"]
    assert running.idle and running.outcomes["failed"] == 1
    running.start(Call(("/bin/true", "a\0b"), {}, about="the hook"))
    assert said[1:] == ["the hook could not be started: embedded null byte"]


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """Both hold the pipe open: its end is seen when both are gone."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = script(
        tmp_path / "hook",
        f"import os, time\nf = os.open({str(fifo)!r}, os.O_WRONLY)\nos.fork()\nos.write(f, b'.')\n"
        "time.sleep(1000)",
    )
    clock, said = Clock(), list[str]()
    running = runner(said, clock=clock)
    running.start(Call((program,), dict(os.environ), about="the hook"))
    until = running.deadline
    assert until == 160
    with fifo.open("rb") as pipe:
        assert pipe.read(2) == b".."
        clock.now = 159
        running.attend()
        assert len(running.descriptors) == 1
        clock.now = 160
        running.attend()
        assert running.deadline is None, "no timer while it dies"
        finish(running)
        assert pipe.read() == b""
    assert said == ["the hook was killed after 60 s"] and running.outcomes["timeout"] == 1


def test_no_more_than_the_limit_run_at_once() -> None:
    running = runner([])
    for _ in range(2):
        assert running.free
        running.start(Call(("/bin/cat",), {}))
    assert not running.free
    finish(running)
    assert running.outcomes["ok"] == 2


def test_at_the_end_what_runs_is_killed_and_said() -> None:
    said: list[str] = []
    running = runner(said)
    running.start(Call(("/bin/sleep", "1000"), {}, about="the hook"))
    descriptor = os.dup(running.descriptors[0])
    running.kill()
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)
    assert said == ["the hook was killed, because the monitor ends"]


def test_its_output_goes_where_complaints_go(capfd: pytest.CaptureFixture[str]) -> None:
    running = runner([])
    running.start(Call(("/bin/echo", "said"), {}))
    finish(running)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "said\n")


@pytest.mark.parametrize(
    "text",
    [
        *("", "PENDING", "=/bin/true", "DANCE=/bin/true", "PENDING=", "PENDING=true", "PENDING=/no"),
        *("PENDING=/etc/passwd", "PENDING=/bin", "PENDING=/bin/true; reboot"),
    ],
)
def test_a_hook_that_could_never_run_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        ProgramHook.parse(text)


def test_which_classes_a_hook_wants() -> None:
    def wanted(hook: Hook, state: Totals | None = None) -> list[str]:
        notices = [burst("r0", action, state).latest for action in (*LEVELS, "SOMETHING_NEWER")]
        return [notice.event.action for notice in notices if hook.wants(notice)]

    every = [*LEVELS, "SOMETHING_NEWER"]
    assert wanted(ProgramHook.parse("copy-lost=/bin/true")) == ["COPY_LOST"]
    assert wanted(ProgramHook.parse("any=/bin/true")) == every
    mild = ["UNMAP", "COPY_MENDED", "PRESENT", "RESUMED", "REMOVED"]
    assert wanted(MailHook("root")) == [action for action in every if action not in mild]
    # One that comes up in need of attention is news.
    mild = ["UNMAP", "COPY_MENDED", "REMOVED"]
    assert wanted(MailHook("root"), STATE) == [action for action in every if action not in mild]


@pytest.fixture
def sendmail(tmp_path: Path) -> Path:
    return Path(
        script(
            tmp_path / "sendmail",
            f"import sys\nopen({str(tmp_path / 'argv')!r}, 'w').write(repr(sys.argv[1:]))\n"
            f"open({str(tmp_path / 'mail')!r}, 'wb').write(sys.stdin.buffer.read())",
        )
    )


def sent(tmp_path: Path, sendmail: Path, told: Burst) -> EmailMessage:
    said: list[str] = []
    running = runner(said)
    running.start(MailHook.parse("root@example.org", sendmail).call(told))
    finish(running)
    assert said == []
    assert (tmp_path / "argv").read_text() == "['-oi', '--', 'root@example.org']"
    message = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_says_what_happened(tmp_path: Path, sendmail: Path) -> None:
    message = sent(tmp_path, sendmail, burst())
    assert message["To"] == "root@example.org" and message["Auto-Submitted"] == "auto-generated"
    assert message["Subject"] == f"dm-remap on {os.uname().nodename}: r0 PENDING"
    body = message.get_content()
    assert body.startswith("r0: PENDING sector 1000 (8 sectors in 2 extents); ro degraded needs_check, ")
    assert "DMREMAP_COUNT=2\n" in body and "DMREMAP_SECTORS=16\n" in body


def test_no_name_can_forge_a_header(tmp_path: Path, sendmail: Path) -> None:
    message = sent(tmp_path, sendmail, burst(HOSTILE + "x" * 2000, "PENDING\r\nX-Forged: 1"))
    assert sorted(message.keys()) == sorted(
        [
            "To",
            "Subject",
            "Date",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ]
    )
    assert "\n" not in message["Subject"] and "Bcc: mallory" in message["Subject"]
    assert "\nBcc:" not in message.get_content() and "\nX-Forged" not in message.get_content()


@pytest.mark.parametrize(
    "address",
    ["", "-oQ/tmp", "a b", "a@b,c@d", "root\nBcc: x", "a@b\n", "<a@b>", "|sh", "a@-b", "root; reboot", "a@"],
)
def test_an_address_that_is_none_is_refused(address: str, sendmail: Path) -> None:
    with pytest.raises(UsageError):
        MailHook.parse(address, sendmail)


def test_without_sendmail_mail_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(KernelLacks, match="--hook"):
        MailHook.parse("root", tmp_path / "sendmail")
