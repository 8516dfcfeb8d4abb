"""A first leg, and a hedge that follows its fills: one machine for every way in which legs are not sent at once.

    THIN_FIRST    the first leg is one IOC order (opening), or one per round (closing)
    MAKER_FIRST   the first leg rests post-only at its own touch; it is withdrawn and placed anew when the touch is a tick away,
                  at most once a second, until the deadline
    QUOTE_FIRST   the first leg accepts a live quote for exactly the size, at a price within the limit

`next` says what such a pair needs now, out of the state, the journaled `Sending` and the books alone; executor.pairs does it
and asks again. In the order of their urgency:

    Hedge      the legs differ by a size that the second venue takes as an order: send that at once, also while the first rests
    Dust       they differ by less: shown and accepted until more fills come; nothing is rounded up
    Over       no more of the first leg (why it says): what rests is withdrawn, then the pair goes on as one without order
    Withdraw   what rests is no longer wanted where it is
    Lead       the next order of the first leg
    Wait       for an end, a price, a second, a quote

An opening is led only by the executor that accepted it, while trading is ACTIVE and the second leg could still be hedged within
its limit: a decision has an age. A close is led over restarts. Unhedged bounds hold as everywhere (executor.unhedged): a
hedge that is not to be had in time ends the leading, and the first leg is unwound.

Refused: amending a resting order in place (three venues answer it in three ways, and a lost answer leaves two prices to doubt),
and a task per led pair (a crash would need a second way to find its place).
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from core.messages import LegOrder
from core.numeric import from_float
from core.types import Instrument, OrderStatus, Quote, Side, TimeInForce, TradingState
from executor import opening
from executor.cures import Cures, quoted_ticks
from executor.dead_man import Switches
from executor.engine import Engine
from executor.orders import Draft
from executor.pricing import touch_px
from executor.quotes import Quotes
from executor.registrar import UNKNOWN_OUTCOME
from executor.state import OrderState, PairBook, PairLeg

REPRICE_NS = NS_PER_S
LONG_AGO_NS = 24 * 3600 * NS_PER_S
QUOTE_PATIENCE_NS = 3 * NS_PER_S
LEADS_MAX = 4000
"""Orders of one first leg: an hour of prices that change every second."""


class Hedge(msgspec.Struct, frozen=True):
    """`withdraw`: what rests must go besides, since its next fill could not be hedged or is no longer wanted."""

    withdraw: tuple[OrderState, ...] = ()


class Dust(msgspec.Struct, frozen=True):
    """See the module text."""


class Over(msgspec.Struct, frozen=True):
    why: str


class Withdraw(msgspec.Struct, frozen=True):
    order: OrderState


class Lead(msgspec.Struct, frozen=True):
    draft: Draft


class Wait(msgspec.Struct, frozen=True):
    """See the module text."""


Step = Hedge | Dust | Over | Withdraw | Lead | Wait
_WAIT = Wait()


class Leading:
    """See the module text. `ended`: pairs whose owner is gone, or whose first leg a person cancelled, in this run."""

    def __init__(self, engine: Engine, cures: Cures, quotes: Quotes, switches: Switches) -> None:
        self._engine = engine
        self._cures = cures
        self._quotes = quotes
        self._switches = switches
        self.ended: dict[str, str] = {}  # pair id -> why

    def next(self, pair: PairBook, resting: list[OrderState]) -> Step:
        """What a led pair needs now, none of whose orders is in flight or UNKNOWN. `resting`: its accepted, lasting orders."""
        lead, other = legs_in_order(pair)
        over = self._over(pair, lead) or self._fallen_behind(pair, lead)
        if self._is_hedgeable(pair, other):
            wanted = not over and self._engine.ready and self._can_follow(pair, other)
            return Hedge(() if wanted else tuple(resting))
        if pair.off_qty and not over:
            return Dust()
        if over:
            return Withdraw(resting[0]) if resting else Over(over)
        if not self._engine.ready:
            return Withdraw(resting[0]) if resting else _WAIT
        if resting:
            return self._keep(pair, lead, other, resting)
        return self._lead(pair, lead, other)

    def is_wanted(self, pair: PairBook) -> bool:
        """Whether more of the first leg is."""
        return pair.is_led and self._engine.ready and not self._over(pair, legs_in_order(pair)[0])

    def is_hedgeable(self, pair: PairBook) -> bool:
        """Whether the legs of a led pair differ by what the second venue takes as an order."""
        return self._is_hedgeable(pair, legs_in_order(pair)[1])

    def wish_lots(self, pair: PairBook, leg: PairLeg) -> int:
        """Lots that the first leg still wants, if `leg` is that and it may still be had; for netting."""
        lead, other = legs_in_order(pair)
        instrument = self._engine.instrument((leg.venue, pair.symbol))
        if lead is not leg or instrument is None or self._over(pair, lead) or not self._can_follow(pair, other):
            return 0
        return _remaining(pair, lead, instrument)

    def forget(self) -> None:
        """Drop what concerns pairs that are gone."""
        for name in [name for name in self.ended if name not in self._engine.state.live]:
            del self.ended[name]

    # ---- whether it goes on -----------------------------------------------------------------------------------------

    def _over(self, pair: PairBook, lead: PairLeg) -> str:
        """Why there is no more of the first leg; "" while there is."""
        engine, sending = self._engine, pair.sending
        instrument = engine.instrument((lead.venue, pair.symbol))
        if pair.pair_id in self.ended:
            return self.ended[pair.pair_id]
        waited_ns = self._since_ns(pair.sending_wire_ns)
        if sending.order is LegOrder.MAKER_FIRST and waited_ns > sending.deadline_s * NS_PER_S:
            return "the deadline of the resting leg has passed"
        sent = self._sent(pair, lead)
        if len(sent) >= LEADS_MAX:
            return "too many orders of the first leg"
        if instrument is None:
            return "" if pair.closing else "the first leg's contract is gone"
        if not pair.closing:
            refusal = self._opening_over(pair, sent, waited_ns)
            if refusal:
                return refusal
        return "nothing is left that the first venue takes as an order" if self.rest_is_dust(pair) else ""

    def rest_is_dust(self, pair: PairBook) -> bool:
        """Whether the first venue takes no order for what is left of the first leg."""
        lead, _ = legs_in_order(pair)
        instrument = self._engine.instrument((lead.venue, pair.symbol))
        if instrument is None:
            return False
        return _remaining(pair, lead, instrument) < instrument.min_lots(self._reference_px(pair, lead, instrument))

    def _opening_over(self, pair: PairBook, sent: list[OrderState], waited_ns: int) -> str:
        engine = self._engine
        if pair.epoch != engine.state.epoch:
            return "left by a former run of the executor"
        if pair.shrunk:
            return "a leg was reduced from outside"
        if engine.state.trading_state is not TradingState.ACTIVE:
            return f"trading state is {engine.state.trading_state.value}"
        if any((leg.venue, pair.symbol) in engine.state.frozen for leg in pair.legs):
            return "an instrument is frozen"
        refusal = engine.may_lead(pair)
        if refusal:
            return refusal
        if pair.sending.order is LegOrder.MAKER_FIRST:
            return ""
        if sent:
            return "the first leg has ended"
        patience_ns = QUOTE_PATIENCE_NS if pair.sending.order is LegOrder.QUOTE_FIRST else REPRICE_NS
        return "the first leg could not be sent in time" if waited_ns > patience_ns else ""

    def _since_ns(self, wire_ns: int) -> int:
        """By the clock of the journal; one that was set back must not stop us, so what lies ahead of it is long ago."""
        elapsed_ns = self._engine.clock.wire_ns() - wire_ns
        return elapsed_ns if elapsed_ns >= 0 else LONG_AGO_NS

    def _sent(self, pair: PairBook, lead: PairLeg) -> list[OrderState]:
        """Orders of the first leg since this way of sending began."""
        return [
            order
            for order in self._engine.state.pair_orders(pair)
            if order.prepared.venue == lead.venue
            and order.prepared.purpose == ("close" if pair.closing else "open")
            and order.prepared.wire_ns >= pair.sending_wire_ns
        ]

    def _is_hedgeable(self, pair: PairBook, other: PairLeg) -> bool:
        """Whether the legs differ by more than was accepted as dust, and the second venue takes an order of that size. When
        closing, it is for the second leg only as long as it is the larger one."""
        behind = (pair.closing and pair.imbalance_qty * other.side.sign < 0) or pair.is_flipped
        return bool(pair.off_qty) and not behind and self._is_orderable(pair, other)

    def _fallen_behind(self, pair: PairBook, lead: PairLeg) -> str:
        """Why it is not led on: a leg stands on the wrong side, or something outside took the second leg of a close, and what it
        hedged must go now."""
        if pair.is_flipped:
            return "a leg stands on the wrong side"
        behind = pair.closing and pair.off_qty and pair.imbalance_qty * lead.side.sign > 0
        return "the second leg was taken from outside" if behind and self._is_orderable(pair, lead) else ""

    def _is_orderable(self, pair: PairBook, leg: PairLeg) -> bool:
        """Whether the leg's venue takes an order of the size by which the legs differ."""
        instrument = self._engine.instrument((leg.venue, pair.symbol))
        if instrument is None:
            return False
        lots = instrument.qty_to_lots(abs(pair.imbalance_qty))
        return lots >= instrument.min_lots(self._reference_px(pair, leg, instrument))

    # ---- the first leg's orders -------------------------------------------------------------------------------------

    def _keep(self, pair: PairBook, lead: PairLeg, other: PairLeg, resting: list[OrderState]) -> Step:
        """Whether what rests may stay where it is."""
        order = resting[0]
        if len(resting) > 1 or pair.sending.order is not LegOrder.MAKER_FIRST:
            return Withdraw(order)
        if not self._can_follow(pair, other) or not self._switches.is_covered(order.key):
            return Withdraw(order)
        if self._since_ns(order.prepared.wire_ns) < REPRICE_NS:
            return _WAIT
        wanted = self._resting_ticks(pair, lead)
        return _WAIT if wanted == order.prepared.limit_ticks else Withdraw(order)

    def _lead(self, pair: PairBook, lead: PairLeg, other: PairLeg) -> Step:
        """The next order of the first leg, if it could be followed now."""
        engine = self._engine
        instrument = engine.instrument((lead.venue, pair.symbol))
        if instrument is None or self._is_frozen(pair, lead):
            return _WAIT
        desk = engine.desks[lead.venue]
        if not (desk.reconciled and desk.gateway.entry_ready and desk.gateway.may_send(pair.closing)):
            return _WAIT
        newest = max((order.prepared.wire_ns for order in self._sent(pair, lead)), default=0)
        if self._since_ns(newest) < REPRICE_NS or not self._can_follow(pair, other):
            return _WAIT
        if pair.sending.order is LegOrder.MAKER_FIRST:
            return self._rest(pair, lead, instrument)
        if pair.closing:
            cure = self._cures.leg(pair, lead, abs(lead.qty), reducing=True, overdue=False)
            if cure is None or not cure.is_open:
                return _WAIT
            return Lead(self._cures.draft(pair, cure, "close", 0))
        lots = _remaining(pair, lead, instrument)
        if pair.sending.order is LegOrder.QUOTE_FIRST:
            return self._accept(pair, lead, instrument, lots)
        quote = engine.usable_quote((lead.venue, pair.symbol))
        draft = opening.first(pair, instrument, lead.side, lots)
        return Lead(draft) if quote is not None and _reaches(draft, quote) else _WAIT

    def _rest(self, pair: PairBook, lead: PairLeg, instrument: Instrument) -> Step:
        ticks = self._resting_ticks(pair, lead)
        if ticks is None or not self._switches.want((lead.venue, pair.symbol)):
            return _WAIT
        side = lead.side.opposite if pair.closing else lead.side
        lots = _remaining(pair, lead, instrument)
        if instrument.max_qty:
            lots = min(lots, int(instrument.max_qty / instrument.lot_size))
        return Lead(
            Draft(
                instrument=instrument,
                side=side,
                lots=lots,
                limit_ticks=ticks,
                time_in_force=TimeInForce.POST_ONLY,
                reduce_only=pair.closing and self._cures.is_covered((lead.venue, pair.symbol), side, lots),
                purpose="close" if pair.closing else "open",
                strategy=pair.plan.strategy,
                pair_id=pair.pair_id,
                command_id=None if pair.closing else pair.plan.command_id,
            )
        )

    def _accept(self, pair: PairBook, lead: PairLeg, instrument: Instrument, lots: int) -> Step:
        """An opening's live quote, if it is within the limit that the pair was allowed at."""
        key = (lead.venue, pair.symbol)
        quote = self._quotes.ask(key, lead.side, lots)
        if quote is None:
            return _WAIT
        limit_px = _limit_px(pair, lead)
        if lead.side.sign * (quote.px - limit_px) > 0:
            self._engine.log.info(
                "quote_too_dear", pair_id=pair.pair_id, venue=lead.venue, px=str(quote.px), limit_px=str(limit_px)
            )
            return Over("the quote lies beyond the limit")
        self._quotes.take(key)
        draft = opening.first(pair, instrument, lead.side, lots)
        return Lead(
            msgspec.structs.replace(draft, limit_ticks=quoted_ticks(quote, instrument), quote_id=quote.quote_id)
        )

    # ---- prices -----------------------------------------------------------------------------------------------------

    def _resting_ticks(self, pair: PairBook, lead: PairLeg) -> int | None:
        """The first leg's own touch, and never worse than the pair's limit; None without a usable quote."""
        instrument = self._engine.instrument((lead.venue, pair.symbol))
        quote = self._engine.usable_quote((lead.venue, pair.symbol))
        if instrument is None or quote is None:
            return None
        side = lead.side.opposite if pair.closing else lead.side
        own = from_float(quote.bid_px if side is Side.BUY else quote.ask_px) * instrument.multiplier
        ticks = instrument.px_to_ticks(own, side)
        limit_px = Decimal(0) if pair.closing else _limit_px(pair, lead)
        if limit_px:
            bound = instrument.px_to_ticks(limit_px, side)
            ticks = min(ticks, bound) if side is Side.BUY else max(ticks, bound)
        return max(1, ticks)

    def _can_follow(self, pair: PairBook, other: PairLeg) -> bool:
        """Whether a fill of the first leg could be hedged now: connection, budget, and for an opening a touch within the second
        leg's limit."""
        engine, key = self._engine, (other.venue, pair.symbol)
        instrument = engine.instrument(key)
        if instrument is None or self._is_frozen(pair, other):
            return False
        desk = engine.desks[other.venue]
        if not (desk.reconciled and desk.gateway.entry_ready and desk.gateway.may_send(True)):
            return False
        quote = engine.usable_quote(key)
        if pair.closing:
            side = other.side.opposite
            return quote is not None or self._cures.touch(key, side, False) is not None
        limit_px = _limit_px(pair, other)
        if quote is None or not limit_px:
            return quote is not None
        return other.side.sign * (from_float(touch_px(quote, other.side)) * instrument.multiplier - limit_px) <= 0

    def _is_frozen(self, pair: PairBook, leg: PairLeg) -> bool:
        """For an opening by anything; for a close only by an order of unknown outcome."""
        reason = self._engine.state.frozen.get((leg.venue, pair.symbol))
        return reason is not None and (not pair.closing or reason == UNKNOWN_OUTCOME)

    def _reference_px(self, pair: PairBook, leg: PairLeg, instrument: Instrument) -> Decimal:
        """Venue units; for the venue's smallest order."""
        quote = self._engine.usable_quote((leg.venue, pair.symbol))
        if quote is not None:
            return from_float(quote.bid_px) * instrument.multiplier
        plan = pair.plan.long_ref_px if leg is pair.long else pair.plan.short_ref_px
        return plan * instrument.multiplier


def legs_in_order(pair: PairBook) -> tuple[PairLeg, PairLeg]:
    """The leg that goes first, and the one that follows."""
    return (pair.short, pair.long) if pair.sending.first == pair.short.venue else (pair.long, pair.short)


def rests(order: OrderState) -> bool:
    """Whether the venue has it in its book, as far as we know."""
    return order.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC


def _remaining(pair: PairBook, lead: PairLeg, instrument: Instrument) -> int:
    """Lots of the first leg that are still to be had."""
    left = abs(lead.qty) if pair.closing else pair.plan.qty - abs(lead.qty)
    return max(0, instrument.qty_to_lots(left))


def _limit_px(pair: PairBook, leg: PairLeg) -> Decimal:
    """Venue units, 0 = none told."""
    return pair.plan.long_limit_px if leg is pair.long else pair.plan.short_limit_px


def _reaches(draft: Draft, quote: Quote) -> bool:
    """Whether the touch is within the draft's limit: else the order would be sent for nothing."""
    instrument, side = draft.instrument, draft.side
    touch = from_float(touch_px(quote, side)) * instrument.multiplier
    return side.sign * (touch - instrument.ticks_to_px(draft.limit_ticks)) <= 0
