"""Kraken spot: orders over the private WebSocket v2 by token, else by signed REST; a wallet, no margin (docs/venues/kraken.md).

    order    {"method":"add_order"} on the warm private socket, else POST /0/private/AddOrder          limit only
    answer   Accepted or not, by an exact list of texts. It never says whether the order filled: executions do
    fee      always asked for in quote, so that a wallet grows by exactly what was bought

One socket carries orders, executions and balances, and it stands on a token from a signed REST call: a new one for every
connection, and again before it runs out. A subscription that stays open would keep it good, but what stands on that alone
dies with the first gap.

Spot: nothing can be sold that the wallet does not hold, so there is no short side, no reduce-only and no leverage; asking
for 1 is answered without a word to the venue. `positions` states wallets, which may hold more than we bought.

Doubt. Every order names a deadline, the engine's own expiry, after which the venue takes it no more (EService:Deadline
elapsed). So what is in neither list of orders once that has passed never was.

Nonces count nanoseconds and rise for the key, whoever uses it: a second program on this key makes the other's refused.
The dead-man switch is account-wide: one process owns it, and other people's orders of this account hang on it too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal

from core.clock import NS_PER_S
from core.errors import Malformed, VenueError
from core.specs import kraken as specs
from core.types import Instrument, Side, TimeInForce
from executor.http_reply import HttpReply
from executor.outcome import Outcome, RejectCode, Rejected, Unknown, Unsent
from executor.signing import kraken as signing
from executor.venues import _kraken_answers as answers
from executor.venues import _kraken_rows as rows
from executor.venues._gateway import VenueGateway
from executor.venues._kraken_budget import LOCKOUT_S, RATE_PAUSE_S, Budget, cancel_cost
from executor.venues._kraken_entry import Entry, order_message, order_params
from executor.venues._kraken_reads import MAX_SKEW_NS, SETTLE_NS, TIME_REQUEST, Reads, deadline_ns
from executor.venues._kraken_stream import PrivateStream
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

NONCE_UNIT_NS = 1
TOKEN_GOOD_S = 15 * 60.0
PING = b'{"method":"ping","req_id":1}'
TAKES_ORDERS = frozenset({"online", "limit_only"})  # of the venue's own states; every order of ours is a limit
SOCKET, REST = "socket", "rest"
ORDER, CANCEL = "order", "cancel"
FEES_OF_PAIRS = 20  # the run's own; the dearest rate among them stands for all
SWITCH_S, REFRESH_S = 60, 20.0

_REHEARSAL = OrderRequest(
    client_order_id="0" * 32,
    instrument=Instrument(
        venue=specs.VENUE,
        symbol="BTC",
        venue_symbol="BTC/USD",
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.00000001"),
    ),
    side=Side.BUY,
    lots=1,
    limit_ticks=1,
    time_in_force=TimeInForce.IOC,
    reduce_only=False,
    expires_wire_ns=NS_PER_S,
)


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    traits = Traits(wallet=True, reduce_only=False)
    dead_man = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=SWITCH_S, refresh_s=REFRESH_S)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        own = settings.own(specs.Settings)
        key = ring.address("KRAKEN_API_KEY")
        self._signer = signing.Signer(key, ring.secret("KRAKEN_API_SECRET").reveal())
        super().__init__(equipment, account_id=key, signer_id=key, nonce_unit_ns=NONCE_UNIT_NS, max_skew_ns=MAX_SKEW_NS)
        self._private_url = own.private_ws_url
        self._by_socket = settings.order_entry == "ws"
        self._token_s = min(settings.auth_ttl_s, TOKEN_GOOD_S * 0.8)
        self._budget = Budget(own.tier, settings.reserve_ratio, equipment.clock)
        self._listed: dict[str, Instrument] = {}
        self._placed: dict[str, int] = {}  # client order id -> when its order left, mono: the age of a cancel
        self._token = ""
        self._system = ""
        self._signed_lane, self._public_lane, self._order_lane = (
            self._http(1, on_reply=self._on_reply, keep_alive=TIME_REQUEST, on_open=self.wake) for _ in range(3)
        )
        self._reads = Reads(
            self._signed_lane,
            self._public_lane,
            self._budget.reads,
            self._signer,
            self.nonces,
            self._memory,
            self._skew,
            lambda: self._listed,
            lambda: self._by_symbol,
            self._clock,
            self._log,
        )
        self._lane = self._ws(
            url=self._socket_url, on_up=self._on_up, on_frame=self._on_frame, on_down=self._on_down, ping=PING
        )
        self._entry = Entry(self._lane, self._order_lane, self._signer, self._timeout_s)
        self._stream: PrivateStream | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        stream = self._stream = PrivateStream(
            self._memory,
            lambda: self._listed,
            lambda: self._by_symbol,
            self._reads.order_of,
            self._lane.reset,
            sink,
            self._log,
        )
        try:
            await self._public_lane.start()
            await self._signed_lane.start()
            await self._reads.measure_clock()
            await self.refresh()
            await self._order_lane.start()
            await self._lane.start()
            async with asyncio.timeout(self._timeout_s):
                await stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the private channels sent no snapshot") from None
        except VenueError:
            await self.close()
            raise
        self._background.spawn(self._watch_clock(self._reads.measure_clock))
        self._background.spawn(self._renew_token())

    async def close(self) -> None:
        await self._background.close()
        await self._lane.close()
        if self._stream is not None:
            await self._stream.close()
        for lane in (self._order_lane, self._signed_lane, self._public_lane):
            await lane.close()

    def wake(self) -> None:
        for lane in (self._order_lane, self._signed_lane, self._public_lane):
            lane.wake()
        self._lane.wake()

    async def refresh(self) -> None:
        """Own fees are per pair: the dearest of this run's pairs stands for all."""
        found = await self._reads.listings()
        ours = [each.instrument for each in found if not self._symbols or each.instrument.symbol in self._symbols]
        ours = ours or [each.instrument for each in found]
        self._fees = await self._reads.fees([each.venue_symbol for each in ours[:FEES_OF_PAIRS]])
        self._by_symbol = {each.instrument.symbol: each.instrument for each in found}
        self._listed = {name: each.instrument for each in found for name in each.names}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._budget.ratio

    @property
    def entry_ready(self) -> bool:
        return self._system in TAKES_ORDERS and (self._socket_takes_orders or self._order_lane.warm)

    def may_send(self, priority: bool) -> bool:
        return self._budget.may_send(priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        now_ns = self._clock.wire_ns()
        payload, handle = self._order(request, nonce, now_ns)
        self._memory.note(request, nonce, now_ns)
        return Prepared(client_order_id=request.client_order_id, nonce=nonce, payload=payload, handle=handle)

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        name, venue_id = request.client_order_id, request.venue_order_id
        handle = f"{CANCEL} {request.instrument.venue_symbol}"
        if self._socket_takes_orders:
            req_id = self._entry.next_id()
            payload = signing.cancel_order(
                token=self._token, req_id=req_id, client_id="" if venue_id else name, order_id=venue_id
            )
            return Prepared(client_order_id=name, nonce=nonce, payload=payload, handle=f"{SOCKET} {req_id} {handle}")
        payload = signing.form(nonce, [("txid", venue_id) if venue_id else ("cl_ord_id", name)])
        return Prepared(client_order_id=name, nonce=nonce, payload=payload, handle=f"{REST} 0 {handle}")

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        way, req_id, kind, pair = prepared.handle.split(" ")
        refusal = self._skew.refusal or self._over_budget(kind, pair, prepared.client_order_id)
        if refusal:
            outcome.set_result(Unsent(detail=refusal))
            return outcome

        def answered(future: asyncio.Future[answers.Answer]) -> None:
            answer = future.result()
            self._heed(answer, pair)
            if not outcome.done():
                outcome.set_result(self._outcome(kind, prepared.client_order_id, answer))

        if way == SOCKET:
            sent = self._entry.send_message(int(req_id), prepared.payload)
        else:
            sent = self._entry.send_call("AddOrder" if kind == ORDER else "CancelOrder", prepared)
        sent.add_done_callback(answered)
        return outcome

    def rehearse(self) -> None:
        """Writes an order for either way and signs one; both are thrown away."""
        order_message(_REHEARSAL, 0, NS_PER_S, self._token)
        self._signer.signature("/0/private/AddOrder", 1, signing.form(1, order_params(_REHEARSAL, NS_PER_S)))

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        """The deadline that the order names, by a clock that may be off ours, and a moment to be listed."""
        sent = self._memory.sent(request.client_order_id)
        if sent is not None:
            return deadline_ns(sent.prepared_wire_ns, sent.expires_wire_ns) + SETTLE_NS
        return request.expires_wire_ns + MAX_SKEW_NS + SETTLE_NS

    async def leverage(self, instrument: Instrument) -> int:
        return 1

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        if leverage != 1:
            raise VenueError(f"{self.venue}: spot has no leverage; configure 1 for {instrument.symbol}, not {leverage}")

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._set_switch(SWITCH_S)

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._set_switch(0)

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(instrument, client_order_id)

    # ---- private --------------------------------------------------------------------------------------------------

    @property
    def _socket_takes_orders(self) -> bool:
        return self._by_socket and self._lane.warm and bool(self._token)

    def _order(self, request: OrderRequest, nonce: int, now_ns: int) -> tuple[bytes, str]:
        """What goes on the wire, and the handle."""
        handle = f"{ORDER} {request.instrument.venue_symbol}"
        due_ns = min(request.expires_wire_ns, deadline_ns(now_ns, request.expires_wire_ns) - MAX_SKEW_NS)
        due_ns += self._skew.offset_ns  # the venue reads it by its own clock
        if self._socket_takes_orders:
            req_id = self._entry.next_id()
            return order_message(request, req_id, due_ns, self._token), f"{SOCKET} {req_id} {handle}"
        return signing.form(nonce, order_params(request, due_ns)), f"{REST} 0 {handle}"

    def _over_budget(self, kind: str, pair: str, name: str) -> str:
        """Why this may not be sent now, "" when it may; then it is counted."""
        now_ns, cost = self._clock.mono_ns(), 1
        if kind == CANCEL:
            cost = cancel_cost(now_ns - self._placed.get(name, now_ns))
        if not self._budget.orders(pair).take(cost, priority=True):
            return f"our own budget of orders in {pair} is used up"
        if kind == ORDER:
            self._placed[name] = now_ns
            while len(self._placed) > 1_000:
                del self._placed[next(iter(self._placed))]
        return ""

    def _outcome(self, kind: str, name: str, answer: answers.Answer) -> Outcome:
        if kind == CANCEL:
            return answers.cancel_outcome(answer)
        outcome = answers.order_outcome(answer, name)
        if isinstance(answer, answers.AnswerRow) and not isinstance(outcome, Unknown) and answer.result is not None:
            self._memory.bind(answer.result.order_id, name)
        return outcome

    def _heed(self, answer: answers.Answer, pair: str) -> None:
        """What a refusal says beyond its request: the counter is full, or the token is no good."""
        if not isinstance(answer, Rejected):
            return
        if answer.code is RejectCode.RATE:
            lockout = answer.detail.startswith(answers.LOCKOUT_TEXT)
            self._budget.orders(pair).refused(LOCKOUT_S if lockout else RATE_PAUSE_S)
        elif answers.stem(answer.detail) in answers.TOKEN_TEXTS:
            self._log.warning("token_refused", venue=self.venue, detail=answer.detail)
            self._lane.reset("the token was refused")

    async def _set_switch(self, timeout_s: int) -> None:
        """Raises VenueError unless the venue confirms."""
        if not self._socket_takes_orders:
            await self._reads.act("CancelAllOrdersAfter", [("timeout", str(timeout_s))])
            return
        req_id = self._entry.next_id()
        message = signing.cancel_all_after(timeout_s=timeout_s, token=self._token, req_id=req_id)
        answer = await self._entry.send_message(req_id, message)
        if not isinstance(answer, answers.AnswerRow):
            raise VenueError(f"{self.venue}: the switch was not set: {answer.detail}")

    # ---- the private socket -----------------------------------------------------------------------------------------

    async def _socket_url(self) -> str:
        self._token = await self._reads.token()
        return self._private_url

    async def _renew_token(self) -> None:
        """Long before it runs out; a venue that gives none is asked again soon."""
        pause_s = self._token_s
        while True:
            await asyncio.sleep(pause_s)
            try:
                self._token = await self._reads.token()
                pause_s = self._token_s
            except VenueError as error:
                self._log.warning("token_not_renewed", venue=self.venue, detail=str(error))
                pause_s = self._token_s / 10

    def _on_up(self) -> None:
        if self._stream is not None:
            for text in self._stream.subscriptions(self._token):
                self._lane.send(text)

    def _on_down(self, reason: str) -> None:
        self._system = ""
        self._entry.on_down(reason)
        if self._stream is not None:
            self._stream.on_down(reason, self._lane.heard_wire_ns)

    def _on_frame(self, data: bytes) -> None:
        try:
            frame = rows.decode(data, rows.Frame, "frame")
        except Malformed as error:
            self._log.warning("ws_frame_malformed", venue=self.venue, detail=str(error))
            return
        if frame.time_out is not None and (told_ns := rows.time_ns(frame.time_out)):
            now_ns = self._clock.wire_ns()
            self._skew.note(told_ns, now_ns, now_ns)
        if frame.channel == "status":
            self._on_status(data)
        elif frame.channel:
            if self._stream is not None:
                self._stream.on_frame(frame.channel, data)
        elif frame.method == "subscribe" and frame.success is False:
            self._log.error("subscription_refused", venue=self.venue, detail=frame.error[:200])
            self._lane.reset("a private channel was refused")
        elif frame.req_id is not None and frame.method not in ("pong", "subscribe"):
            self._on_answer(data)
        elif frame.error:
            self._log.error("ws_error", venue=self.venue, detail=frame.error[:200])

    def _on_answer(self, data: bytes) -> None:
        try:
            row = rows.decode(data, answers.AnswerRow, "answer")
        except Malformed as error:
            self._log.error("answer_malformed", venue=self.venue, detail=str(error))  # its request ends as unknown
            return
        if not self._entry.on_answer(row):
            self._log.warning("answer_without_waiter", venue=self.venue, method=row.method)

    def _on_status(self, data: bytes) -> None:
        try:
            told = rows.decode(data, rows.StatusFrame, "status").data
        except Malformed as error:
            self._log.error("private_frame_malformed", venue=self.venue, channel="status", detail=str(error))
            return
        system = told[-1].system if told else ""
        if system != self._system:
            self._log.info("venue_mode", venue=self.venue, mode=system)
        self._system = system

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
