"""Aster: order entry over warm REST connections (the venue offers nothing faster), private stream by listen key.

    order   POST /fapi/v3/order, form body signed as sent, newOrderRespType=RESULT: an IOC answers with its final state
    cancel  DELETE /fapi/v3/order by order id or client id
    stream  POST listenKey -> <ws_url>/ws/<key>; the key is extended every 30 min and made anew with each connection

Everything about the account is signed, reads included, and takes its nonce from the one source of the agent. The order
answer carries no fee: fills come from the stream and userTrades. Orders have no expiry on the wire; what bounds doubt
is the nonce window of 60 s (docs/venues/aster.md 6), most of which is behind a nonce when it leaves (_aster_reads). Account
mode: one-way, single-asset, cross margin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from core.clock import NS_PER_S, NS_PER_US
from core.errors import Malformed, VenueError
from core.numeric import plain
from core.types import Instrument, Side, TimeInForce, Venue
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.nonces import BLOCK_NS
from executor.outcome import Accepted, Outcome, Unknown, Unsent
from executor.signing.aster import Signer
from executor.throttle import Throttle
from executor.venues import _aster_answers as answers
from executor.venues import _aster_rows as rows
from executor.venues._aster_reads import (
    FORM,
    SETTLE_NS,
    TIME_REQUEST,
    Reads,
    pause_of,
)
from executor.venues._aster_stream import PrivateStream
from executor.venues._gateway import VenueGateway
from executor.venues.base import (
    CancelRequest,
    DeadMan,
    DeadManScope,
    Equipment,
    EventSink,
    NotFound,
    OrderRequest,
    Prepared,
    VenueOrder,
)

MAX_SKEW_NS = NS_PER_S
NONCE_UNIT_NS = NS_PER_US
READ_CONNECTIONS = 3
ORDER_CONNECTIONS = 4
MEASURE_S = 30.0
EXTEND_KEY_S = 30 * 60.0
MAX_CONNECTION_AGE_S = 23 * 3600.0
BURN_LOOKUPS_S = (0.0, 2.0)
REHEARSAL_NONCE = 3600 * 1_000_000  # of 1970, however old it is made
ORDER, CANCEL = "order", "cancel"
ORDER_PATH = "/fapi/v3/order"
TIF_WIRE = {TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.POST_ONLY: "GTX"}

_REHEARSAL = OrderRequest(
    client_order_id="0" * 32,
    instrument=Instrument(
        venue=Venue("aster"), symbol="BTC", venue_symbol="BTCUSDT", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
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

    dead_man: DeadMan | None = DeadMan(scope=DeadManScope.SYMBOL, countdown_s=120.0, refresh_s=30.0)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        user = ring.address("ASTER_USER_ADDRESS")
        self._signer = Signer(ring.secret("ASTER_PRIVATE_KEY").reveal(), user=user, mainnet=not settings.testnet)
        super().__init__(
            equipment,
            account_id=user.lower(),
            signer_id=self._signer.address.lower(),
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._listed: dict[str, Instrument] = {}
        self._read_lane, self._order_lane = (
            # The venue is back when a connection reopens: nothing else waits out its pause then.
            self._http(size, on_reply=self._on_reply, keep_alive=TIME_REQUEST, on_open=self.wake)
            for size in (READ_CONNECTIONS, ORDER_CONNECTIONS)
        )
        self._reads = Reads(
            self._read_lane,
            self._throttle,
            self._signer,
            self.nonces,
            self._memory,
            self._skew,
            lambda: self._listed,
            lambda: self._fees,
            self._note_unlisted,
            self._symbols,
            self._clock,
            self._log,
        )
        self._lane = self._ws(
            url=self._stream_url,
            on_up=self._on_up,
            on_frame=self._on_frame,
            on_down=self._on_down,
            max_age_s=MAX_CONNECTION_AGE_S,
        )
        self._stream: PrivateStream | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        if self.signer_id == self.account_id:
            self._log.warning("signing_with_main_wallet", venue=self.venue, advice="create an API wallet and use that")
        self._stream = PrivateStream(
            self._memory,
            lambda: self._listed,
            lambda: self._fees,
            self._reads.funding_since,
            self._clock.calendar_ns,
            sink,
            self._log,
        )
        try:
            await self._read_lane.start()
            await self._reads.measure_clock()
            await self._reads.settle_age()
            await self._reads.require_known_mode()
            await self.refresh()
            await self._order_lane.start()
            await self._lane.start()
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))
        self._background.spawn(self._extend_key())

    async def close(self) -> None:
        await self._background.close()
        await self._lane.close()
        if self._stream is not None:
            await self._stream.close()
        await self._order_lane.close()
        await self._read_lane.close()

    def wake(self) -> None:
        self._order_lane.wake()
        self._read_lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        """Own fees are per symbol; the rate of the first symbol of this run stands for all."""
        found = await self._reads.instruments()
        chosen = [each for each in found if not self._symbols or each.symbol in self._symbols] or found
        self._fees = await self._reads.fees(chosen[0].venue_symbol)
        self._by_symbol = {each.symbol: each for each in found}
        self._listed = {each.venue_symbol: each for each in found}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._throttle.ratio

    @property
    def entry_ready(self) -> bool:
        return self._order_lane.warm

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        self._memory.note(request, nonce, self._clock.wire_ns())
        return Prepared(
            client_order_id=request.client_order_id, nonce=nonce, payload=self._sign(request, nonce), handle=ORDER
        )

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        if request.venue_order_id:
            by = ("orderId", request.venue_order_id)
        else:
            by = ("origClientOrderId", request.client_order_id)
        body = self._signer.signed((("symbol", request.instrument.venue_symbol), by), self._reads.on_the_wire(nonce))
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=CANCEL)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        refusal = self._skew.refusal or ("" if self._throttle.take(priority=True) else "our request budget is used up")
        if refusal:
            outcome.set_result(Unsent(detail=refusal))
            return outcome

        def answered(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(prepared, future.result()))

        method = "DELETE" if prepared.handle == CANCEL else "POST"
        self._order_lane.send(HttpRequest(method, ORDER_PATH, prepared.payload, FORM)).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order with a nonce of 1970; it is thrown away."""
        self._sign(_REHEARSAL, REHEARSAL_NONCE)

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool]:
        """The venue calls its noop best effort, so taking it proves nothing by itself: the order must also be unknown to
        the venue right after it and once more two seconds later. Only orders of this process can be burned."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._background.spawn(self._burn(nonce, taken))
        return taken

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """What nonce an earlier process put on the wire is known only as long as old ones are taken."""
        if self._reads.ages_nonces:
            super().recall(request, nonce, prepared_wire_ns)

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        """The nonce leaves the venue's window; a restarted source may have signed with one up to a block ahead."""
        sent = self._memory.sent(request.client_order_id)
        if sent is not None:
            return self._reads.closes_ns(sent.nonce) + max(0, -self._skew.offset_ns)
        return request.expires_wire_ns + BLOCK_NS + SETTLE_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """Sets cross margin too where the symbol is isolated: all margin figures here mean cross."""
        symbol = ("symbol", instrument.venue_symbol)
        if (await self._reads.leverage(instrument)).marginType != "cross":
            await self._reads.act("POST", "/fapi/v3/marginType", (symbol, ("marginType", "CROSSED")))
        data = await self._reads.act("POST", "/fapi/v3/leverage", (symbol, ("leverage", str(leverage))), nonce)
        confirmed = rows.decode(data, rows.LeverageRow, "leverage").leverage
        if confirmed != leverage:
            raise Malformed(f"aster leverage of {instrument.venue_symbol}: asked {leverage}, confirmed {confirmed}")

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        """`countdownCancelAll`, one per symbol (docs/venues/aster.md 7)."""
        if self.dead_man is not None:
            await self._count_down(instruments, int(self.dead_man.countdown_s * 1000))

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._count_down(instruments, 0)

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(instrument, client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        return (await self._reads.leverage(instrument)).leverage

    # ---- private --------------------------------------------------------------------------------------------------

    async def _count_down(self, instruments: Sequence[Instrument], countdown_ms: int) -> None:
        for instrument in instruments:
            params = (("symbol", instrument.venue_symbol), ("countdownTime", str(countdown_ms)))
            data = await self._reads.act("POST", "/fapi/v3/countdownCancelAll", params)
            confirmed = rows.decode(data, rows.CountdownRow, "countdownCancelAll")
            if (confirmed.symbol, confirmed.countdownTime) != (instrument.venue_symbol, countdown_ms):
                raise Malformed(f"aster countdown of {instrument.venue_symbol}: asked {countdown_ms}, said {confirmed}")

    def _sign(self, request: OrderRequest, nonce: int) -> bytes:
        instrument = request.instrument
        params = [
            ("symbol", instrument.venue_symbol),
            ("side", "BUY" if request.side is Side.BUY else "SELL"),
            ("type", "LIMIT"),
            ("timeInForce", TIF_WIRE[request.time_in_force]),
            ("quantity", plain(request.lots * instrument.lot_size)),
            ("price", plain(instrument.ticks_to_px(request.limit_ticks))),
        ]
        if request.reduce_only:
            params.append(("reduceOnly", "true"))
        params += [("newClientOrderId", request.client_order_id), ("newOrderRespType", "RESULT")]
        return self._signer.signed(params, self._reads.on_the_wire(nonce))

    def _outcome(self, prepared: Prepared, result: HttpReply | Unsent | Unknown) -> Outcome:
        order = self._memory.sent(prepared.client_order_id)
        if prepared.handle == CANCEL:
            return answers.cancel_outcome(result, order)
        if order is None:
            return Unknown(detail="the order is no longer remembered")
        outcome = answers.order_outcome(result, order)
        if isinstance(outcome, Accepted):
            self._memory.bind(outcome.venue_order_id, prepared.client_order_id)
        return outcome

    async def _burn(self, nonce: int, taken: asyncio.Future[bool]) -> None:
        sent = self._memory.sent_with(nonce)
        result = False
        try:
            if sent is not None:
                await self._reads.act("POST", "/fapi/v3/noop", (), nonce)
                found: list[VenueOrder | NotFound] = []
                for pause_s in BURN_LOOKUPS_S:
                    await asyncio.sleep(pause_s)
                    found.append(await self._reads.lookup(sent.instrument, sent.client_order_id))
                result = all(isinstance(each, NotFound) for each in found)
        except VenueError as error:
            self._log.info("nonce_not_burned", venue=self.venue, detail=str(error))
        finally:
            if not taken.done():
                taken.set_result(result)

    async def _stream_url(self) -> str:
        return f"{self._settings.ws_url.rstrip('/')}/ws/{await self._reads.listen_key()}"

    def _on_up(self) -> None:
        if self._stream is not None:
            self._stream.on_up()

    def _on_frame(self, data: bytes) -> None:
        if self._stream is not None and not self._stream.on_frame(data):
            self._lane.reset("the listen key has expired")

    def _on_down(self, reason: str) -> None:
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status in answers.RATE_STATUSES:
            self._throttle.pause(pause_of(reply), everything=True)

    async def _extend_key(self) -> None:
        """A key that cannot be extended is made anew with a fresh connection."""
        while True:
            await asyncio.sleep(EXTEND_KEY_S)
            try:
                await self._reads.extend_listen_key()
            except VenueError as error:
                self._log.warning("listen_key_not_extended", venue=self.venue, detail=str(error))
                self._lane.reset("the listen key could not be extended")
