"""Tables for people, on terminals of any width."""

import io
import re
import sys

import pytest

from pycontrol.cli.output import table

COLUMNS = ("Name", "Verdict", "Time")
ROWS = [("first", "damaged: CRC does not match", "2023-11-14 22:13:20 UTC"), ("odd\x1b[1m", "", "-")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, *rows: tuple[object, ...]) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    seen = Terminal()
    monkeypatch.setattr(sys, "stdout", seen)
    table(COLUMNS, rows)
    return [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in seen.getvalue().splitlines()]


def test_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 80, *ROWS)
    assert lines[2:] == [
        "first        damaged: CRC does not match   2023-11-14 22:13:20 UTC",
        "odd\\x1b[1m                                 -",
    ]


def test_narrow_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(monkeypatch, 40, *ROWS)
    assert max(map(len, lines)) <= 40
    words = [line.split() for line in lines]
    assert ["first", "damaged:", "CRC", "2023-11-14"] in words
    assert any("22:13:20" in each for each in words)


def test_too_narrow_for_the_words_is_paragraphs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, 30, *ROWS) == [
        "Name     first",
        "Verdict  damaged: CRC does not match",
        "Time     2023-11-14 22:13:20 UTC",
        "",
        "Name     odd\\x1b[1m",
        "Verdict",
        "Time     -",
        "",
    ]


def test_wide_characters_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("\u78c1" * 10, "a", "b")
    assert "Name" in drawn(monkeypatch, 39, row)[0] and "Verdict" in drawn(monkeypatch, 39, row)[0]
    assert "Verdict" not in drawn(monkeypatch, 30, row)[0]


def test_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, 40)[0].split() == list(COLUMNS)


def test_in_a_pipe_a_row_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table(COLUMNS, ROWS)
    assert "first        damaged: CRC does not match   2023-11-14 22:13:20 UTC" in capsys.readouterr().out
