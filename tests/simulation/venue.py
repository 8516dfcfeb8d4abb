"""A simulated venue: what it does with a request that arrives, and when and how its orders fill. The truth is its own,
whatever anybody was told; answers and stream events are handed to the network, and what that makes of them is its business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.types import Instrument, OrderStatus, Side, TimeInForce
from executor.outcome import Accepted, Outcome, RejectCode, Rejected
from executor.venues.base import CancelRequest, DeadManScope, LiveQuote, OrderRequest
from tests.simulation.account import Account, Truth
from tests.simulation.faults import Fault, Faults
from tests.simulation.market import Market
from tests.simulation.semantics import Answers, Counting, Semantics
from tests.simulation.world import World

NONCE_WINDOW_NS = 60 * NS_PER_S
RESTING_TICK_S = 0.4
QUOTE_VALID_S = 2.0
CLEARING_S = (0.3, 1.5)
REFUSALS = (RejectCode.NO_MATCH, RejectCode.MARGIN, RejectCode.PRICE_BAND, RejectCode.OPEN_INTEREST, RejectCode.OTHER)

Reply = Callable[[Outcome], None]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A live quote that was given out."""

    symbol: str
    side: Side
    lots: int
    px: Decimal
    until_ns: int


class VenueModel(Account):
    """See the module text."""

    def __init__(self, world: World, semantics: Semantics, market: Market, faults: Faults) -> None:
        super().__init__(world, semantics, market)
        self.next_nonce = 1
        self._nonces: set[int] = set()
        self._offers: dict[str, Offer] = {}
        self._offer_count = 0
        self._faults = faults
        self._ticking = False
        self._armed_ns: dict[str, int] = {}  # switch -> when it strikes

    # ---- what arrives -----------------------------------------------------------------------------------------------

    def receive_order(self, request: OrderRequest, nonce: int, reply: Reply) -> None:
        """One order request off the network."""
        refusal = self._refusal(request, nonce)
        if refusal is not None:
            self._world.note("refused", self.name, request.client_order_id, refusal.code.value)
            reply(refusal)
            return
        order = self.book(request)
        self._world.note("taken", self.name, request.client_order_id, request.side.value, request.lots)
        strikes = self._faults.strikes
        if self.semantics.traits.late_refusals and strikes(self.name, Fault.REFUSED_LATE):
            reply(self._taken(order))
            self._world.after(self._faults.between(0.01, 0.6), self.end, order, OrderStatus.CANCELED)
            return
        low, high = self.semantics.match_s
        delay_s = self._faults.between(low, high) if high else 0.0
        if strikes(self.name, Fault.SLOW_MATCH):
            delay_s += self._faults.between(0.2, 2.0)
        if self.semantics.traits.quotes_first:
            reply(self._taken(order))
            self._world.after(delay_s + self._faults.between(*CLEARING_S), self._clear, order, request.quote_id)
        elif request.time_in_force is not TimeInForce.IOC:
            self._place(order, reply)
        elif self.semantics.answers is Answers.RESULT:
            self._world.after(delay_s, self._match_and_reply, order, reply)
        else:
            reply(self._taken(order))
            self._world.after(delay_s, self._match, order)

    def receive_cancel(self, request: CancelRequest, nonce: int, reply: Reply) -> None:
        if not self._take_nonce(nonce):
            reply(Rejected(code=RejectCode.NONCE, detail="nonce"))
            return
        order = self.by_client.get(request.client_order_id) or self.orders.get(request.venue_order_id)
        if order is None or not order.is_live:
            reply(Rejected(code=RejectCode.UNKNOWN_ORDER, detail="no such order"))
            return
        if self._faults.strikes(self.name, Fault.CANCEL_RACES_FILL) and not order.reduce_only:
            self.execute(order, self._faults.some(order.lots - order.filled_lots))
            if order.filled_lots == order.lots:
                self.end(order, OrderStatus.FILLED)
                reply(Rejected(code=RejectCode.UNKNOWN_ORDER, detail="filled already"))
                return
        self.end(order, OrderStatus.CANCELED)
        reply(Accepted(venue_order_id=order.venue_order_id, status=OrderStatus.CANCELED, filled_lots=order.filled_lots))

    def receive_noop(self, nonce: int) -> bool:
        """Whether the no-op was taken: then whatever else carried its nonce never will be."""
        return self._take_nonce(nonce)

    def offer(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        """A live quote for exactly so much."""
        self._offer_count += 1
        bid, ask = self._market.touch(self.name, instrument.symbol)
        px = Decimal(repr(ask if side is Side.BUY else bid)) * instrument.multiplier
        px = instrument.ticks_to_px(max(1, instrument.px_to_ticks(px, side)))
        until_ns = self._world.now_ns + int(QUOTE_VALID_S * NS_PER_S)
        name = f"{self.name}-q{self._offer_count}"
        self._offers[name] = Offer(symbol=instrument.symbol, side=side, lots=lots, px=px, until_ns=until_ns)
        return LiveQuote(quote_id=name, side=side, lots=lots, px=px, valid_until_mono_ns=until_ns)

    def _refusal(self, request: OrderRequest, nonce: int) -> Rejected | None:
        lasts = self._faults.lasts
        if lasts(self.name, Fault.AUTH_EXPIRED):
            return Rejected(code=RejectCode.AUTH, detail="token expired")
        if lasts(self.name, Fault.RATE_LIMITED):
            return Rejected(code=RejectCode.RATE, detail="too many requests")
        if request.client_order_id in self.by_client:
            return Rejected(code=RejectCode.DUPLICATE_ID, detail="duplicate")
        if not self._take_nonce(nonce):
            return Rejected(code=RejectCode.NONCE, detail="nonce")
        if self.venue_ns > request.expires_wire_ns:
            return Rejected(code=RejectCode.EXPIRED, detail="expired")
        if lasts(self.name, Fault.HALT):
            return Rejected(code=RejectCode.VENUE_MODE, detail="halted")
        if lasts(self.name, Fault.POST_ONLY) and request.time_in_force is TimeInForce.IOC:
            return Rejected(code=RejectCode.VENUE_MODE, detail="post only")
        if lasts(self.name, Fault.REDUCE_ONLY) and not self._reduces(request):
            return Rejected(code=RejectCode.VENUE_MODE, detail="reduce only")
        return self._unfit(request)

    def _reduces(self, request: OrderRequest) -> bool:
        held = self.held(request.instrument.symbol) * request.side.sign
        return request.reduce_only or held <= -request.lots

    def _unfit(self, request: OrderRequest) -> Rejected | None:
        """What the rules of its books refuse."""
        symbol, traits = request.instrument.symbol, self.semantics.traits
        held = self.held(symbol)
        if traits.quotes_first:
            offer = self._offers.get(request.quote_id)
            if offer is None or self._world.now_ns > offer.until_ns:
                return Rejected(code=RejectCode.EXPIRED, detail="quote expired")
            if (offer.symbol, offer.side, offer.lots) != (symbol, request.side, request.lots):
                return Rejected(code=RejectCode.SIZE, detail="not what was quoted")
        if traits.wallet and request.side is Side.SELL and request.lots > held:
            return Rejected(code=RejectCode.MARGIN, detail="insufficient funds")
        if request.reduce_only and held * request.side.sign >= 0:
            return Rejected(code=RejectCode.REDUCE_ONLY, detail="nothing to reduce")
        px = request.instrument.ticks_to_px(request.limit_ticks)
        if not request.reduce_only and request.lots < request.instrument.min_lots(px):
            return Rejected(code=RejectCode.MIN_NOTIONAL, detail="below the minimum")
        if self._faults.strikes(self.name, Fault.REFUSED):
            return Rejected(code=REFUSALS[self._faults.some(len(REFUSALS)) - 1], detail="no")
        return None

    def _take_nonce(self, nonce: int) -> bool:
        match self.semantics.counting:
            case Counting.NONE:
                return True
            case Counting.SEQUENTIAL:
                if nonce != self.next_nonce:
                    return False
                self.next_nonce += 1
                return True
            case Counting.INCREASING:
                if nonce < self.next_nonce:
                    return False
                self.next_nonce = nonce + 1
                return True
            case Counting.WINDOWED:
                if nonce in self._nonces or abs(nonce * NS_PER_MS - self.venue_ns) > NONCE_WINDOW_NS:
                    return False
                self._nonces.add(nonce)
                return True

    # ---- matching ---------------------------------------------------------------------------------------------------

    def _taken(self, order: Truth) -> Accepted:
        named = self.semantics.answers is not Answers.QUEUED
        return Accepted(
            venue_order_id=order.venue_order_id if named else "", status=OrderStatus.ACCEPTED, filled_lots=0
        )

    def _match_and_reply(self, order: Truth, reply: Reply) -> None:
        self._match(order)
        reply(
            Accepted(
                venue_order_id=order.venue_order_id,
                status=order.status,
                filled_lots=order.filled_lots,
                avg_px=order.px_lots / order.filled_lots if order.filled_lots else None,
            )
        )

    def _match(self, order: Truth) -> None:
        """An IOC meets the book."""
        if not order.is_live:
            return
        lots = self._fillable(order)
        if lots and self._faults.strikes(self.name, Fault.ZERO_FILL):
            lots = 0
        elif lots > 1 and self._faults.strikes(self.name, Fault.PARTIAL_FILL):
            lots = self._faults.some(lots - 1)
        if lots > 2 and self._faults.chance(0.2):
            first = self._faults.some(lots - 1)
            self.execute(order, first)
            lots -= first
        if lots:
            self.execute(order, lots)
        self.end(order, OrderStatus.FILLED if order.filled_lots == order.lots else OrderStatus.EXPIRED)

    def _clear(self, order: Truth, quote_id: str) -> None:
        """An accepted quote is cleared: whole, at its price, or not at all."""
        if not order.is_live:
            return
        if self._faults.strikes(self.name, Fault.ZERO_FILL) or not self._fillable(order, crossing=True):
            self.end(order, OrderStatus.CANCELED)
            return
        self.execute(order, order.lots, self._offers[quote_id].px)
        self.end(order, OrderStatus.FILLED)

    def _fillable(self, order: Truth, *, crossing: bool = False) -> int:
        symbol = order.instrument.symbol
        bid, ask = self._market.touch(self.name, symbol)
        limit = float(order.instrument.ticks_to_px(order.limit_ticks)) / order.instrument.multiplier
        crosses = crossing or (limit >= ask if order.side is Side.BUY else limit <= bid)
        left = order.lots - order.filled_lots
        if not crosses:
            return 0
        held = self.held(symbol)
        if not self.semantics.traits.quotes_first:
            top = self._market.top_usd(self.name, symbol) / self._market.mid(symbol)
            left = min(left, max(1, int(top / float(order.instrument.canonical_lot))))
        if self.semantics.traits.wallet and order.side is Side.SELL:
            return min(left, max(0, held))
        if order.reduce_only:
            return min(left, abs(held)) if held * order.side.sign < 0 else 0
        return left

    # ---- resting orders ---------------------------------------------------------------------------------------------

    def _place(self, order: Truth, reply: Reply) -> None:
        """An order that rests; a post-only one that would cross is refused, at once or after the answer."""
        reply(self._taken(order))
        if order.time_in_force is TimeInForce.POST_ONLY and self._fillable(order):
            self._world.after(self._faults.between(0.0, 0.1), self.end, order, OrderStatus.CANCELED)
            return
        self.tell(order)
        if not self._ticking:
            self._ticking = True
            self._world.after(RESTING_TICK_S, self._tick_resting)

    def _tick_resting(self) -> None:
        """Somebody may trade with what rests at the touch."""
        resting = [order for order in self.orders.values() if order.rests and order.client_order_id is not None]
        for order in resting:
            lots = self._fillable(order, crossing=self._faults.chance(0.25))
            if lots and self._faults.chance(0.4):
                self.execute(order, self._faults.some(lots))
                if order.filled_lots == order.lots:
                    self.end(order, OrderStatus.FILLED)
        self._ticking = bool(resting)
        if resting:
            self._world.after(RESTING_TICK_S, self._tick_resting)

    def cancel_resting(self, symbol: str = "") -> None:
        """A dead-man switch, or a connection that dropped."""
        for order in list(self.orders.values()):
            if order.rests and order.client_order_id is not None and symbol in ("", order.instrument.symbol):
                self._faults.note(Fault.DEAD_MAN, self.name)
                self.end(order, OrderStatus.CANCELED)

    def arm(self, instruments: Sequence[Instrument]) -> None:
        """The dead-man switch: without another call all that rests is cancelled when the countdown ends."""
        switch = self.semantics.dead_man
        if switch is not None and switch.scope is not DeadManScope.CONNECTION:
            for symbol in self._switches(instruments):
                self._armed_ns[symbol] = self._world.now_ns + int(switch.countdown_s * NS_PER_S)
                self._world.after(switch.countdown_s, self._fall, symbol)

    def disarm(self, instruments: Sequence[Instrument]) -> None:
        for symbol in self._switches(instruments):
            self._armed_ns.pop(symbol, None)

    def is_covered(self, instrument: Instrument) -> bool:
        """Whether what would rest there now has its switch, or needs none."""
        switch = self.semantics.dead_man
        if switch is None or switch.scope is DeadManScope.CONNECTION:
            return True
        return all(self._armed_ns.get(symbol, 0) > self._world.now_ns for symbol in self._switches([instrument]))

    def _switches(self, instruments: Sequence[Instrument]) -> list[str]:
        """ "" = the one switch of the account."""
        switch = self.semantics.dead_man
        by_symbol = switch is not None and switch.scope is DeadManScope.SYMBOL
        return [instrument.symbol for instrument in instruments] if by_symbol else [""]

    def _fall(self, symbol: str) -> None:
        until_ns = self._armed_ns.get(symbol)
        if until_ns is not None and self._world.now_ns >= until_ns:
            del self._armed_ns[symbol]
            self.cancel_resting(symbol)
