"""GRVT: signed orders and private streams on one WebSocket that stands on a session, REST beside it (docs/venues/grvt.md).

    session  POST edge/auth/api_key/login -> cookie; renewed before it ends, and a fresh socket follows (_grvt_session)
    order    {"method":"v1/create_order"} on the warm socket, else POST trades/full/v1/create_order       limit only
    answer   PENDING: received, no id, no fill. The speed bump holds takers back 25 ms; then the streams tell how it ended,
             so the outcome of an order is Accepted(ACCEPTED). What nobody reports within `verify_delay_s` is looked up

Three hosts: login, trading, market data. What was written to the socket is never sent again by REST.

Doubt. A signature names its end: an IOC order lives 4 s, a resting one a minute, which is its safety net besides the switch.
Past that, what is neither among the orders nor in their history never was. Sooner than that `burn_nonce` settles an IOC
order: a cancel by client number waits 5 s at the venue and kills what still arrives; once it is received, an order that a
second later is unknown can never execute. Nonces only tell equal orders apart; ours are the clock's milliseconds in 32 bits,
which come round after seven weeks, longer than a signature may live.

Cancels carry no signature: the session's cookie can cancel everything, and is guarded like a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import Malformed, NotSent, VenueError
from core.specs import grvt as specs
from core.types import Instrument, Side, TimeInForce
from executor.http_reply import HttpReply
from executor.outcome import Outcome, RejectCode, Rejected, Unsent
from executor.signing.grvt import MarginType, Signer
from executor.throttle import Throttle
from executor.venues import _grvt_answers as answers
from executor.venues import _grvt_rows as rows
from executor.venues import _grvt_wire as wire
from executor.venues._client_numbers import ClientNumbers, Layout
from executor.venues._gateway import VenueGateway
from executor.venues._grvt_entry import Entry
from executor.venues._grvt_reads import MAX_SKEW_NS, RATE_PAUSE_S, SETTLE_NS, TIME_REQUEST, WEIGHTS, Reads
from executor.venues._grvt_session import Sessions
from executor.venues._grvt_stream import PrivateStream, decode_frame
from executor.venues._verify import Verifier
from executor.venues.base import (
    CancelRequest,
    DeadMan,
    DeadManScope,
    Equipment,
    EventSink,
    NotFound,
    OrderRequest,
    Prepared,
    Traits,
    VenueOrder,
)
from executor.ws_lane import Headers

NONCE_UNIT_NS = NS_PER_MS
NONCE_BITS = 32
NUMBERS = Layout(mark=8, epoch=20, sequence=28, leg=8)
"""64 bits, the topmost set: the upper half of the client ids is left to machines."""
MARKET_CONNECTIONS, READ_CONNECTIONS, ORDER_CONNECTIONS = 1, 2, 2
SETTING_LIFE_NS = 10 * NS_PER_S
SWITCH_S, REFRESH_S = 30, 10.0  # the venue's bounds are 2 s and 300 s, and each call is dear
BURN_LOOKUP_S = 1.0

_REHEARSAL = OrderRequest(
    client_order_id="7a6d" + "0" * 28,
    instrument=Instrument(
        venue=specs.VENUE,
        symbol="BTC",
        venue_symbol="BTC_USDT_Perp",
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


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    traits = Traits(late_refusals=True)
    dead_man = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=SWITCH_S, refresh_s=REFRESH_S)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        own = settings.own(specs.Settings)
        sub_account = int(ring.address("GRVT_SUB_ACCOUNT_ID"))
        self._signer = Signer(
            ring.secret("GRVT_PRIVATE_KEY").reveal(), sub_account_id=sub_account, mainnet=not settings.testnet
        )
        super().__init__(
            equipment,
            account_id=str(sub_account),
            signer_id=self._signer.address.lower(),
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._numbers = ClientNumbers(self.venue, NUMBERS, self.account_id, equipment.epoch, equipment.recorded())
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._by_name: dict[str, Instrument] = {}
        self._signed_lots: dict[str, int] = {}
        trades = own.trade_rest_url
        self._market_lane = self._http(MARKET_CONNECTIONS, on_reply=self._on_reply, keep_alive=TIME_REQUEST)
        self._read_lane = self._http(READ_CONNECTIONS, on_reply=self._on_reply, url=trades)
        self._order_lane = self._http(ORDER_CONNECTIONS, on_reply=self._on_reply, url=trades, on_open=self.wake)
        self._login_lane = self._http(1, on_reply=self._on_reply, url=own.login_url)
        self._sessions = Sessions(
            self._login_lane, ring.secret("GRVT_API_KEY").reveal, self._on_renewed, self._clock, self._log
        )
        self._reads = Reads(
            self._market_lane,
            self._read_lane,
            self._sessions,
            self._throttle,
            self.account_id,
            self._memory,
            self._numbers,
            self._skew,
            lambda: self._by_name,
            self._note_unlisted,
            self._clock,
            self._log,
        )
        self._stream_url = (own.trade_ws_url or settings.ws_url).rstrip("/") + "/ws/full"
        self._socket_headers: Headers = ()
        self._is_opening = False  # a handshake was begun and nothing came of it yet
        self._lane = self._ws(
            url=self._next_url,
            headers=lambda: self._socket_headers,
            on_up=self._on_up,
            on_frame=self._on_frame,
            on_down=self._on_down,
        )
        self._entry = Entry(
            self._lane,
            self._order_lane,
            settings.order_entry == "ws",
            self._sessions,
            self._throttle,
            self._skew,
            self._timeout_s,
            self._log,
        )
        self._stream: PrivateStream | None = None
        self._verifier: Verifier | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        settings = self._settings
        verifier = Verifier(
            self._reads.lookup, settings.verify_retries, settings.verify_delay_s, self.venue, sink, self._log
        )
        stream = PrivateStream(
            self.account_id,
            self._memory,
            lambda: self._by_name,
            self._numbers.name,
            verifier.heard,
            self._lane.reset,
            sink,
            self._log,
        )
        self._verifier, self._stream = verifier, stream
        try:
            for lane in (self._login_lane, self._market_lane, self._read_lane):
                await lane.start()
            await self._reads.measure_clock()
            await self._sessions.login()
            await self._reads.require_account()
            await self.refresh()
            await self._order_lane.start()
            await self._lane.start()
            async with asyncio.timeout(self._timeout_s):
                await stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the private streams were not acknowledged") from None
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))
        self._background.spawn(self._sessions.keep())

    async def close(self) -> None:
        await self._background.close()
        if self._verifier is not None:
            await self._verifier.close()
        await self._lane.close()
        self._entry.on_down("the gateway is closing")
        for lane in (self._order_lane, self._read_lane, self._market_lane, self._login_lane):
            await lane.close()

    def wake(self) -> None:
        for lane in (self._login_lane, self._market_lane, self._read_lane, self._order_lane):
            lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        fees = await self._reads.fees()
        found = await self._reads.catalogue(self._symbols)
        listed = [each.instrument for each in found]
        self._fees = fees
        self._by_symbol = {each.symbol: each for each in listed}
        self._by_name = {each.venue_symbol: each for each in listed}
        self._signed_lots = {each.instrument.venue_symbol: each.signed_lot for each in found}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._throttle.ratio

    @property
    def entry_ready(self) -> bool:
        return self._entry.warm

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(WEIGHTS[wire.CREATE], priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        name = request.instrument.venue_symbol
        signed_lot = self._signed_lots.get(name)
        if signed_lot is None:
            raise NotSent(f"{self.venue}: {name} is no longer in the catalogue")
        body = self._sign(request, nonce, self._numbers.of(request.client_order_id), signed_lot)
        self._memory.note(request, nonce, self._clock.wire_ns())
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=wire.CREATE)

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        """By order id where the venue told it; else by client number, which also waits for an order that is on its way."""
        order_id = request.venue_order_id or self._memory.order_of(request.client_order_id) or ""
        if order_id:
            body = wire.cancel_body(self._signer.sub_account_id, order_id=order_id)
        else:
            body = self._cancel_by_number(request.client_order_id)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=wire.CANCEL)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answered(future: asyncio.Future[answers.Answer]) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(prepared, future.result()))

        sent = self._memory.sent(prepared.client_order_id) if prepared.handle == wire.CREATE else None
        if sent is not None and self._verifier is not None:
            self._verifier.watch(sent)
        self._entry.act(prepared.handle, prepared.payload).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order that expired in 1970; it is thrown away."""
        self._sign(_REHEARSAL, 1, 1 << 63, 1)

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool]:
        """By a waiting cancel, see the module text. Of resting orders, whose signature outlives it, it proves nothing."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._background.spawn(self._burn(nonce, taken))
        return taken

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return wire.expiration_ns(request) + MAX_SKEW_NS + SETTLE_NS

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._switch(SWITCH_S * 1000)

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._switch(0)

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """Where the margin is cross already, by the older unsigned call, which is known to work; else by the signed one, which
        is the only one that changes the margin type (and has not been seen on the live venue)."""
        name = instrument.venue_symbol
        if (await self._reads.leverage(instrument)).cross:
            wanted = {"sub_account_id": self.account_id, "instrument": name, "leverage": str(leverage)}
            data = await self._reads.private("set_initial_leverage", wanted, priority=True)
        else:
            body = wire.position_config_body(
                self._signer,
                instrument=name,
                asset_id=instrument.venue_index,
                margin_type=MarginType.CROSS,
                leverage=leverage,
                nonce=nonce % (1 << NONCE_BITS),
                expiration_ns=self._clock.wire_ns() + SETTING_LIFE_NS,
            )
            data = await self._reads.send("set_position_config", body, priority=True)
        told = rows.decode(data, rows.Confirmed, "leverage")
        if not (told.success or told.ack):
            raise Malformed(f"{self.venue} leverage {leverage} of {name}: the venue does not confirm it")

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        """0 where the margin is isolated: setting it makes it cross."""
        found = await self._reads.leverage(instrument)
        return found.times if found.cross else 0

    # ---- private --------------------------------------------------------------------------------------------------

    def _sign(self, request: OrderRequest, nonce: int, number: int, signed_lot: int) -> bytes:
        instrument = request.instrument
        terms = wire.OrderTerms(
            instrument=instrument.venue_symbol,
            asset_id=instrument.venue_index,
            size=request.lots * instrument.lot_size,
            contract_size=request.lots * signed_lot,
            limit_price=instrument.ticks_to_px(request.limit_ticks),
            side=request.side,
            time_in_force=wire.TIF_WIRE[request.time_in_force],
            post_only=request.time_in_force is TimeInForce.POST_ONLY,
            reduce_only=request.reduce_only,
            client_order_id=number,
        )
        return wire.order_body(self._signer, terms, nonce % (1 << NONCE_BITS), wire.expiration_ns(request))

    def _cancel_by_number(self, client_order_id: str) -> bytes:
        return wire.cancel_body(
            self._signer.sub_account_id,
            client_order_id=self._numbers.of(client_order_id),
            time_to_live_ms=wire.CANCEL_TTL_MS,
        )

    def _outcome(self, prepared: Prepared, answer: answers.Answer) -> Outcome:
        if prepared.handle == wire.CANCEL:
            return answers.cancel_outcome(answer)
        outcome = answers.order_outcome(answer, self._numbers.of(prepared.client_order_id))
        if isinstance(outcome, Rejected | Unsent) and self._verifier is not None:
            self._verifier.refused(prepared.client_order_id)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.RATE:
            self._throttle.pause(RATE_PAUSE_S, everything=False)
        return outcome

    async def _burn(self, nonce: int, taken: asyncio.Future[bool]) -> None:
        sent = self._memory.sent_with(nonce)
        result = False
        try:
            if sent is not None and sent.time_in_force is TimeInForce.IOC:
                answer = await self._entry.act(wire.CANCEL, self._cancel_by_number(sent.client_order_id))
                if isinstance(answer, bytes):
                    await asyncio.sleep(BURN_LOOKUP_S)
                    result = isinstance(await self._reads.lookup(sent.client_order_id), NotFound)
        except VenueError as error:
            self._log.info("nonce_not_burned", venue=self.venue, detail=str(error))
        finally:
            if not taken.done():
                taken.set_result(result)

    async def _switch(self, countdown_ms: int) -> None:
        told = {"sub_account_id": self.account_id, "countdown_time": str(countdown_ms)}
        await self._reads.private("cancel_on_disconnect", told, priority=True)

    async def _next_url(self) -> str:
        """Before every handshake. One that led to nothing may have been refused for its session: then there is a new one."""
        if self._is_opening:
            await self._sessions.renewed(self._socket_headers)
        self._is_opening = True
        self._socket_headers = self._sessions.headers
        return self._stream_url

    def _on_up(self) -> None:
        self._is_opening = False
        if self._stream is not None:
            for text in self._stream.subscriptions():
                self._lane.send(text)

    def _on_frame(self, data: bytes) -> None:
        try:
            frame = decode_frame(data)
        except Malformed as error:
            self._log.warning("ws_frame_malformed", venue=self.venue, detail=str(error))
            return
        if self._stream is None or not (frame.stream or frame.jsonrpc):
            return
        if frame.error is not None and frame.error.code == answers.SESSION_CODE:
            self._sessions.refused(self._socket_headers)
        if frame.stream:
            self._stream.on_frame(frame)
        elif frame.method == "subscribe":
            self._stream.on_answer(frame)
        else:
            self._entry.on_answer(answers.Rpc(frame.id, frame.method, frame.result, frame.error))

    def _on_down(self, reason: str) -> None:
        self._entry.on_down(reason)
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status == answers.RATE_STATUS:
            self._throttle.pause(RATE_PAUSE_S, everything=False)
        elif reply.status == 401 and answers.error_of(reply) == answers.SESSION_CODE:
            self._sessions.refused(self._sessions.headers)

    def _on_renewed(self) -> None:
        """The socket still stands on the former session: it is opened anew, once nothing is in flight on it."""
        self._background.spawn(self._renew_socket())

    async def _renew_socket(self) -> None:
        await self._entry.drained()
        if self._lane.warm and self._socket_headers != self._sessions.headers:
            self._lane.reset("the session was renewed")
