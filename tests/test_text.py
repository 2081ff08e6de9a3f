"""Escaping, sizes, and the sentence made of an exception."""

import errno
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontrol import errors
from pycontrol.cli.exitcodes import ExitCode
from pycontrol.cli.failures import exit_code, expected, sentence
from pycontrol.cli.output import table
from pycontrol.dm.errors import CookieError, DmIoctlError, DmNameError, DmReplyError
from pycontrol.metadata import Corrupt, Legacy, NotOurs
from pycontrol.sizes import human, parse_size
from pycontrol.text import plain


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("WDC WD40", "WDC WD40"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\x00", "a\\x0ab\\x09c\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("\x9b31m", "\\x9b31m"),
        ("a\\x1b", "a\\\\x1b"),
        ("\udcff", "\\xff"),
        ("\U000e0001", "\\U000e0001"),
        ("Größe", "Größe"),
    ],
)
def test_plain(raw: str, shown: str) -> None:
    assert plain(raw) == shown


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_nothing_a_terminal_obeys_passes(raw: str) -> None:
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.category(char) in hidden for char in plain(raw))
    plain(raw).encode()


@given(st.text(max_size=30), st.text(max_size=30))
def test_different_values_look_different(first: str, second: str) -> None:
    assert (plain(first) == plain(second)) is (first == second)


@pytest.mark.parametrize("cell", ["[red]x[/red]", "[/]", ":o:", "a\x1b[2J", "\\[b]"])
def test_a_table_shows_markup_and_does_not_obey_it(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "n"), [(cell, 7)], numbers=("n",))
    shown = capsys.readouterr().out
    assert plain(cell) in shown and "\x1b" not in shown


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128K", 131072),
        ("1MiB", 1 << 20),
        ("1mb", 1 << 20),
        ("4096", 4096),
        ("256s", 131072),
        ("2 G", 2 << 30),
        ("3B", 3),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "K", "-1", "1.5M", "1X", "0x10", "1 2", "٣K", 21 * "9", pytest.param(5000 * "9", id="5000 digits")],
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(errors.UsageError):
        parse_size(text)


def test_human() -> None:
    assert [human(size) for size in (0, 512, 131072, 1536, 3 << 40)] == [
        "0 B",
        "512 B",
        "128 KiB",
        "1.5 KiB",
        "3 TiB",
    ]


def ioctl(command: str, code: int) -> DmIoctlError:
    return DmIoctlError(command, "do it", code)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.WrongDevice("x"), 4),
        (errors.Busy("x"), 5),
        (errors.AccessDenied("x"), 6),
        (errors.DeviceIoError("x"), 6),
        (errors.TargetMissing("x"), 7),
        (errors.KernelLacks("x"), 8),
        (errors.TargetRefused("x"), 9),
        (errors.BeyondRecovery("x"), 3),
        (NotOurs("x"), 4),
        (Legacy("x", version="4.2"), 4),
        (Corrupt("x"), 3),
        (DmNameError("x"), 2),
        (CookieError("x"), 6),
        (DmReplyError("x"), 9),
        (KeyboardInterrupt(), 10),
        (ioctl("open", errno.ENOENT), 7),
        (ioctl("open", errno.EACCES), 6),
        (ioctl("DM_DEV_STATUS", errno.ENXIO), 4),
        (ioctl("DM_DEV_REMOVE", errno.EBUSY), 5),
        (ioctl("DM_TABLE_LOAD", errno.EINVAL), 9),
        (ioctl("DM_TABLE_LOAD", errno.EBUSY), 5),
        (ioctl("DM_TARGET_MSG", errno.ENXIO), 4),
        (ioctl("DM_LIST_DEVICES", errno.EPERM), 6),
        (ioctl("DM_DEV_ARM_POLL", errno.ENOTTY), 8),
        (OSError(errno.EIO, "I/O", "/dev/x"), 6),
        (OSError(errno.ENOENT, "none", "/dev/x"), 4),
        (OSError(errno.EBUSY, "busy"), 5),
    ],
    ids=repr,
)
def test_every_failure_has_its_code_and_one_line(error: BaseException, code: int) -> None:
    assert exit_code(error) is ExitCode(code)
    assert expected(error)
    assert sentence(error) and "\n" not in sentence(error)


def test_a_defect_is_not_a_failure() -> None:
    assert not expected(ValueError("a bug"))


def test_a_sentence_never_carries_control_characters() -> None:
    assert sentence(errors.Busy("a\x1b[2J\nb")) == "a\\x1b[2J\\x0ab"
    assert sentence(errors.Busy("has \\x1b already")) == "has \\x1b already"
    assert sentence(OSError(errno.EIO, "I/O error", "/dev/\x1b")) == "/dev/\\x1b: I/O error"
