"""The executor's side of a simulated venue: OrderGateway over a Lane.

One per venue and life. What a real gateway does is done here in the small: correlate answers, time out with Unknown, keep
the count of sequential nonces (the real TxNonces), keep a request budget (the real Throttle), refuse to sign by a clock that
is off, reconnect the private stream and say so, and give our names to fills where the venue knows only its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from core.clock import NS_PER_S
from core.errors import NotSent, VenueError
from core.settings import NonceMode, VenueConfig
from core.types import Balance, Fill, Instrument, Position, Side
from executor.nonces import NonceSource
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unsent
from executor.signing.signed import Signed
from executor.venues._lighter_nonces import TxNonces
from executor.venues.base import (
    CancelRequest,
    EventSink,
    FeeRates,
    FillSeen,
    FundingPayment,
    LiveQuote,
    NotFound,
    OrderRequest,
    OrderSeen,
    Prepared,
    PrivateEvent,
    TopOfBook,
    VenueOrder,
)
from tests.simulation.account import Truth
from tests.simulation.faults import Fault, Faults
from tests.simulation.lane import CLOSED_S, Lane
from tests.simulation.market import Market, top_of_book
from tests.simulation.semantics import Burn, Counting
from tests.simulation.venue import VenueModel
from tests.simulation.world import CLOCK_BOUND_NS, World

SETTLE_NS = NS_PER_S
CLEARING_NS = 4 * NS_PER_S
SIGN_S = 0.001
DROPPED_S = 0.2
_SIGNED = Signed(0, b"", "")


class Watcher:
    """What the simulation does around every send. The methods may raise Crash."""

    def before_send(self, request: OrderRequest) -> None:
        """The bytes are signed; nothing has left."""

    def sent(self, request: OrderRequest, nonce: int) -> None:
        """The bytes have left."""

    def cancel_sent(self, request: CancelRequest, nonce: int) -> None:
        """The same for a cancel."""


class SimGateway(Lane):
    """See the module text."""

    def __init__(
        self,
        world: World,
        model: VenueModel,
        market: Market,
        faults: Faults,
        settings: VenueConfig,
        source: Callable[[str, int], NonceSource],
        watcher: Watcher,
    ) -> None:
        super().__init__(world, model, faults, settings)
        semantics = model.semantics
        self.signer_id = f"signer-{model.name}"
        self.account_id = f"account-{model.name}"
        self.nonces = source(self.signer_id, 1_000_000)
        self.traits = semantics.traits
        self.dead_man = semantics.dead_man
        self.signs_apart = semantics.signs_apart
        self.unlisted: dict[str, Decimal] = {}
        self._semantics = semantics
        self._market = market
        self._watcher = watcher
        self._sequence = TxNonces(NonceMode.OPTIMISTIC) if semantics.counting is Counting.SEQUENTIAL else None
        self._reading_nonce = False
        self._requests: dict[str, tuple[OrderRequest, int]] = {}  # client id -> request, nonce on the wire
        self._cancels: dict[str, CancelRequest] = {}
        self._names: dict[str, str] = {}  # venue order id -> ours, where our ids do not travel

    # ---- life -------------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        await self._ask(_nothing)
        self._sink = sink
        self.model.push = self._pushed
        self._read_nonce()
        self._open_stream()

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        """The process is gone."""
        if not self.dead:
            self.dead = True
            self._world.after(DROPPED_S, self._dropped)
            if self.model.push == self._pushed:
                self.model.push = _unheard

    def wake(self) -> None:
        if self._sink is not None and not self.dead:
            self._open_stream()

    def instruments(self) -> dict[str, Instrument]:
        return self.model.instruments

    async def refresh(self) -> None:
        await self._ask(_nothing)

    @property
    def fees(self) -> FeeRates:
        return FeeRates(0.0001, self._semantics.taker_fee)

    @property
    def rate_budget_ratio(self) -> float:
        return self._throttle.ratio

    @property
    def nonce_resyncs(self) -> int:
        return self._sequence.resyncs if self._sequence is not None else 0

    @property
    def entry_ready(self) -> bool:
        counted = self._sequence is None or self._sequence.ready
        return counted and self._is_connected()

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(priority=priority)

    # ---- sending ----------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        self._requests[request.client_order_id] = (request, self._wire_nonce(nonce))
        signature: asyncio.Future[Signed] | None = None
        if self.signs_apart:
            signature = asyncio.get_running_loop().create_future()
            self._later(SIGN_S, _finish_signature, signature)
        return Prepared(
            client_order_id=request.client_order_id, nonce=nonce, payload=b"", handle="order", signature=signature
        )

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        name = request.client_order_id or request.venue_order_id
        self._cancels[name] = request
        return Prepared(client_order_id=name, nonce=nonce, payload=b"", handle="cancel")

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if prepared.handle == "cancel":
            self._submit_cancel(prepared, future)
        else:
            self._submit_order(prepared, future)
        return future

    def _submit_order(self, prepared: Prepared, future: asyncio.Future[Outcome]) -> None:
        request, wire = self._requests[prepared.client_order_id]
        lost = self._faults.strikes(self.venue, Fault.REQUEST_UNSENT)
        if lost or not self._may_leave():
            self._settle_nonce(prepared.nonce, spent=False)
            future.set_result(Unsent(detail="no connection, no budget, or a wrong clock"))
            return
        self._watcher.before_send(request)
        self._world.note("sent", self.venue, request.instrument.symbol, request.client_order_id, request.side.value,
                         request.lots, "reduce" if request.reduce_only else "", wire)  # fmt: skip
        self._carry(
            lambda reply: self.model.receive_order(request, wire, reply),
            lambda outcome: self._finish(prepared, future, outcome),
        )
        self._watcher.sent(request, wire)

    def _submit_cancel(self, prepared: Prepared, future: asyncio.Future[Outcome]) -> None:
        request = self._cancels.pop(prepared.client_order_id)
        try:
            wire = self._wire_nonce(prepared.nonce) if self._may_leave() else None
        except NotSent:
            wire = None
        if wire is None:
            future.set_result(Unsent(detail="no connection, no budget, or no nonce"))
            return
        self._world.note("cancel", self.venue, prepared.client_order_id)
        self._watcher.cancel_sent(request, wire)
        self._carry(
            lambda reply: self.model.receive_cancel(request, wire, reply),
            lambda outcome: self._finish(prepared, future, outcome),
        )

    def _may_leave(self) -> bool:
        skewed = abs(self.clock_offset_ns) > CLOCK_BOUND_NS
        return not skewed and self._is_connected() and self._throttle.take(priority=True)

    def _finish(self, prepared: Prepared, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        """The answer, a repetition of it, or the end of patience: the first counts."""
        if isinstance(outcome, Accepted) and outcome.venue_order_id:
            self._names[outcome.venue_order_id] = prepared.client_order_id
        if future.done():
            return
        match outcome:
            case Accepted():
                self._settle_nonce(prepared.nonce, spent=True)
            case Rejected(code=RejectCode.NONCE):
                self._settle_nonce(prepared.nonce, spent=None)
                self._doubt_nonce()
            case Rejected(code=RejectCode.AUTH | RejectCode.RATE):
                self._settle_nonce(prepared.nonce, spent=False)
            case Rejected():
                self._settle_nonce(prepared.nonce, spent=True)
            case _:
                self._settle_nonce(prepared.nonce, spent=None)
        self._world.note("answer", self.venue, prepared.handle, prepared.client_order_id, type(outcome).__name__,
                         getattr(outcome, "code", None) or getattr(outcome, "status", ""))  # fmt: skip
        future.set_result(outcome)

    def rehearse(self) -> None:
        """Nothing gets cold here."""

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool] | None:
        if self._semantics.burn is Burn.NONE:
            return None
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def finish(taken: bool) -> None:
            if not future.done():
                future.set_result(taken)

        def arrive() -> None:
            taken = self.model.receive_noop(nonce)
            self._world.note("noop", self.venue, nonce, taken)
            proves = self._semantics.burn is Burn.PROVES or self._faults.chance(0.5)
            self._later(self._latency(), finish, taken and proves)

        self._later(self._timeout_s, finish, False)
        if not self._faults.lasts(self.venue, Fault.DARK) and not self._faults.strikes(self.venue, Fault.REQUEST_LOST):
            self._world.after(self._latency(), arrive)
        return future

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """An order of a former life: a sequential nonce of its is not known any more."""
        self._requests.setdefault(request.client_order_id, (request, nonce if self._sequence is None else -1))

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns + (CLEARING_NS if self.traits.quotes_first else SETTLE_NS)

    # ---- sequential nonces ------------------------------------------------------------------------------------------

    def _wire_nonce(self, nonce: int) -> int:
        return nonce if self._sequence is None else self._sequence.take(nonce)

    def _settle_nonce(self, nonce: int, *, spent: bool | None) -> None:
        if self._sequence is not None:
            self._sequence.settle(nonce, spent)
            self._read_nonce()

    def _doubt_nonce(self) -> None:
        if self._sequence is not None:
            self._sequence.doubt()
            self._read_nonce()

    def _read_nonce(self) -> None:
        """Read the next number from the venue whenever that is wanted and nothing is under way."""
        if self._sequence is None or self._reading_nonce or not self._sequence.wants_reading or self.dead:
            return
        self._reading_nonce = True
        if self._faults.lasts(self.venue, Fault.DARK):
            self._later(CLOSED_S, self._nonce_read, None)
        else:
            self._world.after(self._latency(), self._nonce_asked)

    def _nonce_asked(self) -> None:
        self._later(self._latency(), self._nonce_read, self.model.next_nonce)

    def _nonce_read(self, following: int | None) -> None:
        self._reading_nonce = False
        if self._sequence is not None and following is not None:
            self._sequence.read(following)
        self._read_nonce()

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        sent = self._requests.get(client_order_id)

        def read(as_of_ns: int) -> tuple[VenueOrder | NotFound, int]:
            return self.model.lookup(self._known(client_order_id), as_of_ns), self.model.next_nonce

        found, following = await self._ask(read)
        if isinstance(found, VenueOrder):
            return self._named(found)
        if self._sequence is None or sent is None or self._is_behind():
            return found
        again, _ = await self._ask(read)  # the number is spent: whatever was executed is listed by now, or was not
        spent = 0 <= sent[1] < following
        return again if isinstance(again, VenueOrder) else NotFound(definitive=spent)

    async def open_orders(self) -> list[VenueOrder]:
        return [self._named(order) for order in await self._ask(self.model.open_orders)]

    async def positions(self) -> list[Position]:
        return await self._ask(self.model.positions)

    async def balance(self) -> Balance:
        return await self._ask(lambda as_of_ns: self.model.balance())

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        found = await self._ask(lambda as_of_ns: self.model.fills_since(since_wire_ns, self._fills_as_of_ns(as_of_ns)))
        return [self._named_fill(fill) for fill in found]

    async def funding_since(self, since_wire_ns: int) -> list[FundingPayment]:
        return []

    async def top_of_book(self, instrument: Instrument) -> TopOfBook:
        return await self._ask(lambda as_of_ns: top_of_book(self._market, instrument))

    async def leverage(self, instrument: Instrument) -> int:
        return await self._ask(lambda as_of_ns: self.model.leverages[instrument.symbol])

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        def apply(as_of_ns: int) -> bool:
            if self._faults.lasts(self.venue, Fault.LEVERAGE_REFUSED):
                return False
            self.model.leverages[instrument.symbol] = leverage
            return True

        if not await self._ask(apply):
            raise VenueError("leverage refused")

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._ask(lambda as_of_ns: self.model.arm(instruments))

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._ask(lambda as_of_ns: self.model.disarm(instruments))

    async def request_quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        if not self.traits.quotes_first:
            raise VenueError(f"{self.venue} has a book")
        return await self._ask(lambda as_of_ns: self.model.offer(instrument, side, lots))

    # ---- names ------------------------------------------------------------------------------------------------------

    def _known(self, client_order_id: str) -> Truth | None:
        """The venue's own record, by our id, or by its id where ours does not travel and its own arrived."""
        if self.traits.client_ids:
            return self.model.by_client.get(client_order_id)
        names = [theirs for theirs, ours in self._names.items() if ours == client_order_id]
        return self.model.orders.get(names[0]) if names else None

    def _named(self, order: VenueOrder) -> VenueOrder:
        if self.traits.client_ids:
            return order
        return msgspec.structs.replace(order, client_order_id=self._names.get(order.venue_order_id))

    def _named_fill(self, fill: Fill) -> Fill:
        if self.traits.client_ids:
            return fill
        return msgspec.structs.replace(fill, client_order_id=self._names.get(fill.venue_order_id))

    def _told(self, event: PrivateEvent) -> None:
        if not self.traits.client_ids:
            match event:
                case FillSeen(fill=fill):
                    event = FillSeen(fill=self._named_fill(fill))
                case OrderSeen(venue=venue, order=order):
                    event = OrderSeen(venue=venue, order=self._named(order))
        super()._told(event)


def _finish_signature(signature: asyncio.Future[Signed]) -> None:
    if not signature.done():
        signature.set_result(_SIGNED)


def _nothing(as_of_ns: int) -> None:
    """A read whose answer does not matter."""


def _unheard(event: PrivateEvent) -> None:
    """No executor lives."""
