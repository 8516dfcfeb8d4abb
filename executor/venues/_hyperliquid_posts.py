"""Signed actions in flight over the WebSocket, each correlated with its answer by a post id (hyperliquid.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting action Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio
import re

import msgspec

from executor.outcome import RejectCode, Rejected
from executor.venues._decoding import DECODE_ERRORS
from executor.venues._hyperliquid_answers import Answer, is_refused, post_answer
from executor.venues._waiting import Waiting
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
        self._last_id = 0
        self._waiting: Waiting[int, Answer] = Waiting(timeout_s, MAX_IN_FLIGHT)

    def send(self, body: bytes) -> asyncio.Future[Answer]:
        """Write a post now. Raises NotSent when no byte left (or too many are in flight)."""
        self._waiting.require_room("posts")
        number = self._last_id + 1
        self._lane.send(b'{"method":"post","id":%d,"request":{"type":"action","payload":%b}}' % (number, body))
        self._last_id = number
        return self._waiting.begin(number)

    def on_post(self, data: msgspec.Raw) -> bool:
        """A frame of the `post` channel; False when nobody waits for it (late, or not decodable)."""
        try:
            decoded = _post_data.decode(data)
        except DECODE_ERRORS:
            return False
        return self._waiting.settle(decoded.id, post_answer(decoded.response))

    def on_error(self, text: str) -> bool:
        """A text of the `error` channel that names a post: listed refusals reject it, others leave it to its timeout."""
        match = _ERROR_ID.search(text)
        if match is None or not is_refused(text):
            return False
        return self._waiting.settle(int(match[1]), Rejected(code=RejectCode.RATE, detail=text[:300]))

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        self._waiting.fail_all(reason)
