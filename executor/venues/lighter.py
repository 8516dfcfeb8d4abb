"""Lighter: signed transactions over the WebSocket or REST, verdicts on the private channels (docs/venues/lighter.md).

    order   {"type":"jsonapi/sendtx"} on the warm socket, else POST /api/v1/sendTx        CreateOrder, limit only
    answer  code 200 = queued by the API. Accepted is not matched: 200 or 300 ms later the sequencer tries it, and the private
            channels tell how it ended. So the outcome of an order is Accepted(ACCEPTED) without an order id, and of a cancel
            the same; ends arrive as OrderSeen. What nobody reports within `verify_delay_s` of its sending is looked up,
            `verify_retries` times.

One socket carries transactions and private channels. What was written to it is never sent again by REST.

Signing takes a third of a millisecond in a thread of its own (executor.signing.lighter): `prepare` begins it and returns;
`submit` writes at once when the signature is there, and else as soon as it is. One key, one thread, one queue: transactions
leave in the order of their nonces.

Doubt. `ExpiredAt` is ten minutes away and cannot be chosen, so the nonce settles doubt long before: once the venue's next
nonce has passed an order's, the order was executed already (then it is listed under its client index) or never will be.
`burn_nonce` makes that happen: a cancel-all that aborts a schedule which does not exist takes a later nonce (skip mode) or
the order's own (strict modes). The venue may refuse it, which proves nothing; that it takes it is not recorded anywhere
[unsure]. While the dead-man switch is armed, the transaction that burns pushes it out instead: an abort would disarm it.

The dead-man switch is a cancel-all scheduled at least five minutes ahead (docs/venues/lighter.md 7). Accepted is not executed
here either: the first arming is believed only once the account shows a time, later ones only push it out.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from core.clock import NS_PER_MS, NS_PER_S
from core.errors import ConfigError, Malformed, NotSent, VenueError
from core.types import Instrument, OrderStatus, Side, TimeInForce
from executor.http_reply import HttpReply
from executor.outcome import Accepted, Outcome, Unknown, Unsent
from executor.signing import lighter as signing
from executor.venues import _lighter_answers as answers
from executor.venues._gateway import VenueGateway
from executor.venues._lighter_budget import Budget
from executor.venues._lighter_entry import Begin, Entry
from executor.venues._lighter_index import ClientIndex
from executor.venues._lighter_nonces import TxNonces
from executor.venues._lighter_reads import FIREWALL_STATUS, Reads, pause_of
from executor.venues._lighter_socket import Socket
from executor.venues._lighter_stream import PrivateStream
from executor.venues._lighter_tokens import Tokens
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

MAX_SKEW_NS = 2 * NS_PER_S
SETTLE_NS = 2 * NS_PER_S
NONCE_UNIT_NS = NS_PER_MS
READ_CONNECTIONS = 2
ORDER_CONNECTIONS = 2
REST_AGE_MS = 28 * 24 * 3600 * 1000
REHEARSE_EVERY = 50  # turns: one signature costs a third of a millisecond of another core
ORDER, CANCEL, LEVERAGE, NOOP, SWITCH = "order", "cancel", "leverage", "noop", "switch"
TIF_WIRE = {
    TimeInForce.GTC: signing.GOOD_TILL_TIME,
    TimeInForce.IOC: signing.IOC,
    TimeInForce.POST_ONLY: signing.POST_ONLY,
}


class Gateway(VenueGateway[Reads]):
    """See `executor.venues.base.OrderGateway`."""

    signs_apart = True
    traits = Traits(late_refusals=True)
    dead_man: DeadMan | None = DeadMan(scope=DeadManScope.ACCOUNT, countdown_s=360.0, refresh_s=60.0)

    def __init__(self, equipment: Equipment) -> None:
        settings, ring = equipment.settings, equipment.keyring
        self._account = int(ring.address("LIGHTER_ACCOUNT_INDEX"))
        self._key_index = int(ring.address("LIGHTER_API_KEY_INDEX"))
        super().__init__(
            equipment,
            account_id=str(self._account),
            signer_id=f"{self._account}:{self._key_index}",
            nonce_unit_ns=NONCE_UNIT_NS,
            max_skew_ns=MAX_SKEW_NS,
        )
        self._signer = signing.Signer(
            ring.secret("LIGHTER_PRIVATE_KEY").reveal,
            account=self._account,
            key_index=self._key_index,
            chain_id=signing.TESTNET_CHAIN_ID if settings.testnet else signing.MAINNET_CHAIN_ID,
        )
        spent = None if equipment.state_dir is None else equipment.state_dir / f"lighter-{self.account_id}.budget"
        self._budget = Budget(settings.requests_per_min, settings.reserve_ratio, equipment.clock, spent)
        self._index = ClientIndex(self.account_id, equipment.epoch, equipment.recorded())
        self._tx_nonces = TxNonces(settings.nonce_mode)
        self._tokens = Tokens(self._signer, settings.auth_ttl_s, self._clock, self._log)
        self._by_market: dict[int, Instrument] = {}
        self._rehearsals = 0
        self._switch_until_ns = 0  # UTC; when the scheduled cancel-all strikes, 0 = none is scheduled by this process
        # No keep-alive requests: they would cost budget, and a connection that the venue closes is opened again at once.
        self._read_lane = self._http(READ_CONNECTIONS, on_reply=self._on_reply)
        self._order_lane = self._http(ORDER_CONNECTIONS, on_reply=self._on_reply)
        self._reads = Reads(
            self._read_lane,
            self._budget,
            self._tokens,
            self._account,
            self._key_index,
            self._memory,
            self._index,
            self._tx_nonces,
            lambda: self._by_market,
            self._note_unlisted,
            settings.verify_delay_s,
            self._clock,
            self._log,
        )
        self._socket = Socket(
            settings,
            self._tokens,
            self._skew,
            lambda row: self._entry.on_answer(row),
            lambda reason: self._entry.on_down(reason),
            self._clock,
            equipment.rng,
            self._log,
        )
        self._entry = Entry(
            self._socket.lane,
            self._order_lane,
            lambda: self._socket.takes_orders,
            self._budget.transactions,
            self._skew,
            self._tx_nonces,
            self._reads.next_nonce,
            settings,
            self._clock,
            self._log,
        )
        self._verifier: Verifier | None = None

    # ---- life -----------------------------------------------------------------------------------------------------

    async def start(self, sink: EventSink) -> None:
        verifier = Verifier(
            self._reads.lookup,
            self._settings.verify_retries,
            self._settings.verify_delay_s,
            self.venue,
            sink,
            self._log,
        )
        self._verifier = verifier
        stream = self._socket.stream = PrivateStream(
            self._account,
            self._memory,
            self._index,
            lambda: self._by_market,
            self._entry.order_of,
            verifier.heard,
            sink,
            self._log,
        )
        try:
            await self._signer.start()
            await self._read_lane.start()
            await self.refresh()
            self._tx_nonces.begin(self.nonces.next())
            if not self._tx_nonces.ready:
                self._tx_nonces.read(await self._reads.next_nonce())
            await self._order_lane.start()
            await self._socket.lane.start()
            async with asyncio.timeout(self._timeout_s):
                await stream.up.wait()
        except TimeoutError:
            await self.close()
            raise VenueError(f"{self.venue}: the private channels were not acknowledged") from None
        except (VenueError, ConfigError):
            await self.close()
            raise

    async def close(self) -> None:
        await self._background.close()
        if self._verifier is not None:
            await self._verifier.close()
        await self._socket.lane.close()
        await self._entry.close()
        await self._order_lane.close()
        await self._read_lane.close()
        self._signer.close()

    def wake(self) -> None:
        self._order_lane.wake()
        self._read_lane.wake()
        self._socket.lane.wake()

    async def refresh(self) -> None:
        """The fee read comes first: it proves the key, and a wrong one is better told so than by its consequences."""
        self._fees = await self._reads.fees()
        found = await self._reads.instruments()
        listed = sorted(found, key=lambda each: each.symbol not in self._symbols)  # ours first: leverage costs budget
        self._by_symbol = {each.symbol: each for each in listed}
        self._by_market = {each.venue_index: each for each in listed}

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def rate_budget_ratio(self) -> float:
        return self._budget.ratio

    @property
    def nonce_resyncs(self) -> int:
        return self._tx_nonces.resyncs

    @property
    def entry_ready(self) -> bool:
        return self._entry.warm and self._tx_nonces.ready

    def may_send(self, priority: bool) -> bool:
        """Openings also wait out the pause that a refused or lost transaction brings."""
        return (priority or not self._entry.cooling) and self._budget.transactions.admits(priority=priority)

    # ---- orders ---------------------------------------------------------------------------------------------------

    def prepare(self, request: OrderRequest, nonce: int) -> Prepared:
        instrument = request.instrument
        resting = request.time_in_force is not TimeInForce.IOC
        begin = functools.partial(
            self._signer.create_order,
            market=instrument.venue_index,
            client_index=self._index.of(request.client_order_id),
            base_amount=request.lots,
            price=request.limit_ticks,
            is_ask=request.side is Side.SELL,
            time_in_force=TIF_WIRE[request.time_in_force],
            reduce_only=request.reduce_only,
            expiry_ms=self._clock.wire_ns() // NS_PER_MS + REST_AGE_MS if resting else 0,
        )
        prepared = self._entry.sign(ORDER, request.client_order_id, nonce, begin)
        self._memory.note(request, nonce, self._clock.wire_ns())
        return prepared

    def prepare_cancel(self, request: CancelRequest, nonce: int) -> Prepared:
        index = int(request.venue_order_id) if request.venue_order_id else self._index.of(request.client_order_id)
        begin = functools.partial(self._signer.cancel_order, market=request.instrument.venue_index, index=index)
        return self._entry.sign(CANCEL, request.client_order_id, nonce, begin)

    def submit(self, prepared: Prepared) -> asyncio.Future[Outcome]:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def answered(answer: answers.Answer) -> None:
            if not outcome.done():
                outcome.set_result(self._outcome(prepared, answer))

        self._watch(prepared)
        self._entry.act(prepared, answered)
        return outcome

    def rehearse(self) -> None:
        """Signs an order with nonce 0 now and then, while nothing else is being signed; it is thrown away."""
        self._rehearsals += 1
        if self._rehearsals % REHEARSE_EVERY or not self._signer.idle:
            return
        self._signer.create_order(
            market=0, client_index=1, base_amount=1, price=1, is_ask=False, time_in_force=signing.IOC, reduce_only=True,
            expiry_ms=0, nonce=0, skip_nonce=False,
        )  # fmt: skip

    def burn_nonce(self, nonce: int) -> asyncio.Future[bool]:
        """True when a no-op was executed and the venue, asked after that, knows no such order. An order of an earlier process
        is not known by its nonce: then the no-op still moves the venue past it, and the next lookup is definitive."""
        taken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._background.spawn(self._burn(nonce, taken))
        return taken

    def recall(self, request: OrderRequest, nonce: int, prepared_wire_ns: int) -> None:
        """The wire nonces of an earlier process are known only where they are the journal's own."""
        if self._tx_nonces.skips:
            super().recall(request, nonce, prepared_wire_ns)

    def unknown_bound_ns(self, request: OrderRequest) -> int:
        """`ExpiredAt` is stamped when signed, a moment after the request was made, by our clock."""
        return request.expires_wire_ns + MAX_SKEW_NS + SETTLE_NS

    async def set_leverage(self, instrument: Instrument, leverage: int, nonce: int) -> None:
        """Sets cross margin too. Accepted is not done: the account is read until it shows it."""
        begin = functools.partial(
            self._signer.update_leverage,
            market=instrument.venue_index,
            margin_fraction=10_000 // leverage,
            margin_mode=signing.CROSS,
        )
        what = f"leverage {leverage} of {instrument.venue_symbol}"
        answer = await self._entry.acted(self._entry.sign(LEVERAGE, "", nonce, begin))
        if not isinstance(answer, answers.Queued):
            kind = NotSent if isinstance(answer, Unsent) else VenueError
            raise kind(f"lighter {what}: {answer.detail}")
        read = (0, False)
        for _ in range(max(1, self._settings.verify_retries)):
            await asyncio.sleep(self._settings.verify_delay_s)
            self._reads.forget_account()
            read = await self._reads.leverage(instrument)
            if read == (leverage, True):
                return
        raise Malformed(f"lighter {what}: accepted, but the account shows {read[0]}")

    async def arm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        was_armed = self._switch_until_ns > self._clock.wire_ns()
        if self.dead_man is None:
            return
        until_ns = self._clock.wire_ns() + int(self.dead_man.countdown_s * NS_PER_S)
        await self._cancel_all(signing.CANCEL_SCHEDULED, until_ns // NS_PER_MS)
        if not was_armed:
            await self._require_scheduled(until_ns)
        self._switch_until_ns = until_ns

    async def disarm_dead_man(self, instruments: Sequence[Instrument]) -> None:
        await self._cancel_all(signing.CANCEL_ABORT, 0)
        self._switch_until_ns = 0

    # ---- reads ----------------------------------------------------------------------------------------------------

    async def lookup(self, instrument: Instrument, client_order_id: str) -> VenueOrder | NotFound:
        return await self._reads.lookup(client_order_id)

    async def leverage(self, instrument: Instrument) -> int:
        """0 where the margin is isolated: setting it makes it cross."""
        leverage, cross = await self._reads.leverage(instrument)
        return leverage if cross else 0

    # ---- private --------------------------------------------------------------------------------------------------

    def _noop(self) -> Begin:
        """A transaction that changes nothing but the nonce: abort a schedule that is not there, or schedule it again."""
        left_ns = self._switch_until_ns - self._clock.wire_ns()
        if left_ns <= 0 or self.dead_man is None:
            return self._signer.abort_switch
        self._switch_until_ns += int(self.dead_man.countdown_s * NS_PER_S) - left_ns
        return self._schedule(signing.CANCEL_SCHEDULED, self._switch_until_ns // NS_PER_MS)

    def _schedule(self, when: int, time_ms: int) -> Begin:
        return functools.partial(self._signer.cancel_all_orders, when=when, time_ms=time_ms, market=signing.ALL_MARKETS)

    async def _cancel_all(self, when: int, time_ms: int) -> None:
        """Schedule or abort. Raises VenueError unless the venue queued it."""
        await self._entry.wait_ready()
        answer = await self._entry.acted(
            self._entry.sign(SWITCH, "", self.nonces.next(), self._schedule(when, time_ms))
        )
        if not isinstance(answer, answers.Queued):
            kind = NotSent if isinstance(answer, Unsent) else VenueError
            raise kind(f"lighter dead-man switch: {answer.detail}")

    async def _require_scheduled(self, until_ns: int) -> None:
        """Read the account until it shows the schedule."""
        shown_ms = 0
        for _ in range(max(1, self._settings.verify_retries)):
            await asyncio.sleep(self._settings.verify_delay_s)
            self._reads.forget_account()
            shown_ms = await self._reads.switch_time_ms()
            if shown_ms >= until_ns // NS_PER_MS:
                return
        raise Malformed(f"lighter dead-man switch: accepted, but the account shows {shown_ms}")

    def _watch(self, prepared: Prepared) -> None:
        sent = self._memory.sent(prepared.client_order_id)
        if prepared.handle == ORDER and sent is not None and self._verifier is not None:
            self._verifier.watch(sent)

    def _outcome(self, prepared: Prepared, answer: answers.Answer) -> Outcome:
        if isinstance(answer, answers.Queued):
            return Accepted(venue_order_id="", status=OrderStatus.ACCEPTED, filled_lots=0)
        if prepared.handle == ORDER and self._verifier is not None and not isinstance(answer, Unknown):
            self._verifier.refused(prepared.client_order_id)
        return answer

    async def _burn(self, nonce: int, taken: asyncio.Future[bool]) -> None:
        result = False
        try:
            sent = self._memory.sent_with(nonce)
            await self._entry.wait_ready()
            noop = self._entry.sign(NOOP, "", self.nonces.next(), self._noop())
            answer = await self._entry.acted(noop)
            if isinstance(answer, answers.Queued) and sent is not None:
                result = await self._never_was(sent.client_order_id)
        except VenueError as error:
            self._log.info("nonce_not_burned", venue=self.venue, detail=str(error))
        finally:
            if not taken.done():
                taken.set_result(result)

    async def _never_was(self, client_order_id: str) -> bool:
        """Asked until the venue's rules say so, or it shows the order."""
        for _ in range(max(1, self._settings.verify_retries)):
            await asyncio.sleep(self._settings.verify_delay_s)
            found = await self._reads.lookup(client_order_id)
            if isinstance(found, VenueOrder):
                return False
            if found.definitive:
                return True
        return False

    def _on_reply(self, reply: HttpReply) -> None:
        self._skew.note_date(reply.date_ns, self._clock.wire_ns())
        if reply.status in answers.RATE_STATUSES:
            self._budget.pause(pause_of(reply), everything=reply.status == FIREWALL_STATUS)
