"""Exit guards at work: what every open pair looks like now, once a second, and what fired handed to the pairs.

The judging is executor.exit_guards, pure. Here is only the gathering: quotes out of shared memory, marks (shared memory
while fresh, else as the venue last stated with the position), distances to liquidation from the venue's own figures, and how
long the owner of each pair has been silent.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

from core.clock import NS_PER_MS, NS_PER_S
from core.messages import PairStatus
from core.numeric import from_float
from core.types import MarkPrice, Venue
from executor.engine import Engine
from executor.exit_guards import ExitGuards, Fired, GuardedLeg, GuardedPair, GuardKind
from executor.holdings import PairBook, PairLeg
from executor.state import Key
from risk.margin import MarginAction, account_action, move_to_liq_pct

TURN_NS = 500 * NS_PER_MS
MARK_FRESH_NS = 5 * NS_PER_S
STATED_FRESH_NS = 30 * NS_PER_S
_GUARDED = (PairStatus.OPEN, PairStatus.REPAIRING)


class Closer(Protocol):
    """executor.pairs.Pairs, as far as guards need it."""

    def request_close(self, pair: PairBook, reason: str) -> None: ...
    def halve(self, pair: PairBook, reason: str) -> None: ...


class GuardMeter(Protocol):
    def guard_fired(self, kind: GuardKind) -> None: ...
    def margin_warned(self, venue: Venue) -> None: ...


class GuardRunner:
    """`heard(strategy)`: mono time at which the owner was last heard, 0 = never in this run. `turn` is called often and
    works at most every TURN_NS, which is at least once a second."""

    def __init__(self, engine: Engine, pairs: Closer, heard: Callable[[str], int], meter: GuardMeter) -> None:
        self._engine = engine
        self._pairs = pairs
        self._heard = heard
        self._meter = meter
        self._guards = ExitGuards(engine.config.risk, engine.config.execution)
        self._started_ns = engine.clock.mono_ns()
        self._last_ns = 0
        self._warned: dict[tuple[str, Venue], MarginAction] = {}
        self._accounts: dict[Venue, MarginAction] = {}

    def turn(self) -> None:
        """Judge every open pair if a turn is due, and act on what fired."""
        engine = self._engine
        now = engine.clock.mono_ns()
        if self._last_ns and now - self._last_ns < TURN_NS:
            return
        self._last_ns = now
        pairs = [pair for pair in engine.state.live_pairs() if _is_guarded(pair)]
        fired, warned = self._guards.evaluate(
            [self._guarded(pair, now) for pair in pairs], now, engine.clock.calendar_ns()
        )
        holding = {(each.pair_id, each.venue): each for each in warned}
        for key, each in holding.items():
            if self._warned.get(key) is not each.action:
                self._meter.margin_warned(each.venue)
                engine.log.warning(
                    "margin_near",
                    pair_id=each.pair_id,
                    venue=each.venue,
                    action=each.action.name.lower(),
                    **each.numbers,
                )
        self._warned = {key: each.action for key, each in holding.items()}
        self._watch_accounts()
        for wish in fired:
            self._act(wish)

    def _act(self, fired: Fired) -> None:
        pair = self._engine.state.pairs[fired.pair_id]
        self._meter.guard_fired(fired.kind)
        self._engine.log.error(
            "guard_fired",
            pair_id=fired.pair_id,
            symbol=pair.symbol,
            strategy=pair.plan.strategy,
            guard=fired.kind.value,
            detail=fired.detail,
            **fired.numbers,
        )
        if fired.kind is GuardKind.MARGIN_REDUCE:
            self._pairs.halve(pair, fired.kind.value)
        else:
            self._pairs.request_close(pair, fired.kind.value)

    def _watch_accounts(self) -> None:
        """Margin used on an account without pairs of ours is worth a line too."""
        for venue, desk in self._engine.desks.items():
            if desk.balance is None:
                continue
            ratio = desk.balance.margin_used_ratio
            action = account_action(ratio, self._engine.config.risk)
            if action is not self._accounts.get(venue, MarginAction.NONE):
                self._engine.log.warning(
                    "margin_used", venue=venue, action=action.name.lower(), margin_used_ratio=round(ratio, 4)
                )
            self._accounts[venue] = action

    # ---- gathering --------------------------------------------------------------------------------------------------

    def _guarded(self, pair: PairBook, now_ns: int) -> GuardedPair:
        heard = max(self._heard(pair.plan.strategy), self._started_ns)
        return GuardedPair(
            pair_id=pair.pair_id,
            strategy=pair.plan.strategy,
            guard=pair.plan.exit_guard,
            entry_basis_bps=pair.plan.basis_bps,
            opened_calendar_ns=pair.opened_calendar_ns or pair.plan.calendar_ns,
            owner_silent_ns=now_ns - heard,
            long=self._leg(pair, pair.long, now_ns),
            short=self._leg(pair, pair.short, now_ns),
        )

    def _leg(self, pair: PairBook, leg: PairLeg, now_ns: int) -> GuardedLeg:
        key = (leg.venue, pair.symbol)
        desk = self._engine.desks[leg.venue]
        multiplier = leg.lot_qty / leg.lot_size
        mark = self._mark(key, now_ns)
        stated = desk.positions.get(pair.symbol)
        distance = None
        if stated is not None:
            distance = move_to_liq_pct(mark * multiplier or stated.mark_px, stated.liquidation_px, stated.lots)
        return GuardedLeg(
            venue=leg.venue,
            quote=self._engine.quote(key),
            entry_px=leg.book.avg_px / multiplier,
            mark_px=mark,
            lots=leg.lots,
            move_to_liq_pct=distance,
            margin_used_ratio=desk.balance.margin_used_ratio if desk.balance else 0.0,
            quotes_first=desk.gateway.traits.quotes_first,
        )

    def _mark(self, key: Key, now_ns: int) -> Decimal:
        """Canonical mark; 0 = nobody has stated one lately."""
        book, desk = self._engine.books[key[0]], self._engine.desks[key[0]]
        slot = book.slot(key[1])
        mark = book.mark(slot) if slot is not None else None
        if isinstance(mark, MarkPrice) and mark.mark_px > 0 and now_ns - mark.local_mono_ns <= MARK_FRESH_NS:
            return from_float(mark.mark_px)
        stated, instrument = desk.positions.get(key[1]), self._engine.instrument(key)
        if stated is None or instrument is None or now_ns - desk.positions_mono_ns > STATED_FRESH_NS:
            return Decimal(0)
        return stated.mark_px / instrument.multiplier


def _is_guarded(pair: PairBook) -> bool:
    """One that is opened or closed at once is through in a moment; where a first leg is worked that may take an hour, and what is
    held meanwhile is guarded like any other."""
    worked = pair.is_led and pair.status in (PairStatus.OPENING, PairStatus.CLOSING) and not pair.is_flat
    return worked or pair.status in _GUARDED
