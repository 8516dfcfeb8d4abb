"""Order entry of Lighter: from a signature that is on its way to the answer, with what follows for nonces and pauses.

Exactly one of these happens to a transaction: it is never written (Unsent), it is written to the socket, or, while the
socket is not warm, to a REST connection. The request budget is taken when it is written. After an answer the nonce count
learns what became of its number (strict modes), and openings pause after refusals and losses (`error_cooldown_s`,
`error_cooldown_auth_s`); a cancel of an order that is gone is no refusal in that sense.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import quote_plus

from core.clock import NS_PER_S, Clock
from core.errors import NotSent, VenueError, invariant
from core.log import Log
from core.settings import VenueConfig
from executor.http_lane import HttpLane, HttpRequest
from executor.http_reply import HttpReply
from executor.outcome import RejectCode, Rejected, Unknown, Unsent
from executor.signing.lighter import CREATE_ORDER, SIGN_BOUND_S, UPDATE_LEVERAGE
from executor.signing.signed import Signed
from executor.throttle import Throttle
from executor.venues import _lighter_answers as answers
from executor.venues._lighter_nonces import TxNonces
from executor.venues._lighter_posts import Posts
from executor.venues._lighter_reads import PREFIX
from executor.venues._skew import ClockSkew
from executor.venues.base import Prepared
from executor.ws_lane import WsLane

FORM = "application/x-www-form-urlencoded"
NONCE_LAG_S = 0.4  # nextNonce follows an accepted transaction no sooner than 350 ms
NONCE_AGAIN_S = 1.0
READY_STEP_S = 0.05
MAX_HASHES = 20_000

Answered = Callable[[answers.Answer], None]


class Begin(Protocol):
    """A signer's function with everything given but the nonce."""

    def __call__(self, *, nonce: int, skip_nonce: bool) -> asyncio.Future[Signed]: ...


