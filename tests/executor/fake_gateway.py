"""A venue in memory behind the OrderGateway protocol, with programmable outcomes. Real gateways are judged elsewhere.

Every order takes the next `Plan` (or `default`): what the venue really does with it, what the answer says, and when the fills
are told. The truth (positions, fills, orders) is kept apart from what was told, so that tests can compare the two.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from core.clock import Clock
from core.errors import NotSent, VenueError
from core.types import (
    Balance,
    Fill,
    Instrument,
    LiquiditySide,
    OrderStatus,
    Position,
    Side,
    TimeInForce,
    Venue,
)
from executor.nonces import NonceSource
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.venues.base import (
    CancelRequest,
    DeadMan,
    EventSink,
    FeeRates,
    FillSeen,
    FundingPayment,
    LiveQuote,
    NotFound,
    OrderRequest,
    OrderSeen,
    Prepared,
    TopOfBook,
    Traits,
    VenueOrder,
)


class Answer(enum.Enum):
    RESULT = "result"  # the final status with its fill
    ACK = "ack"  # taken; the stream tells the rest
    REJECT = "reject"
    UNSENT = "unsent"
    LOST = "lost"  # bytes left, nothing came back
    NEVER = "never"  # the future stays open: a broken gateway


class Told(enum.Enum):
    BEFORE = "before"  # fills by stream before the answer
    AFTER = "after"
    TWICE = "twice"  # after, and again
    NEVER = "never"  # only by fills_since


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`fill_lots` None = all. `held` answers wait for `FakeGateway.release`."""

    answer: Answer = Answer.RESULT
    fill_lots: int | None = None
    told: Told = Told.AFTER
    code: RejectCode = RejectCode.NO_MATCH
    held: bool = False
    px_offset_ticks: int = 0


class Placed(msgspec.Struct, kw_only=True):
    """The venue's own truth about one order."""

    request: OrderRequest
    filled_lots: int = 0
    status: OrderStatus = OrderStatus.ACCEPTED
    fills: list[Fill] = msgspec.field(default_factory=list)


