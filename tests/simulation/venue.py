"""A simulated venue: its own truth about orders, fills, positions, nonces and client ids, whatever anybody was told.

The truth changes only by what arrives (`receive_order`, `receive_cancel`), by matching, and by fate (`deleverage`, ...).
Answers and stream events are handed to whoever asked; what the network makes of them is `gateway`'s business. Reads may be
asked as of an earlier moment: that is a REST interface behind its own stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, TimeInForce
from executor.outcome import Accepted, Outcome, RejectCode, Rejected
from executor.venues.base import CancelRequest, FillSeen, NotFound, OrderRequest, OrderSeen, PrivateEvent, VenueOrder
from tests.simulation.faults import Fault, Faults
from tests.simulation.market import Market
from tests.simulation.semantics import Answers, Counting, Semantics
from tests.simulation.world import World

EQUITY_USD = Decimal(10_000)
NONCE_WINDOW_NS = 60 * NS_PER_S
RESTING_TICK_S = 0.4
REFUSALS = (RejectCode.NO_MATCH, RejectCode.MARGIN, RejectCode.PRICE_BAND, RejectCode.OPEN_INTEREST, RejectCode.OTHER)

Reply = Callable[[Outcome], None]


class Truth(msgspec.Struct, kw_only=True, eq=False):
    """One order as it really is. `history`: (mono ns, status, filled) after every change."""

    venue_order_id: str
    client_order_id: str | None
    instrument: Instrument
    side: Side
    lots: int
    limit_ticks: int
    time_in_force: TimeInForce
    reduce_only: bool
    status: OrderStatus = OrderStatus.ACCEPTED
    filled_lots: int = 0
    px_lots: Decimal = Decimal(0)
    history: list[tuple[int, OrderStatus, int]] = msgspec.field(default_factory=list)

    @property
    def is_live(self) -> bool:
        return self.status is OrderStatus.ACCEPTED


class VenueModel:
    """See the module text. `push(event)` tells the private stream; set by the gateway of the living executor."""

    def __init__(self, world: World, semantics: Semantics, market: Market, faults: Faults) -> None:
        self.semantics = semantics
        self.name = semantics.name
        self.instruments = semantics.instruments()
        self.orders: dict[str, Truth] = {}  # by venue order id
        self.by_client: dict[str, Truth] = {}
        self.fills: list[tuple[int, Fill]] = []  # mono ns
        self.position_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)
        self.own_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)  # of the position: ours by right
        self.excess_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)  # of the position: somebody else's
        self.by_hand: set[str] = set()  # client ids of orders by hand: their lots belong to no pair
        self.sweeps: set[str] = set()  # client ids of orders that close whatever there is
        self.leverages: dict[str, int] = dict.fromkeys(self.instruments, 20)
        self.near_liquidation_until_ns = 0
        self.next_nonce = 1
        self.push: Callable[[PrivateEvent], None] = _deaf
        self.on_fill: Callable[[Fill], None] = _nobody
        self._nonces: set[int] = set()
        self._world = world
        self._market = market
        self._faults = faults
        self._trades = 0
        self._order_count = 0
        self._ticking = False
        self._armed = 0

    # ---- what arrives -----------------------------------------------------------------------------------------------

    def receive_order(self, request: OrderRequest, nonce: int, reply: Reply) -> None:
        """One order request off the network."""
        refusal = self._refusal(request, nonce)
        if refusal is not None:
            self._world.note("refused", self.name, request.client_order_id, refusal.code.value)
            reply(refusal)
            return
        order = self._book(request)
        self._world.note("taken", self.name, request.client_order_id, request.side.value, request.lots)
        strikes = self._faults.strikes
        if self.semantics.traits.late_refusals and strikes(self.name, Fault.REFUSED_LATE):
            reply(self._taken(order))
            self._world.after(self._faults.between(0.01, 0.6), self._end, order, OrderStatus.CANCELED)
            return
        low, high = self.semantics.match_s
        delay_s = self._faults.between(low, high) if high else 0.0
        if strikes(self.name, Fault.SLOW_MATCH):
            delay_s += self._faults.between(0.2, 2.0)
        if request.time_in_force is not TimeInForce.IOC:
            reply(self._taken(order))
            self._tell(order)
            self._rest()
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
        if self._faults.strikes(self.name, Fault.CANCEL_RACES_FILL):
            left = order.lots - order.filled_lots
            self._execute(order, self._faults.some(left))
            if order.filled_lots == order.lots:
                self._end(order, OrderStatus.FILLED)
                reply(Rejected(code=RejectCode.UNKNOWN_ORDER, detail="filled already"))
                return
        self._end(order, OrderStatus.CANCELED)
        reply(Accepted(venue_order_id=order.venue_order_id, status=OrderStatus.CANCELED, filled_lots=order.filled_lots))

    def receive_noop(self, nonce: int) -> bool:
        """Whether the no-op was taken: then whatever else carried its nonce never will be."""
        return self._take_nonce(nonce)

    def _refusal(self, request: OrderRequest, nonce: int) -> Rejected | None:
        lasts, strikes = self._faults.lasts, self._faults.strikes
        if lasts(self.name, Fault.AUTH_EXPIRED):
            return Rejected(code=RejectCode.AUTH, detail="token expired")
        if lasts(self.name, Fault.RATE_LIMITED):
            return Rejected(code=RejectCode.RATE, detail="too many requests")
        if request.client_order_id in self.by_client:
            return Rejected(code=RejectCode.DUPLICATE_ID, detail="duplicate id")
        if not self._take_nonce(nonce):
            return Rejected(code=RejectCode.NONCE, detail="nonce")
        if self.venue_ns > request.expires_wire_ns:
            return Rejected(code=RejectCode.EXPIRED, detail="expired")
        if lasts(self.name, Fault.HALT):
            return Rejected(code=RejectCode.VENUE_MODE, detail="halted")
        if lasts(self.name, Fault.POST_ONLY) and request.time_in_force is TimeInForce.IOC:
            return Rejected(code=RejectCode.VENUE_MODE, detail="post only")
        if lasts(self.name, Fault.REDUCE_ONLY) and not request.reduce_only:
            return Rejected(code=RejectCode.VENUE_MODE, detail="reduce only")
        held = self.position_lots[request.instrument.symbol]
        if request.reduce_only and held * request.side.sign >= 0:
            return Rejected(code=RejectCode.REDUCE_ONLY, detail="nothing to reduce")
        px = request.instrument.ticks_to_px(request.limit_ticks)
        if not request.reduce_only and request.lots < request.instrument.min_lots(px):
            return Rejected(code=RejectCode.MIN_NOTIONAL, detail="below the minimum")
        if strikes(self.name, Fault.REFUSED):
            return Rejected(code=REFUSALS[self._faults.some(len(REFUSALS)) - 1], detail="no")
        return None

    def _take_nonce(self, nonce: int) -> bool:
        counting = self.semantics.counting
        if counting is Counting.SEQUENTIAL:
            if nonce != self.next_nonce:
                return False
            self.next_nonce += 1
            return True
        if counting is Counting.INCREASING:
            if nonce < self.next_nonce:
                return False
            self.next_nonce = nonce + 1
            return True
        if nonce in self._nonces or abs(nonce * NS_PER_MS - self.venue_ns) > NONCE_WINDOW_NS:
            return False
        self._nonces.add(nonce)
        return True

    # ---- matching ---------------------------------------------------------------------------------------------------

    @property
    def venue_ns(self) -> int:
        """The venue's own UTC: it does not follow steps of ours."""
        return self._world.venue_wire_ns

    def _book(self, request: OrderRequest) -> Truth:
        self._order_count += 1
        order = Truth(
            venue_order_id=f"{self.name}-{self._order_count}",
            client_order_id=request.client_order_id,
            instrument=request.instrument,
            side=request.side,
            lots=request.lots,
            limit_ticks=request.limit_ticks,
            time_in_force=request.time_in_force,
            reduce_only=request.reduce_only,
        )
        order.history.append((self._world.now_ns, OrderStatus.ACCEPTED, 0))
        self.orders[order.venue_order_id] = order
        self.by_client[request.client_order_id] = order
        return order

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
            self._execute(order, first)
            lots -= first
        if lots:
            self._execute(order, lots)
        self._end(order, OrderStatus.FILLED if order.filled_lots == order.lots else OrderStatus.EXPIRED)

    def _fillable(self, order: Truth) -> int:
        bid, ask = self._market.touch(self.name, order.instrument.symbol)
        limit = float(order.instrument.ticks_to_px(order.limit_ticks)) / order.instrument.multiplier
        crosses = limit >= ask if order.side is Side.BUY else limit <= bid
        left = order.lots - order.filled_lots
        if not crosses:
            return 0
        if order.reduce_only:
            held = self.position_lots[order.instrument.symbol]
            return min(left, abs(held)) if held * order.side.sign < 0 else 0
        return left

    def _execute(self, order: Truth, lots: int) -> None:
        bid, ask = self._market.touch(self.name, order.instrument.symbol)
        inst = order.instrument
        px = Decimal(repr(ask if order.side is Side.BUY else bid)) * inst.multiplier
        px = inst.ticks_to_px(max(1, inst.px_to_ticks(px, order.side)))
        order.filled_lots += lots
        order.px_lots += lots * px
        order.history.append((self._world.now_ns, order.status, order.filled_lots))
        self._trade(inst, order.side, lots, px, order.client_order_id, order.venue_order_id)

    def _trade(
        self, inst: Instrument, side: Side, lots: int, px: Decimal, client_id: str | None, order_id: str
    ) -> None:
        self._trades += 1
        fill = Fill(
            venue=self.name,
            symbol=inst.symbol,
            side=side,
            lots=lots,
            px=px,
            fee_usd=lots * inst.lot_size * px * Decimal("0.0004"),
            trade_id=f"t{self._trades}",
            venue_order_id=order_id,
            client_order_id=client_id,
            liquidity=LiquiditySide.TAKER,
            ts_ns=self.venue_ns,
        )
        self.position_lots[inst.symbol] += lots * side.sign
        self._attribute(inst.symbol, lots * side.sign, client_id)
        self.fills.append((self._world.now_ns, fill))
        self._world.note("fill", self.name, inst.symbol, side.value, lots, client_id)
        self.on_fill(fill)
        self.push(FillSeen(fill=fill))

    def _attribute(self, symbol: str, signed: int, client_id: str | None) -> None:
        """Whose lots moved. A trade that is no pair's (foreign, or by hand) takes what is not ours first, then ours; an order
        that closes whatever there is (flatten, a foreign excess) the other way round; any other order is ours."""
        own, excess = self.own_lots, self.excess_lots
        outside = client_id is None or client_id in self.by_hand
        taken_from = (excess, own) if outside else (own, excess) if client_id in self.sweeps else ()
        for book in taken_from:
            if book[symbol] * signed < 0:
                part = min(abs(signed), abs(book[symbol])) * (1 if signed > 0 else -1)
                book[symbol] += part
                signed -= part
        (excess if outside else own)[symbol] += signed

    def _end(self, order: Truth, status: OrderStatus) -> None:
        if order.is_live:
            order.status = status
            order.history.append((self._world.now_ns, status, order.filled_lots))
            self._tell(order)

    def _tell(self, order: Truth) -> None:
        self.push(OrderSeen(venue=self.name, order=self.stated(order)))

    # ---- resting orders ---------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._world.after(RESTING_TICK_S, self._tick_resting)

    def _tick_resting(self) -> None:
        self._ticking = False
        live = [order for order in self.orders.values() if order.is_live and order.client_order_id is not None]
        resting = [order for order in live if order.time_in_force is not TimeInForce.IOC]
        for order in resting:
            lots = self._fillable(order)
            if lots and self._faults.chance(0.3):
                self._execute(order, self._faults.some(lots))
                if order.filled_lots == order.lots:
                    self._end(order, OrderStatus.FILLED)
        if resting:
            self._rest()

    def cancel_resting(self) -> None:
        """A dead-man switch, or a connection that dropped."""
        for order in list(self.orders.values()):
            if order.is_live and order.time_in_force is not TimeInForce.IOC and order.client_order_id is not None:
                self._end(order, OrderStatus.CANCELED)

    def arm(self, instruments: Sequence[Instrument]) -> None:
        """The dead-man switch: without another call all that rests is cancelled when the countdown ends."""
        switch = self.semantics.dead_man
        if switch is not None:
            self._armed += 1
            self._world.after(switch.countdown_s, self._fall, self._armed)

    def disarm(self, instruments: Sequence[Instrument]) -> None:
        self._armed += 1

    def _fall(self, armed: int) -> None:
        if armed == self._armed:
            self._world.note("dead_man", self.name)
            self.cancel_resting()

    # ---- fate -------------------------------------------------------------------------------------------------------

    def foreign_trade(self, symbol: str, side: Side, lots: int) -> None:
        """A liquidation, an auto-deleveraging, somebody's hand on the venue's page."""
        bid, _ = self._market.touch(self.name, symbol)
        inst = self.instruments[symbol]
        px = inst.ticks_to_px(max(1, inst.px_to_ticks(Decimal(repr(bid)) * inst.multiplier, side)))
        self._trade(inst, side, lots, px, None, "")

    def foreign_order(self, symbol: str) -> None:
        """Somebody places a resting order far away on the venue's page."""
        self._order_count += 1
        inst = self.instruments[symbol]
        order = Truth(
            venue_order_id=f"{self.name}-{self._order_count}",
            client_order_id=None,
            instrument=inst,
            side=Side.BUY,
            lots=inst.min_lots(Decimal(repr(self._market.mid(symbol))) * inst.multiplier) * 3,
            limit_ticks=1,
            time_in_force=TimeInForce.GTC,
            reduce_only=False,
        )
        order.history.append((self._world.now_ns, OrderStatus.ACCEPTED, 0))
        self.orders[order.venue_order_id] = order

    # ---- reads, as of a moment --------------------------------------------------------------------------------------

    def stated(self, order: Truth, as_of_ns: int | None = None) -> VenueOrder:
        status, filled = order.status, order.filled_lots
        if as_of_ns is not None:
            _, status, filled = [each for each in order.history if each[0] <= as_of_ns][-1]
        return VenueOrder(
            symbol=order.instrument.symbol,
            venue_order_id=order.venue_order_id,
            client_order_id=order.client_order_id,
            side=order.side,
            lots=order.lots,
            filled_lots=filled,
            status=status,
            avg_px=order.px_lots / order.filled_lots if order.filled_lots and filled else None,
            reduce_only=order.reduce_only,
        )

    def lookup(self, client_order_id: str, as_of_ns: int) -> VenueOrder | NotFound:
        order = self.by_client.get(client_order_id)
        if order is None or order.history[0][0] + int(self.semantics.listed_after_s * NS_PER_S) > as_of_ns:
            return NotFound(definitive=False)
        return self.stated(order, as_of_ns)

    def open_orders(self, as_of_ns: int) -> list[VenueOrder]:
        found = [self.stated(each, as_of_ns) for each in self.orders.values() if each.history[0][0] <= as_of_ns]
        return [order for order in found if order.status is OrderStatus.ACCEPTED]

    def positions(self, as_of_ns: int) -> list[Position]:
        lots = dict(self.position_lots)
        for at_ns, fill in reversed(self.fills):
            if at_ns <= as_of_ns:
                break
            lots[fill.symbol] -= fill.lots * fill.side.sign
        return [self._position(symbol, held) for symbol, held in lots.items() if held]

    def _position(self, symbol: str, held: int) -> Position:
        inst = self.instruments[symbol]
        bid, _ = self._market.touch(self.name, symbol)
        mark = Decimal(repr(bid)) * inst.multiplier
        near = self._world.now_ns < self.near_liquidation_until_ns
        off = Decimal("0.05") if near else Decimal("0.4")
        return Position(
            venue=self.name,
            symbol=symbol,
            lots=held,
            avg_entry_px=mark,
            mark_px=mark,
            liquidation_px=mark * (1 - off if held > 0 else 1 + off),
        )

    def balance(self) -> Balance:
        used = Decimal(0)
        for symbol, held in self.position_lots.items():
            if held:
                inst = self.instruments[symbol]
                bid, _ = self._market.touch(self.name, symbol)
                used += abs(held) * inst.lot_size * inst.multiplier * Decimal(repr(bid)) / self.leverages[symbol]
        return Balance(
            venue=self.name,
            equity_usd=EQUITY_USD,
            free_margin_usd=max(Decimal(0), EQUITY_USD - used),
            maintenance_margin_usd=used / 10,
            ts_ns=self.venue_ns,
        )

    def fills_since(self, since_wire_ns: int, as_of_ns: int) -> list[Fill]:
        return [fill for at_ns, fill in self.fills if at_ns <= as_of_ns and fill.ts_ns >= since_wire_ns]


def _deaf(event: PrivateEvent) -> None:
    """Nobody listens to the stream."""


def _nobody(fill: Fill) -> None:
    """Nobody watches the truth."""
