"""Variational: a venue without an order book, by its web application's interface (docs/venues/variational.md).

    quote    POST quotes/indicative {instrument, qty}                     a price for exactly that size, for about a second
    order    POST orders/new/market {quote_id, side, max_slippage, ..}    the acceptance of that quote; names an rfq
    end      orders/v2 by rfq id: pending, then cleared whole, or rejected. Never a part

UNOFFICIAL: all of it goes through executor.venues._variational_web, and none of it before `unofficial_interface = true` stands
in the configuration. Market data comes from the venue's documented statistics.

No id of ours travels. An order whose answer is lost is never sent again: it is looked for among the venue's newest orders by
instrument, side and size, which works because one order per instrument is under way at a time (executor.venues.
_variational_flights), and what cannot be found there the position decides. How long a pending order may take is not recorded
[unsure]; SETTLE_NS after its expiry it counts as unable to clear.

`max_slippage` is what lies between the quoted price and our limit, rounded down: whatever the venue makes of it, the price is
never worse than the limit. There are no nonces, no signatures on orders, no switch that cancels, and no fees.
"""

from __future__ import annotations

import asyncio
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import ConfigError, VenueError
from core.specs import variational as specs
from core.types import Instrument, Side
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing import variational as signing
from executor.throttle import Throttle
from executor.venues import _variational_answers as answers
from executor.venues._gateway import VenueGateway
from executor.venues._variational_flights import Flights
from executor.venues._variational_reads import Reads
from executor.venues._variational_session import Session
from executor.venues._variational_stream import EventStream, Follower
from executor.venues._variational_web import LaneResult, WebTransport
from executor.venues.base import (
    CancelRequest,
    Equipment,
    EventSink,
    LiveQuote,
    NotFound,
    OrderRequest,
    Prepared,
    Traits,
    VenueOrder,
)

TAKE, CANCEL = "/orders/new/market", "/orders/cancel"
SET_LEVERAGE = "/settlement_pools/set_leverage"
SETTLE_NS = 4 * NS_PER_S
"""After an order's expiry, so five seconds after it left: by then an order that exists shows (page 10)."""
MAX_SKEW_NS = 30 * NS_PER_S
"""Nothing but the login's text carries a time, and that is the venue's own; only its minute of life must be met."""
NONCE_UNIT_NS = NS_PER_MS
READ_CONNECTIONS, ORDER_CONNECTIONS, STATS_CONNECTIONS = 2, 1, 1
SLIPPAGE_STEP, SLIPPAGE_MAX = Decimal("0.000001"), Decimal("0.05")
MAX_QUOTES = 200
REHEARSAL_QUOTE = "00000000-0000-4000-8000-000000000000"


