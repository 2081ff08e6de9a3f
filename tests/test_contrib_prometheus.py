"""What Prometheus and Grafana are given, checked by Prometheus' own promtool."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pycontrol.service.tell.metrics import Counters, render
from tests.hostile_commands import COMMANDS
from tests.test_monitor_metrics import CALLS, device, event, parse

TOP = Path(__file__).resolve().parents[1]
RULES = TOP / "contrib/prometheus/dm-remap.rules.yml"
UNITS = TOP / "contrib/prometheus/dm-remap.test.yml"
DASHBOARD = TOP / "contrib/grafana/dm-remap.json"
_TRAP = 'a"b\\c\nd,e="}\x1b[2J\u202e\udcff'


@pytest.fixture(scope="module")
def promtool() -> str:
    done = subprocess.run([TOP / "ci/promtool"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def said(*words: str | Path, stdin: str | None = None) -> tuple[int, str]:
    """The exit code of a program, and all that it said."""
    done = subprocess.run(
        words, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=TOP
    )
    return done.returncode, done.stdout


def page() -> str:
    """Every metric there is, of a device in trouble and of one with a name that is a trap."""
    counters = Counters()
    for name in ("r0", _TRAP):
        counters.add(event("REMAP", 8, 1, name=name))
        counters.add(event("EVENTS_LOST", 0, 0, name=name, lost=1))
    return render(
        [
            device("r0", "16/4096 2 3 4/5 77 6 9 8 24 0 1 degraded ro needs_check"),
            device(_TRAP, "1/10 2 3 5/5 9 1 1 1 1 0 0 rw -", minor=1),
        ],
        counters,
        CALLS,
    )


def panels() -> list[Any]:
    found: list[Any] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_promtool_finds_nothing_to_say(promtool: str) -> None:
    assert said(promtool, "check", "metrics", stdin=page()) == (0, "")


@pytest.mark.parametrize(
    "line",
    ['dmremap_healthy{device="a"b"} 1', "# TYPE dmremap_places_total gauge\ndmremap_places_total 1"],
)
def test_promtool_would_say_it(promtool: str, line: str) -> None:
    code, words = said(promtool, "check", "metrics", stdin=f"{line}\n")
    assert code != 0 and words


def test_the_alerts_fire_when_they_should(promtool: str) -> None:
    code, words = said(promtool, "check", "rules", RULES)
    assert code == 0, words
    code, words = said(promtool, "test", "rules", UNITS)
    assert code == 0, words
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    expected = set(re.findall(r'alertname(?:="|: )(\w+)', UNITS.read_text()))
    assert alerts == expected, "each has a test"
    listed = re.findall(r"^\| `(Dmremap\w+)`", (TOP / "docs/prometheus.md").read_text(), re.M)
    assert alerts == set(listed), "and is in the documentation"


def test_a_rule_that_is_wrong_would_be_found(promtool: str, tmp_path: Path) -> None:
    text = RULES.read_text()
    changed = text.replace("dmremap_pending_extents > 0 and", "dmremap_pending_extents > 2 and")
    assert changed != text
    (tmp_path / RULES.name).write_text(changed)
    (tmp_path / UNITS.name).write_text(UNITS.read_text())
    code, words = said(promtool, "test", "rules", tmp_path / UNITS.name)
    assert code == 1 and "DmremapDataLost" in words


def test_rules_and_dashboard_use_metrics_that_there_are() -> None:
    known = {name for name, _ in parse(page())}
    text = "\n".join([RULES.read_text(), UNITS.read_text(), *expressions()])
    recorded = set(re.findall(r"- record: device:(\w+)", text))
    assert set(re.findall(r"\bdmremap_\w+", text)) - recorded <= known


def test_commands_in_alerts_and_panels_are_commands() -> None:
    text = " ".join(f"{RULES.read_text()} {DASHBOARD.read_text()} ".split())
    named = re.findall(r"'dmremapctl ([a-z ]+[a-z])(?: [A-Z-][^']*)?'", text)
    assert len(named) == text.count("'dmremapctl ") > 10
    for words in named:
        # What follows the name of a message's device is the message's own affair.
        assert words in COMMANDS, words


def test_the_dashboard_can_be_imported_and_asks_what_prometheus_understands(
    promtool: str, tmp_path: Path
) -> None:
    board = json.loads(DASHBOARD.read_text())
    # Imported anywhere: no id of one installation, and a data source that is chosen.
    assert board["uid"] == "dm-remap" and "id" not in board
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert (
        variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    )
    sources = [each.get("datasource") for each in (*panels(), *(t for p in panels() for t in p["targets"]))]
    sources += [each["datasource"] for each in variables.values() if each["type"] == "query"]
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)
    assert len({each["id"] for each in panels()}) == len(panels())
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels()
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places) and max(x for x, _ in places) == 23
    used = set(re.findall(r"\$(?!__)\{?(\w+)", json.dumps(panels())))
    assert used == set(variables)
    rules = {"groups": [{"name": "dashboard", "rules": []}]}
    for number, expression in enumerate(expressions()):
        plain = (
            expression.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$device", ".*")
        )
        assert "$" not in plain
        rules["groups"][0]["rules"].append({"record": f"x{number}", "expr": plain})  # type: ignore[attr-defined]
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    code, words = said(promtool, "check", "rules", tmp_path / "rules.yml")
    assert code == 0, words
