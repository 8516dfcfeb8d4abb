"""The one serial path: journal (write-ahead) -> nonce -> sign -> send -> outcome -> journal -> report (DESIGN 4).

One thread, one event loop. Everything that changes what the executor believes goes through `record`: append to the
journal, apply to the state, tell the listeners. Everything that leaves for a venue goes through `send` or `cancel`.

The protocol of `send`, for one order or for both legs of a pair:
  1. every order gets a client id that never returns (durable epoch, counter) and a nonce out of a durable block
  2. every order is journaled (OrderPrepared) before any of them is signed
  3. all are signed, then all are written to their warm connections, before any answer is awaited. Where a signature is made
     in another thread (Lighter), the writing of all legs waits for it in one callback; the orders stay PREPARED till then
  4. answers arrive as callbacks, in any order, possibly after the fills they speak of; `State` sorts that out
What breaks it: sending from anywhere else, awaiting between 2 and 3, or sending an UNKNOWN order's intent again. Whoever
wants a lost order once more makes a new Draft, after reconciliation has resolved the old one.

Refused: a task per order (two legs would be an await apart), and a retry inside the gateway (it cannot know).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S, Clock
from core.config import Loaded
from core.errors import VenueError, invariant
from core.ids import client_order_id, tag16
from core.latch import HaltLatch
from core.log import Log
from core.numeric import from_float
from core.roster import SPEC
from core.sizing import FEE_BUFFER
from core.types import Down, Instrument, Liquidity, OrderStatus, Quote, QuoteFlag, ReadResult, TimeInForce, Venue
from executor.desk import Desk
from executor.fills import Fills
from executor.orders import Draft, verdict_of
from executor.outcome import Accepted, Outcome, Rejected, Unsent
from executor.peers import Books, Meter, Writer
from executor.records import OrderPrepared
from executor.registrar import UNKNOWN_OUTCOME
from executor.reports import order_submitted
from executor.state import Key, OrderState, State
from executor.venues.base import (
    CancelRequest,
    FillSeen,
    FundingSeen,
    OrderGateway,
    OrderRequest,
    OrderSeen,
    PositionSeen,
    Prepared,
    PrivateEvent,
    StreamDown,
    StreamUp,
)

END_OVERDUE_NS = 2 * NS_PER_S
"""Beyond the request's own timeout: an IOC order that has not ended by then is UNKNOWN, whatever its gateway believes."""

CANCEL_AGAIN_NS = 2 * NS_PER_S
"""A venue that only takes a cancel (its end comes by stream, which may be away) is asked again after this, not at every look."""
ANSWER_GRACE_S = 1.0
_IN_FLIGHT = (OrderStatus.PREPARED, OrderStatus.SUBMITTED)


