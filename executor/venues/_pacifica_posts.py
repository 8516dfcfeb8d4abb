"""Signed operations in flight over the WebSocket, each correlated with its answer by a request id (pacifica.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting operation Unknown: its bytes left. A
refusal of a request that the venue could not read comes without its id; then the timeout decides.
"""

from __future__ import annotations

import asyncio
import uuid

from executor.signing import pacifica as signing
from executor.venues._pacifica_answers import Answer, SocketAnswer, socket_answer
from executor.venues._waiting import Waiting
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 90


class Posts:
    """Sends bodies as operations over `lane` and completes each future exactly once. `first_id`: where request ids begin,
    so that those of two processes do not meet."""

    def __init__(self, lane: WsLane, timeout_s: float, first_id: int) -> None:
        self._lane = lane
        self._last_id = first_id
        self._waiting: Waiting[str, Answer] = Waiting(timeout_s, MAX_IN_FLIGHT)

    def send(self, kind: str, body: bytes) -> asyncio.Future[Answer]:
        """Write an operation now. Raises NotSent when no byte left (or too many are in flight)."""
        self._waiting.require_room("operations")
        self._last_id += 1
        number = str(uuid.UUID(int=self._last_id))
        self._lane.send(signing.frame(number, kind, body))
        return self._waiting.begin(number)

    def on_answer(self, answer: SocketAnswer) -> bool:
        """False when nobody waits for it (late, or without its id)."""
        return self._waiting.settle(answer.id, socket_answer(answer))

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        self._waiting.fail_all(reason)