class _Quoted(NamedTuple):
    instrument: Instrument
    quote: LiveQuote


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    traits = Traits(client_ids=False, post_only=False, partial_fills=False, late_refusals=True, quotes_first=True)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        own = settings.own(specs.Own)
        if not own.unofficial_interface:
            raise ConfigError(
                "venues.variational.extra.unofficial_interface: trading on Variational goes through its web application's "
                "unofficial interface; set it to true to accept that, or enabled = false"
            )
        account = ring.address("VARIATIONAL_WALLET_ADDRESS")
        signer, pasted = None, ""
        if ring.has("VARIATIONAL_PRIVATE_KEY"):
            signer = signing.Signer(ring.secret("VARIATIONAL_PRIVATE_KEY").reveal())
            if signer.address.lower() != account.lower():
                raise ConfigError("VARIATIONAL_PRIVATE_KEY: is not the key of VARIATIONAL_WALLET_ADDRESS")
        elif ring.has("VARIATIONAL_VR_TOKEN"):
            pasted = ring.secret("VARIATIONAL_VR_TOKEN").reveal()
        else:
            raise ConfigError(
                "VARIATIONAL_PRIVATE_KEY: is missing, and so is VARIATIONAL_VR_TOKEN; give one of the two"
            )
        super().__init__(
            equipment, account_id=account, signer_id=account, nonce_unit_ns=NONCE_UNIT_NS, max_skew_ns=MAX_SKEW_NS
        )
        self._by_name: dict[str, Instrument] = {}
        self._quotes: dict[str, _Quoted] = {}
        clock = self._clock
        self._read_budget = Throttle(settings.requests_per_min, settings.reserve_ratio, clock)
        self._order_budget = Throttle(own.orders_per_min, settings.reserve_ratio, clock)
        self._quote_budget = Throttle(own.quotes_per_min, 0.0, clock)
        reads = self._http(READ_CONNECTIONS, on_reply=self._on_reply, url=own.web_url)
        orders = self._http(ORDER_CONNECTIONS, on_reply=self._on_reply, on_open=self.wake, url=own.web_url)
        self._stats_lane = self._http(STATS_CONNECTIONS, on_reply=self._on_reply)
        self._session = Session(reads, account, signer, pasted, own.auth_per_min, clock, self._log)
        self._web = WebTransport(orders, reads, self._session)
        self._flights = Flights(self._memory, clock, lambda: self._skew.offset_ns)
        self._reads = Reads(
            self._web,
            self._stats_lane,
            self._read_budget,
            self._quote_budget,
            self._memory,
            self._flights,
            lambda: self._by_name,
            self._note_unlisted,
            lambda: self._skew.offset_ns,
            clock,
        )
        self._lane = self._ws(on_up=self._on_up, on_frame=self._on_frame, on_down=self._on_down, url=self._events_url)
        self._stream: EventStream | None = None
        self._follower: Follower | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        follower = Follower(self._reads, self._flights, lambda: self._by_name, sink, self._log)
        stream = EventStream(lambda: self._session.token, follower.hint, self._session.refused, sink)
        self._follower, self._stream = follower, stream
        try:
            await self._stats_lane.start()
            await self._web.start()
            await self.refresh()
            await follower.begin()
            await self._lane.start()
            async with asyncio.timeout(self._timeout_s):
                await stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the event stream did not take our claims") from None
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._session.keep_open())
        self._background.spawn(follower.run())

    async def close(self) -> None:
        await self._background.close()
        await self._lane.close()
        await self._web.close()
        await self._stats_lane.close()

    def wake(self) -> None:
        self._web.wake()
        self._stats_lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        """A contract keeps the lot and tick it began with: both follow from the price, and positions are counted in them."""
        listed = []
        for row in await self._reads.instruments():
            known = self._by_symbol.get(row.symbol)
            if known is not None:
                row = msgspec.structs.replace(row, lot_size=known.lot_size, tick_size=known.tick_size)
            listed.append(row)
        self._by_symbol = {row.symbol: row for row in listed}
        self._by_name = {row.venue_symbol: row for row in listed}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return min(self._read_budget.ratio, self._order_budget.ratio, self._quote_budget.ratio)

    @property
    def entry_ready(self) -> bool:
        return self._web.warm

    def may_send(self, priority: bool) -> bool:
        return self._order_budget.admits(1.0, priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    async def request_quote(self, instrument: Instrument, side: Side, lots: int) -> LiveQuote:
        quote = await self._reads.quote(instrument, side, lots)
        self._quotes[quote.quote_id] = _Quoted(instrument, quote)
        while len(self._quotes) > MAX_QUOTES:
            del self._quotes[next(iter(self._quotes))]
        return quote

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        """An order without a quote of ours for exactly it has no payload, and never leaves."""
        self._memory.note(request, nonce, self._clock.wire_ns())
        quoted = self._quotes.get(request.quote_id)
        body = b"" if quoted is None else _body(request, quoted)
        return Prepared(
            client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=f"{TAKE} {request.quote_id}"
        )

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        """By rfq id alone."""
        rfq_id = request.venue_order_id or self._memory.order_of(request.client_order_id) or ""
        body = signing.cancel_body(rfq_id) if rfq_id else b""
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=CANCEL)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        path, _, quote_id = prepared.handle.partition(" ")
        refusal = self._refusal(prepared, path, quote_id)
        if refusal:
            outcome.set_result(Unsent(detail=refusal))
            return outcome
        if path == TAKE:
            self._flights.begin(prepared.client_order_id, self._bound_ns(prepared.client_order_id))

        def answered(future: asyncio.Future[LaneResult]) -> None:
            made = self._outcome(prepared, path, future.result())
            if not outcome.done():
                outcome.set_result(made)

        self._web.send(path, prepared.payload).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Writes the body of an order; it is thrown away."""
        signing.take_body(REHEARSAL_QUOTE, Side.BUY, SLIPPAGE_STEP, False)

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        known = self._memory.sent(request.client_order_id) is not None
        super().recall(request, nonce, prepared_wire_ns)
        if not known:
            self._flights.begin(request.client_order_id, self.unknown_bound_ns(request), lost=True)

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns + SETTLE_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """As a JSON number; whether the venue would rather have a string is not recorded [unsure]. It is read back."""
        name = instrument.venue_symbol
        self._order_budget.require(1.0, priority=True)
        body = msgspec.json.encode({"asset": name, "leverage": leverage})
        answers.require_done(await self._web.send(SET_LEVERAGE, body), f"leverage {leverage} of {name}")

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(instrument, client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        return await self._reads.leverage(instrument)

    # ---- private --------------------------------------------------------------------------------------------------

    def _refusal(self, prepared: Prepared, path: str, quote_id: str) -> str:
        """Why nothing leaves; "" = it may. A quote is used up by this, whatever comes of it."""
        if not prepared.payload:
            return (
                "no rfq id is known to cancel by" if path == CANCEL else "no live quote of ours for exactly this order"
            )
        if path == TAKE:
            quoted = self._quotes.get(quote_id)
            if quoted is None:
                return "its quote was accepted before"
            blocked = self._flights.blocked(quoted.instrument.symbol)
            if blocked:
                return blocked
        if self._skew.refusal:
            return self._skew.refusal
        if not self._order_budget.take(1.0, priority=True):
            return "our request budget is used up"
        self._quotes.pop(quote_id, None)
        return ""

    def _bound_ns(self, client_order_id: str) -> int:
        sent = self._memory.sent(client_order_id)
        return (self._clock.wire_ns() if sent is None else sent.expires_wire_ns) + SETTLE_NS

    def _outcome(self, prepared: Prepared, path: str, result: LaneResult) -> Outcome:
        name = prepared.client_order_id
        outcome = answers.take_outcome(result) if path == TAKE else answers.cancel_outcome(result)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.RATE and isinstance(result, HttpReply):
            self._order_budget.pause(answers.wait_s(result), everything=True)
        if path != TAKE:
            return outcome
        if isinstance(outcome, Accepted):
            self._flights.named(name, outcome.venue_order_id)
        elif isinstance(outcome, Unknown):
            self._flights.lost(name)
        else:
            self._flights.ended(name)
        if self._follower is not None:
            self._follower.hint("clearing_event")
        return outcome

    async def _events_url(self) -> str:
        await self._session.ensure()
        return self._settings.ws_url.rstrip("/") + "/events"

    def _on_up(self) -> None:
        if self._stream is not None:
            self._lane.send(self._stream.claims())
            asyncio.get_running_loop().call_later(self._timeout_s, self._require_up, self._stream, self._stream.round)

    def _require_up(self, stream: EventStream, claim_round: int) -> None:
        if stream.round == claim_round and not stream.up.is_set():
            self._lane.reset("the event stream did not take our claims")

    def _on_frame(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.on_frame(data)

    def _on_down(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        """There is no exact source of the venue's time; the Date of its answers must do."""
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())


def _body(request: OrderRequest, quoted: _Quoted) -> bytes:
    """The acceptance; empty where the quote is not one for exactly this order, or lies beyond its limit."""
    instrument, quote = quoted
    if (instrument, quote.side, quote.lots) != (request.instrument, request.side, request.lots):
        return b""
    room = request.side.sign * (instrument.ticks_to_px(request.limit_ticks) - quote.px) / quote.px
    if room < 0:
        return b""
    slippage = min(SLIPPAGE_MAX, room).quantize(SLIPPAGE_STEP, rounding=ROUND_FLOOR)
    return signing.take_body(quote.quote_id, request.side, slippage, request.reduce_only)
