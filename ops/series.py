"""Prometheus series out of shared memory: the names, units and labels that dashboards and alerts build on.

Prefix `tandem_`; base units (seconds, USD, ratios 0 to 1); `_total` for counters; labels from closed sets only. Ages are
exported as timestamps where an alert subtracts them from now, and as seconds where only the reader of the page can know.
A figure that nobody knows is NaN, never zero. Every label set that can be foreseen exists from the first scrape, so that a
zero is a zero and a missing process is a 0, not a missing line. What the books and the account page say is exported from
there alone; counters pages add what only their process knows, under the process's own prefix (feed_, executor_, ...).
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import socket
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bookshm.counters import CONFIG_SERIES, CountersReader, Kind, Sample
from bookshm.run import RunDir
from core.account import AccountSnapshot
from core.clock import NS_PER_S, Clock
from core.config import Loaded, load
from core.errors import ConfigError
from core.latch import HaltLatch
from core.messages import FINAL_PAIR, PairStatus
from core.types import TradingState
from ops import views

PREFIX = "tandem_"
ALIVE_NS = 3 * NS_PER_S
SANDBOX = "sandbox"
SANDBOX_ANSWER_S = 0.2  # on loopback: at once, or never


class RunCollector(Collector):
    """Reads everything anew at each scrape; one scrape costs a few milliseconds and disturbs nobody."""

    def __init__(self, loaded: Loaded, run: RunDir, books: views.Books, clock: Clock) -> None:
        self._loaded = loaded
        self._run = run
        self._books = books
        self._clock = clock
        self._build = {"version": importlib.metadata.version("tandem"), "python": platform.python_version()}

    def collect(self) -> Iterator[Metric]:
        yield from self._config_families()
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
        yield from self._process_families(page)

    # ---- configuration ----------------------------------------------------------------------------------------------

    def _config_families(self) -> Iterator[Metric]:
        run = self._loaded.config.run
        yield InfoMetricFamily("tandem_build", "What runs here.", self._build)
        of_run = {"fingerprint": self._loaded.fingerprint, "environment": run.environment.value, "run": run.name}
        yield InfoMetricFamily("tandem_config", "Configuration that the exporter runs.", of_run)
        try:
            on_disk = load(self._loaded.path).fingerprint
        except ConfigError:
            on_disk = ""
        text = "1 when the configuration file is valid as it is now; processes keep the one they started with."
        yield _gauge("tandem_config_last_reload_successful", text, bool(on_disk))
        pending = bool(on_disk) and on_disk != self._loaded.fingerprint
        yield _gauge("tandem_config_restart_pending", "1 when the file differs from what the exporter runs.", pending)
        latched = HaltLatch(self._loaded.state_dir).read() is not None
        yield _gauge("tandem_halt_latch_set", "1 when every executor that starts will start halted.", latched)

    # ---- books ------------------------------------------------------------------------------------------------------

    def _feed_families(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("tandem_feed_up", "1 when the feed writes and its venue is up.", labels=["venue"])
        age = GaugeMetricFamily(
            "tandem_feed_heartbeat_age_seconds", "Since the feed's last heartbeat.", labels=["venue"]
        )
        epoch = GaugeMetricFamily("tandem_feed_epoch", "How often a writer attached to this book.", labels=["venue"])
        fresh = GaugeMetricFamily("tandem_feed_usable_quotes", "Quotes that may be traded on.", labels=["venue"])
        ready = GaugeMetricFamily(
            "tandem_feed_ready",
            "1 when the feed is up with a usable quote, or with any where the venue only indicates prices.",
            labels=["venue"],
        )
        for row in self._books.feeds():
            up.add_metric([row.venue], float(row.up))
            age.add_metric([row.venue], row.heartbeat_age_ms / 1e3)
            fresh.add_metric([row.venue], row.fresh)
            ready.add_metric([row.venue], float(row.is_ready))
            epoch.add_metric([row.venue], row.epoch)
        yield from (up, age, fresh, ready, epoch)

    def _quote_families(self) -> Iterator[Metric]:
        labels = ["venue", "symbol"]
        age = GaugeMetricFamily(
            "tandem_quote_age_seconds", "Age of the quote as trading rules define it.", labels=labels
        )
        usable = GaugeMetricFamily("tandem_quote_usable", "1 when the quote may be traded on.", labels=labels)
        spread = GaugeMetricFamily("tandem_quote_spread_ratio", "Ask less bid over mid, if usable.", labels=labels)
        for row in self._books.quotes():
            where = [row.venue, row.symbol]
            ok = row.state == "ok"
            usable.add_metric(where, float(ok))
            age.add_metric(where, row.age_ms / 1e3)
            spread.add_metric(where, row.spread_bps * 1e-4 if ok else math.nan)
        yield from (age, usable, spread)

    # ---- account ----------------------------------------------------------------------------------------------------

    def _account_families(self, page: AccountSnapshot) -> Iterator[Metric]:
        state = GaugeMetricFamily("tandem_trading_state", "1 for the state that holds.", labels=["state"])
        for each in TradingState:
            state.add_metric([each.value], float(each is page.trading_state))
        yield state
        yield InfoMetricFamily("tandem_mode", "How far orders go.", {"mode": page.mode})
        yield _gauge("tandem_executor_ready", "1 when recovery has finished and commands are accepted.", page.ready)
        yield _gauge("tandem_executor_epoch", "The executor's durable epoch.", page.executor_epoch)
        yield _gauge("tandem_journal_sequence", "Last journal record the page belongs to.", page.journal_sequence)
        age_ns = self._clock.mono_ns() - page.written_mono_ns
        yield _gauge("tandem_account_page_age_seconds", "Since the account page was written.", age_ns / NS_PER_S)
        equity = views.equity_usd(page)
        yield _gauge("tandem_equity_usd", "Equity over all venues.", math.nan if equity is None else float(equity))
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

    def _process_families(self, account: AccountSnapshot | str) -> Iterator[Metric]:
        """Every process's counters page, whether it lives, and whether it runs the configuration that we run."""
        alive = dict.fromkeys(self._expected(), False)
        readable: dict[str, bool] = {}
        fingerprints: dict[str, str] = {}
        families: dict[str, Metric] = {}
        for name, page in _pages(self._run, self._clock):
            readable[name] = page is not None
            if page is None:
                alive.setdefault(name, False)
                continue
            alive[name] = not page.is_stopped and page.heartbeat_age_ns < ALIVE_NS
            for sample in page.samples():
                if sample.name == CONFIG_SERIES:
                    fingerprints[name] = sample.labels["fingerprint"]
                else:
                    _add(families, sample)
        if SANDBOX in alive:
            alive[SANDBOX] = self._sandbox_answers()
        if isinstance(account, AccountSnapshot):
            fingerprints["executor"] = account.config_fingerprint
        yield _by_process(
            "tandem_process_up", f"1 while its heartbeat is younger than {ALIVE_NS // NS_PER_S} s.", alive
        )
        yield _by_process("tandem_process_page_readable", "0 when its counters are of another version.", readable)
        same = {name: fingerprint == self._loaded.fingerprint for name, fingerprint in fingerprints.items()}
        yield _by_process("tandem_process_config_matches", "1 when it runs the exporter's configuration.", same)
        yield from families.values()

    def _expected(self) -> list[str]:
        config = self._loaded.config
        names = [*(f"feed-{venue}" for venue in self._loaded.enabled_venues), "executor", "recorder"]
        if config.strategies.scalp.enabled:
            names.append("strategy-scalp")
        return [*names, SANDBOX] if config.sandbox is not None else names

    def _sandbox_answers(self) -> bool:
        """The sandbox is outside, as a venue is: it has no page in shared memory, but a port."""
        sandbox = self._loaded.config.sandbox
        if sandbox is None:
            return False
        try:
            socket.create_connection(("127.0.0.1", sandbox.control_port), timeout=SANDBOX_ANSWER_S).close()
        except OSError:
            return False
        return True


