"""Requests in flight over GRVT's WebSocket, each correlated with its answer by an id (docs/venues/grvt.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting request Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio

from executor.venues._grvt_answers import Answer, Rpc, rpc_answer
from executor.venues._grvt_wire import frame
from executor.venues._waiting import Waiting
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 100
FIRST_ID = 1000  # above those of subscriptions


class Posts:
    """Sends over `lane` and completes each future exactly once."""

    def __init__(self, lane: WsLane, timeout_s: float) -> None:
        self._lane = lane
        self._last_id = FIRST_ID
        self._waiting: Waiting[int, Answer] = Waiting(timeout_s, MAX_IN_FLIGHT)

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited."""
        return self._waiting.idle

    def send(self, method: str, body: bytes) -> asyncio.Future[Answer]:
        """Write a request now. Raises NotSent when no byte left (or too many are in flight)."""
        self._waiting.require_room("requests")
        number = self._last_id + 1
        self._lane.send(frame(method, body, number))
        self._last_id = number
        return self._waiting.begin(number)

    def on_answer(self, rpc: Rpc) -> bool:
        """False when nobody waits for it (late, or not ours)."""
        return self._waiting.settle(rpc.id, rpc_answer(rpc))

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        self._waiting.fail_all(reason)
