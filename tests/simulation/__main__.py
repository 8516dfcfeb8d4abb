"""`python -m tests.simulation`: many schedules, or one replayed with its whole trace.

    --seed N            this one, with its trace
    --schedules N       so many, from --first on, over --workers processes

Prints how often every kind of fault and venue occurred, the distributions of unhedged time and repair cost, and for every
failing schedule the one command that replays it. Exit 1 if any failed.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.simulation import schedule
from tests.simulation.figures import Figures
from tests.simulation.schedule import Result, run

TRACE_LINES = 60
FAILURES_SHOWN = 20
CHUNK = 8
COVERED_BY = 2000  # schedules in which every kind of fault has struck


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation", description="Simulate the executor.")
    parser.add_argument("--seed", type=int, help="replay this schedule and print its trace")
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stop-at-first", action="store_true", help="end with the first failure")
    parser.add_argument("--lines", type=int, default=0, help="of the trace, with --seed; 0 = all")
    args = parser.parse_args(argv)
    if args.seed is not None:
        return replay(args.seed, args.lines)
    began_s = time.monotonic()
    figures, failed = Figures(), []
    for result in results(range(args.first, args.first + args.schedules), args.workers, args.stop_at_first):
        figures.add(result)
        if result.broken:
            failed.append(result)
            if len(failed) <= FAILURES_SHOWN:
                tell(result)
            if args.stop_at_first:
                break
    print(figures.text())
    print(f"\n{figures.schedules} schedules in {time.monotonic() - began_s:.0f} s, {len(failed)} failed")
    for seed, what in sorted((result.seed, result.broken) for result in failed)[:FAILURES_SHOWN]:
        print(f"  {what[:100]:<100}  make simulate SEED={seed}")
    lacking = figures.missing if figures.schedules >= COVERED_BY else []
    if lacking:
        print(f"these faults never struck: {', '.join(lacking)}")
    return 1 if failed or lacking else 0


def replay(seed: int, lines: int) -> int:
    """One schedule, told in full."""
    result = run(seed, keep_trace=True)
    print("\n".join(result.trace[-lines:] if lines else result.trace))
    print(
        f"\nseed {seed}: {result.broken or 'nothing broken'}; venues {', '.join(result.venues)}; {result.lives} lives"
    )
    return 1 if result.broken else 0


def results(seeds: Iterable[int], workers: int, in_order: bool) -> Iterator[Result]:
    """Of every seed, as they come or in their order."""
    if workers <= 1:
        yield from map(run, seeds)
        return
    with memory(), multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from (pool.imap if in_order else pool.imap_unordered)(run, seeds, chunksize=CHUNK)


@contextlib.contextmanager
def memory() -> Iterator[None]:
    """Every schedule's files in one directory, removed even when workers are ended in the middle of one."""
    with tempfile.TemporaryDirectory(prefix="tandem-sim-", dir=schedule.MEMORY, ignore_cleanup_errors=True) as name:
        before, schedule.MEMORY = schedule.MEMORY, Path(name)
        try:
            yield
        finally:
            schedule.MEMORY = before


def tell(result: Result) -> None:
    """A failing schedule: what broke, the end of its trace, and the command that replays it."""
    print(f"\n---- seed {result.seed}: {result.broken} (after {result.at_s:.3f} s, venues {', '.join(result.venues)})")
    print("\n".join(line[:200] for line in result.trace[-TRACE_LINES:]))
    print(f"replay it with: make simulate SEED={result.seed}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