class FakeGateway:
    """See the module text. `wire` lists the payloads in the order in which they left; `trace` is shared with the test."""

    signs_apart = False
    traits = Traits()
    dead_man: DeadMan | None = None

    def __init__(
        self, venue: Venue, instruments: list[Instrument], clock: Clock, trace: list[str] | None = None
    ) -> None:
        self.venue = venue
        self.signer_id = f"0xsigner-{venue}"
        self.account_id = f"0xaccount-{venue}"
        self.reserved: list[tuple[str, int]] = []
        self.on_reserve: Callable[[str, int], None] | None = None
        self.nonces = NonceSource(self.signer_id, unit_ns=1_000_000, clock=clock, high_water=0, reserve=self._reserve)
        self.default = Plan()
        self.plans: deque[Plan] = deque()
        self.wire: list[str] = []
        self.cancels: list[str] = []
        self.trace = trace if trace is not None else []
        self.placed: dict[str, Placed] = {}
        self.position_lots: dict[str, int] = {}
        self.fills: list[Fill] = []
        self.entry_ready = True
        self.budget = True
        self.reserve_budget = True
        self.clock_offset_ns = 0
        self.rate_budget_ratio = 1.0
        self.nonce_resyncs = 0
        self.fees = FeeRates(0.0001, 0.0004)
        self.leverages: dict[str, int] = {}
        self.leverage_sticks = True
        self.reachable = True
        self.sign_fails = False
        self.balance_usd = Decimal(10_000)
        self.tops: dict[str, TopOfBook] = {}
        self.rehearsals = 0
        self.armed: list[tuple[str, ...]] = []  # symbols of each arming
        self.disarmed: list[tuple[str, ...]] = []
        self.mark_px = Decimal(0)  # of every position, as stated
        self.switch_fails = False
        self.switch_refused_for_good = False
        self.slow_disarm: asyncio.Event | None = None
        self.quote_px: Decimal | None = None
        self.quote_life_ns = 5_000_000_000
        self.quotes_asked: list[tuple[Side, int]] = []
        self.closed = False
        self.unlisted: dict[str, Decimal] = {}
        self._clock = clock
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._sink: EventSink | None = None
        self._held: list[tuple[Placed, Plan, asyncio.Future[Outcome]]] = []
        self._trades = 0

    # ---- protocol ---------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        self._require_reachable()
        self._sink = sink

    def attach(self, sink: EventSink) -> None:
        """Synchronous start, for rigs without a loop yet."""
        self._sink = sink

    async def close(self) -> None:
        self.closed = True

    def wake(self) -> None:
        """It is never asleep."""

    def instruments(self) -> dict[str, Instrument]:
        return self._instruments

    async def refresh(self) -> None:
        self._require_reachable()

    def may_send(self, priority: bool) -> bool:
        return self.reserve_budget if priority else self.budget

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        if self.sign_fails:
            raise NotSent("clock beyond bound")
        self.trace.append(f"sign {self.venue}")
        self.placed[request.client_order_id] = Placed(request=request)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=b"order")

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=b"cancel")

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if prepared.payload == b"cancel":
            self._cancel(prepared.client_order_id, future)
            return future
        plan = self.plans.popleft() if self.plans else self.default
        order = self.placed[prepared.client_order_id]
        if plan.answer is Answer.UNSENT:
            order.status = OrderStatus.NOT_SENT
            future.set_result(Unsent(detail="throttled"))
            return future
        self.wire.append(prepared.client_order_id)
        self.trace.append(f"wire {self.venue}")
        if plan.held:
            self._held.append((order, plan, future))
        else:
            self._run(order, plan, future)
        return future

    def rehearse(self) -> None:
        self.rehearsals += 1

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool] | None:
        return None

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """It remembers everything anyway."""

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        self._require_reachable()
        if self.switch_fails:
            self.dead_man = None if self.switch_refused_for_good else self.dead_man
            raise VenueError(f"{self.venue}: the switch does not take")
        self.armed.append(tuple(sorted(instrument.symbol for instrument in instruments)))

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        self._require_reachable()
        if self.slow_disarm is not None:
            await self.slow_disarm.wait()
        self.disarmed.append(tuple(sorted(instrument.symbol for instrument in instruments)))

    async def request_quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        self._require_reachable()
        self.quotes_asked.append((side, lots))
        if self.quote_px is None:
            raise VenueError(f"{self.venue}: no quote")
        return LiveQuote(
            quote_id=f"q{len(self.quotes_asked)}",
            side=side,
            lots=lots,
            px=self.quote_px,
            valid_until_mono_ns=self._clock.mono_ns() + self.quote_life_ns,
        )

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        self._require_reachable()
        placed = self.placed.get(client_order_id)
        if placed is None or placed.status is OrderStatus.NOT_SENT:
            return NotFound(definitive=True)
        return self.stated(placed)

    async def open_orders(self) -> list[VenueOrder]:
        self._require_reachable()
        return [self.stated(p) for p in self.placed.values() if p.status is OrderStatus.ACCEPTED]

    async def positions(self) -> list[Position]:
        self._require_reachable()
        return [
            Position(venue=self.venue, symbol=symbol, lots=lots, avg_entry_px=Decimal(1), mark_px=self.mark_px)
            for symbol, lots in self.position_lots.items()
            if lots
        ]

    async def balance(self) -> Balance:
        self._require_reachable()
        return self.balance_now()

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        self._require_reachable()
        return [fill for fill in self.fills if fill.ts_ns >= since_wire_ns]

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        self._require_reachable()
        return []

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        self._require_reachable()
        return self.tops[instrument.symbol]

    async def leverage(self, instrument: Instrument) -> int:
        self._require_reachable()
        return self.leverages.get(instrument.symbol, 20)

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        self._require_reachable()
        if self.leverage_sticks:
            self.leverages[instrument.symbol] = leverage

    # ---- the test's hands -------------------------------------------------------------------------------------------

    def balance_now(self) -> Balance:
        return Balance(
            venue=self.venue,
            equity_usd=self.balance_usd,
            free_margin_usd=self.balance_usd,
            maintenance_margin_usd=Decimal(0),
            ts_ns=self._clock.wire_ns(),
        )

    def release(self, answered: bool = True) -> None:
        """Let held orders happen; unless `answered`, whoever sent them is gone and hears nothing."""
        held, self._held = self._held, []
        for placed, plan, future in held:
            self._run(placed, plan, future if answered else asyncio.get_running_loop().create_future())

    def foreign_fill(self, symbol: str, side: Side, lots: int, px: Decimal) -> None:
        """A liquidation, or somebody's hand on the venue's page."""
        self._tell([self._trade(symbol, side, lots, px, None)])

    def late_fill(self, client_order_id: str, lots: int) -> None:
        """The venue filled what it had said it did not."""
        placed = self.placed[client_order_id]
        self._tell([self._execute(placed, lots, 0)])

    def match(self, client_order_id: str, lots: int) -> None:
        """Somebody trades with an order of ours that rests."""
        placed = self.placed[client_order_id]
        fill = self._execute(placed, lots, 0)
        if placed.filled_lots >= placed.request.lots:
            placed.status = OrderStatus.FILLED
        self._tell([fill])

    def end_resting(self, client_order_id: str, status: OrderStatus = OrderStatus.CANCELED) -> None:
        """The venue takes a resting order off its book and says so."""
        placed = self.placed[client_order_id]
        placed.status = status
        if self._sink is not None:
            self._sink(OrderSeen(venue=self.venue, order=self.stated(placed)))

    @property
    def resting(self) -> list[str]:
        """Client ids of what rests, oldest first."""
        return [name for name, placed in self.placed.items() if placed.status is OrderStatus.ACCEPTED]

    def tell_missing(self, client_order_id: str) -> None:
        """The stream catches up with fills it had left out."""
        self._tell(self.placed[client_order_id].fills)

    def stated(self, placed: Placed) -> VenueOrder:
        request = placed.request
        return VenueOrder(
            symbol=request.instrument.symbol,
            venue_order_id=f"v{request.client_order_id[-12:]}",
            client_order_id=request.client_order_id,
            side=request.side,
            lots=request.lots,
            filled_lots=placed.filled_lots,
            status=placed.status,
            avg_px=placed.fills[0].px if placed.fills else None,
            reduce_only=request.reduce_only,
        )

    # ---- the venue --------------------------------------------------------------------------------------------------

    def _require_reachable(self) -> None:
        if not self.reachable:
            raise VenueError(f"{self.venue} is unreachable")

    def _reserve(self, signer_id: str, high: int) -> None:
        self.reserved.append((signer_id, high))
        if self.on_reserve is not None:
            self.on_reserve(signer_id, high)

    def _run(self, placed: Placed, plan: Plan, future: asyncio.Future[Outcome]) -> None:
        request = placed.request
        if plan.answer is Answer.REJECT:
            placed.status = OrderStatus.REJECTED
            future.set_result(Rejected(code=plan.code, detail="as planned"))
            return
        resting = request.time_in_force is not TimeInForce.IOC and plan.fill_lots is None
        wanted = 0 if resting else request.lots if plan.fill_lots is None else min(plan.fill_lots, request.lots)
        lots = self._bounded(request, wanted)
        fills = [self._execute(placed, lots, plan.px_offset_ticks)] if lots else []
        if not resting:
            placed.status = OrderStatus.FILLED if placed.filled_lots == request.lots else OrderStatus.EXPIRED
        if plan.told is Told.BEFORE:
            self._tell(fills)
        self._reply(placed, plan, future, resting)
        if plan.told in (Told.AFTER, Told.TWICE):
            loop = asyncio.get_running_loop()
            for _ in range(2 if plan.told is Told.TWICE else 1):
                loop.call_soon(self._tell, fills)

    def _reply(self, placed: Placed, plan: Plan, future: asyncio.Future[Outcome], resting: bool) -> None:
        stated = self.stated(placed)
        if plan.answer is Answer.LOST:
            future.set_result(Unknown(detail="timed out"))
        elif plan.answer is Answer.RESULT:
            future.set_result(
                Accepted(
                    venue_order_id=stated.venue_order_id,
                    status=stated.status,
                    filled_lots=stated.filled_lots,
                    avg_px=stated.avg_px,
                )
            )
        elif plan.answer is Answer.ACK:
            future.set_result(
                Accepted(venue_order_id=stated.venue_order_id, status=OrderStatus.ACCEPTED, filled_lots=0)
            )
            if not resting and self._sink is not None:
                asyncio.get_running_loop().call_soon(self._sink, OrderSeen(venue=self.venue, order=stated))

    def _bounded(self, request: OrderRequest, lots: int) -> int:
        """Reduce-only never turns a position round."""
        if not request.reduce_only:
            return lots
        held = self.position_lots.get(request.instrument.symbol, 0)
        return min(lots, abs(held)) if held * request.side.sign < 0 else 0

    def _execute(self, placed: Placed, lots: int, offset_ticks: int) -> Fill:
        request = placed.request
        px = request.instrument.ticks_to_px(request.limit_ticks + offset_ticks)
        fill = self._trade(request.instrument.symbol, request.side, lots, px, request.client_order_id)
        placed.filled_lots += lots
        placed.fills.append(fill)
        return fill

    def _trade(self, symbol: str, side: Side, lots: int, px: Decimal, client_order_id: str | None) -> Fill:
        self._trades += 1
        self.position_lots[symbol] = self.position_lots.get(symbol, 0) + lots * side.sign
        instrument = self._instruments[symbol]
        fill = Fill(
            venue=self.venue,
            symbol=symbol,
            side=side,
            lots=lots,
            px=px,
            fee_usd=lots * instrument.lot_size * px * Decimal("0.0004"),
            trade_id=f"t{self._trades}",
            venue_order_id="",
            client_order_id=client_order_id,
            liquidity=LiquiditySide.TAKER,
            ts_ns=self._clock.wire_ns(),
        )
        self.fills.append(fill)
        return fill

    def _tell(self, fills: list[Fill]) -> None:
        for fill in fills:
            if self._sink is not None:
                self._sink(FillSeen(fill=fill))

    def _cancel(self, name: str, future: asyncio.Future[Outcome]) -> None:
        self.cancels.append(name)
        placed = self.placed.get(name)
        if placed is None or placed.status is not OrderStatus.ACCEPTED:
            future.set_result(Rejected(code=RejectCode.UNKNOWN_ORDER, detail="no such order"))
            return
        placed.status = OrderStatus.CANCELED
        future.set_result(Accepted(venue_order_id="", status=OrderStatus.CANCELED, filled_lots=placed.filled_lots))