class Entry:
    """See the module text. `by_socket`: whether a transaction may be written to the socket now."""

    def __init__(
        self,
        lane: WsLane,
        order_lane: HttpLane,
        by_socket: Callable[[], bool],
        throttle: Throttle,
        skew: ClockSkew,
        nonces: TxNonces,
        read_nonce: Callable[[], Awaitable[int]],
        settings: VenueConfig,
        clock: Clock,
        log: Log,
    ) -> None:
        self._order_lane = order_lane
        self._by_socket = by_socket
        self._throttle = throttle
        self._skew = skew
        self._nonces = nonces
        self._read_nonce = read_nonce
        self._settings = settings
        self._clock = clock
        self._log = log
        self._timeout_s = settings.request_timeout_ms / 1000
        self._posts = Posts(lane, self._timeout_s)
        self._hashes: dict[str, str] = {}  # transaction hash -> the order that it created
        self._cool_until_ns = 0
        self._reader: asyncio.Task[None] | None = None

    @property
    def warm(self) -> bool:
        return self._by_socket() or self._order_lane.warm

    @property
    def cooling(self) -> bool:
        """Whether a refused or lost transaction still holds openings back."""
        return self._clock.mono_ns() < self._cool_until_ns

    def order_of(self, tx_hash: str) -> str:
        """The client order id of the order that a transaction of this process created; "" = none."""
        return self._hashes.get(tx_hash, "")

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._posts.fail_all("the gateway is closing")

    async def wait_ready(self) -> None:
        """Until the nonce count is known. Raises NotSent after the request timeout."""
        deadline_ns = self._clock.mono_ns() + int(self._timeout_s * NS_PER_S)
        while not self._nonces.ready:
            if self._clock.mono_ns() > deadline_ns:
                raise NotSent("lighter: the nonce could not be read in time")
            await asyncio.sleep(READY_STEP_S)

    def sign(self, handle: str, client_order_id: str, nonce: int, begin: Begin) -> Prepared:
        """Begin a signature under the wire nonce of `nonce`. Raises NotSent when it cannot even begin."""
        if self._skew.refusal:
            raise NotSent(self._skew.refusal)
        wire = self._nonces.take(nonce)
        try:
            signature = begin(nonce=wire, skip_nonce=self._nonces.skips)
        except NotSent:
            self._nonces.settle(nonce, False)
            raise
        if not self._nonces.skips:  # a transaction that is never submitted must not hold the count for ever
            bound_s = self._timeout_s + 2 * SIGN_BOUND_S
            asyncio.get_running_loop().call_later(bound_s, self._settle_nonce, nonce, None)
        return Prepared(client_order_id=client_order_id, nonce=nonce, payload=b"", handle=handle, signature=signature)

    def act(self, prepared: Prepared, answered: Answered) -> None:
        """Write it now if it is signed, else as soon as it is; `answered` is called once."""
        signature = prepared.signature
        invariant(signature is not None, "a Lighter transaction without a signature")
        if signature is not None:
            if signature.done():
                self._write(prepared, signature, answered)
            else:
                signature.add_done_callback(lambda signed: self._write(prepared, signed, answered))

    async def acted(self, prepared: Prepared) -> answers.Answer:
        future: asyncio.Future[answers.Answer] = asyncio.get_running_loop().create_future()
        self.act(prepared, lambda answer: None if future.done() else future.set_result(answer))
        return await future

    def on_answer(self, row: answers.PostRow) -> None:
        if not self._posts.on_answer(row):
            self._log.warning("post_answer_without_waiter", venue="lighter")

    def on_down(self, reason: str) -> None:
        self._posts.fail_all(reason)

    def _write(self, prepared: Prepared, signature: asyncio.Future[Signed], answered: Answered) -> None:
        def settle(answer: answers.Answer) -> None:
            self._settle(prepared.nonce, answer)
            answered(answer)

        failure = None if signature.cancelled() else signature.exception()
        if signature.cancelled() or failure is not None:
            settle(Unsent(detail=f"not signed: {failure or 'given up'}"))
            return
        signed = signature.result()
        fits = self._throttle.take(priority=signed.kind != UPDATE_LEVERAGE)  # settings leave the reserve alone
        refusal = self._skew.refusal or ("" if fits else "our request budget is used up")
        if refusal:
            settle(Unsent(detail=refusal))
            return
        if signed.kind == CREATE_ORDER:
            self._hashes[signed.name.lower()] = prepared.client_order_id
            while len(self._hashes) > MAX_HASHES:
                del self._hashes[next(iter(self._hashes))]
        self._send(signed).add_done_callback(lambda future: settle(future.result()))

    def _send(self, signed: Signed) -> asyncio.Future[answers.Answer]:
        if self._by_socket():
            try:
                return self._posts.send(signed)
            except NotSent as error:
                self._log.warning("ws_post_not_sent", venue="lighter", detail=str(error))
        answer: asyncio.Future[answers.Answer] = asyncio.get_running_loop().create_future()

        def replied(future: asyncio.Future[HttpReply | Unsent | Unknown]) -> None:
            if not answer.done():
                answer.set_result(answers.http_answer(future.result(), signed.name))

        body = b"tx_type=%d&tx_info=%b" % (signed.kind, quote_plus(signed.info).encode())
        self._order_lane.send(HttpRequest("POST", f"{PREFIX}sendTx", body, FORM)).add_done_callback(replied)
        return answer

    def _settle(self, nonce: int, answer: answers.Answer) -> None:
        match answer:
            case Rejected(code=RejectCode.NONCE):
                self._nonces.doubt()
                self._cool(self._settings.error_cooldown_s)
            case Rejected(code=RejectCode.AUTH):
                self._cool(self._settings.error_cooldown_auth_s)
            case Rejected(code=RejectCode.UNKNOWN_ORDER):
                pass
            case Rejected() | Unknown():
                self._cool(self._settings.error_cooldown_s)
        self._settle_nonce(nonce, None if isinstance(answer, Unknown) else isinstance(answer, answers.Queued))

    def _settle_nonce(self, nonce: int, spent: bool | None) -> None:
        self._nonces.settle(nonce, spent)
        if self._nonces.wants_reading and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read())

    def _cool(self, pause_s: float) -> None:
        self._cool_until_ns = max(self._cool_until_ns, self._clock.mono_ns() + int(pause_s * NS_PER_S))

    async def _read(self) -> None:
        """Until the count is known again; nothing is signed meanwhile."""
        while self._nonces.wants_reading:
            await asyncio.sleep(NONCE_LAG_S)
            try:
                self._nonces.read(await self._read_nonce())
            except VenueError as error:
                self._log.warning("nonce_not_read", venue="lighter", detail=str(error))
                await asyncio.sleep(NONCE_AGAIN_S)
            else:
                self._log.info("nonce_read", venue="lighter", resyncs=self._nonces.resyncs)
