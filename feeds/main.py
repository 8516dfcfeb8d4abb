"""`python -m feeds.main --venue NAME --config FILE`: the feed process of one venue. No keys, no orders."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from collections.abc import Sequence

import uvloop

from bookshm.book import BookWriter
from bookshm.counters import CONFIG_SERIES, CountersWriter
from bookshm.run import RunDir
from core.clock import SystemClock
from core.config import Loaded, load
from core.errors import ConfigError
from core.lifecycle import run_async
from core.log import Log
from core.types import Venue
from feeds.feed import Feed
from feeds.meters import SERIES
from feeds.venues.base import FeedDecoder


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="feeds.main", description="Feed of one venue: public market data into its book."
    )
    parser.add_argument("--venue", required=True, help="a venue of the configuration")
    parser.add_argument("--config", required=True, help="the environment's TOML file")
    arguments = parser.parse_args(argv)
    venue = Venue(arguments.venue)
    joined: list[RunDir] = []

    def build() -> Feed:
        loaded = load(arguments.config)
        return _build(loaded, venue, joined)

    try:
        return run_async(build, Log(f"feed-{venue}", SystemClock()), uvloop.new_event_loop)
    finally:
        for run in joined:
            run.leave()


def _build(loaded: Loaded, venue: Venue, joined: list[RunDir]) -> Feed:
    """Leaves first. The run is put in `joined` at once, so that it is left whatever happens after."""
    config = loaded.config
    if venue not in loaded.enabled_venues:
        raise ConfigError(
            f"{loaded.path}: venues.{venue}: not an enabled venue; this file enables {', '.join(loaded.enabled_venues)}"
        )
    log = Log(f"feed-{venue}", SystemClock(), config.run.log_level)
    run = RunDir.join(loaded.run_dir, config.run.time_scale, SystemClock())
    joined.append(run)
    clock = run.calendar_clock()
    log.info("starting", venue=venue, config=str(loaded.path), fingerprint=loaded.fingerprint)
    decoder: FeedDecoder = importlib.import_module(f"feeds.venues.{venue}").Decoder()
    page = CountersWriter(run, f"feed-{venue}", clock, SERIES)
    page.gauge(CONFIG_SERIES, {"fingerprint": loaded.fingerprint}).set(1)
    book = BookWriter(run, venue, clock, config.books.capacity_slots, config.books.ring_records)
    return Feed(loaded, venue, decoder, book, page, clock, random.Random(), log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
