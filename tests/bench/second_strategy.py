"""`python -m tests.bench.second_strategy --config FILE`: scalp once more under a name of its own, which only watches.

The load that a second strategy puts on the books, the bells and the two cores; its commands are never sent.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from bookshm.run import RunDir
from core.clock import SystemClock
from core.config import load
from core.lifecycle import guard, run_sync
from core.log import Log
from core.settings import Mode
from strategies.main import build_scalp

NAME = "watcher"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    loaded = load(parser.parse_args(argv).config)
    scalp = msgspec.structs.replace(loaded.config.strategies.scalp, mode=Mode.SHADOW)
    strategies = msgspec.structs.replace(loaded.config.strategies, scalp=scalp)
    shadow = msgspec.structs.replace(loaded, config=msgspec.structs.replace(loaded.config, strategies=strategies))
    log = Log(f"strategy-{NAME}", SystemClock())

    def body() -> int:
        run = RunDir.join(shadow.run_dir, shadow.config.run.time_scale, SystemClock())
        try:
            return run_sync(lambda: build_scalp(shadow, run, log, NAME), log)
        finally:
            run.leave()

    return guard(body, log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
