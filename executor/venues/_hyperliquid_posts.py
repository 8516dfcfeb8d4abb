"""Signed actions in flight over the WebSocket, each correlated with its answer by a post id (hyperliquid.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting action Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio
import re

import msgspec

from core.errors import NotSent
from executor.outcome import RejectCode, Rejected, Unknown
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._hyperliquid_answers import Answer, is_refused, post_answer
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 90  # the venue allows 100 per IP
_ERROR_ID = re.compile(r" id=(\d+)$")


class _PostData(msgspec.Struct):
    id: int
    response: msgspec.Raw


_post_data = msgspec.json.Decoder(_PostData)


class Posts:
    """Sends bodies as posts over `lane` and completes each future exactly once."""

    def __init__(self, lane: WsLane, timeout_s: float) -> None:
        self._lane = lane
        self._timeout_s = timeout_s
        self._last_id = 0
        self._waiting: dict[int, tuple[asyncio.Future[Answer], asyncio.TimerHandle]] = {}

    def send(self, body: bytes) -> asyncio.Future[Answer]:
        """Write a post now. Raises NotSent when no byte left (or too many are in flight)."""
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise NotSent(f"{MAX_IN_FLIGHT} posts are in flight already")
        number = self._last_id + 1
        self._lane.send(b'{"method":"post","id":%d,"request":{"type":"action","payload":%b}}' % (number, body))
        self._last_id = number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[number] = (future, loop.call_later(self._timeout_s, self._timed_out, number))
        return future

    def on_post(self, data: msgspec.Raw) -> bool:
        """A frame of the `post` channel; False when nobody waits for it (late, or not decodable)."""
        try:
            decoded = _post_data.decode(data)
        except DECODE_ERRORS:
            return False
        return self._settle(decoded.id, post_answer(decoded.response))

    def on_error(self, text: str) -> bool:
        """A text of the `error` channel that names a post: listed refusals reject it, others leave it to its timeout."""
        match = _ERROR_ID.search(text)
        if match is None or not is_refused(text):
            return False
        return self._settle(int(match[1]), Rejected(code=RejectCode.RATE, detail=text[:300]))

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        for number in list(self._waiting):
            self._settle(number, Unknown(detail=f"no answer: {reason}"))

    def _timed_out(self, number: int) -> None:
        self._settle(number, Unknown(detail=f"nothing within {self._timeout_s:g} s"))

    def _settle(self, number: int, answer: Answer) -> bool:
        entry = self._waiting.pop(number, None)
        if entry is None:
            return False
        future, timer = entry
        timer.cancel()
        if not future.done():
            future.set_result(answer)
        return True
