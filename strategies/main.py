"""`python -m strategies.main --name scalp --config FILE`: one strategy process."""

from __future__ import annotations

import argparse
import sys

from bookshm.account_page import AccountPageReader
from bookshm.bell import Bell
from bookshm.book_reader import BookReader
from bookshm.counters import CONFIG_SERIES, CountersWriter
from bookshm.decisions import DecisionWriter
from bookshm.run import RunDir
from core.client import ExecutorClient
from core.clock import NS_PER_MS, NS_PER_S, SystemClock
from core.config import Loaded, load
from core.errors import ConfigError
from core.lifecycle import SyncAgent, guard, run_sync
from core.log import Log
from core.numeric import BPS
from core.roster import SPEC
from core.settings import Mode
from core.types import Venue
from core.venue_spec import VenueKind
from strategies.runtime import StrategyAgent
from strategies.scalp import Scalp, VenueTerms
from strategies.snapshot import MarketReader, MarketView


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="strategies.main", description="Run one strategy.")
    parser.add_argument("--name", required=True, choices=["scalp"])
    parser.add_argument("--config", required=True)
    args = parser.parse_args(argv)
    log = Log(f"strategy-{args.name}", SystemClock())

    def body() -> int:
        loaded = load(args.config)
        log.info("configuration", path=str(loaded.path), fingerprint=loaded.fingerprint)
        run = RunDir.join(loaded.run_dir, loaded.config.run.time_scale, SystemClock())
        try:
            return run_sync(lambda: build_scalp(loaded, run, log, args.name), log)
        finally:
            run.leave()

    return guard(body, log)


def build_scalp(loaded: Loaded, run: RunDir, log: Log, name: str) -> SyncAgent:
    """Leaves first: clock, readers, client; then the strategy over them. `name` is its own in shared memory."""
    config = loaded.config
    scalp = config.strategies.scalp
    if not scalp.enabled:
        raise ConfigError(f"{loaded.path}: strategies.scalp.enabled: is false; enable it or remove the program")
    clock = run.calendar_clock()
    names = [Venue(name) for name in scalp.venues] or [
        name for name in loaded.enabled_venues if SPEC[name].kind is VenueKind.PERP
    ]
    if len(names) < 2:
        raise ConfigError(f"{loaded.path}: strategies.scalp.venues: a pair needs two perp venues, {len(names)} enabled")
    readers: dict[Venue, MarketReader] = {
        name: BookReader(
            run,
            name,
            clock,
            int(config.feeds.max_quote_age_ms * NS_PER_MS),
            int(config.feeds.proof_max_age_s * NS_PER_S),
        )
        for name in names
    }
    counters = CountersWriter(run, f"strategy-{name}", clock, 256)
    counters.gauge(CONFIG_SERIES, {"fingerprint": loaded.fingerprint}).set(1)
    return StrategyAgent(
        strategy=Scalp(scalp, config.risk, config.execution, {name: _terms(loaded, name) for name in names}),
        view=MarketView(readers, config.feeds.symbols),
        account_page=AccountPageReader(run),
        client=ExecutorClient(loaded.executor_socket, "scalp", clock),
        bell=Bell(run, f"strategy-{name}"),
        decisions=DecisionWriter(run, name, config.books.decision_records),
        counters=counters,
        clock=clock,
        log=log,
        ttl_ms=scalp.ttl_ms,
        sends=scalp.mode is Mode.LIVE,
    )


def _terms(loaded: Loaded, name: Venue) -> VenueTerms:
    venue = loaded.config.venues[name]
    fee = SPEC[name].taker_fee if venue.taker_fee_bps is None else venue.taker_fee_bps * BPS
    return VenueTerms(taker_fee=fee, leverage=venue.leverage, extra_cross_bps=venue.extra_cross_bps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
