"""Signed operations in flight over the WebSocket, each correlated with its answer by a request id (pacifica.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting operation Unknown: its bytes left. A
refusal of a request that the venue could not read comes without its id; then the timeout decides.
"""

from __future__ import annotations

import asyncio
import uuid

from core.errors import NotSent
from executor.outcome import Unknown
from executor.signing import pacifica as signing
from executor.venues._pacifica_answers import Answer, SocketAnswer, socket_answer
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 90


class Posts:
    """Sends bodies as operations over `lane` and completes each future exactly once. `first_id`: where request ids begin,
    so that those of two processes do not meet."""

    def __init__(self, lane: WsLane, timeout_s: float, first_id: int) -> None:
        self._lane = lane
        self._timeout_s = timeout_s
        self._last_id = first_id
        self._waiting: dict[str, tuple[asyncio.Future[Answer], asyncio.TimerHandle]] = {}

    def send(self, kind: str, body: bytes) -> asyncio.Future[Answer]:
        """Write an operation now. Raises NotSent when no byte left (or too many are in flight)."""
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise NotSent(f"{MAX_IN_FLIGHT} operations are in flight already")
        self._last_id += 1
        number = str(uuid.UUID(int=self._last_id))
        self._lane.send(signing.frame(number, kind, body))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[number] = (future, loop.call_later(self._timeout_s, self._timed_out, number))
        return future

    def on_answer(self, answer: SocketAnswer) -> bool:
        """False when nobody waits for it (late, or without its id)."""
        return self._settle(answer.id, socket_answer(answer))

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        for number in list(self._waiting):
            self._settle(number, Unknown(detail=f"no answer: {reason}"))

    def _timed_out(self, number: str) -> None:
        self._settle(number, Unknown(detail=f"nothing within {self._timeout_s:g} s"))

    def _settle(self, number: str, answer: Answer) -> bool:
        entry = self._waiting.pop(number, None)
        if entry is None:
            return False
        future, timer = entry
        timer.cancel()
        if not future.done():
            future.set_result(answer)
        return True
