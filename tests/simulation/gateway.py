"""The executor's side of a simulated venue: OrderGateway over a network that loses, delays, repeats and reorders.

One per venue and life. What a real gateway does is done here in the small: correlate answers, time out with Unknown, keep
the count of sequential nonces (the real TxNonces), keep a request budget (the real Throttle), reconnect the private stream
and say so. A gateway of a dead life delivers nothing and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from core.clock import NS_PER_S
from core.errors import NotSent, RateLimited, VenueError
from core.settings import NonceMode, VenueConfig
from core.types import Balance, Fill, Instrument, OrderStatus, Position, Side
from executor.nonces import NonceSource
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing.signed import Signed
from executor.throttle import Throttle
from executor.venues._lighter_nonces import TxNonces
from executor.venues.base import (
    CancelRequest,
    DeadManScope,
    EventSink,
    FeeRates,
    FundingPayment,
    LiveQuote,
    NotFound,
    OrderRequest,
    Prepared,
    PrivateEvent,
    StreamDown,
    StreamUp,
    TopOfBook,
    VenueOrder,
)
from tests.simulation.faults import Fault, Faults
from tests.simulation.market import Market, top_of_book
from tests.simulation.semantics import Burn, Counting
from tests.simulation.venue import VenueModel
from tests.simulation.world import CLOCK_BOUND_NS, World

T = TypeVar("T")
CLOSED_S = 0.5
RECONNECT_S = 1.0
SETTLE_NS = NS_PER_S
SIGN_S = 0.001
LATE_S = (0.5, 9.0)
EVENT_LATE_S = (0.2, 4.0)
QUICK_S = 0.005


class Watcher:
    """What the simulation does around every send. The methods may raise Crash."""

    def before_send(self, request: OrderRequest) -> None:
        """The bytes are signed; nothing has left."""

    def sent(self, request: OrderRequest, nonce: int) -> None:
        """The bytes have left."""

    def cancel_sent(self, request: CancelRequest, nonce: int) -> None:
        """The same for a cancel."""


class SimGateway:
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
        semantics = model.semantics
        self.venue = model.name
        self.signer_id = f"signer-{model.name}"
        self.account_id = f"account-{model.name}"
        self.nonces = source(self.signer_id, 1_000_000)
        self.traits = semantics.traits
        self.dead_man = semantics.dead_man
        self.signs_apart = semantics.signs_apart
        self.clock_offset_ns = 0  # as measured with every answer
        self.unlisted: dict[str, Decimal] = {}
        self.dead = False
        self.model = model
        self._semantics = semantics
        self._world = world
        self._market = market
        self._faults = faults
        self._settings = settings
        self._watcher = watcher
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, world.clock)
        self._sequence = TxNonces(NonceMode.OPTIMISTIC) if semantics.counting is Counting.SEQUENTIAL else None
        self._reading_nonce = False
        self._sink: EventSink | None = None
        self._streaming = False
        self._stream_lost_ns = 0
        self._connected = True
        self._requests: dict[str, tuple[OrderRequest, int, int]] = {}  # client id -> request, nonce, wire ns
        self._cancels: dict[str, CancelRequest] = {}

    # ---- life -------------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        await self._ask(lambda as_of_ns: None)
        self._sink = sink
        self.model.push = self._pushed
        self._read_nonce()
        self._open_stream()

    async def close(self) -> None:
        self.kill()

    def kill(self) -> None:
        """The process is gone."""
        self.dead = True
        if self.model.push == self._pushed:
            self.model.push = lambda event: None
        if self.dead_man is not None and self.dead_man.scope is DeadManScope.CONNECTION:
            self._world.after(0.2, self.model.cancel_resting)

    def wake(self) -> None:
        if self._sink is not None and not self._streaming and not self.dead:
            self._open_stream()

    def instruments(self) -> dict[str, Instrument]:
        return self.model.instruments

    async def refresh(self) -> None:
        await self._ask(lambda as_of_ns: None)

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
        wire = self._wire_nonce(nonce)
        self._requests[request.client_order_id] = (request, wire, self._world.clock.wire_ns())
        signature: asyncio.Future[Signed] | None = None
        if self.signs_apart:
            loop = asyncio.get_running_loop()
            signature = loop.create_future()
            self._later(SIGN_S, self._signed, signature)
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
        request, wire, _ = self._requests[prepared.client_order_id]
        skewed = abs(self.clock_offset_ns) > CLOCK_BOUND_NS
        if skewed or not self._is_connected() or not self._throttle.take(priority=True):
            self._settle_nonce(prepared.nonce, spent=False)
            future.set_result(Unsent(detail="no connection, no budget, or a wrong clock"))
            return
        if self._faults.strikes(self.venue, Fault.REQUEST_UNSENT):
            self._settle_nonce(prepared.nonce, spent=False)
            future.set_result(Unsent(detail="the kernel took no byte"))
            return
        self._watcher.before_send(request)
        self._world.note("sent", self.venue, request.instrument.symbol, request.client_order_id, request.side.value,
                         request.lots, "reduce" if request.reduce_only else "", wire)  # fmt: skip
        self._carry(lambda reply: self.model.receive_order(request, wire, reply), prepared, future)
        self._watcher.sent(request, wire)

    def _submit_cancel(self, prepared: Prepared, future: asyncio.Future[Outcome]) -> None:
        request = self._cancels.pop(prepared.client_order_id)
        if not self._is_connected() or not self._throttle.take(priority=True):
            future.set_result(Unsent(detail="no connection"))
            return
        try:
            wire = self._wire_nonce(prepared.nonce)
        except NotSent as error:
            future.set_result(Unsent(detail=str(error)))
            return
        self._world.note("cancel", self.venue, prepared.client_order_id)
        self._watcher.cancel_sent(request, wire)
        self._carry(lambda reply: self.model.receive_cancel(request, wire, reply), prepared, future)

    def _carry(
        self, deliver: Callable[[Callable[[Outcome], None]], None], prepared: Prepared, future: asyncio.Future[Outcome]
    ) -> None:
        """A request over the network, and its answer back, or not."""
        strikes = self._faults.strikes

        def answer(outcome: Outcome) -> None:
            self._answer(prepared, future, outcome)

        self._later(self._settings.request_timeout_ms / 1000, self._finish, prepared, future, Unknown(detail="timeout"))
        if self._faults.lasts(self.venue, Fault.DARK) or strikes(self.venue, Fault.REQUEST_LOST):
            return
        if strikes(self.venue, Fault.ANSWER_FALSE):
            self._world.after(self._latency(), answer, _TAKEN)
            return
        delay_s = self._latency()
        if strikes(self.venue, Fault.REQUEST_LATE):
            delay_s += self._faults.between(*LATE_S)
        self._world.after(delay_s, deliver, answer)
        if strikes(self.venue, Fault.REQUEST_DUPLICATED):
            self._world.after(delay_s + self._latency(), deliver, answer)

    def _answer(self, prepared: Prepared, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        """What the venue said, on its way back."""
        strikes = self._faults.strikes
        if self._faults.lasts(self.venue, Fault.DARK) or strikes(self.venue, Fault.ANSWER_LOST):
            return
        delay_s = self._latency()
        if strikes(self.venue, Fault.ANSWER_LATE):
            delay_s += self._faults.between(*LATE_S)
        if strikes(self.venue, Fault.ANSWER_GARBLED):
            outcome = Unknown(detail="the answer does not parse")
        self._world.after(delay_s, self._arrive, self._finish, prepared, future, outcome)
        if strikes(self.venue, Fault.ANSWER_DUPLICATED):
            self._world.after(delay_s + self._latency(), self._arrive, self._finish, prepared, future, outcome)

    def _finish(self, prepared: Prepared, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        if self.dead or future.done():
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
            if not self.dead and not future.done():
                future.set_result(taken)

        def arrive() -> None:
            taken = self.model.receive_noop(nonce)
            self._world.note("noop", self.venue, nonce, taken)
            if self._semantics.burn is Burn.HINTS:
                taken = taken and self._faults.chance(0.5)
            self._world.after(self._latency(), self._arrive, finish, taken)

        self._later(self._settings.request_timeout_ms / 1000, finish, False)
        if not self._faults.lasts(self.venue, Fault.DARK) and not self._faults.strikes(self.venue, Fault.REQUEST_LOST):
            self._world.after(self._latency(), arrive)
        return future

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """An order of a former life: a sequential nonce of its is not known any more."""
        wire = nonce if self._sequence is None else -1
        self._requests.setdefault(request.client_order_id, (request, wire, prepared_wire_ns))

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns + SETTLE_NS

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
        self._world.after(self._latency(), self._arrive, self._nonce_read, self.model.next_nonce)

    def _nonce_read(self, following: int | None) -> None:
        self._reading_nonce = False
        if self._sequence is not None and following is not None:
            self._sequence.read(following)
        self._read_nonce()

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        sent = self._requests.get(client_order_id)

        def read(as_of_ns: int) -> tuple[VenueOrder | NotFound, int]:
            return self.model.lookup(client_order_id, as_of_ns), self.model.next_nonce

        found, following = await self._ask(read)
        if isinstance(found, VenueOrder) or self._sequence is None or sent is None:
            return found
        again, _ = await self._ask(read)  # the number is spent: whatever was executed is listed by now, or was not
        spent = 0 <= sent[1] < following
        return again if isinstance(again, VenueOrder) else NotFound(definitive=spent and not self._is_behind())

    async def open_orders(self) -> list[VenueOrder]:
        return await self._ask(self.model.open_orders)

    async def positions(self) -> list[Position]:
        return await self._ask(self.model.positions)

    async def balance(self) -> Balance:
        return await self._ask(lambda as_of_ns: self.model.balance())

    async def fills_since(self, since_wire_ns: int) -> list[Fill]:
        return await self._ask(lambda as_of_ns: self.model.fills_since(since_wire_ns, as_of_ns))

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
        raise VenueError(f"{self.venue} has a book")

    async def _ask(self, read: Callable[[int], T]) -> T:
        """One REST request."""
        if not self._throttle.take(priority=True):
            raise RateLimited("our own budget", 1.0)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        timeout_s = self._settings.request_timeout_ms / 1000
        faults, venue = self._faults, self.venue

        def fail(error: VenueError) -> None:
            if not self.dead and not future.done():
                future.set_exception(error)

        def finish(value: T) -> None:
            self.clock_offset_ns = self._world.venue_wire_ns - self._world.clock.wire_ns()
            if not self.dead and not future.done():
                future.set_result(value)

        def arrive() -> None:
            if faults.lasts(venue, Fault.RATE_LIMITED):
                self._world.after(self._latency(), self._arrive, fail, RateLimited("429", faults.between(0.5, 4.0)))
            elif faults.lasts(venue, Fault.AUTH_EXPIRED) or faults.strikes(venue, Fault.READ_FAILED):
                self._world.after(self._latency(), self._arrive, fail, VenueError("503"))
            else:
                self._world.after(self._latency(), self._arrive, finish, read(self._as_of_ns()))

        if faults.lasts(venue, Fault.DARK):
            self._later(timeout_s, fail, VenueError("timed out"))
        else:
            self._world.after(self._latency(), arrive)
        return await future

    def _is_behind(self) -> bool:
        return self._faults.lasts(self.venue, Fault.REST_BEHIND)

    def _as_of_ns(self) -> int:
        """REST answers out of a replica that may lag behind."""
        if not self._is_behind():
            return self._world.now_ns
        return self._world.now_ns - self._faults.lag_ns(self.venue)

    # ---- the private stream -----------------------------------------------------------------------------------------

    def _pushed(self, event: PrivateEvent) -> None:
        """The venue says something on the stream."""
        faults, venue = self._faults, self.venue
        if self.dead or not self._streaming or self._stream_broken() or faults.lasts(venue, Fault.STREAM_SILENT):
            return
        if faults.strikes(venue, Fault.EVENT_LOST):
            return
        delay_s = self._latency()
        if faults.strikes(venue, Fault.EVENT_LATE):
            delay_s += faults.between(*EVENT_LATE_S)
        elif faults.strikes(venue, Fault.FILL_BEFORE_ACK):
            delay_s = QUICK_S
        self._world.after(delay_s, self._arrive, self._told, event)
        if faults.strikes(venue, Fault.EVENT_DUPLICATED):
            self._world.after(delay_s + faults.between(0.0, 2.0), self._arrive, self._told, event)

    def _told(self, event: PrivateEvent) -> None:
        if self._sink is not None and not self.dead:
            asyncio.get_running_loop().call_soon(self._sink, event)

    def _stream_broken(self) -> bool:
        faults, venue = self._faults, self.venue
        broken = any(faults.lasts(venue, each) for each in (Fault.STREAM_GAP, Fault.DARK, Fault.AUTH_EXPIRED))
        if broken and self._streaming:
            self._streaming = False
            self._stream_lost_ns = self._world.clock.wire_ns()
            self._world.after(CLOSED_S, self._arrive, self._told, StreamDown(venue=venue, reason="closed"))
            self._world.after(CLOSED_S + RECONNECT_S, self._arrive, self._open_stream)
        return broken

    def watch_stream(self) -> None:
        """A window that broke the connection is noticed even when nothing is said."""
        if self._streaming and not self.dead:
            self._stream_broken()

    def _open_stream(self) -> None:
        if self.dead or self._streaming:
            return
        if any(self._faults.lasts(self.venue, each) for each in (Fault.STREAM_GAP, Fault.DARK, Fault.AUTH_EXPIRED)):
            self._world.after(RECONNECT_S, self._arrive, self._open_stream)
            return
        self._streaming = True
        self._told(StreamUp(venue=self.venue, since_wire_ns=self._stream_lost_ns))

    # ---- the network ------------------------------------------------------------------------------------------------

    def _is_connected(self) -> bool:
        connected = not self._faults.lasts(self.venue, Fault.NO_CONNECTION)
        scope = self.dead_man.scope if self.dead_man is not None else None
        if self._connected and not connected and scope is DeadManScope.CONNECTION:
            self.model.cancel_resting()
        self._connected = connected
        return connected

    def _latency(self) -> float:
        return self._faults.between(*self._semantics.latency_s)

    def _arrive(self, what: Callable[..., None], *arguments: Any) -> None:
        """Something reaches the executor's machine."""
        if not self.dead:
            what(*arguments)

    def _later(self, seconds: float, what: Callable[..., None], *arguments: Any) -> None:
        self._world.after(seconds, self._arrive, what, *arguments)

    def _signed(self, signature: asyncio.Future[Signed]) -> None:
        if not signature.done():
            signature.set_result(_SIGNED)


_SIGNED = Signed(0, b"", "")
_TAKEN = Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
