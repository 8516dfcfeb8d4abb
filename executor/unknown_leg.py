"""One leg filled, the other UNKNOWN, and its venue gone: what `unknown_policy` does about it (RULES 5).

Before a doubt is resolved a pair is neither completed nor unwound: the unknown order may have filled, and acting on the
guess that it did not is how the second leg is sent on top of a filled one. That holds for every policy while the venue can
be asked. Only when every venue that owes an answer has been unreadable for `unreachable_s`, and the orders have been unknown
for as long, does the operator's choice count:

    wait_and_page       nothing is sent; executor.resolver pages, and pages again
    unwind_filled_leg   the leg that is known goes; what the unknown one turns out to be is repaired when it is known
    hedge_third_venue   the known exposure is hedged on a third venue: the pair keeps both its chances, and is not naked
                        meanwhile. The hedge is a third leg of the pair, in its books and in the journal

A hedge is new exposure at its venue, so everything that would deny an opening there denies it: a trading state other than
ACTIVE, no usable quote, a blind, frozen or foreign instrument, a leverage that is not as configured, too little margin, the
venue's notional bound. The cheapest venue that passes takes it (cost of the touch against the pair's plan, plus the taker
fee); none passing is told once and amounts to waiting. Refused: spot venues as the short side, and venues that quote only on
request (a quote takes seconds, and an accepted one cannot be found again when its answer is lost).

Undoing it waits until nothing of the pair is unknown. Then the hedge is closed, and with it, at the same moment, that part of
the larger leg which only the hedge stood against: closing one before the other would make the pair naked by our own hand.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from core.clock import NS_PER_S
from core.numeric import from_float
from core.sizing import perp_capacity_usd, spot_capacity_usd
from core.types import Instrument, Side, TradingState, Venue
from executor.cures import Cures
from executor.engine import Engine
from executor.holdings import OrderState, PairBook
from executor.pricing import touch_px
from executor.repair import CureLeg

UNWIND = "unwind_filled_leg"
HEDGE = "hedge_third_venue"
STAND_IN, STAND_DOWN = "stand_in", "stand_down"
"""Purposes of the orders that open a hedge on a third venue, and of those that undo it."""
HEDGES_MAX = 3
"""Orders per pair that open a hedge: a partly filled one may be followed up, an unlucky one is not tried for ever."""


class UnknownLeg:
    """Called by executor.pairs. `attempt` sends cures for a pair under a purpose, paced and counted; `may_try` says whether
    its pace allows one now."""

    def __init__(
        self,
        engine: Engine,
        cures: Cures,
        attempt: Callable[[PairBook, list[CureLeg], str], None],
        may_try: Callable[[PairBook], bool],
    ) -> None:
        self._engine = engine
        self._execution = engine.config.execution
        self._cures = cures
        self._attempt = attempt
        self._may_try = may_try
        self._told: set[str] = set()  # live pairs for which no hedge could be found

    def act(self, pair: PairBook, unknown: list[OrderState]) -> None:
        """`unknown` orders of the pair are in doubt and nothing of it is in flight: do what the policy allows now."""
        if self._execution.unknown_policy not in (UNWIND, HEDGE):
            return
        dark = {order.prepared.venue for order in unknown}
        if not self._is_dark(dark, unknown) or not self._may_try(pair):
            return
        if self._execution.unknown_policy == UNWIND:
            self._unwind(pair, dark)
        elif pair.off_qty:
            self._hedge(pair, dark)

    def undo(self, pair: PairBook) -> bool:
        """Nothing of the pair is unknown or in flight: get rid of its hedge. True = the pair waits for that; False = there is
        none, or only dust of it."""
        hedge = pair.hedge
        if hedge is None or not hedge.lots:
            return False
        closing = self._cures.leg(pair, hedge, abs(hedge.qty), reducing=True, overdue=True)
        if closing is None:
            return True
        if not closing.is_orderable:
            return False
        wanted = [closing]
        off = pair.long.qty + pair.short.qty
        if off * hedge.qty < 0:
            larger = pair.long if off > 0 else pair.short
            against = self._cures.leg(pair, larger, min(abs(off), abs(hedge.qty)), reducing=True, overdue=True)
            if against is None:
                return True
            if against.is_orderable:
                wanted.append(against)
        if all(cure.is_open for cure in wanted) and self._may_try(pair):
            self._attempt(pair, wanted, STAND_DOWN)
        return True

    # ---- policies ---------------------------------------------------------------------------------------------------

    def _is_dark(self, venues: set[Venue], unknown: list[OrderState]) -> bool:
        """Whether every venue that owes an answer has been unreadable for the bound, and each order unknown for as long."""
        bound_ns = int(self._execution.unreachable_s * NS_PER_S)
        mono_ns, wire_ns = self._engine.clock.mono_ns(), self._engine.clock.wire_ns()
        blind = all(self._engine.desks[venue].blind_ns(mono_ns) >= bound_ns for venue in venues)
        return blind and all(wire_ns - order.moved_wire_ns >= bound_ns for order in unknown)

    def _unwind(self, pair: PairBook, dark: set[Venue]) -> None:
        for leg in pair.all_legs:
            if leg.lots and leg.venue not in dark:
                cure = self._cures.leg(pair, leg, abs(leg.qty), reducing=True, overdue=True)
                if cure is not None and cure.is_open:
                    self._engine.log.error("unwinding_filled_leg", pair_id=pair.pair_id, venue=leg.venue)
                    self._attempt(pair, [cure], "unwind")
                    return

    def _hedge(self, pair: PairBook, dark: set[Venue]) -> None:
        """One order for what is known to be unhedged, on the cheapest venue that admits it."""
        made = [each for each in self._engine.state.pair_orders(pair) if each.prepared.purpose == STAND_IN]
        if len(made) >= HEDGES_MAX:
            return
        side = Side.SELL if pair.off_qty > 0 else Side.BUY
        taken = (
            {pair.hedge.venue} if pair.hedge is not None else set(self._engine.desks) - {leg.venue for leg in pair.legs}
        )
        found = [cure for venue in sorted(taken - dark) if (cure := self._admitted(pair, venue, side)) is not None]
        if not found:
            if pair.pair_id not in self._told:
                self._told = {name for name in self._told if name in self._engine.state.live} | {pair.pair_id}
                self._engine.log.error("no_third_venue", pair_id=pair.pair_id, symbol=pair.symbol, policy=HEDGE)
            return
        cure = min(found, key=lambda each: each.cost_bps)
        self._engine.log.error(
            "hedging_on_third_venue", pair_id=pair.pair_id, venue=cure.instrument.venue, symbol=pair.symbol
        )
        self._attempt(pair, [cure], STAND_IN)

    def _admitted(self, pair: PairBook, venue: Venue, side: Side) -> CureLeg | None:
        """A hedge of the pair at `venue`, or None where anything denies it."""
        engine, key = self._engine, (venue, pair.symbol)
        instrument = engine.instrument(key)
        if instrument is None or instrument.delisted or engine.state.trading_state is not TradingState.ACTIVE:
            return None
        desk, position = engine.desks[venue], engine.state.positions.get(key)
        traits = desk.gateway.traits
        if traits.quotes_first or (side is Side.SELL and not instrument.can_short):
            return None
        blind_s = desk.blind_ns(engine.clock.mono_ns()) / NS_PER_S
        ready = desk.reconciled and desk.stream_up and desk.gateway.entry_ready and desk.gateway.may_send(True)
        if not ready or blind_s > self._execution.blind_stop_s:
            return None
        if key in engine.state.frozen or key in engine.flattening or (position is not None and position.foreign):
            return None
        if not traits.wallet and desk.leverage.get(pair.symbol) != desk.wanted_leverage(pair.symbol):
            return None
        quote = engine.usable_quote(key)
        lots = instrument.qty_to_lots(abs(pair.off_qty))
        if instrument.max_qty:
            lots = min(lots, int(instrument.max_qty / instrument.lot_size))
        if quote is None or not lots or not self._is_affordable(instrument, lots, touch_px(quote, side)):
            return None
        plan_px = float(pair.plan.long_ref_px if side is Side.BUY else pair.plan.short_ref_px)
        cure = CureLeg(
            instrument=instrument,
            side=side,
            lots=lots,
            touch=touch_px(quote, side),
            ref_px=plan_px,
            taker_fee=desk.taker_fee,
            extra_bps=desk.settings.extra_cross_bps,
            sendable=True,
            reducing=False,
        )
        return cure if cure.is_open else None

    def _is_affordable(self, instrument: Instrument, lots: int, touch: float) -> bool:
        """Margin, and the venue's bound on notional over all its symbols."""
        engine, venue = self._engine, instrument.venue
        desk = engine.desks[venue]
        usd = lots * instrument.canonical_lot * from_float(touch)
        free = desk.free_margin_usd
        if free is None:
            return False
        if desk.gateway.traits.wallet:
            capacity = spot_capacity_usd(free, desk.taker_fee)
        else:
            capacity = perp_capacity_usd(free, desk.wanted_leverage(instrument.symbol), desk.taker_fee)
        held = sum(
            (
                abs(position.book.lots) * engine.state.contracts[key].lot_size * position.book.avg_px
                for key, position in engine.state.positions.items()
                if key[0] == venue
            ),
            Decimal(0),
        )
        return usd <= capacity and held + usd <= from_float(desk.settings.max_notional_usd)
