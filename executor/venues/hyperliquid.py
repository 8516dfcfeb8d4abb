"""Hyperliquid: order entry by WebSocket post with `expiresAfter`, private stream on the same socket, reads by REST.

    order   body = {"action", "nonce", "signature", "expiresAfter"}     post over the warm socket, else POST /exchange
    answer  {"status":"ok"} with one status per order; refusals are text (see _hyperliquid_answers)

One socket carries posts and private channels: an order leaves on a socket that is known to deliver its fills, and one
loss tells both stories. When it is not warm, new orders go by REST over their own warm connections; an order that was
written to the socket is never sent again. Fees of fills come from userFills, never from the answer.

Actions and reads have budgets of their own: posts do not count against the REST weight per IP, so a read too many never
holds up a cancel. The lifetime budget per address shows in `rate_budget_ratio`.

The expiry bounds doubt: after `expiresAfter` plus SETTLE_NS an action without trace can no longer execute; a noop with
the same nonce kills it earlier (docs/venues/hyperliquid.md 6, 7, 10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import NotSent, VenueError
from core.numeric import plain
from core.types import Instrument, Side, TimeInForce, Venue
from executor.http_lane import HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing import hyperliquid as signing
from executor.throttle import Throttle
from executor.venues import _hyperliquid_answers as answers
from executor.venues._gateway import VenueGateway
from executor.venues._hyperliquid_posts import Posts
from executor.venues._hyperliquid_reads import JSON, RATE_PAUSE_S, SETTLE_NS, STATUS_REQUEST, Reads
from executor.venues._hyperliquid_stream import PrivateStream, decode_frame
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

MAX_SKEW_NS = 2 * NS_PER_S
NONCE_UNIT_NS = NS_PER_MS
READ_CONNECTIONS = 2
ORDER_CONNECTIONS = 2
MEASURE_S = 30.0
PING = b'{"method":"ping"}'
ORDER, CANCEL, NOOP, LEVERAGE = "order", "cancel", "noop", "leverage"
LOW_ADDRESS_BUDGET = 1000  # actions; below this the ratio shown falls

_REHEARSAL = OrderRequest(
    client_order_id="0" * 32,
    instrument=Instrument(
        venue=Venue("hyperliquid"),
        symbol="BTC",
        venue_symbol="BTC",
        venue_index=0,
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.00001"),
    ),
    side=Side.BUY,
    lots=1,
    limit_ticks=1,
    time_in_force=TimeInForce.IOC,
    reduce_only=True,
    expires_wire_ns=NS_PER_MS,
)


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    dead_man: DeadMan | None = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=60.0, refresh_s=15.0)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        self._signer = signing.Signer(ring.secret("HL_PRIVATE_KEY").reveal(), mainnet=not settings.testnet)
        super().__init__(
            equipment,
            account_id=ring.address("HL_USER_ADDRESS").lower(),
            signer_id=self._signer.address.lower(),
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._by_socket = settings.order_entry == "ws"
        self._throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._read_throttle = Throttle(settings.requests_per_min, settings.reserve_ratio, equipment.clock)
        self._by_coin: dict[str, Instrument] = {}
        self._address_budget = LOW_ADDRESS_BUDGET
        self._read_lane, self._order_lane = (
            # The venue is back when a connection reopens: nothing else waits out its pause then.
            self._http(size, on_reply=self._on_reply, keep_alive=STATUS_REQUEST, on_open=self.wake)
            for size in (READ_CONNECTIONS, ORDER_CONNECTIONS)
        )
        self._reads = Reads(
            self._read_lane,
            self._read_throttle,
            self.account_id,
            self._memory,
            self._skew,
            lambda: self._by_coin,
            self._note_unlisted,
            self._clock,
            self._log,
        )
        self._lane = self._ws(on_up=self._on_up, on_frame=self._on_frame, on_down=self._on_down, ping=PING)
        self._posts = Posts(self._lane, self._timeout_s)
        self._stream: PrivateStream | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        self._stream = PrivateStream(
            self.account_id, self._memory, lambda: self._by_coin, self._reads.owner, sink, self._log
        )
        try:
            await self._read_lane.start()
            await self._reads.measure_clock()
            await self._reads.require_known_mode()
            await self._reads.require_agent(self.signer_id)
            await self.refresh()
            await self._order_lane.start()
            await self._lane.start()
            async with asyncio.timeout(self._timeout_s):
                await self._stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the private channels were not acknowledged") from None
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))

    async def close(self) -> None:
        await self._background.close()
        await self._lane.close()
        self._posts.fail_all("the gateway is closing")
        if self._stream is not None:
            await self._stream.close()
        await self._order_lane.close()
        await self._read_lane.close()

    def wake(self) -> None:
        self._order_lane.wake()
        self._read_lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        listed = await self._reads.instruments()
        fees = await self._reads.fees()
        self._address_budget = await self._reads.address_budget()
        self._by_symbol = {each.symbol: each for each in listed}
        self._by_coin = {each.venue_symbol: each for each in listed}
        self._fees = fees

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        address = max(0.0, min(1.0, self._address_budget / LOW_ADDRESS_BUDGET))
        return min(self._throttle.ratio, self._read_throttle.ratio, address)

    @property
    def entry_ready(self) -> bool:
        return (self._by_socket and self._lane.warm) or self._order_lane.warm

    def may_send(self, priority: bool) -> bool:
        return self._throttle.admits(priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        self._memory.note(request, nonce, self._clock.wire_ns())
        return Prepared(
            client_order_id=request.client_order_id, nonce=nonce, payload=self._sign(request, nonce), handle=ORDER
        )

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        asset = request.instrument.venue_index
        if request.venue_order_id:
            action = signing.cancel_action([(asset, int(request.venue_order_id))])
        else:
            action = signing.cancel_by_cloid_action([(asset, f"0x{request.client_order_id}")])
        body = self._signer.body(action, nonce)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=body, handle=CANCEL)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answered(future: asyncio.Future[answers.Answer]) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(prepared, future.result()))

        self._act(prepared.payload).add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order that expired in 1970 with a nonce of that time; it is thrown away."""
        self._sign(_REHEARSAL, 1)

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool]:
        """A noop that is accepted has taken the nonce: whatever carried it can no longer execute."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answered(future: asyncio.Future[answers.Answer]) -> None:
            if not taken.done():
                taken.set_result(answers.plain_outcome(future.result()) is True)

        self._act(self._signer.body(signing.noop_action(), nonce)).add_done_callback(answered)
        return taken

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        return request.expires_wire_ns + SETTLE_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        action = signing.update_leverage_action(instrument.venue_index, True, leverage)
        answer = await self._act(self._signer.body(action, nonce))
        answers.require_done(answer, f"leverage {leverage} of {instrument.venue_symbol}")

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        """`scheduleCancel`, for the whole account. It is refused below a traded volume of a million dollars: then there is no
        switch here, until the next start asks again."""
        if self.dead_man is not None:
            await self._schedule_cancel(self._clock.wire_ns() // NS_PER_MS + int(self.dead_man.countdown_s * 1000))

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._schedule_cancel(None)

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        return await self._reads.leverage(instrument)

    # ---- private --------------------------------------------------------------------------------------------------

    def _sign(self, request: OrderRequest, nonce: int) -> bytes:
        instrument = request.instrument
        order = signing.order_wire(
            instrument.venue_index,
            request.side is Side.BUY,
            plain(instrument.ticks_to_px(request.limit_ticks)),
            plain(request.lots * instrument.lot_size),
            request.reduce_only,
            request.time_in_force,
            f"0x{request.client_order_id}",
        )
        return self._signer.body(signing.order_action([order]), nonce, request.expires_wire_ns // NS_PER_MS)

    async def _schedule_cancel(self, time_ms: int | None) -> None:
        answer = await self._act(self._signer.body(signing.schedule_cancel_action(time_ms), self.nonces.next()))
        outcome = answers.plain_outcome(answer)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.NOT_ELIGIBLE:
            self.dead_man = None
            self._log.warning("dead_man_not_available", venue=self.venue, detail=outcome.detail)
        answers.require_done(answer, "the dead-man switch")

    def _act(self, body: bytes) -> asyncio.Future[answers.Answer]:
        """Write a signed action now; the future always completes."""
        loop = asyncio.get_running_loop()
        refusal = self._skew.refusal or ("" if self._throttle.take(priority=True) else "our request budget is used up")
        if refusal:
            refused: asyncio.Future[answers.Answer] = loop.create_future()
            refused.set_result(Unsent(detail=refusal))
            return refused
        if self._by_socket and self._lane.warm:
            try:
                return self._posts.send(body)
            except NotSent as error:
                self._log.warning("ws_post_not_sent", venue=self.venue, detail=str(error))
        answer: asyncio.Future[answers.Answer] = loop.create_future()

        def replied(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not answer.done():
                answer.set_result(answers.http_answer(future.result()))

        self._order_lane.send(HttpRequest("POST", "/exchange", body, JSON)).add_done_callback(replied)
        return answer

    def _outcome(self, prepared: Prepared, answer: answers.Answer) -> Outcome:
        if prepared.handle == CANCEL:
            return answers.cancel_outcome(answer)
        order = self._memory.sent(prepared.client_order_id)
        if order is None:
            return Unknown(detail="the order is no longer remembered")
        outcome = answers.order_outcome(answer, order)
        if isinstance(outcome, Rejected) and outcome.code is RejectCode.RATE:
            self._throttle.pause(RATE_PAUSE_S, everything=False)
        if isinstance(outcome, Accepted):
            self._memory.bind(outcome.venue_order_id, prepared.client_order_id)
            if self._stream is not None:
                self._stream.owner_known(outcome.venue_order_id)
        return outcome

    def _on_up(self) -> None:
        if self._stream is not None:
            for text in self._stream.subscriptions():
                self._lane.send(text)
            asyncio.get_running_loop().call_later(self._timeout_s, self._require_acknowledged, self._stream.round)

    def _require_acknowledged(self, subscription_round: int) -> None:
        """A socket that carries posts but no private channels is not one to trade on."""
        stream = self._stream
        if stream is not None and stream.round == subscription_round and not stream.up.is_set():
            self._lane.reset("the private channels were not acknowledged")

    def _on_frame(self, data: bytes) -> None:
        frame = decode_frame(data)
        if frame is None or self._stream is None:
            return
        if frame.channel == "post":
            if not self._posts.on_post(frame.data):
                self._log.warning("post_answer_without_waiter", venue=self.venue)
        elif frame.channel == "error":
            text = bytes(frame.data).decode("utf-8", "replace")[:300].strip('"')
            if not self._posts.on_error(text):
                self._log.error("ws_error", venue=self.venue, detail=text)
        else:
            self._stream.on_frame(frame)

    def _on_down(self, reason: str) -> None:
        self._posts.fail_all(reason)
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status == 429:
            self._read_throttle.pause(RATE_PAUSE_S, everything=True)
