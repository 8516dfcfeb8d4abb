"""`make bench`: every hop beside its peer, as ratios against the design's budgets."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench import decode, edgex, grvt, kraken, load, orders, pacifica, shm, signing, variational
from tests.bench.measure import Row

PARTS = {
    "shm": shm.rows,
    "signing": signing.rows,
    "decode": decode.rows,
    "pacifica": pacifica.rows,
    "edgex": edgex.rows,
    "grvt": grvt.rows,
    "kraken": kraken.rows,
    "variational": variational.rows,
    "orders": orders.rows,
}
LOAD = "load"


def main(argv: list[str]) -> int:
    wanted = [word for word in argv if word in (*PARTS, LOAD)] or [*PARTS, LOAD]
    rows: list[Row] = []
    loads: list[load.Load] = []
    per_s = 0.0
    for name in wanted:
        print(f"measuring {name} ...", file=sys.stderr)
        if name == LOAD:
            loads, per_s = load.measure()
        else:
            rows.extend(PARTS[name]())
    if "--json" in argv:
        print(
            json.dumps(
                {"hops": msgspec.to_builtins(rows), "load": msgspec.to_builtins(loads), "quotes_per_s": per_s}, indent=2
            )
        )
        return 0
    console = Console(width=190)
    if rows:
        console.print(_hops(rows))
    if loads:
        console.print(load.table(loads, per_s))
    return 0


def _hops(rows: list[Row]) -> Table:
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), ""
    )
    table = Table(
        title=f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}; microseconds", title_justify="left"
    )
    for column in (
        "hop",
        "median",
        "p99",
        "budget",
        "times budget",
        "p99 budget",
        "peer",
        "peer median",
        "peer is slower by",
    ):
        table.add_column(column, justify="left" if column in ("hop", "peer") else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.hop, _us(row.median_us), _us(row.p99_us), _us(row.goal_median_us), _times(row.times_goal),
            _us(row.goal_p99_us), row.peer, _us(row.peer_median_us), _times(row.peer_ratio),
        )  # fmt: skip
    return table


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
