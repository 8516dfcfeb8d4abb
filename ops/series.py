"""Prometheus series out of shared memory: the names, units and labels that dashboards and alerts build on.

Prefix `tandem_`; base units (seconds, USD, ratios 0 to 1); `_total` for counters; labels from closed sets only. Ages are
exported as timestamps where an alert subtracts them from now, and as seconds where only the reader of the page can know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bookshm.counters import CountersReader, Kind, Sample, list_counters
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.clock import NS_PER_S, Clock
from core.config import Loaded
from core.errors import ConfigError
from core.types import TradingState
from ops import views

PREFIX = "tandem_"
ALIVE_NS = 3 * NS_PER_S


class RunCollector(Collector):
    """Reads everything anew at each scrape; one scrape costs a few milliseconds and disturbs nobody."""

    def __init__(self, loaded: Loaded, run: RunDir, books: views.Books, clock: Clock) -> None:
        self._loaded = loaded
        self._run = run
        self._books = books
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "tandem_config",
            "Configuration of this run.",
            {
                "fingerprint": self._loaded.fingerprint,
                "environment": self._loaded.config.run.environment.value,
                "run": self._loaded.config.run.name,
            },
        )
        yield from self._feed_families()
        yield from self._quote_families()
        page = views.account(self._run)
        yield _gauge(
            "tandem_account_page_up",
            "1 when the executor's account page can be read.",
            isinstance(page, AccountSnapshot),
        )
        if isinstance(page, AccountSnapshot):
            yield from self._account_families(page)
            yield from _pair_families(page)
            yield from _venue_families(page, self._clock)
        yield from self._process_families()

    # ---- books ------------------------------------------------------------------------------------------------------

    def _feed_families(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tandem_feed_up", "1 when the feed writes and its venue is up.", labels=["venue"])
        age = GaugeMetricFamily(
            "tandem_feed_heartbeat_age_seconds", "Since the feed's last heartbeat.", labels=["venue"]
        )
        epoch = GaugeMetricFamily("tandem_feed_epoch", "How often a writer attached to this book.", labels=["venue"])
        for row in self._books.feeds():
            up.add_metric([row.venue], float(row.up))
            age.add_metric([row.venue], row.heartbeat_age_ms / 1e3)
            epoch.add_metric([row.venue], row.epoch)
        yield from (up, age, epoch)

    def _quote_families(self) -> Iterator[Metric]:
        labels = ["venue", "symbol"]
        age = GaugeMetricFamily(
            "tandem_quote_age_seconds", "Age of the quote as trading rules define it.", labels=labels
        )
        usable = GaugeMetricFamily("tandem_quote_usable", "1 when the quote may be traded on.", labels=labels)
        spread = GaugeMetricFamily("tandem_quote_spread_ratio", "Ask less bid over mid.", labels=labels)
        for row in self._books.quotes():
            where = [row.venue, row.symbol]
            usable.add_metric(where, float(row.state == "ok"))
            age.add_metric(where, row.age_ms / 1e3)
            spread.add_metric(where, row.spread_bps * 1e-4)
        yield from (age, usable, spread)

    # ---- account ----------------------------------------------------------------------------------------------------

    def _account_families(self, page: AccountSnapshot) -> Iterator[Metric]:
        state = GaugeMetricFamily("tandem_trading_state", "1 for the state that holds.", labels=["state"])
        for each in TradingState:
            state.add_metric([each.value], float(each is page.trading_state))
        yield state
        yield _gauge("tandem_executor_ready", "1 when recovery has finished and commands are accepted.", page.ready)
        yield _gauge("tandem_executor_epoch", "The executor's durable epoch.", page.executor_epoch)
        yield _gauge("tandem_journal_sequence", "Last journal record the page belongs to.", page.journal_sequence)
        age_ns = self._clock.mono_ns() - page.written_mono_ns
        yield _gauge("tandem_account_page_age_seconds", "Since the account page was written.", age_ns / NS_PER_S)
        yield _gauge("tandem_equity_usd", "Equity over all venues.", float(views.equity_usd(page)))
        yield _gauge("tandem_net_pnl_usd", "Price + funding - fees over all pairs of the ledger.", float(page.net_usd))
        yield _gauge("tandem_unhedged_usd", "Notional of pair legs that differ now.", float(page.unhedged_usd))
        yield _gauge("tandem_unhedged_age_seconds", "Age of the oldest unhedged leg.", page.unhedged_age_ns / NS_PER_S)
        yield _gauge("tandem_unhedged_longest_seconds", "Longest of the ledger.", page.unhedged_max_ns / NS_PER_S)
        yield _gauge("tandem_instruments_frozen", "Instruments frozen by an unknown outcome.", len(page.frozen))
        yield _gauge("tandem_orders_open", "Orders not final.", len(page.orders))
        foreign = sum("FOREIGN" in position.flags for position in page.positions)
        yield _gauge("tandem_positions_foreign", "Positions the journal does not know.", foreign)
        labels = ["venue", "symbol"]
        qty = GaugeMetricFamily("tandem_position_base", "Signed position, canonical base units.", labels=labels)
        liq = GaugeMetricFamily("tandem_move_to_liquidation_ratio", "Adverse move until liquidation.", labels=labels)
        for position in page.positions:
            qty.add_metric([position.venue, position.symbol], float(position.qty))
            if position.move_to_liq_pct is not None:
                liq.add_metric([position.venue, position.symbol], position.move_to_liq_pct / 100)
        yield from (qty, liq)

    # ---- processes --------------------------------------------------------------------------------------------------

    def _process_families(self) -> Iterator[Metric]:
        """Every process's counters page, and whether it lives."""
        up = GaugeMetricFamily(
            "tandem_process_up", "1 while the process's heartbeat is younger than 3 s.", labels=["process"]
        )
        families: dict[str, Metric] = {}
        for page in _pages(self._run, self._clock):
            alive = not page.is_stopped and page.heartbeat_age_ns < ALIVE_NS
            up.add_metric([page.process], float(alive))
            for sample in page.samples():
                _add(families, sample)
        yield up
        yield from families.values()


