"""Requests in flight over a socket, each waiting for the answer that carries its id.

An answer that does not come in time, or a socket that goes away, makes every waiting request Unknown: its bytes left.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from core.errors import NotSent
from executor.outcome import Unknown

K = TypeVar("K", int, str)
A = TypeVar("A")


class Waiting(Generic[K, A]):
    """At most `most` requests at a time; completes each future exactly once."""

    def __init__(self, timeout_s: float, most: int) -> None:
        self._timeout_s = timeout_s
        self._most = most
        self._waiting: dict[K, tuple[asyncio.Future[A | Unknown], asyncio.TimerHandle]] = {}

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited."""
        return not self._waiting

    def require_room(self, what: str) -> None:
        """Before anything is written. Raises NotSent when too many are in flight."""
        if len(self._waiting) >= self._most:
            raise NotSent(f"{self._most} {what} are in flight already")

    def begin(self, request_id: K) -> asyncio.Future[A | Unknown]:
        """The request has just been written."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A | Unknown] = loop.create_future()
        self._waiting[request_id] = (future, loop.call_later(self._timeout_s, self._timed_out, request_id))
        return future

    def settle(self, request_id: K, answer: A | Unknown) -> bool:
        """False when nobody waits for it (late, or not ours)."""
        entry = self._waiting.pop(request_id, None)
        if entry is None:
            return False
        future, timer = entry
        timer.cancel()
        if not future.done():
            future.set_result(answer)
        return True

    def fail_all(self, reason: str) -> None:
        """The socket is gone."""
        for request_id in list(self._waiting):
            self.settle(request_id, Unknown(detail=f"no answer: {reason}"))

    def _timed_out(self, request_id: K) -> None:
        self.settle(request_id, Unknown(detail=f"nothing within {self._timeout_s:g} s"))