def _pages(run: RunDir, clock: Clock) -> Iterator[tuple[str, CountersReader | None]]:
    """Every process's page by name; None for one of another version, which must not hide the others."""
    try:
        names = sorted(entry.name for entry in run.counters.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield name, CountersReader(run.counters / name, clock)
        except FileNotFoundError:
            continue
        except ConfigError:
            yield name, None


def _by_process(name: str, text: str, values: dict[str, bool]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=["process"])
    for process, value in sorted(values.items()):
        family.add_metric([process], float(value))
    return family


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
    now = GaugeMetricFamily("tandem_pairs", "Pairs that are not final, by status.", labels=["strategy", "status"])
    counts = {(s, status.value): 0 for s in _strategies(page) for status in PairStatus if status not in FINAL_PAIR}
    for pair in views.open_pairs(page):
        counts[pair.strategy, pair.status.value] += 1
    for (strategy, status), count in sorted(counts.items()):
        now.add_metric([strategy, status], count)
    yield now
    yield CounterMetricFamily("tandem_pairs_opened", "Pairs opened.", value=page.pairs_opened)
    yield CounterMetricFamily("tandem_pairs_closed", "Pairs closed.", value=page.pairs_closed)


def _strategies(page: AccountSnapshot) -> set[str]:
    return {"scalp", *(pair.strategy for pair in page.pairs)}


def _venue_families(page: AccountSnapshot, clock: Clock) -> Iterator[Metric]:
    def family(name: str, text: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"tandem_venue_{name}", text, labels=["venue"])

    equity, free = family("equity_usd", "Equity."), family("free_margin_usd", "Free margin.")
    used = family("margin_used_ratio", "Maintenance margin over equity; 1 is liquidation.")
    stream, budget = (
        family("private_stream_up", "1 when subscribed and, as far as fills can show, delivering."),
        family("rate_budget_ratio", "Request budget left."),
    )
    offset, age = (
        family("clock_offset_seconds", "Venue clock less ours."),
        family("account_age_seconds", "Since it was read."),
    )
    ok = family("ok", "1 when the account is readable and tradable.")
    for venue in page.venues:
        where = [venue.venue]
        equity.add_metric(where, float(venue.equity_usd) if venue.read_mono_ns else math.nan)
        free.add_metric(where, float(venue.free_margin_usd) if venue.read_mono_ns else math.nan)
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
