"""Lighter's one socket: private channels and transactions (docs/venues/lighter.md 3, 8).

The token is made before each connection and given with each subscription; the venue looks at it then. Frames are sorted
here: answers to transactions, refusals (which carry neither type nor channel), the venue's own pings, its announcement of a
planned close, and the private channels. Their time stamps are the measure of the venue's clock, off by the way here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from core.clock import NS_PER_MS, Clock
from core.errors import NotSent
from core.log import Log
from core.settings import VenueConfig
from executor.venues import _lighter_answers as answers
from executor.venues import _lighter_rows as rows
from executor.venues._lighter_stream import PrivateStream
from executor.venues._lighter_tokens import Tokens
from executor.venues._skew import ClockSkew
from executor.ws_lane import WsLane

PING, PONG = b'{"type":"ping"}', b'{"type":"pong"}'


class Socket:
    """`on_answer` gets answers to transactions, `on_lost` the end of a connection. `stream` is set before `start`."""

    def __init__(
        self,
        settings: VenueConfig,
        tokens: Tokens,
        skew: ClockSkew,
        on_answer: Callable[[answers.PostRow], None],
        on_lost: Callable[[str], None],
        clock: Clock,
        rng: random.Random,
        log: Log,
    ) -> None:
        self._url = settings.ws_url
        self._posts_here = settings.order_entry == "ws"
        self._tokens = tokens
        self._skew = skew
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._clock = clock
        self._log = log
        self._token = ""
        self._draining = False
        self.stream: PrivateStream | None = None
        self.lane = WsLane(
            self._stream_url,
            timeout_s=settings.request_timeout_ms / 1000,
            clock=clock,
            rng=rng,
            log=log,
            on_up=self._on_up,
            on_frame=self._on_frame,
            on_down=self._on_down,
            ping=PING,
        )

    @property
    def takes_orders(self) -> bool:
        """Whether a transaction may be written here now."""
        return self._posts_here and self.lane.warm and not self._draining

    async def _stream_url(self) -> str:
        self._token = await self._tokens.token()
        return self._url

    def _on_up(self) -> None:
        self._draining = False
        if self.stream is not None:
            for text in self.stream.subscriptions(self._token):
                self.lane.send(text)

    def _on_down(self, reason: str) -> None:
        self._on_lost(reason)
        if self.stream is not None:
            self.stream.on_down(reason, self.lane.heard_wire_ns)

    def _on_frame(self, data: bytes) -> None:
        frame = rows.decode_frame(data)
        if frame is None or self.stream is None:
            self._log.warning("ws_frame_malformed", venue="lighter")
            return
        if frame.timestamp:
            now_ns = self._clock.wire_ns()
            self._skew.note(frame.timestamp * NS_PER_MS, now_ns, now_ns)
        if frame.type == "jsonapi/sendtx" or (frame.error is not None and frame.id):
            self._on_answer(frame)
        elif frame.error is not None:
            self._on_error(frame.error)
        elif frame.type == "ping":
            self._answer_ping()
        elif frame.type == "shutdown":
            self._drain(frame.close_in_ms)
        else:
            self.stream.on_frame(frame, data)

    def _on_error(self, error: answers.ErrorRow) -> None:
        self._log.error("ws_error", venue="lighter", code=error.code, detail=error.message[:200])
        if error.code == answers.AUTH_CODE:
            self._tokens.drop("refused by a channel")
            self.lane.reset("the auth token was refused")

    def _answer_ping(self) -> None:
        try:
            self.lane.send(PONG)
        except NotSent as error:
            self._log.debug("pong_not_sent", venue="lighter", detail=str(error))

    def _drain(self, close_in_ms: int) -> None:
        """A planned close: transactions go by REST, and half-way to it a fresh connection is opened."""
        if not self._draining:
            self._draining = True
            half_s = max(0, close_in_ms) / 2000
            asyncio.get_running_loop().call_later(half_s, self.lane.reset, "the venue announced its close")
