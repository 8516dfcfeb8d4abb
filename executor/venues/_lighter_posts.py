"""Transactions in flight over the WebSocket, each correlated with its answer by an id (docs/venues/lighter.md 7).

An answer that does not come in time, or a socket that goes away, makes every waiting one Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio

from core.errors import NotSent
from executor.outcome import Unknown
from executor.signing.signed import Signed
from executor.venues._lighter_answers import Answer, PostRow, post_answer
from executor.ws_lane import WsLane

MAX_IN_FLIGHT = 50


class Posts:
    """Sends over `lane` and completes each future exactly once."""

    def __init__(self, lane: WsLane, timeout_s: float) -> None:
        self._lane = lane
        self._timeout_s = timeout_s
        self._last_id = 0
        self._waiting: dict[str, tuple[asyncio.Future[Answer], asyncio.TimerHandle, str]] = {}

    def send(self, signed: Signed) -> asyncio.Future[Answer]:
        """Write a transaction now. Raises NotSent when no byte left (or too many are in flight)."""
        if len(self._waiting) >= MAX_IN_FLIGHT:
            raise NotSent(f"{MAX_IN_FLIGHT} transactions are in flight already")
        number = self._last_id + 1
        self._lane.send(
            b'{"type":"jsonapi/sendtx","data":{"id":"%d","tx_type":%d,"tx_info":%b}}'
            % (number, signed.kind, signed.info)
        )
        self._last_id = number
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        timer = loop.call_later(self._timeout_s, self._timed_out, str(number))
        self._waiting[str(number)] = (future, timer, signed.name)
        return future

    def on_answer(self, row: PostRow) -> bool:
        """False when nobody waits for it (late)."""
        entry = self._waiting.get(row.id)
        return entry is not None and self._settle(row.id, post_answer(row, entry[2]))

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
        future, timer, _ = entry
        timer.cancel()
        if not future.done():
            future.set_result(answer)
        return True
