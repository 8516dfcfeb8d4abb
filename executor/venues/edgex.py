"""EdgeX V2: order entry over warm REST connections (the venue has no other), private stream over a signed socket.

    order   POST createOrder: HMAC headers and an EIP-712 signature; answers with an order id and nothing else
    cancel  POST cancelOrderById | cancelOrderByClientOrderId: one word per order
    stream  /api/v1/private/ws, authenticated by the same headers; a snapshot, then events

An accepted answer is not yet an accepted order (Traits.late_refusals): margin, reduce-only and post-only are refused later,
as an order that ends CANCELED. So every order that left is watched for: by the stream, and where that is silent by lookups
(settings verify_*). There is no dead-man switch; a resting order therefore carries an end of its own (REST_FOR_MS).

What bounds doubt is the request's timestamp, which the venue refuses beyond 60 s; so an order is sent with one that is most
of that old already (see TIMESTAMP_AGE_NS). The expiry in the order's signature is set later than that on purpose (see
SIGNED_AFTER_MS). Account mode: one-way, cross margin; the venue gives no way to read the
margin mode that is documented, so it is the operator's to leave at cross.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import msgspec

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import NotSent, VenueError
from core.numeric import plain
from core.specs import edgex as specs
from core.types import Instrument, Side, TimeInForce, Venue
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing.edgex import OrderTicket, Signer
from executor.throttle import Throttle
from executor.venues import _edgex_answers as answers
from executor.venues._edgex_reads import (
    API,
    JSON,
    SETTLE_NS,
    TIME_REQUEST,
    TIMESTAMP_WINDOW_NS,
    Reads,
    pause_of,
)
from executor.venues._edgex_stream import PrivateStream
from executor.venues._gateway import VenueGateway
from executor.venues._verify import Verifier
from executor.venues.base import (
    CancelRequest,
    Equipment,
    EventSink,
    FeeRates,
    NotFound,
    OrderRequest,
    Prepared,
    Traits,
    VenueOrder,
)

MAX_SKEW_NS = 2 * NS_PER_S  # a timestamp may be 60 s off; expiries and event times should not be
NONCE_UNIT_NS = NS_PER_MS  # the venue derives an order's nonce from its client id: ours only tell orders apart
READ_CONNECTIONS = 3
ORDER_CONNECTIONS = 4
ORDER_WEIGHT = 2  # of the request budget: half as many orders as calls, as the page plans
RENEW_EVERY_NS = 60 * NS_PER_S
CREATE_PATH = f"{API}private/order/createOrder"
PRIVATE_WS = "/api/v1/private/ws"
ORDER, CANCEL = "order", "cancel"
TIF_WIRE = {
    TimeInForce.GTC: "GOOD_TIL_CANCEL",
    TimeInForce.IOC: "IMMEDIATE_OR_CANCEL",
    TimeInForce.POST_ONLY: "POST_ONLY",
}

TIMESTAMP_AGE_NS = 50 * NS_PER_S
"""How old an order's timestamp is when it is signed. The venue takes timestamps of up to 60 s before its own clock, so the
request of an order whose answer was lost can land for ten seconds more, not for a minute. Whether the venue judges as its
documents say is asked by a read at start; should it refuse an order for it later (SIGNATURE_ERROR: nothing happened),
timestamps are fresh from then on."""

SIGNED_AFTER_MS = 10 * 60 * 1000
"""How long an IOC's signature outlives its request [unsure]. The chain takes a match a moment after it is made, and what it
does with a signature that ran out in between is not documented: a fill that the chain refuses is worse than a long expiry,
which cannot bring the order back, as the request that carries it is refused after 60 s."""

REST_FOR_MS = 3600 * 1000
"""The end of a resting order, in the place of a dead-man switch: longer than any of ours rests."""

_REHEARSAL = OrderRequest(
    client_order_id="0" * 32,
    instrument=Instrument(
        venue=Venue("edgex"),
        symbol="BTC",
        venue_symbol="BTCUSDC",
        venue_index=1,
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
    ),
    side=Side.BUY,
    lots=1,
    limit_ticks=1,
    time_in_force=TimeInForce.IOC,
    reduce_only=True,
    expires_wire_ns=1,
)
_REHEARSAL_TERMS = specs.SigningTerms(
    contract_id=1, resolution=10**10, coin_id=1000, coin_resolution=10**6, fee_rate=Decimal("0.00045")
)


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    traits = Traits(late_refusals=True)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        account_id = ring.address("EDGEX_ACCOUNT_ID")
        self._signer = Signer(
            ring.secret("EDGEX_PRIVATE_KEY").reveal(),
            account_id=account_id,
            api_key=ring.secret("EDGEX_API_KEY").reveal(),
            passphrase=ring.secret("EDGEX_API_PASSPHRASE").reveal(),
            secret=ring.secret("EDGEX_API_SECRET").reveal(),
        )
        super().__init__(
            equipment,
            account_id=account_id,
            signer_id=self._signer.address.lower(),
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._catalogue: specs.Catalogue | None = None
        self._listed: dict[str, Instrument] = {}
        self._age_ns = 0  # until the venue has shown that it takes old timestamps
        self._renewed_ns = -RENEW_EVERY_NS
        self._read_lane, self._order_lane = (
            # The venue is back when a connection reopens: nothing else waits out its pause then.
            self._http(size, on_reply=self._on_reply, keep_alive=TIME_REQUEST, on_open=self.wake)
            for size in (READ_CONNECTIONS, ORDER_CONNECTIONS)
        )
        self._reads = Reads(
            self._read_lane,
            self._throttle,
            self._signer,
            self._memory,
            self._skew,
            self._known,
            lambda: self._listed,
            self._note_unlisted,
            self._doubt_signature,
            self._clock,
            self._log,
        )
        self._handshake = ("", 0)  # signature and timestamp; the keys beside them stay in the signer
        self._lane = self._ws(
            url=self._stream_url,
            headers=lambda: self._signer.headers(*self._handshake),
            on_up=lambda: None,  # up is what the snapshot says
            on_frame=self._on_frame,
            on_down=self._on_down,
        )
        self._stream: PrivateStream | None = None
        self._verifier: Verifier | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        settings = self._settings
        verifier = Verifier(
            self._lookup_sent, settings.verify_retries, settings.verify_delay_s, self.venue, sink, self._log
        )
        self._verifier = verifier
        self._stream = PrivateStream(
            self._memory,
            lambda: self._listed,
            self._reads.learn_owners,
            self._answer_stream,
            verifier.heard,
            sink,
            self._log,
        )
        try:
            await self._read_lane.start()
            await self._reads.measure_clock()
            await self.refresh()
            self._age_ns = TIMESTAMP_AGE_NS if await self._reads.takes_aged(TIMESTAMP_AGE_NS) else 0
            await self._order_lane.start()
            await self._lane.start()
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))

    async def close(self) -> None:
        await self._background.close()
        await self._lane.close()
        if self._verifier is not None:
            await self._verifier.close()
        if self._stream is not None:
            await self._stream.close()
        await self._order_lane.close()
        await self._read_lane.close()

    def wake(self) -> None:
        self._order_lane.wake()
        self._read_lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        """Own fees are per contract; the rate of the first symbol of this run stands for all. A contract whose signing
        scale the venue does not tell cannot be traded, and counts as delisted."""
        catalogue = await self._reads.metadata()
        try:
            self._signer.use_domain(catalogue.chain_id, catalogue.contract_address)
        except ValueError as error:
            raise VenueError(f"edgex getMetaData: no signing domain ({error})") from error
        self._catalogue = catalogue
        found = [each if each.venue_index in catalogue.terms else _closed(each) for each in catalogue.instruments]
        chosen = [each for each in found if not self._symbols or each.symbol in self._symbols] or found
        default = FeeRates(maker=specs.SPEC.maker_fee, taker=specs.SPEC.taker_fee)
        self._fees = await self._reads.fees(chosen[0], default)
        self._by_symbol = {each.symbol: each for each in found}
        self._listed = {str(each.venue_index): each for each in found}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._throttle.ratio

    @property
    def entry_ready(self) -> bool:
        return self._order_lane.warm

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(ORDER_WEIGHT, priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        terms = self._known().terms.get(request.instrument.venue_index)
        if terms is None:
            raise NotSent(f"edgex: no signing scale of {request.instrument.venue_symbol} is known")
        signed_ns = self._clock.wire_ns() - self._age_ns
        self._memory.note(request, nonce, signed_ns)
        body, handle = self._sign(request, terms, signed_ns)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=f"{ORDER} {handle}")

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        by_id = request.venue_order_id
        return Prepared(
            client_order_id=request.client_order_id,
            nonce=nonce,
            payload=(by_id or request.client_order_id).encode(),
            handle=f"{CANCEL} {'orderIdList' if by_id else 'clientOrderIdList'}",
        )

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        kind, _, rest = prepared.handle.partition(" ")
        weight = ORDER_WEIGHT if kind == ORDER else 1
        refusal = self._skew.refusal or (
            "" if self._throttle.take(weight, priority=True) else "our request budget is used up"
        )
        if refusal:
            outcome.set_result(Unsent(detail=refusal))
            return outcome

        def answered(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(kind, prepared, future.result()))

        sent = self._memory.sent(prepared.client_order_id)
        if kind == ORDER and sent is not None and self._verifier is not None:
            self._verifier.watch(sent)
        self._order_lane.send(self._request(kind, rest, prepared)).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order of 1970; it is thrown away. Nothing can be signed before the first catalogue."""
        if self._catalogue is not None:
            self._sign(_REHEARSAL, _REHEARSAL_TERMS, NS_PER_S)

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        """The request's timestamp leaves the venue's window. The clocks may be apart by what is allowed; an earlier process
        may have signed with a fresh timestamp."""
        sent = self._memory.sent(request.client_order_id)
        if sent is not None:
            return sent.prepared_wire_ns + TIMESTAMP_WINDOW_NS + SETTLE_NS + MAX_SKEW_NS
        return request.expires_wire_ns + TIMESTAMP_AGE_NS + SETTLE_NS + MAX_SKEW_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        await self._reads.set_leverage(instrument, leverage)

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(instrument, client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        return await self._reads.leverage(instrument)

    # ---- private --------------------------------------------------------------------------------------------------

    def _sign(self, request: OrderRequest, terms: specs.SigningTerms, signed_ns: int) -> tuple[bytes, str]:
        """The body, and timestamp and HMAC of the request that carries it."""
        instrument, timestamp_ms = request.instrument, signed_ns // NS_PER_MS
        now_ms = (signed_ns + self._age_ns) // NS_PER_MS
        is_ioc = request.time_in_force is TimeInForce.IOC
        ticket = OrderTicket(
            price=plain(instrument.ticks_to_px(request.limit_ticks)),
            size=plain(request.lots * instrument.lot_size),
            is_buy=request.side is Side.BUY,
            time_in_force=TIF_WIRE[request.time_in_force],
            reduce_only=request.reduce_only,
            client_order_id=request.client_order_id,
            expire_ms=(now_ms + (SIGNED_AFTER_MS if is_ioc else REST_FOR_MS)) // 1000 * 1000,  # signed in seconds
        )
        signed = self._signer.order(ticket, terms)
        signature = self._signer.hmac_hex("POST", CREATE_PATH, signed.content, timestamp_ms)
        return signed.body, f"{timestamp_ms} {signature}"

    def _request(self, kind: str, rest: str, prepared: Prepared) -> HttpRequest:
        if kind == ORDER:
            timestamp, _, signature = rest.partition(" ")
            headers = self._signer.headers(signature, int(timestamp))
            return HttpRequest("POST", CREATE_PATH, prepared.payload, JSON, headers)
        path = "order/cancelOrderById" if rest == "orderIdList" else "order/cancelOrderByClientOrderId"
        return self._reads.post(path, {rest: [prepared.payload.decode()]}, self._clock.wire_ns() // NS_PER_MS)

    def _outcome(self, kind: str, prepared: Prepared, result: HttpReply | Unsent | Unknown) -> Outcome:
        if kind == CANCEL:
            outcome = answers.cancel_outcome(result, prepared.payload.decode())
        else:
            outcome = answers.order_outcome(result)
            if isinstance(outcome, Accepted):
                self._memory.bind(outcome.venue_order_id, prepared.client_order_id)
            elif not isinstance(outcome, Unknown) and self._verifier is not None:
                self._verifier.refused(prepared.client_order_id)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.AUTH:
            self._doubt_signature()
            if kind == ORDER and self._age_ns:
                self._age_ns = 0
                self._log.warning("timestamps_fresh", venue=self.venue, detail="an order's aged timestamp was refused")
        return outcome

    async def _lookup_sent(self, client_order_id: str) -> VenueOrder | NotFound:
        sent = self._memory.sent(client_order_id)
        return (
            NotFound(definitive=False) if sent is None else await self._reads.lookup(sent.instrument, client_order_id)
        )

    def _known(self) -> specs.Catalogue:
        if self._catalogue is None:
            raise NotSent("edgex: the catalogue has not been read")
        return self._catalogue

    def _doubt_signature(self) -> None:
        """The venue refused a signature: our clock or the signing domain may be off. Looked at once a minute at most."""
        now_ns = self._clock.mono_ns()
        if now_ns - self._renewed_ns >= RENEW_EVERY_NS:
            self._renewed_ns = now_ns
            self._background.spawn(self._renew())

    async def _renew(self) -> None:
        try:
            await self._reads.measure_clock()
            await self.refresh()
        except VenueError as error:
            self._log.warning("signature_not_renewed", venue=self.venue, detail=str(error))

    async def _stream_url(self) -> str:
        timestamp_ms = self._clock.wire_ns() // NS_PER_MS
        query = f"accountId={self.account_id}&timestamp={timestamp_ms}"
        self._handshake = self._signer.hmac_hex("GET", PRIVATE_WS, query, timestamp_ms), timestamp_ms
        return f"{self._settings.ws_url.rstrip('/')}{PRIVATE_WS}?{query}"

    def _answer_stream(self, frame: bytes) -> None:
        """A pong that cannot be written is no matter: silence will tell."""
        try:
            self._lane.send(frame)
        except NotSent as error:
            self._log.debug("pong_not_sent", venue=self.venue, detail=str(error))

    def _on_frame(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.on_frame(data)

    def _on_down(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status == answers.RATE_STATUS:
            self._throttle.pause(pause_of(reply), everything=True)


def _closed(instrument: Instrument) -> Instrument:
    return msgspec.structs.replace(instrument, delisted=True)
