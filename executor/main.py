"""`python -m executor.main --config FILE`: the one process with keys, nonces and orders.

`--takeover` ends a verified holder of the account locks first. `--flatten-and-exit` does what the running executor would do
on Flatten, with the same locks, and says so in one last line of JSON on stdout: exit 0 flat, 2 a residual is left.
"""

from __future__ import annotations

import argparse
import ctypes
import resource
import sys
from collections.abc import Sequence
from typing import NoReturn

import uvloop

from bookshm.run import RunDir
from core import errors
from core.clock import SystemClock
from core.config import load
from core.lifecycle import run_async
from core.log import Log
from core.settings import Environment
from core.types import Venue
from executor.process import Executor, Options

_PR_SET_DUMPABLE = 4


def main(argv: Sequence[str]) -> int:
    """Parse, harden, build, run; returns the exit code."""
    options = _parse(argv)
    agents: list[Executor] = []
    runs: list[RunDir] = []

    def build() -> Executor:
        harden()
        loaded = load(options.config)
        log = Log("executor", SystemClock(), loaded.config.run.log_level)
        log.info("starting", config=str(loaded.path), fingerprint=loaded.fingerprint)
        if loaded.config.run.environment is Environment.LIVE:
            log.error(
                "live_blocked", detail="Live mode blocked: no permit; no venue is read, nothing is signed or sent"
            )
        run = RunDir.join(loaded.run_dir, loaded.config.run.time_scale, SystemClock())
        runs.append(run)
        agents.append(Executor(loaded, run, log, options))
        return agents[0]

    try:
        code = run_async(build, Log("executor", SystemClock()), uvloop.new_event_loop)
    finally:
        for run in runs:
            run.leave()
    return code if code != errors.EXIT_OK or not agents else agents[0].exit_code


def harden() -> None:
    """No core dump, and no other process of this user may read our memory or trace us (it holds the keys)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise errors.ConfigError("the kernel refuses prctl(PR_SET_DUMPABLE, 0): keys would be readable; not starting")


class _Parser(argparse.ArgumentParser):
    """argparse would exit with 2, which here means that a residual is left."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(errors.EXIT_USAGE, f"{self.prog}: error: {message}\n")


def _parse(argv: Sequence[str]) -> Options:
    parser = _Parser(prog="executor.main", description="Orders, keys, journal: the executor.")
    parser.add_argument("--config", required=True, help="the environment's TOML file")
    parser.add_argument("--takeover", action="store_true", help="end the verified holder of our account locks first")
    parser.add_argument("--flatten-and-exit", action="store_true", help="cancel, close reduce-only, report, exit")
    parser.add_argument("--venue", help="with --flatten-and-exit: this venue only")
    parser.add_argument("--symbol", help="with --flatten-and-exit: this symbol only")
    parser.add_argument("--all", action="store_true", help="with --flatten-and-exit: foreign positions too")
    given = parser.parse_args(argv)
    if not given.flatten_and_exit and (given.venue or given.symbol or given.all):
        parser.error("--venue, --symbol and --all belong to --flatten-and-exit")
    return Options(
        config=given.config,
        takeover=given.takeover,
        flatten=given.flatten_and_exit,
        venue=Venue(given.venue) if given.venue else None,
        symbol=given.symbol,
        include_foreign=given.all,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
