"""Long work of ``dmremapctl meta`` tells how far it is, and a bar shows it on a terminal only."""

import io
import itertools
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from pycontrol.cli import progress as bars
from pycontrol.cli.main import cli
from pycontrol.metadata import Record
from pycontrol.service.offline import inspection, legacy, meta
from pycontrol.service.progress import Advance
from tests.test_meta_legacy import ACTIVE, v42
from tests.test_metadata_images import slots, spare

SECTORS = 5120
# Three log blocks, each in five copies.
TABLE = [Record(8 * at, 2560 + at, 1, 1) for at in range(400)]
LOG = 3 * 5 * 4096


class Heard:
    """A :class:`pycontrol.service.progress.Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.phases: list[list[object]] = []

    def __call__(self, what: str, total: int | None) -> Advance:
        phase: list[object] = [what, total, 0]
        self.phases.append(phase)

        def advance(done: int) -> None:
            phase[2] += done  # type: ignore[operator]

        return advance


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def path(tmp_path: Path) -> str:
    image = spare(TABLE, spare_sectors=SECTORS)
    image.flip(slots()[2] + 3 * 4096)
    file = tmp_path / "spare.img"
    file.write_bytes(image.flat())
    return str(file)


READERS: dict[str, Callable[[str, Heard], object]] = {
    "check": lambda path, heard: meta.check(path, progress=heard),
    "load": lambda path, heard: meta.load(path, progress=heard),
    "inspect": lambda path, heard: inspection.inspect(path, progress=heard),
    "plan of a repair": lambda path, heard: meta.plan_repair(path, progress=heard),
}


@pytest.mark.parametrize("name", READERS)
def test_reading_is_told(path: str, heard: Heard, name: str) -> None:
    READERS[name](path, heard)
    [[what, total, done]] = heard.phases
    assert (what, total) == ("reading", LOG)
    # The headers and what is around them is read besides.
    assert isinstance(done, int) and LOG <= done < LOG + (8 << 20)


def test_searching_is_told(path: str, heard: Heard) -> None:
    assert list(meta.search(path, heard))
    assert heard.phases == [["searching", SECTORS * 512, SECTORS * 512]]


def test_writing_is_told(path: str, heard: Heard, tmp_path: Path) -> None:
    meta.backup(path, str(tmp_path / "backup"), progress=heard)
    plan = meta.plan_repair(path)
    meta.repair_to(plan, str(tmp_path / "mended"), heard)
    meta.repair_in_place(plan, str(tmp_path / "before"), progress=heard)
    told = [(what, total == done) for what, total, done in heard.phases if what != "reading"]
    assert told == [("copying", True), ("writing", True), ("copying", True), ("mending", True)]
    # A header and a log block of the damaged copy, and every other header.
    assert heard.phases[-1][1] == 6 * 4096
    assert heard.phases[1][1] == 5 * 256 * 512


def test_an_import_is_told(heard: Heard, tmp_path: Path) -> None:
    old = tmp_path / "old.img"
    old.write_bytes(v42([(1000, 3000, 1, ACTIVE), (1001, 3001, 1, ACTIVE), (4000, 3002, 1, ACTIVE)]))
    choices = legacy.Choices(UUID(int=1), 5, 5, 256, 512)
    plan = legacy.plan_import(str(old), str(tmp_path / "new.img"), choices, heard)
    legacy.carry_out(plan, heard)
    written = 2 * 5 * 4096 + 3 * 512
    assert heard.phases == [["reading", 3, 3], ["writing", written, written]]


# On a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds it a second later: everything takes long."""
    seconds = itertools.count()
    monkeypatch.setattr(bars, "monotonic", lambda: next(seconds))


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *arguments: str) -> str:
    """What a command writes to standard error where that is ``stream``."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(SystemExit):
        cli.main(["meta", *arguments], prog_name="dmremapctl")
    return stream.getvalue()


LONG = {
    "inspect": ["inspect", "IN"],
    "check": ["check", "IN"],
    "diff": ["diff", "IN", "IN"],
    "search": ["search", "IN"],
    "dump": ["dump", "-o", "OUT", "IN"],
    "dump as JSON": ["dump", "--json", "-o", "OUT", "IN"],
    "backup": ["backup", "IN", "OUT"],
    "repair to a file": ["repair", "-o", "OUT", "IN"],
    "repair in place": ["repair", "--in-place", "--yes", "--backup", "OUT", "IN"],
    "restore": ["restore", "DUMP", "OUT"],
    "import-legacy": ["import-legacy", "OLD", "OUT"],
}


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("name", LONG)
def test_every_long_command_shows_it(
    monkeypatch: pytest.MonkeyPatch, path: str, tmp_path: Path, name: str
) -> None:
    dump, old = tmp_path / "dump", tmp_path / "old.img"
    with pytest.raises(SystemExit):
        cli.main(["meta", "dump", "-o", str(dump), path], prog_name="dmremapctl")
    old.write_bytes(v42([(1000, 3000, 1, ACTIVE), (1001, 3001, 1, ACTIVE)]))
    places = {"IN": path, "OUT": str(tmp_path / "out"), "DUMP": str(dump), "OLD": str(old)}
    words = [places.get(word, word) for word in LONG[name]]
    seen = shown(monkeypatch, Terminal(), *words)
    assert "%" in seen and "\x1b[2K" in seen, "a bar is drawn, and wiped out at the end"
    (tmp_path / "out").unlink(missing_ok=True)
    assert "%" not in shown(monkeypatch, io.StringIO(), *words)
    (tmp_path / "out").unlink(missing_ok=True)
    assert "%" not in shown(monkeypatch, Terminal(), *words, "--quiet")


@pytest.mark.usefixtures("clock")
def test_on_a_narrow_terminal_it_is_one_line(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    seen = shown(monkeypatch, Terminal(), "check", path)
    lines = [line for line in seen.replace("\r", "\n").splitlines() if "%" in line]
    assert lines and all("reading" in line and len(line) < 60 for line in lines)


@pytest.mark.usefixtures("clock")
def test_no_thread_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take the signals that the work behind the bar holds off."""
    terminal, threads = Terminal(), threading.active_count()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bars.phases(quiet=False) as begin:
        advance = begin("copying", 4)
        for _ in range(3):
            advance(1)
        assert "25%" in terminal.getvalue() and threading.active_count() == threads


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    assert shown(monkeypatch, Terminal(), "check", path) == ""


@pytest.mark.usefixtures("clock")
def test_a_pipe_has_no_end_that_is_known(monkeypatch: pytest.MonkeyPatch, path: str, tmp_path: Path) -> None:
    dump = io.StringIO()
    monkeypatch.setattr(sys, "stdout", dump)
    with pytest.raises(SystemExit):
        cli.main(["meta", "dump", path], prog_name="dmremapctl")
    stdin = io.TextIOWrapper(io.BytesIO(dump.getvalue().encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "reading" in shown(monkeypatch, Terminal(), "restore", "-", str(tmp_path / "out"))


@pytest.mark.usefixtures("clock")
def test_json_is_alone_on_standard_output(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        cli.main(["meta", "check", "--json", path], prog_name="dmremapctl")
    assert json.loads(out.getvalue())["verdict"] == "damaged"
