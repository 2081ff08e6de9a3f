"""One picture: what a random request of 4 KiB costs, by what it goes through."""

import subprocess
from pathlib import Path

from .per_request import LINEAR, Figures
from .requests import OPERATIONS, Workload
from .results import label

SIZE = 4096

SCRIPT = """
set terminal svg size 1000,560 noenhanced font 'sans-serif,13' background 'white'
set output '{output}'
set title 'Instructions per random request of 4 KiB, one at a time'
set style data histograms
set style fill solid 0.9 border -1
set boxwidth 0.9
set xtics rotate by -40 nomirror
set ytics nomirror
set grid ytics
set yrange [0:*]
set key top left
set rmargin 12
$figures << EOD
{rows}
EOD
plot {linear}$figures using 2:xtic(1) title 'read' linecolor rgb '#3b6ea5', \\
     '' using 3 title 'write' linecolor rgb '#d9a441'
"""


def draw(figures: Figures, output: Path) -> None:
    """Write ``output``, an SVG, by gnuplot.

    Requests that go to the spare are left out: its memory costs more than the detour.
    """
    rows: dict[str, list[str]] = {}
    for cell in figures.cells:
        w = cell.workload
        if w.size == SIZE and w.depth == 1 and cell.pattern in ("random", "missed"):
            rows.setdefault(label(cell), ["?"] * len(OPERATIONS))[OPERATIONS.index(w.operation)] = (
                f"{cell.instructions:.0f}"
            )
    base = figures.find(LINEAR, -1, "random", Workload("read", SIZE))
    script = SCRIPT.format(
        output=output,
        rows="\n".join(f'"{name}" {" ".join(values)}' for name, values in rows.items()),
        linear=f"{base} title 'read through dm-linear' linecolor rgb '#888888' dashtype 2, " if base else "",
    )
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
