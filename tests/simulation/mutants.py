"""`python -m tests.simulation.mutants`: every planted fault in a copy of the source, and the seed that finds it.

The schedules are those of an unplanted run, from the first on, which must find nothing; the first that breaks has caught the
fault. Exit 1 if one is not caught within --schedules, or if a text is no longer there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.simulation.planted import PLANTED, ROOT, Planted

COPIED = ("executor", "risk", "tests/simulation")
LINKED = ("core", "bookshm", "config", "tests/__init__.py")
BUILT = shutil.ignore_patterns("__pycache__")
_CAUGHT = re.compile(r"^---- seed (\d+): (.*)$", re.MULTILINE)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation.mutants", description="Find planted faults.")
    parser.add_argument("--schedules", type=int, default=2000, help="at most so many for each")
    parser.add_argument("--only", default="", help="only those whose name contains this")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    chosen = [planted for planted in PLANTED if args.only in planted.name]
    missed = 0
    for planted in chosen:
        seed, what = hunt(planted, args.schedules, args.workers)
        missed += seed is None
        where = f"seed {seed}" if seed is not None else "NOT CAUGHT"
        print(f"{where:<12} {planted.name:<58} {what[:110]}", flush=True)
    print(f"\n{len(chosen) - missed} of {len(chosen)} planted faults caught")
    return 1 if missed else 0


def hunt(planted: Planted, schedules: int, workers: int = 1, first: int = 1) -> tuple[int | None, str]:
    """The first seed that finds the fault, and what it says; None when none of `schedules` does."""
    with tempfile.TemporaryDirectory(prefix="tandem-planted-") as name:
        tree = Path(name)
        copy(tree)
        planted.plant(tree)
        said = simulate(tree, ["--first", str(first), "--schedules", str(schedules), "--workers", str(workers)])
    caught = _CAUGHT.search(said)
    return (int(caught[1]), caught[2]) if caught else (None, said[-200:] if "Traceback" in said else "")


def copy(tree: Path) -> None:
    """What a simulation needs of the source."""
    (tree / "tests").mkdir()
    for part in COPIED:
        shutil.copytree(ROOT / part, tree / part, ignore=BUILT)
    for part in LINKED:
        (tree / part).symlink_to(ROOT / part)


def simulate(tree: Path, arguments: Sequence[str]) -> str:
    """What a run in `tree` prints."""
    command = [sys.executable, "-m", "tests.simulation", "--stop-at-first", *arguments]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
