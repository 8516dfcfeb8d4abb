"""The executor's own counters page: what happened and how long it took, by closed sets of labels.

What the account page carries (equity, positions, pairs, unhedged notional and its age, margin, trading state, clock offsets,
budgets, frozen instruments, when each account was read) is exported from there and not counted twice. Every label set
exists from the start, so that a zero is a zero and not a missing series. Buckets follow OPERATIONS.md, with an edge exactly
at each limit that somebody acts on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from bookshm.counters import Counter, CountersWriter, Gauge
from core.clock import NS_PER_S
from core.messages import AnyCommand, DenyReason
from core.roster import SPEC
from core.types import OrderStatus, Venue
from executor.engine import Engine
from executor.exit_guards import GuardKind
from executor.outcome import RejectCode
from risk.parity import DOLLAR, Parity

ROUND_TRIP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HOP_S = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 3e-4, 6e-4, 1e-3, 2.5e-3, 5e-3, 1e-2)
"""With edges at 200 and 600 us (tick to wire hot) and 300 us and 1 ms (after idling)."""
UNHEDGED_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 8.0, 30.0, 120.0)
"""With edges at the warning (2 s) and at the bounds for unwinding (5 s, 8 s)."""
DOUBT_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)

PURPOSES = (
    "open",
    "close",
    "complete",
    "unwind",
    "flatten",
    "manual",
    "foreign",
    "adopted",
    "hedge",
    "stand_in",
    "stand_down",
)
REPAIRS = ("complete", "unwind", "foreign", "stand_in", "stand_down")
SOURCES = ("fills", "lookup", "burn", "bound", "position", "stream")
COMMANDS = tuple(str(kind.__struct_config__.tag) for kind in AnyCommand.__args__)
OTHER = "other"

_OUTCOMES = tuple(status for status in OrderStatus if status not in (OrderStatus.PREPARED, OrderStatus.DENIED))


class Metrics:
    """Implements executor.peers.Meter. `sample` is called about once a second; everything else when it happens."""

    def __init__(self, page: CountersWriter, venues: Iterable[Venue]) -> None:
        self._page = page
        each = tuple(venues)
        self._commands = {kind: page.counter("executor_commands_total", {"kind": kind}) for kind in (*COMMANDS, OTHER)}
        self._denied = {r: page.counter("executor_denied_total", {"reason": r.value}) for r in DenyReason}
        self._sent = self._by(each, "executor_orders_sent_total", "purpose", (*PURPOSES, OTHER))
        self._outcomes = self._by(each, "executor_order_outcomes_total", "outcome", [s.value for s in _OUTCOMES])
        self._rejects = self._by(each, "executor_order_rejects_total", "code", [code.value for code in RejectCode])
        self._resolved = self._by(each, "executor_orders_resolved_total", "source", (*SOURCES, OTHER))
        self._fills = self._by(each, "executor_fills_total", "origin", ("own", "foreign", "late", "duplicate"))
        self._repairs = {kind: page.counter("executor_repairs_total", {"kind": kind}) for kind in (*REPAIRS, OTHER)}
        self._guards = {kind: page.counter("executor_guards_fired_total", {"guard": kind.value}) for kind in GuardKind}
        self._warned = {v: page.counter("executor_margin_warnings_total", {"venue": v}) for v in each}
        self._round_trip = {
            v: page.histogram("executor_order_round_trip_seconds", {"venue": v}, ROUND_TRIP_S) for v in each
        }
        self._doubt = {v: page.histogram("executor_order_doubt_seconds", {"venue": v}, DOUBT_S) for v in each}
        self._doubt_by = {
            source: page.histogram("executor_order_doubt_by_source_seconds", {"source": source}, DOUBT_S)
            for source in (*SOURCES, OTHER)
        }
        self._decision_age = page.histogram("executor_decision_age_seconds", {}, HOP_S)
        self._command_to_wire = page.histogram("executor_command_to_wire_seconds", {}, HOP_S)
        self._tick_to_wire = page.histogram("executor_tick_to_wire_seconds", {}, HOP_S)
        self._append = page.histogram("executor_journal_append_seconds", {}, HOP_S)
        self._unhedged = page.histogram("executor_unhedged_seconds", {}, UNHEDGED_S)
        self._unhedged_usd = page.counter("executor_unhedged_episodes_usd_total", {})
        self._in_doubt = self._gauges(each, "executor_orders_in_doubt")
        self._reconciled = self._gauges(each, "executor_reconciled")
        self._reconcile_age = self._gauges(each, "executor_reconcile_age_seconds")
        self._foreign_orders = self._gauges(each, "executor_foreign_orders")
        self._reserved = self._gauges(each, "executor_reserved_margin_usd")
        self._funding = self._gauges(each, "executor_funding_paid_usd")
        self._nonce_ahead = self._gauges(each, "executor_nonce_high_water")
        self._nonce_resyncs = {v: page.counter("executor_nonce_resyncs_total", {"venue": v}) for v in each}
        self._resyncs_counted = dict.fromkeys(each, 0)
        self._switches = self._gauges(each, "executor_dead_man_armed")
        self._switch_failures = {v: page.counter("executor_dead_man_failures_total", {"venue": v}) for v in each}
        self._failures_counted = dict.fromkeys(each, 0)
        currencies = sorted({SPEC[v].quote_ccy for v in each} - {DOLLAR})
        self._parities = {
            currency: page.gauge("executor_parity_usd", {"currency": currency}) for currency in currencies
        }
        self._journal_ok = page.gauge("executor_journal_ok", {})

    # ---- what the engine tells --------------------------------------------------------------------------------------

    def command(self, kind: str) -> None:
        self._commands.get(kind, self._commands[OTHER]).add()

    def denied(self, kind: str, reason: DenyReason) -> None:
        self._denied[reason].add()

    def order_sent(self, venue: Venue, purpose: str) -> None:
        sent = self._sent[venue]
        sent.get(purpose, sent[OTHER]).add()

    def order_outcome(self, venue: Venue, status: OrderStatus, code: str, round_trip_ns: int) -> None:
        self._outcomes[venue][status.value].add()
        if status is OrderStatus.REJECTED:
            rejects = self._rejects[venue]
            rejects.get(code, rejects[OTHER]).add()
        if status is not OrderStatus.NOT_SENT:
            self._round_trip[venue].observe(round_trip_ns / NS_PER_S)

    def order_resolved(self, venue: Venue, source: str, seconds: float) -> None:
        """An order left doubt (executor.reconcile's `resolved`)."""
        resolved = self._resolved[venue]
        resolved.get(source, resolved[OTHER]).add()
        self._doubt[venue].observe(seconds)
        self._doubt_by.get(source, self._doubt_by[OTHER]).observe(seconds)

    def fill(self, venue: Venue, foreign: bool) -> None:
        self._fills[venue]["foreign" if foreign else "own"].add()

    def duplicate_fill(self, venue: Venue) -> None:
        self._fills[venue]["duplicate"].add()

    def late_fill(self, venue: Venue) -> None:
        self._fills[venue]["late"].add()

    def decision_age(self, duration_ns: int) -> None:
        """From the strategy's decision to its command being taken up here: what the way and our own loop's work cost."""
        self._decision_age.observe(duration_ns / NS_PER_S)

    def command_to_wire(self, duration_ns: int) -> None:
        self._command_to_wire.observe(duration_ns / NS_PER_S)

    def tick_to_wire(self, duration_ns: int) -> None:
        """From the receipt of the newer of both quotes to the signed bytes of the second leg written."""
        self._tick_to_wire.observe(duration_ns / NS_PER_S)

    def journal_append(self, duration_ns: int) -> None:
        self._append.observe(duration_ns / NS_PER_S)

    def unhedged(self, duration_ns: int, notional_usd: Decimal) -> None:
        self._unhedged.observe(duration_ns / NS_PER_S)
        self._unhedged_usd.add(float(notional_usd))

    def repair(self, kind: str) -> None:
        self._repairs.get(kind, self._repairs[OTHER]).add()

    def guard_fired(self, kind: GuardKind) -> None:
        self._guards[kind].add()

    def margin_warned(self, venue: Venue) -> None:
        self._warned[venue].add()

    # ---- what is looked at ------------------------------------------------------------------------------------------

    def sample(self, engine: Engine, foreign_orders: dict[Venue, int]) -> None:
        """Set every gauge from the state and the desks, and stamp the heartbeat of the page."""
        now = engine.clock.mono_ns()
        doubts = engine.state.unknown_orders()
        for venue, desk in engine.desks.items():
            self._in_doubt[venue].set(sum(order.prepared.venue == venue for order in doubts))
            self._reconciled[venue].set(float(desk.reconciled))
            age_s = (now - desk.positions_mono_ns) / NS_PER_S if desk.positions_mono_ns else float("nan")
            self._reconcile_age[venue].set(age_s)
            self._foreign_orders[venue].set(foreign_orders.get(venue, 0))
            self._reserved[venue].set(float(desk.reserved_usd))
            self._nonce_ahead[venue].set(engine.state.nonce_high.get(desk.gateway.signer_id, 0))
            resyncs = desk.gateway.nonce_resyncs
            self._nonce_resyncs[venue].add(resyncs - self._resyncs_counted[venue])
            self._resyncs_counted[venue] = resyncs
            self._switches[venue].set(desk.switches_armed)
            self._switch_failures[venue].add(desk.switch_failures - self._failures_counted[venue])
            self._failures_counted[venue] = desk.switch_failures
            paid = [p.book.funding_usd for key, p in engine.state.positions.items() if key[0] == venue]
            self._funding[venue].set(float(sum(paid)))
        self._journal_ok.set(float(engine.journal.trouble is None))
        self._page.heartbeat()

    def parities(self, of: Callable[[str], Parity | None]) -> None:
        """What each quote currency is worth; NaN = unknown."""
        for currency, gauge in self._parities.items():
            parity = of(currency)
            gauge.set(float("nan") if parity is None else parity.usd)

    # ---- making series ----------------------------------------------------------------------------------------------

    def _by(
        self, venues: Iterable[Venue], name: str, label: str, values: Iterable[str]
    ) -> dict[Venue, dict[str, Counter]]:
        known = tuple(values)
        return {v: {x: self._page.counter(name, {"venue": v, label: x}) for x in known} for v in venues}

    def _gauges(self, venues: Iterable[Venue], name: str) -> dict[Venue, Gauge]:
        return {venue: self._page.gauge(name, {"venue": venue}) for venue in venues}
