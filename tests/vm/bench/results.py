"""The limits that are promised, what was measured, and both as a table and as JSON."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from .commit import Commit
from .images import MiB
from .per_request import LINEAR_ON_SPARE, MAIN_SECTORS, RAW, TARGET, Cell, Figures
from .processors import Processors
from .requests import OPERATIONS, Workload
from .whole_table import WholeTable

MANY = 1_000_000
BITMAP = MAIN_SECTORS // 2048 // 8  # bytes: a bit per MiB of main


@dataclass
class Results:
    kernel: str = ""
    requests: Figures = field(default_factory=Figures)
    empty_table: WholeTable | None = None
    table: WholeTable | None = None
    slow_table: WholeTable | None = None
    commit: Commit | None = None
    late_commit: Commit | None = None
    processors: Processors | None = None


@dataclass(frozen=True)
class Limit:
    """``found`` should be at most ``limit``."""

    what: str
    limit: float
    found: float

    @property
    def kept(self) -> bool:
        return self.found <= self.limit


def limits(results: Results) -> Iterator[Limit]:
    """Those of which the figures were measured."""
    for operation in OPERATIONS:
        small, large = Workload(operation, 4096), Workload(operation, MiB)
        for what, limit, remaps, pattern, workload in (
            ("4 KiB {}, 0 remaps", 1.015, 0, "random", small),
            (f"4 KiB {{}}, {MANY} remaps, touching none", 1.03, MANY, "missed", small),
            (f"4 KiB {{}}, {MANY} remaps, in a remapped extent", 1.05, MANY, "hit", small),
            ("1 MiB sequential {}, 0 remaps", 1.005, 0, "sequential", large),
        ):
            found = results.requests.ratio_of(TARGET, remaps, pattern, workload)
            if found is not None:
                yield Limit(f"{what.format(operation)}, over dm-linear", limit, found)
    if results.table and results.empty_table:
        held = results.table.memory - results.empty_table.memory - BITMAP
        without_cache = held - results.table.cached + results.empty_table.cached
        yield Limit(f"bytes of memory per extent, {MANY} of them", 24, held / MANY)
        yield Limit("the same without what dm-bufio has cached", 24, without_cache / MANY)
        yield Limit(f"load of {MANY} extents, instructions over dd's", 1.5, results.table.ratio)
    if results.slow_table:
        what = f"load of {MANY} extents from a disk of 150 MB/s, time over dd's"
        yield Limit(what, 1.5, results.slow_table.ratio)
    if results.late_commit:
        what = "one remap, 1 ms a request of the disk, time over its flushes'"
        yield Limit(what, 2.5, results.late_commit.ratio)
    if results.processors:
        # Less speed-up than dm-linear's would be the fault.
        yield Limit("second processor, dm-linear's gain over ours", 1.0, 1 / results.processors.ratio)


def show(results: Results, console: Console) -> None:
    table = Table(title=f"Limits, on Linux {results.kernel}")
    for heading in ("", "at most", "found", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for each in limits(results):
        verdict = "[green]kept" if each.kept else f"[red]{each.found / each.limit - 1:+.1%}"
        table.add_row(each.what, f"{each.limit:g}", f"{each.found:.4f}", verdict)
    console.print(table)
    for size in sorted({cell.workload.size for cell in results.requests.cells}):
        console.print(_requests(results.requests, size))
    if results.commit:
        console.print(f"One remap, beside its flushes: {results.commit.beside:.0f} instructions")
    for name in results.requests.absent:
        console.print(f"{name}: absent from this kernel")


def _requests(figures: Figures, size: int) -> Table:
    """Instructions by device and workload, with the ratio to dm-linear."""
    table = Table(title=f"Instructions per request of {_size(size)}", title_justify="left")
    cells = [cell for cell in figures.cells if cell.workload.size == size]
    workloads = sorted({cell.workload for cell in cells}, key=lambda w: (w.depth, w.operation))
    table.add_column("")
    for workload in workloads:
        table.add_column(f"{workload.operation}, depth {workload.depth}", justify="right")
    rows: dict[str, dict[Workload, Cell]] = {}
    for cell in cells:
        rows.setdefault(label(cell), {})[cell.workload] = cell
    for name, row in rows.items():
        table.add_row(name, *(_shown(figures, row.get(workload)) for workload in workloads))
    return table


def _shown(figures: Figures, cell: Cell | None) -> str:
    if cell is None:
        return ""
    ratio = None if cell.device in (RAW, LINEAR_ON_SPARE) else figures.ratio(cell)
    return f"{cell.instructions:.0f}" + ("" if ratio is None else f"  {ratio:.3f}")


def _size(size: int) -> str:
    units = ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
    return next(f"{size // unit} {name}" for unit, name in units if size >= unit)


def label(cell: Cell) -> str:
    """A device and, where there are remaps, their number and how requests meet them."""
    if cell.remaps < 0:
        return cell.device if cell.pattern == "random" else f"{cell.device}, {cell.pattern}"
    return f"{cell.device}, {cell.remaps:,} {cell.pattern}".replace(" random", "")


def as_json(results: Results) -> str:
    everything: dict[str, Any] = asdict(results)
    everything["requests"] = {
        "absent": results.requests.absent,
        "cells": [asdict(cell) | {"ratio": results.requests.ratio(cell)} for cell in results.requests.cells],
    }
    everything["limits"] = [asdict(each) | {"kept": each.kept} for each in limits(results)]
    return json.dumps(everything, indent=1) + "\n"
