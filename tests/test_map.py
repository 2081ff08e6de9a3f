"""``dmremapctl map``: the picture, its zoom, its files, and what it takes."""

import json
import os
import stat
import time
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from pycontrol.cli.main import cli
from pycontrol.errors import DeviceIoError, UsageError
from pycontrol.metadata import Record
from pycontrol.service.extents import Extent
from pycontrol.service.view.diskmap import DiskMap, Span, shade_of, thresholds, zoomed
from pycontrol.service.view.diskview import list_from
from pycontrol.service.view.picture import ASCII, columns, grid
from pycontrol.service.view.replacefile import replace_text
from tests.conftest import Run
from tests.fakes import FakeKernel
from tests.inservice import DAY, NOW, InService, in_service
from tests.test_metadata_images import MAIN

REGION = MAIN // 1024
TABLE = [
    Record(0, 4000, 8, 1, 1, NOW - 40 * DAY),
    Record(MAIN - 8, 4008, 8, 1, 1, NOW - 20 * DAY),
    Record(REGION * 600, 4016, 2048, 1, 1, NOW - 20 * DAY),
    Record(REGION * 601 + 16, 0, 8, 2, 1, NOW - DAY),
    Record(0, 8000, 16, 8, 1, NOW - DAY),
]
AT_40 = """\
[LLLLLLLLLL........+#########:........x]
L metadata  :# data  x bad  . free
16 sectors of the spare bad
"""


@pytest.fixture
def data(kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InService:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "101")
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    made = in_service(kernel, tmp_path, monkeypatch)
    made.put(TABLE)
    return made


def shown(run: Run, *words: str) -> list[str]:
    result = run("map", "data", *words)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return [line.rstrip() for line in result.stdout.splitlines()]


# The picture.


def test_the_whole_disk(data: InService, run: Run) -> None:
    lines = shown(run)
    assert lines[0] == "/dev/mapper/data  main 8:0, 1 GiB"
    rows = [line for line in lines if line[:4].strip().isdigit() and line[4:5] == " " and len(line) == 69]
    assert len(rows) == 16
    assert rows[0] == "   0 ▒" + 63 * "·"
    assert rows[9] == " 576 " + 24 * "·" + "█!" + 38 * "·"
    assert rows[15] == " 960 " + 63 * "·" + "▒"
    assert "1024 regions of 1 MiB:  · none  ░ 1+  ▒ 7+  ▓ 45+  █ 304+ sectors moved  ! pending" in lines
    assert "2064 sectors moved in 3 extents" in lines and "8 sectors pending in 1 extent" in lines
    assert "spare 8:16,  1.0 MiB of 3 MiB used" in lines
    assert not any("extents: " in line for line in lines), "only a part is listed"


