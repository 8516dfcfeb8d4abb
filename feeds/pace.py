"""A token bucket: how fast we may speak to a venue, over all connections of this process."""

from __future__ import annotations

import asyncio

from core.clock import NS_PER_S, Clock


class Pace:
    """`burst` at once, then `per_s`. Waiters are served in order; there are as many as the feed has sockets and tasks."""

    def __init__(self, burst: float, per_s: float, clock: Clock) -> None:
        self._burst = burst
        self._per_s = per_s
        self._mono_ns = clock.mono_ns
        self._tokens = burst
        self._filled_ns = clock.mono_ns()
        self._turn = asyncio.Lock()

    async def take(self, tokens: float) -> None:
        """Wait until `tokens` (at most `burst` count) may be spent, and spend them."""
        tokens = min(tokens, self._burst)
        async with self._turn:
            missing = tokens - self._refill()
            if missing > 0:
                await asyncio.sleep(missing / self._per_s)
                self._refill()
            self._tokens -= tokens

    def _refill(self) -> float:
        now_ns = self._mono_ns()
        self._tokens = min(self._burst, self._tokens + (now_ns - self._filled_ns) / NS_PER_S * self._per_s)
        self._filled_ns = now_ns
        return self._tokens
