"""Our account at a simulated venue: orders, fills and positions as they really are, and what a read states as of a moment.

Reads may be asked as of an earlier moment: that is a REST interface behind its own stream. `own_lots` and `excess_lots` split
each position by right: what our pairs bought and sold, and what anybody else put there.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from core.types import Balance, Fill, Instrument, LiquiditySide, OrderStatus, Position, Side, TimeInForce
from executor.venues.base import FillSeen, NotFound, OrderRequest, OrderSeen, PrivateEvent, VenueOrder
from tests.simulation.market import Market
from tests.simulation.semantics import Semantics
from tests.simulation.world import World


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

    @property
    def rests(self) -> bool:
        return self.is_live and self.time_in_force is not TimeInForce.IOC


class Account:
    """See the module text. `push(event)` tells the private stream; set by the gateway of the living executor."""

    def __init__(self, world: World, semantics: Semantics, market: Market) -> None:
        self.semantics = semantics
        self.name = semantics.name
        self.instruments = semantics.instruments()
        self.orders: dict[str, Truth] = {}  # by venue order id
        self.by_client: dict[str, Truth] = {}
        self.fills: list[tuple[int, Fill]] = []  # mono ns
        self.own_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)
        self.excess_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)
        self.bought_lots: dict[str, int] = dict.fromkeys(self.instruments, 0)  # by all fills of ours, sales taken off
        self.by_hand: set[str] = set()  # client ids of orders by hand: their lots belong to no pair
        self.sweeps: set[str] = set()  # client ids of orders that close whatever there is
        self.leverages: dict[str, int] = dict.fromkeys(self.instruments, 1 if semantics.traits.wallet else 20)
        self.equity_usd = Decimal(10_000)
        self.near_liquidation_until_ns = 0
        self.push: Callable[[PrivateEvent], None] = _deaf
        self.on_fill: Callable[[Fill], None] = _nobody
        self._world = world
        self._market = market
        self._trades = 0
        self._order_count = 0

    @property
    def venue_ns(self) -> int:
        """The venue's own UTC: it does not follow steps of ours."""
        return self._world.venue_wire_ns

    def held(self, symbol: str) -> int:
        """The position, or the wallet's balance, signed lots."""
        return self.own_lots[symbol] + self.excess_lots[symbol]

    def counted(self, symbol: str) -> int:
        """What the executor's books should show: all of a position; of a wallet only what is ours."""
        return self.own_lots[symbol] if self.semantics.traits.wallet else self.held(symbol)

    # ---- what happens -----------------------------------------------------------------------------------------------

    def book(self, request: OrderRequest) -> Truth:
        """A new order of ours."""
        order = self._order(
            request.client_order_id, request.instrument, request.side, request.lots, request.limit_ticks,
            request.time_in_force, request.reduce_only,
        )  # fmt: skip
        self.by_client[request.client_order_id] = order
        return order

    def foreign_order(self, symbol: str) -> None:
        """Somebody places a resting order far away on the venue's page."""
        inst = self.instruments[symbol]
        lots = inst.min_lots(Decimal(repr(self._market.mid(symbol))) * inst.multiplier) * 3
        self._order(None, inst, Side.BUY, lots, 1, TimeInForce.GTC, False)

    def _order(
        self, name: str | None, inst: Instrument, side: Side, lots: int, ticks: int, tif: TimeInForce, reduce_only: bool
    ) -> Truth:
        self._order_count += 1
        order = Truth(
            venue_order_id=f"{self.name}-{self._order_count}",
            client_order_id=name,
            instrument=inst,
            side=side,
            lots=lots,
            limit_ticks=ticks,
            time_in_force=tif,
            reduce_only=reduce_only,
        )
        order.history.append((self._world.now_ns, OrderStatus.ACCEPTED, 0))
        self.orders[order.venue_order_id] = order
        return order

    def execute(self, order: Truth, lots: int, px: Decimal | None = None) -> None:
        """A fill of an order of ours, at the touch unless a price was agreed."""
        inst = order.instrument
        if px is None:
            bid, ask = self._market.touch(self.name, inst.symbol)
            px = Decimal(repr(ask if order.side is Side.BUY else bid)) * inst.multiplier
            px = inst.ticks_to_px(max(1, inst.px_to_ticks(px, order.side)))
        order.filled_lots += lots
        order.px_lots += lots * px
        order.history.append((self._world.now_ns, order.status, order.filled_lots))
        self._trade(inst, order.side, lots, px, order.client_order_id, order.venue_order_id)

    def foreign_trade(self, symbol: str, side: Side, lots: int) -> None:
        """A liquidation, an auto-deleveraging, somebody's hand on the venue's page."""
        bid, _ = self._market.touch(self.name, symbol)
        inst = self.instruments[symbol]
        px = inst.ticks_to_px(max(1, inst.px_to_ticks(Decimal(repr(bid)) * inst.multiplier, side)))
        self._trade(inst, side, lots, px, None, "")

    def end(self, order: Truth, status: OrderStatus) -> None:
        if order.is_live:
            order.status = status
            order.history.append((self._world.now_ns, status, order.filled_lots))
            self.tell(order)

    def tell(self, order: Truth) -> None:
        self.push(OrderSeen(venue=self.name, order=self.stated(order)))

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
        self._attribute(inst.symbol, lots * side.sign, client_id)
        self.bought_lots[inst.symbol] += lots * side.sign if client_id is not None else 0
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
        if client_id in self.sweeps and not self.held(symbol):
            own[symbol] = excess[symbol] = 0  # what stood against each other is settled

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

    def lookup(self, order: Truth | None, as_of_ns: int) -> VenueOrder | NotFound:
        if order is None or order.history[0][0] + int(self.semantics.listed_after_s * NS_PER_S) > as_of_ns:
            return NotFound(definitive=False)
        return self.stated(order, as_of_ns)

    def open_orders(self, as_of_ns: int) -> list[VenueOrder]:
        found = [self.stated(each, as_of_ns) for each in self.orders.values() if each.history[0][0] <= as_of_ns]
        return [order for order in found if order.status is OrderStatus.ACCEPTED]

    def positions(self, as_of_ns: int) -> list[Position]:
        lots = {symbol: self.held(symbol) for symbol in self.instruments}
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
        liquidation_px = None if self.semantics.traits.wallet else mark * (1 - off if held > 0 else 1 + off)
        return Position(
            venue=self.name, symbol=symbol, lots=held, avg_entry_px=mark, mark_px=mark, liquidation_px=liquidation_px
        )

    def margin_used_usd(self) -> Decimal:
        """What our positions bind of the equity at the leverage that is set."""
        used = Decimal(0)
        for symbol, inst in self.instruments.items():
            held = self.counted(symbol)
            if held:
                bid, _ = self._market.touch(self.name, symbol)
                used += abs(held) * inst.lot_size * inst.multiplier * Decimal(repr(bid)) / self.leverages[symbol]
        return used

    def balance(self) -> Balance:
        used = self.margin_used_usd()
        return Balance(
            venue=self.name,
            equity_usd=self.equity_usd,
            free_margin_usd=max(Decimal(0), self.equity_usd - used),
            maintenance_margin_usd=Decimal(0) if self.semantics.traits.wallet else used / 10,
            ts_ns=self.venue_ns,
        )

    def fills_since(self, since_wire_ns: int, as_of_ns: int) -> list[Fill]:
        return [fill for at_ns, fill in self.fills if at_ns <= as_of_ns and fill.ts_ns >= since_wire_ns]


def _deaf(event: PrivateEvent) -> None:
    """Nobody listens to the stream."""


def _nobody(fill: Fill) -> None:
    """Nobody watches the truth."""