@pytest.mark.parametrize("width", [40, 57, 80, 132, 200])
def test_it_fits_any_width(data: InService, run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in ((), ("--zoom", "601")):
        lines = shown(run, *words)
        assert max(map(len, lines)) < max(width, 41)
        assert sum(line.count("!") for line in lines) == 2, "in the picture and in the legend"


def test_a_narrower_terminal_gets_40_columns(
    data: InService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    assert max(map(len, shown(run))) == 40


def test_ascii_where_the_encoding_has_no_blocks(data: InService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "41")
    result = CliRunner(charset="ascii").invoke(cli, ["map", "data"])
    assert result.exit_code == 0 and result.stdout.isascii()
    assert AT_40 in result.stdout
    assert " 576 ........................#!......\n" in result.stdout


def test_colours_are_for_terminals(data: InService, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in run("map", "data").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes that for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[33m█" in run("map", "data").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[33m" not in run("map", "data").stdout


def test_devices_have_the_names_that_the_kernel_gave(data: InService, run: Run, tmp_path: Path) -> None:
    for number, name in (("8:0", "sda"), ("8:16", "sd\x1bb")):
        place = tmp_path / "sys/dev/block" / number
        place.mkdir(parents=True)
        (place / "uevent").write_text(f"MAJOR=8\nDEVNAME={name}\n")
    lines = shown(run)
    assert lines[0] == "/dev/mapper/data  main sda (8:0), 1 GiB"
    assert "spare sd\\x1bb (8:16),  1.0 MiB of 3 MiB used" in lines


def test_zooming_in_until_the_extents_are_listed(data: InService, run: Run) -> None:
    lines = shown(run, "--zoom", "601")
    assert f"sectors {REGION * 601} to {REGION * 602 - 1}" in lines
    assert lines[3] == "  0 ··!" + 61 * "·"
    assert lines[-2:] == ["extents: sector, sectors, place", f"{REGION * 601 + 16} 8 pending"]
    lines = shown(run, "--zoom", "601.2")
    assert "1 region of 4 KiB:  · none  ! pending" in lines
    lines = shown(run, "--from", str(REGION * 600 + 12), "--to", str(REGION * 601 + 20))
    assert lines[-2:] == [
        f"{REGION * 600 + 8} 2040 spare 4024",  # from the logical block on that holds the sector
        f"{REGION * 601 + 16}    8 pending",
    ]
    assert "2036 sectors moved in 1 extent" in lines and "4 sectors pending in 1 extent" in lines
    lines = shown(run, "--from", str(REGION * 600), "--max", "1")
    assert lines[-1] == "zoom in, or raise --max, to have the extents listed"
    lines = shown(run, "--from", "64", "--to", "128")
    assert lines[-1] == "16 sectors of the spare bad", "nothing to list"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--zoom", "1024"), "there is no region '1024'"),
        (("--zoom", "601.256"), "there is no region '256' in '601.256'; it is a number below 256"),
        (("--zoom", "1."), "there is no region ''"),
        (("--zoom", "²"), "there is no region"),
        (("--zoom", "1", "--from", "0"), "exclude each other"),
        (("--from", "8", "--to", "8"), "there are no sectors from 8 to 8"),
        (("--from", str(MAIN)), "there are no sectors"),
    ],
)
def test_wrong_usage(data: InService, run: Run, words: tuple[str, ...], sentence: str) -> None:
    result = run("map", "data", *words)
    assert result.exit_code == 2 and sentence in result.stderr, result.stderr


def test_json(data: InService, run: Run) -> None:
    found = json.loads(run("map", "data", "--json").stdout)
    words = run("map", "--help").stdout
    assert [key for key in [*found, *found["regions"][0], *found["spare_use"]] if key not in words] == []
    assert (found["begin"], found["end"], found["region_sectors"]) == (0, MAIN, REGION)
    assert [(r["region"], r["remapped"], r["pending"], r["extents"]) for r in found["regions"]] == [
        (0, 8, 0, 1),
        (600, 2048, 0, 1),
        (601, 0, 8, 1),
        (1023, 8, 0, 1),
    ]
    assert found["extents"][2] == {"sector": REGION * 601 + 16, "sectors": 8, "spare": None}
    use = found["spare_use"]
    assert (use["sectors"], use["data"], use["log"], use["bad"]) == (8192, 2064, 2048, 16)
    assert use["bad_places"] == [{"spare": 8000, "sectors": 16}]
    history = found["history"]
    assert (history[0]["time"], history[0]["sectors"]) == (NOW - 40 * DAY, 8)
    assert (history[-1]["time"], history[-1]["sectors"]) == (NOW, 2072)
    assert [each["sectors"] for each in history] == sorted(each["sectors"] for each in history)
    assert json.loads(run("map", "data", "--json", "--max", "2").stdout)["extents"] is None


def test_a_listing_of_several_pages(data: InService, run: Run) -> None:
    data.put([Record(16 * n, 3000 + n, 1, 1, 1, NOW) for n in range(2500)])
    found = json.loads(run("map", "data", "--json").stdout)
    assert found["remapped_extents"] == 2500 and sum(r["remapped"] for r in found["regions"]) == 2500
    assert {words for _, words in data.kernel.messages} == {
        "list 0 1000",
        "list 16000 1000",
        "list 32000 1000",
    }


# What goes wrong.


def test_without_the_spare_there_is_a_map_but_no_history(data: InService, run: Run, tmp_path: Path) -> None:
    data.image.unlink()
    result = run("map", "data")
    assert result.exit_code == 0 and "2064 sectors moved in 3 extents" in result.stdout
    assert "there is no node for the block device 8:16" in result.stderr
    found = json.loads(run("map", "data", "--json").stdout)
    assert found["history"] is None and found["spare_use"] is None and "8:16" in found["unread"]
    run("map", "data", "--svg", str(tmp_path / "x.svg"))
    assert "no node for the block device" in (tmp_path / "x.svg").read_text()


def test_a_suspended_device_and_wrong_ones(data: InService, run: Run) -> None:
    data.kernel.devices["data"].suspended = True
    result = run("map", "data")
    assert result.exit_code == 5 and "data is suspended" in result.stderr and result.stdout == ""
    data.kernel.devices["data"].suspended = False
    assert run("map", "nothing").exit_code == 4
    assert run("map", "data", "--sector", str(MAIN)).exit_code == 4
    data.kernel.devices["data"].live = [
        (0, 8, "linear", "8:0 0"),
        (8, 8, "dm-remap-v4", "8:32 8:48"),
        (16, 8, "dm-remap-v4", "8:0 8:16"),
    ]
    assert "main 8:32" in run("map", "data").stdout
    data.kernel.messages.clear()
    assert "main 8:0" in run("map", "data", "--sector", "23").stdout
    assert {sector for sector, _ in data.kernel.messages} == {16}
    data.kernel.add("bare", "DMREMAP-x")
    result = run("map", "bare")
    assert result.exit_code == 4 and "no table at present" in result.stderr


def test_an_answer_that_is_not_as_documented(data: InService, run: Run) -> None:
    data.kernel.answer = lambda words: "0 8 - lost\n"
    result = run("map", "data")
    assert result.exit_code == 6 and "not as documented" in result.stderr


# SVG and HTML.


def test_svg_is_well_formed_and_says_what_is_where(data: InService, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "disk.svg"
    assert run("map", "data", "--svg", str(path)).stdout == f"wrote {path}\n"
    top = ElementTree.parse(path).getroot()
    svg = "{http://www.w3.org/2000/svg}"
    assert top.tag == f"{svg}svg"
    titles = {each.text for each in top.iter(f"{svg}title")}
    assert f"region 600, sectors {REGION * 600} to {REGION * 601 - 1}: 2048 moved" in titles
    assert f"region 601, sectors {REGION * 601} to {REGION * 602 - 1}: 8 pending" in titles
    assert any(title and "16 bad" in title for title in titles)
    assert any(title and "2064 sectors in all, 2056 new" in title for title in titles)
    styles = [each.get("class") for each in top.iter(f"{svg}rect")]
    assert styles.count("s2") >= 2 and "p" in styles and "b" in styles and "l" in styles
    assert len(list(top.iter(f"{svg}polyline"))) == 1
    words = [each.text for each in top.iter(f"{svg}text")]
    assert "2072" in words and "2064 sectors moved in 3 extents; 8 sectors pending in 1 extent; " \
        "1.0 MiB of 3 MiB of the spare used" in words  # fmt: skip


def test_html_is_one_file_without_scripts(data: InService, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "disk.html"
    run("map", "data", "--html", str(path), "--zoom", "601")
    text = path.read_text()
    assert text.startswith("<!DOCTYPE html>\n<html")
    page = ElementTree.fromstring(text.split("\n", 1)[1])
    assert [
        each.tag for each in page.iter() if each.tag in ("script", "link", "img", "iframe", "object")
    ] == []
    assert not [key for each in page.iter() for key in each.attrib if key in ("href", "src")]
    assert (
        "url(" not in text
        and "@import" not in text
        and "http" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert "prefers-color-scheme:dark" in text
    cells = [each.text for each in page.iter("td")]
    assert cells[:5] == ["2", str(REGION * 601 + 16), "8", "0", "8"]
    assert "pending" in cells and any(cell and "sectors in all" in cell for cell in cells)
    assert all(each.text for each in page.iter() if each.tag in ("td", "th", "h1", "h2", "p", "style"))


def test_a_page_with_many_regions_is_cut(data: InService, run: Run, tmp_path: Path) -> None:
    data.put([Record(REGION * n, 3000 + n, 1, 1, 1, NOW) for n in range(600)])
    run("map", "data", "--html", str(tmp_path / "x.html"))
    page = ElementTree.fromstring((tmp_path / "x.html").read_text().split("\n", 1)[1])
    assert "and 100 more" in [each.text for each in page.iter("p")]


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_hostile_names_are_escaped(data: InService, run: Run, tmp_path: Path, kind: str) -> None:
    # Names are the kernel's own, but so were the control characters that other tools let in.
    main = (0, MAIN, "dm-remap-v4", '8:0<i>&"]]>\x1b[31m\u202e 8:16')
    data.kernel.devices["data"].live = [main]
    path = tmp_path / "x"
    run("map", "data", f"--{kind}", str(path))
    text = path.read_text()
    page = ElementTree.fromstring(text.split("\n", 1)[1])
    assert any('8:0<i>&"]]>\\x1b[31m\\u202e' in (each.text or "") for each in page.iter())
    assert "<i>" not in text and "\x1b" not in text and "\u202e" not in text


def test_a_disk_without_damage_has_no_chart(data: InService, run: Run, tmp_path: Path) -> None:
    data.put(())
    run("map", "data", "--svg", str(tmp_path / "x.svg"), "--html", str(tmp_path / "x.html"))
    assert "no record has a date" in (tmp_path / "x.svg").read_text()
    ElementTree.parse(tmp_path / "x.svg")
    assert "<td" not in (tmp_path / "x.html").read_text()


# Files.


def test_files_are_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    link.symlink_to(path)
    replace_text(str(path), "first")
    path.chmod(0o640)
    replace_text(str(link), "second")
    assert path.read_text() == "second" and link.is_symlink() and path.stat().st_mode & 0o777 == 0o640

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeviceIoError, match="No space left on device; nothing was changed"):
        replace_text(str(path), "third")
    assert path.read_text() == "second" and sorted(tmp_path.iterdir()) == [path, link]


def test_what_is_no_file_is_left_alone(data: InService, run: Run, tmp_path: Path) -> None:
    # Not /dev/null or the like: the day the guard fails, the test would take it from everybody.
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link", "."):
        with pytest.raises(UsageError, match="not a file"):
            replace_text(str(tmp_path / name), "x")
    with pytest.raises(DeviceIoError, match="No such file or directory"):
        replace_text(str(tmp_path / "none/x"), "x")
    result = run("map", "data", "--svg", str(tmp_path / "fifo"))
    assert result.exit_code == 2 and "fifo is not a file that can be replaced" in result.stderr
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    assert {path.name for path in tmp_path.iterdir()} == {"dev", "fifo", "link"}


# The parts.


def test_spans_are_whole_and_cover_everything() -> None:
    for begin, end in ((0, 1), (0, 8191), (7, 8200), (0, 1 << 40), (5, (1 << 40) + 3)):
        span = Span.cut(begin, end)
        assert len(span) <= 1024 and span.size % 8 == 0
        edges = [span.region(number) for number in range(len(span))]
        assert edges[0][0] == begin and edges[-1][1] == end
        assert all(one[1] == two[0] for one, two in pairwise(edges))
        assert sum(sectors for _, sectors in span.spread(0, end + 100)) == end - begin
    assert zoomed(MAIN, "0") == Span.cut(0, REGION)
    assert zoomed(1 << 40, "1.1023").end == 2 << 30


def test_the_target_takes_where_a_listing_begins() -> None:
    assert [list_from(sector, 1003) for sector in (0, 7, 8, 995, 999, 1000, 1002)] == [
        0,
        0,
        8,
        992,
        992,
        992,
        992,
    ]
    assert list_from(3, 5) == 0


def test_many_extents_take_no_memory() -> None:
    found = DiskMap(Span.cut(0, 1 << 20), keep=10)
    for number in range(100_000):
        found.add(Extent(8 * number, 4, None if number % 10 else number))
    found.add(Extent(1 << 20, 8, 5))
    assert (found.remapped_extents, found.pending_extents, len(found.listed)) == (10_000, 90_000, 10)
    assert not found.all_listed and sum(found.pending) == 360_000 and sum(found.remapped) == 40_000


def test_shades_are_steps_of_a_constant_ratio() -> None:
    assert thresholds([0, 0], 4) == []
    assert thresholds([0, 1], 4) == [1]
    assert thresholds([3, 10_000, 0], 4) == [1, 10, 100, 1000]
    steps = [1, 10, 100, 1000]
    assert [shade_of(count, steps) for count in (0, 1, 9, 10, 1000, 5000)] == [0, 1, 1, 2, 4, 4]
    assert list(columns(5, 2)) == [(0, 2), (2, 5)]


def test_the_grid_of_a_tiny_device() -> None:
    found = DiskMap(Span.cut(0, 24))
    found.add(Extent(8, 8, 100))
    assert ["".join(text for text, _ in line) for line in grid(found, 40, ASCII)] == [
        "0 .#.",
        "",
        "3 regions of 4 KiB:  . none  : 1+  + 2+",
        "* 3+  # 5+ sectors moved",
    ]
