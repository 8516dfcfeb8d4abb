"""Pacifica: signed operations and private channels on one WebSocket, REST beside it (docs/venues/pacifica.md).

    order   {"id": <uuid>, "params": {"create_order": <signed body>}}   on the warm socket, else POST /orders/create
    answer  code 200 with an order id: taken, never filled. Takers are held back 200 ms before matching; then the channels
            tell how it ended, and so the outcome of an order is Accepted(ACCEPTED). What nobody reports within
            `verify_delay_s` is looked up, `verify_retries` times: the venue's streams have been seen to be late.

An order leaves on the socket that is known to deliver its fills; when it is not warm, orders go by REST. What was written to
the socket is never sent again.

There are no nonces and no no-op. What bounds doubt is the message's own time: `timestamp + expiry_window` is the order's
expiry, and SETTLE_NS later an order without trace can no longer execute. How the venue takes a timestamp from the future is
not known, so messages are stamped LEEWAY_MS in the past (and their window is longer by as much), which is as far as the
clocks may differ.

Credits are shared by everything: orders, cancels and reads draw on one budget, and every answer over the socket tells what
is left of it. The venue has no dead-man switch.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import NotSent, VenueError
from core.numeric import plain
from core.types import Instrument, Side, TimeInForce, Venue
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing import pacifica as signing
from executor.throttle import Throttle
from executor.venues import _pacifica_answers as answers
from executor.venues._gateway import VenueGateway
from executor.venues._pacifica_posts import Posts
from executor.venues._pacifica_reads import RATE_PAUSE_S, SETTLE_NS, Reads
from executor.venues._pacifica_rows import wire_id
from executor.venues._pacifica_stream import Budget, PrivateStream, decode_frame
from executor.venues._verify import Verifier
from executor.venues.base import (
    CancelRequest,
    Equipment,
    EventSink,
    NotFound,
    OrderRequest,
    Prepared,
    Traits,
    VenueOrder,
)

LEEWAY_MS = 1_000
MAX_SKEW_NS = LEEWAY_MS * NS_PER_MS
NONCE_UNIT_NS = NS_PER_MS
SETTING_WINDOW_MS = 5_000  # of cancels and settings
READ_CONNECTIONS = 2
ORDER_CONNECTIONS = 1
MAX_AGE_S = 23 * 3600.0  # the venue closes every connection after a day
ORDER_WEIGHT, CANCEL_WEIGHT = 1.0, 0.5
BUDGET_SCALE = 10  # the venue tells credits times ten
PING = b'{"method":"ping"}'
KEY_HEADER = "PF-API-KEY"
JSON = "application/json"
PATHS = {
    signing.CREATE_ORDER: "/orders/create",
    signing.CANCEL_ORDER: "/orders/cancel",
    signing.UPDATE_LEVERAGE: "/account/leverage",
    signing.UPDATE_MARGIN_MODE: "/account/margin",
}
OVER_SOCKET = frozenset({signing.CREATE_ORDER, signing.CANCEL_ORDER})

_REHEARSAL = OrderRequest(
    client_order_id="0" * 32,
    instrument=Instrument(
        venue=Venue("pacifica"),
        symbol="BTC",
        venue_symbol="BTC",
        tick_size=Decimal(1),
        lot_size=Decimal("0.00001"),
    ),
    side=Side.BUY,
    lots=1,
    limit_ticks=1,
    time_in_force=TimeInForce.IOC,
    reduce_only=True,
    expires_wire_ns=NS_PER_S,
)


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    traits = Traits(late_refusals=True)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        account = ring.address("PACIFICA_ACCOUNT")
        self._signer = signing.Signer(ring.secret("PACIFICA_AGENT_KEY").reveal(), account=account)
        super().__init__(
            equipment,
            account_id=account,
            signer_id=self._signer.address,
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._by_name: dict[str, Instrument] = {}
        self._headers: tuple[tuple[str, str], ...] = ()
        if ring.has("PACIFICA_API_CONFIG_KEY"):
            self._headers = ((KEY_HEADER, ring.secret("PACIFICA_API_CONFIG_KEY").reveal()),)
        self._by_socket = settings.order_entry == "ws"
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._read_lane = self._http(READ_CONNECTIONS, on_reply=self._on_reply)
        self._order_lane = self._http(ORDER_CONNECTIONS, on_reply=self._on_reply, on_open=self.wake)
        self._reads = Reads(
            self._read_lane,
            self._throttle,
            account,
            self._headers,
            self._memory,
            self._skew,
            lambda: self._by_name,
            self._note_unlisted,
            self._clock,
        )
        self._lane = self._ws(
            on_up=self._on_up,
            on_frame=self._on_frame,
            on_down=self._on_down,
            ping=PING,
            max_age_s=MAX_AGE_S,
            headers=lambda: self._headers,
        )
        self._posts = Posts(self._lane, self._timeout_s, equipment.rng.getrandbits(127))
        self._stream: PrivateStream | None = None
        self._verifier: Verifier | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        settings = self._settings
        verifier = Verifier(
            self._reads.lookup, settings.verify_retries, settings.verify_delay_s, self.venue, sink, self._log
        )
        stream = PrivateStream(self.account_id, self._memory, lambda: self._by_name, verifier.heard, sink, self._log)
        self._verifier, self._stream = verifier, stream
        if self.signer_id == self.account_id:
            self._log.warning("signing_with_main_key", venue=self.venue, advice="bind an agent wallet and use its key")
        try:
            await self._read_lane.start()
            await self.refresh()
            await self._order_lane.start()
            await self._lane.start()
            async with asyncio.timeout(self._timeout_s):
                await stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the private channels were not acknowledged") from None
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))

    async def close(self) -> None:
        await self._background.close()
        if self._verifier is not None:
            await self._verifier.close()
        await self._lane.close()
        self._posts.fail_all("the gateway is closing")
        await self._order_lane.close()
        await self._read_lane.close()

    def wake(self) -> None:
        self._order_lane.wake()
        self._read_lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        """The fee read comes first: it shows whether the account exists at all."""
        fees = await self._reads.fees()
        listed = await self._reads.instruments()
        self._by_symbol = {each.symbol: each for each in listed}
        self._by_name = {each.venue_symbol: each for each in listed}
        self._fees = fees

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._throttle.ratio

    @property
    def entry_ready(self) -> bool:
        return (self._by_socket and self._lane.warm) or self._order_lane.warm

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(ORDER_WEIGHT, priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        self._memory.note(request, nonce, self._clock.wire_ns())
        self._reads.has_prepared = True
        return Prepared(
            client_order_id=request.client_order_id,
            nonce=nonce,
            payload=self._sign(request),
            handle=signing.CREATE_ORDER,
        )

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        """By order id where the venue told it, since that never names another order."""
        symbol, timestamp_ms, window_ms = request.instrument.venue_symbol, self._stamp_ms(), self._window_ms()
        order_id = request.venue_order_id or self._memory.order_of(request.client_order_id) or ""
        if order_id:
            body = self._signer.cancel(symbol, int(order_id), timestamp_ms, window_ms)
        else:
            body = self._signer.cancel_by_client_id(symbol, wire_id(request.client_order_id), timestamp_ms, window_ms)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=signing.CANCEL_ORDER)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answered(future: asyncio.Future[answers.Answer]) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(prepared, future.result()))

        self._act(prepared.handle, prepared.payload).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order that expired in 1970; it is thrown away."""
        self._sign(_REHEARSAL)

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns + MAX_SKEW_NS + SETTLE_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """Cross margin too: the mode can be changed only while no position is open, and is left alone where it is cross."""
        name = instrument.venue_symbol
        _, isolated = await self._reads.settings(instrument)
        if isolated:
            await self._set(
                signing.UPDATE_MARGIN_MODE, {"symbol": name, "is_isolated": False}, f"cross margin of {name}"
            )
        payload = {"symbol": name, "leverage": leverage}
        await self._set(signing.UPDATE_LEVERAGE, payload, f"leverage {leverage} of {name}")

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        """0 where the margin is isolated: setting it makes it cross."""
        leverage, isolated = await self._reads.settings(instrument)
        return 0 if isolated else leverage

    # ---- private --------------------------------------------------------------------------------------------------

    def _sign(self, request: OrderRequest) -> bytes:
        instrument = request.instrument
        expires_ms = request.expires_wire_ns // NS_PER_MS
        timestamp_ms = min(self._stamp_ms(), expires_ms - 1)  # a window is never empty, even of what has expired
        return self._signer.order(
            instrument.venue_symbol,
            request.side,
            plain(instrument.ticks_to_px(request.limit_ticks)),
            plain(request.lots * instrument.lot_size),
            request.time_in_force,
            request.reduce_only,
            wire_id(request.client_order_id),
            timestamp_ms,
            expires_ms - timestamp_ms,
        )

    def _stamp_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS - LEEWAY_MS

    @staticmethod
    def _window_ms() -> int:
        return SETTING_WINDOW_MS + LEEWAY_MS

    async def _set(self, kind: str, payload: signing.Payload, what: str) -> None:
        body = self._signer.operation(kind, payload, self._stamp_ms(), self._window_ms())
        answers.require_done(await self._act(kind, body), what)

    def _act(self, kind: str, body: bytes) -> asyncio.Future[answers.Answer]:
        """Write a signed operation now; the future always completes."""
        loop = asyncio.get_running_loop()
        weight = CANCEL_WEIGHT if kind == signing.CANCEL_ORDER else ORDER_WEIGHT
        refusal = self._skew.refusal
        if not refusal and not self._throttle.take(weight, priority=True):
            refusal = "our request budget is used up"
        answer: asyncio.Future[answers.Answer] = loop.create_future()
        if refusal:
            answer.set_result(Unsent(detail=refusal))
            return answer
        if kind in OVER_SOCKET and self._by_socket and self._lane.warm:
            try:
                return self._posts.send(kind, body)
            except NotSent as error:
                self._log.warning("ws_operation_not_sent", venue=self.venue, detail=str(error))

        def replied(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not answer.done():
                answer.set_result(answers.http_answer(future.result()))

        request = HttpRequest("POST", PATHS[kind], body, JSON, self._headers)
        self._order_lane.send(request).add_done_callback(replied)
        return answer

    def _outcome(self, prepared: Prepared, answer: answers.Answer) -> Outcome:
        cancels = prepared.handle == signing.CANCEL_ORDER
        outcome = answers.cancel_outcome(answer) if cancels else answers.order_outcome(answer)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.RATE:
            self._throttle.pause(RATE_PAUSE_S, everything=False)
        if isinstance(outcome, Accepted) and not cancels:
            self._memory.bind(outcome.venue_order_id, prepared.client_order_id)
            sent = self._memory.sent(prepared.client_order_id)
            if sent is not None and self._verifier is not None:
                self._verifier.watch(sent)
        return outcome

    def _on_up(self) -> None:
        if self._stream is not None:
            for text in self._stream.subscriptions():
                self._lane.send(text)
            asyncio.get_running_loop().call_later(self._timeout_s, self._require_acknowledged, self._stream.round)

    def _require_acknowledged(self, subscription_round: int) -> None:
        """A wrong subscription gets no answer; a socket without its private channels is not one to trade on."""
        stream = self._stream
        if stream is not None and stream.round == subscription_round and not stream.up.is_set():
            self._lane.reset("the private channels were not acknowledged")

    def _on_frame(self, data: bytes) -> None:
        frame = decode_frame(data)
        if frame is None or self._stream is None:
            return
        answer = frame.answer()
        if answer is None:
            self._stream.on_frame(frame)
            return
        if frame.rl is not None:
            self._note_budget(frame.rl)
        if not self._posts.on_answer(answer):
            self._log.warning("answer_without_waiter", venue=self.venue, code=answer.code, detail=answer.err[:200])

    def _note_budget(self, told: Budget) -> None:
        """Others may draw on the same credits: where the venue counts fewer than we, it is right."""
        if told.q > 0:
            self._throttle.lower_to(told.r / told.q)

    def _on_down(self, reason: str) -> None:
        self._posts.fail_all(reason)
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status == 429:
            self._throttle.pause(RATE_PAUSE_S, everything=True)