class Engine(Fills):
    """See the module text."""

    def __init__(
        self,
        loaded: Loaded,
        clock: Clock,
        log: Log,
        state: State,
        journal: Writer,
        latch: HaltLatch,
        desks: Mapping[Venue, Desk],
        books: Mapping[Venue, Books],
        meter: Meter,
    ) -> None:
        super().__init__(loaded, clock, log, state, journal, latch, desks, books, meter)
        self._order_count = 0
        self._cancelling: dict[str, tuple[asyncio.Future[Outcome], int]] = {}  # what was asked last, and when (mono ns)

    @property
    def gateways(self) -> Mapping[Venue, OrderGateway]:
        return {venue: desk.gateway for venue, desk in self.desks.items()}

    def recover(self) -> None:
        """After replay, before anything is read or sent: what a dead process had in flight is UNKNOWN, and frozen."""
        for order in self.state.open_orders():
            resting = order.prepared.time_in_force is not TimeInForce.IOC and order.status is OrderStatus.ACCEPTED
            if order.status is not OrderStatus.UNKNOWN and not resting:
                why = "the executor ended before the answer"
                self.move_order(order.client_order_id, OrderStatus.UNKNOWN, source="recovery", detail=why)
        for (
            order
        ) in self.state.unknown_orders():  # the end may have come between an order's move and its freeze or thaw
            self.freeze(order.key, UNKNOWN_OUTCOME)
        for key in tuple(self.state.frozen):
            self._thaw(key)

    # ---- what is sent -----------------------------------------------------------------------------------------------

    def send(self, drafts: Sequence[Draft]) -> list[OrderState]:
        """Journal, sign and write all `drafts` to their connections, in this call or, if a signature is made elsewhere, as
        soon as all are there. Outcomes follow as order moves."""
        started_ns = self.clock.mono_ns()
        requests: list[tuple[OrderRequest, int]] = []
        for leg, draft in enumerate(drafts):
            requests.append(self._write_ahead(draft, leg))
        try:
            prepared = self._prepare(requests)
        except VenueError as error:
            self._not_signed(requests, str(error))
            return [self.state.orders[request.client_order_id] for request, _ in requests]
        waited_for = [each.signature for each in prepared if each.signature is not None and not each.signature.done()]
        if not waited_for:
            return self._write_signed(requests, prepared, started_ns)
        signing = asyncio.gather(*waited_for, return_exceptions=True)
        signing.add_done_callback(lambda _: self._write_signed(requests, prepared, started_ns))
        return [self.state.orders[request.client_order_id] for request, _ in requests]

    def _prepare(self, requests: list[tuple[OrderRequest, int]]) -> list[Prepared]:
        """In the order of `requests`; signatures that are made elsewhere are begun first, the others made meanwhile."""
        prepared: dict[str, Prepared] = {}
        gateways = self.gateways
        for request, nonce in sorted(requests, key=lambda each: not gateways[each[0].instrument.venue].signs_apart):
            prepared[request.client_order_id] = gateways[request.instrument.venue].prepare(request, nonce)
        return [prepared[request.client_order_id] for request, _ in requests]

    def _write_signed(
        self, requests: list[tuple[OrderRequest, int]], prepared: list[Prepared], started_ns: int
    ) -> list[OrderState]:
        """All or none: one leg that could not be signed keeps the others from being written."""
        signatures = [each.signature for each in prepared if each.signature is not None]
        if not any(each.cancelled() for each in signatures):  # cancelled = the process is ending; recovery asks
            failures = [failure for each in signatures if (failure := each.exception()) is not None]
            if not failures:
                return self._write(requests, prepared, started_ns)
            self._not_signed(requests, str(failures[0]))
        return [self.state.orders[request.client_order_id] for request, _ in requests]

    def _not_signed(self, requests: list[tuple[OrderRequest, int]], why: str) -> None:
        for request, _ in requests:
            self.move_order(request.client_order_id, OrderStatus.NOT_SENT, source="sent", detail=f"not signed: {why}")

    def _write_ahead(self, draft: Draft, leg: int) -> tuple[OrderRequest, int]:
        instrument = draft.instrument
        venue = instrument.venue
        invariant(draft.lots > 0 and draft.limit_ticks > 0, f"order of {draft.lots} lots at {draft.limit_ticks} ticks")
        reduce_only = draft.reduce_only and self.desks[venue].gateway.traits.reduce_only
        self.know((venue, instrument.symbol))
        self._order_count += 1
        request = OrderRequest(
            client_order_id=client_order_id(
                self._account_tags[venue], tag16(draft.strategy), self.state.epoch, self._order_count, leg
            ),
            instrument=instrument,
            side=draft.side,
            lots=draft.lots,
            limit_ticks=draft.limit_ticks,
            time_in_force=draft.time_in_force,
            reduce_only=reduce_only,
            expires_wire_ns=self.clock.wire_ns() + SPEC[venue].order_ttl_ms * NS_PER_MS,
            quote_id=draft.quote_id,
        )
        nonce = self.desks[venue].gateway.nonces.next()
        self.record(
            OrderPrepared(
                wire_ns=self.clock.wire_ns(),
                client_order_id=request.client_order_id,
                command_id=draft.command_id,
                pair_id=draft.pair_id,
                strategy=draft.strategy,
                venue=venue,
                symbol=instrument.symbol,
                side=draft.side,
                lots=draft.lots,
                limit_ticks=draft.limit_ticks,
                time_in_force=draft.time_in_force,
                reduce_only=reduce_only,
                nonce=nonce,
                expires_wire_ns=request.expires_wire_ns,
                purpose=draft.purpose,
                quote_id=draft.quote_id,
            )
        )
        return request, nonce

    def _write(
        self, requests: list[tuple[OrderRequest, int]], prepared: list[Prepared], started_ns: int
    ) -> list[OrderState]:
        """Both legs' bytes leave here, back to back; everything else waits until they have."""
        futures = [
            self.desks[request.instrument.venue].gateway.submit(signed)
            for (request, _), signed in zip(requests, prepared, strict=True)
        ]
        sent_ns = self.clock.mono_ns()
        self.meter.command_to_wire(sent_ns - started_ns)
        orders = []
        for (request, _), future in zip(requests, futures, strict=True):
            name = request.client_order_id
            order = self.state.orders[name]
            orders.append(order)
            self.meter.order_sent(request.instrument.venue, order.prepared.purpose)
            if order.status is OrderStatus.PREPARED:
                self.move_order(name, OrderStatus.SUBMITTED, source="sent")
            self.report(order_submitted(self.state, order), order.prepared.strategy)
            future.add_done_callback(functools.partial(self._answered, name, sent_ns))
        return orders

    def _answered(self, name: str, sent_ns: int, future: asyncio.Future[Outcome]) -> None:
        order = self.state.orders.get(name)
        if order is None or future.cancelled():
            return  # cancelled only while the process is ending; recovery treats the order as UNKNOWN
        verdict = verdict_of(future.result())
        venue = order.prepared.venue
        self.meter.order_outcome(venue, verdict.status, verdict.code, self.clock.mono_ns() - sent_ns)
        resting = order.status is OrderStatus.ACCEPTED and order.prepared.time_in_force is not TimeInForce.IOC
        if verdict.status is OrderStatus.UNKNOWN and resting:
            return  # the stream has shown it resting; the lost answer adds nothing
        self.settle(name, verdict, "answer")

    def reserve(self, order: OrderState, instrument: Instrument) -> None:
        """Set margin and fees of an opening order aside until a balance shows them."""
        if order.status.is_final:
            return
        prepared = order.prepared
        notional = instrument.ticks_to_px(prepared.limit_ticks) * prepared.lots * instrument.lot_size
        self.desks[instrument.venue].reserve(order.client_order_id, notional * self.margin_share(instrument))

    def margin_share(self, instrument: Instrument) -> Decimal:
        """Margin and fees that a notional of 1 takes."""
        desk = self.desks[instrument.venue]
        return Decimal(1) / desk.wanted_leverage(instrument.symbol) + from_float(desk.taker_fee) + FEE_BUFFER

    async def place(self, draft: Draft) -> OrderState | None:
        """Send one order with priority and wait for its answer. The order as it then stands (final, ACCEPTED or UNKNOWN);
        None when it could not be sent: no connection, no budget, no quote within its limit where the venue quotes first."""
        gateway = self.desks[draft.instrument.venue].gateway
        if not gateway.entry_ready or not gateway.may_send(True):
            return None
        quoted = await self._quoted(draft) if gateway.traits.quotes_first else draft
        if quoted is None:
            return None
        (order,) = self.send([quoted])
        timeout_s = self.desks[draft.instrument.venue].settings.request_timeout_ms / 1000 + ANSWER_GRACE_S
        await self._until(lambda: order.status not in _IN_FLIGHT, timeout_s)
        return order

    async def _quoted(self, draft: Draft) -> Draft | None:
        """`draft` as the acceptance of a live quote for exactly its size; at most one is accepted at a time."""
        instrument = draft.instrument
        key = (instrument.venue, instrument.symbol)
        if any(order.key == key for order in self.state.open_orders()):
            return None
        try:
            quote = await self.desks[key[0]].gateway.request_quote(instrument, draft.side, draft.lots)
        except VenueError as error:
            self.log.warning("quote_refused", venue=key[0], symbol=key[1], lots=draft.lots, detail=str(error))
            return None
        too_dear = draft.side.sign * (quote.px - instrument.ticks_to_px(draft.limit_ticks)) > 0
        in_flight = any(order.key == key for order in self.state.open_orders())  # meanwhile
        late = self.clock.mono_ns() >= quote.valid_until_mono_ns
        if too_dear or in_flight or late or (quote.side, quote.lots) != (draft.side, draft.lots):
            self.log.warning("quote_not_accepted", venue=key[0], symbol=key[1], px=str(quote.px), too_dear=too_dear)
            return None
        return msgspec.structs.replace(draft, quote_id=quote.quote_id)

    async def cancel(self, venue: Venue, request: CancelRequest) -> Outcome:
        """Ask the venue to cancel, with priority; for orders of ours and for foreign ones."""
        gateway = self.desks[venue].gateway
        if not gateway.may_send(True):
            return Unsent(detail="the request budget is used up")
        try:
            prepared = gateway.prepare_cancel(request, gateway.nonces.next())
        except VenueError as error:
            return Unsent(detail=f"not signed: {error}")
        return await gateway.submit(prepared)

    def cancel_order(self, order: OrderState) -> asyncio.Future[Outcome] | None:
        """Ask for a cancel of an order of ours; None when it is final or its venue cannot be asked now. The order's own end
        arrives as an order move (stream, or the cancel's positive answer)."""
        desk, instrument = self.desks.get(order.prepared.venue), self.instrument(order.key)
        asked, asked_ns = self._cancelling.get(order.client_order_id, (None, 0))
        recent = self.clock.mono_ns() - asked_ns < CANCEL_AGAIN_NS and not order.status.is_final
        if asked is not None and (recent or not asked.done()):
            return asked
        if order.status.is_final or desk is None or instrument is None or not desk.gateway.may_send(True):
            return None
        request = CancelRequest(
            instrument=instrument, client_order_id=order.client_order_id, venue_order_id=order.venue_order_id
        )
        try:
            prepared = desk.gateway.prepare_cancel(request, desk.gateway.nonces.next())
        except VenueError as error:
            self.log.warning("cancel_not_signed", client_id=order.client_order_id, detail=str(error))
            return None
        future = desk.gateway.submit(prepared)
        self._cancelling = {name: each for name, each in self._cancelling.items() if name in self.state.unsettled}
        self._cancelling[order.client_order_id] = future, self.clock.mono_ns()
        future.add_done_callback(functools.partial(self._cancel_answered, order.client_order_id))
        return future

    def _cancel_answered(self, name: str, future: asyncio.Future[Outcome]) -> None:
        order = self.state.orders.get(name)
        if order is None or future.cancelled():
            return
        if not isinstance(future.result(), Accepted):
            self._cancelling.pop(name, None)
        match future.result():
            case Accepted(status=OrderStatus.CANCELED, filled_lots=filled_lots):
                self.move_order(name, OrderStatus.CANCELED, source="answer", filled_lots=filled_lots)
            case Rejected() as refusal if not order.status.is_final:
                # gone, but how: filled or cancelled before. The venue's own record of the order decides.
                self.move_order(name, OrderStatus.UNKNOWN, source="answer", detail=f"cancel refused: {refusal.detail}")
            case _:
                pass

    async def settled(self, orders: Sequence[OrderState], timeout_s: float) -> bool:
        """Wait until all are final (True), or the timeout passes (False)."""
        return await self._until(lambda: all(order.status.is_final for order in orders), timeout_s)

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    if self._moved is None or self._moved.done():
                        self._moved = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._moved)
        except TimeoutError:
            return False
        return True

    def watch_orders(self) -> None:
        """Called a few times a second: an order that should have ended long ago is UNKNOWN, whatever its gateway thinks."""
        wire_ns = self.clock.wire_ns()
        for order in self.state.open_orders():
            prepared = order.prepared
            if order.status is OrderStatus.UNKNOWN:
                continue
            if order.status is OrderStatus.ACCEPTED and prepared.time_in_force is not TimeInForce.IOC:
                continue
            bound_ns = int(self.desks[prepared.venue].settings.request_timeout_ms) * NS_PER_MS + END_OVERDUE_NS
            if wire_ns - order.moved_wire_ns > bound_ns:
                self.move_order(
                    order.client_order_id,
                    OrderStatus.UNKNOWN,
                    source="bound",
                    detail=f"no end seen ({order.status.value})",
                )

    # ---- what is heard ----------------------------------------------------------------------------------------------

    def on_event(self, event: PrivateEvent) -> None:
        """The sink of every gateway."""
        match event:
            case FillSeen(fill=fill):
                self._note_stream_told(fill.venue)
                self.on_fill(fill)
            case OrderSeen(venue=venue, order=seen):
                known = self.state.orders.get(seen.client_order_id or "")
                if known is None:
                    self.on_hint(venue, "order without a record of ours")
                    return
                self.move_order(
                    known.client_order_id,
                    seen.status,
                    source="stream",
                    filled_lots=seen.filled_lots,
                    avg_px=seen.avg_px,
                    venue_order_id=seen.venue_order_id,
                )
            case FundingSeen(payment=payment):
                self.on_funding(payment)
            case PositionSeen(position=position):
                ours = self.state.lots((position.venue, position.symbol))
                if position.lots < ours or (
                    position.lots > ours and not self.desks[position.venue].gateway.traits.wallet
                ):
                    self.on_hint(position.venue, f"position of {position.symbol} differs")
            case StreamUp(venue=venue):
                self.desks[venue].note_stream(True, self.clock.wire_ns())
                self.log.info("private_stream_up", venue=venue)
                self.on_hint(venue, "private stream up")
            case StreamDown(venue=venue, reason=reason):
                self.desks[venue].note_stream(False, self.clock.wire_ns())
                self.log.warning("private_stream_down", venue=venue, reason=reason)

    def _note_stream_told(self, venue: Venue) -> None:
        desk = self.desks[venue]
        if desk.stream_silent:
            self.log.info("private_stream_heard", venue=venue)
        desk.note_stream_told()

    # ---- what others ask --------------------------------------------------------------------------------------------

    def quote(self, key: Key) -> ReadResult:
        """The shared-memory quote, canonical; Down when the book lacks the symbol."""
        book = self.books.get(key[0])  # None: a venue that is not enabled any more, but still in the journal
        slot = book.slot(key[1]) if book is not None else None
        return Down(f"{key[0]} has no book of {key[1]}") if book is None or slot is None else book.quote(slot)

    def depth(self, key: Key) -> Liquidity | None:
        """What the book was last measured to hold beyond its touch, canonical; None where it was not."""
        book = self.books[key[0]]
        slot = book.slot(key[1])
        measured = book.liquidity(slot) if slot is not None else None
        return measured if isinstance(measured, Liquidity) else None

    def usable_quote(self, key: Key) -> Quote | None:
        """A quote that may be traded on: fresh, sound, executable."""
        quote = self.quote(key)
        if not isinstance(quote, Quote) or not quote.is_sound:
            return None
        return quote if quote.flags & QuoteFlag.EXECUTABLE and not quote.flags & QuoteFlag.DELISTED else None
