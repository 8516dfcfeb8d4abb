"""What the whole system takes: CPU and memory of every process at QUOTES_PER_S over all venues, with two strategies.

Processes as shipped, under supervisord, on the sandbox; beside them a second strategy that only watches. CPU is what the
kernel charged over MEASURE_S, in percent of one core; memory is PSS (pages shared between processes count once in the sum). The
sandbox stands in for the venues and is left out of the sums.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec
from rich.table import Table

from bookshm.counters import list_counters
from tests.bench.second_strategy import NAME
from tests.e2e.system import PROGRAMS, System

QUOTES_PER_S = 2000
WARM_S = 20.0
MEASURE_S = 30.0
CPU_BUDGET_PCT = 150.0
MEMORY_BUDGET_MB = 1000.0
BUDGET_MB = {"feed": 60.0, "strategy": 40.0, "executor": 100.0}


class Load(msgspec.Struct, frozen=True, kw_only=True):
    process: str
    cpu_pct: float
    pss_mb: float
    budget_mb: float | None
    counted: bool


def measure() -> tuple[list[Load], float]:
    """Every process, and the quotes per second that the feeds really published meanwhile."""
    with System({"sandbox": {"quotes_per_s": f"{QUOTES_PER_S}.0"}}) as system:
        system.up()
        command = [sys.executable, "-m", "tests.bench.second_strategy", "--config", str(system.loaded.path)]
        watcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[2])
        try:
            time.sleep(WARM_S)
            pids = {name: system.pid(name) for name in PROGRAMS} | {f"strategy-{NAME}": watcher.pid}
            before, quotes = {name: _cpu_s(pid) for name, pid in pids.items()}, _quotes(system)
            time.sleep(MEASURE_S)
            per_s = (_quotes(system) - quotes) / MEASURE_S
            loads = [
                Load(
                    process=name,
                    cpu_pct=(_cpu_s(pid) - before[name]) / MEASURE_S * 100,
                    pss_mb=_pss_mb(pid),
                    budget_mb=BUDGET_MB.get(name.split("-")[0]),
                    counted=name != "sandbox",
                )
                for name, pid in sorted(pids.items())
            ]
            return loads, per_s
        finally:
            watcher.terminate()
            watcher.wait(10)


def table(loads: list[Load], per_s: float) -> Table:
    title = f"{per_s:.0f} quotes/s published ({QUOTES_PER_S} asked for); CPU in percent of one core"
    shown = Table(title=title, title_justify="left")
    for column in ("process", "CPU %", "PSS MB", "budget MB"):
        shown.add_column(column, justify="left" if column == "process" else "right", no_wrap=True)
    for load in loads:
        shown.add_row(load.process, f"{load.cpu_pct:.1f}", f"{load.pss_mb:.0f}", _mb(load.budget_mb))
    counted = [load for load in loads if load.counted]
    cpu, memory = sum(load.cpu_pct for load in counted), sum(load.pss_mb for load in counted)
    shown.add_row(
        "sum without the sandbox", f"{cpu:.0f} of {CPU_BUDGET_PCT:.0f}", f"{memory:.0f}", _mb(MEMORY_BUDGET_MB)
    )
    return shown


def _quotes(system: System) -> float:
    pages = list_counters(system.loaded.run_dir, system.clock)
    return sum(each.value for page in pages for each in page.samples() if each.name == "feed_quotes_total")


def _cpu_s(pid: int) -> float:
    """Time on a core so far, of all threads that live, to the nanosecond: ticks would miss what runs for microseconds."""
    return sum(int(each.read_text().split()[0]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _pss_mb(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def _mb(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