def _pages(run: RunDir, clock: Clock) -> list[CountersReader]:
    try:
        return list_counters(run, clock)
    except ConfigError:
        return []


def _add(families: dict[str, Metric], sample: Sample) -> None:
    name = PREFIX + sample.name.removesuffix("_total")
    labels, values = list(sample.labels), list(sample.labels.values())
    text = sample.name.replace("_", " ")
    if sample.kind is Kind.HISTOGRAM:
        histogram = families.setdefault(name, HistogramMetricFamily(name, text, labels=labels))
        buckets = [("+Inf" if math.isinf(bound) else repr(bound), float(count)) for bound, count in sample.buckets]
        histogram.add_metric(values, buckets=buckets, sum_value=sample.value)  # type: ignore[attr-defined]
        return
    kind = CounterMetricFamily if sample.kind is Kind.COUNTER else GaugeMetricFamily
    family = families.setdefault(name, kind(name, text, labels=labels))
    family.add_metric(values, sample.value)  # type: ignore[attr-defined]


def _pair_families(page: AccountSnapshot) -> Iterator[Metric]:
    now = GaugeMetricFamily("tandem_pairs", "Pairs on the account page by status.", labels=["strategy", "status"])
    counts: dict[tuple[str, str], int] = {}
    for pair in page.pairs:
        counts[pair.strategy, pair.status.value] = counts.get((pair.strategy, pair.status.value), 0) + 1
    for (strategy, status), count in sorted(counts.items()):
        now.add_metric([strategy, status], count)
    yield now
    yield CounterMetricFamily("tandem_pairs_opened", "Pairs opened.", value=page.pairs_opened)
    yield CounterMetricFamily("tandem_pairs_closed", "Pairs closed.", value=page.pairs_closed)


def _venue_families(page: AccountSnapshot, clock: Clock) -> Iterator[Metric]:
    def family(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"tandem_venue_{name}", text, labels=["venue"])

    equity, free = family("equity_usd", "Equity."), family("free_margin_usd", "Free margin.")
    used = family("margin_used_ratio", "Maintenance margin over equity; 1 is liquidation.")
    stream, budget = (
        family("private_stream_up", "1 when subscribed."),
        family("rate_budget_ratio", "Request budget left."),
    )
    offset, age = (
        family("clock_offset_seconds", "Venue clock less ours."),
        family("account_age_seconds", "Since it was read."),
    )
    ok = family("ok", "1 when the account is readable and tradable.")
    for venue in page.venues:
        where = [venue.venue]
        equity.add_metric(where, float(venue.equity_usd))
        free.add_metric(where, float(venue.free_margin_usd))
        ratio = float(venue.maintenance_margin_usd / venue.equity_usd) if venue.equity_usd > 0 else math.nan
        used.add_metric(where, ratio)
        stream.add_metric(where, float(venue.private_stream_up))
        budget.add_metric(where, venue.rate_budget_ratio)
        offset.add_metric(where, venue.clock_offset_ns / NS_PER_S)
        age.add_metric(where, (clock.mono_ns() - venue.read_mono_ns) / NS_PER_S if venue.read_mono_ns else math.nan)
        ok.add_metric(where, float(venue.status == "ok"))
    yield from (equity, free, used, stream, budget, offset, age, ok)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))
