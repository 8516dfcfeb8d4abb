"""Requests in flight over GRVT's WebSocket, each correlated with its answer by an id (docs/venues/grvt.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting request Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio

from core.errors import NotSent
from executor.outcome import Unknown
from executor.venues._grvt_answers import Answer, Rpc, rpc_answer
from executor.venues._grvt_wire import frame
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 100
FIRST_ID = 1000  # above those of subscriptions


class Posts:
    """Sends over `lane` and completes each future exactly once."""

    def __init__(self, lane: WsLane, timeout_s: float) -> None:
        self._lane = lane
        self._timeout_s = timeout_s
        self._last_id = FIRST_ID
        self._waiting: dict[int, tuple[asyncio.Future[Answer], asyncio.TimerHandle]] = {}

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited."""
        return not self._waiting

    def send(self, method: str, body: bytes) -> asyncio.Future[Answer]:
        """Write a request now. Raises NotSent when no byte left (or too many are in flight)."""
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise NotSent(f"{MAX_IN_FLIGHT} requests are in flight already")
        number = self._last_id + 1
        self._lane.send(frame(method, body, number))
        self._last_id = number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[number] = (future, loop.call_later(self._timeout_s, self._timed_out, number))
        return future

    def on_answer(self, rpc: Rpc) -> bool:
        """False when nobody waits for it (late, or not ours)."""
        return self._settle(rpc.id, rpc_answer(rpc))

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
