"""The pause between attempts to reconnect: grows with jitter, and is cut short when somebody needs the connection now.

After a long outage the pause has grown to many seconds; a flatten or repair must not wait it out once the venue is
back. `wake` ends a pause early, but never before `at_least_s` since the attempt that failed, so that eager callers
cannot hammer a venue that counts connections.
"""

from __future__ import annotations

import asyncio
import random

STEPS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)


class Backoff:
    """One per connection that is kept open. `failures` = failed attempts in a row."""

    def __init__(self, rng: random.Random, at_least_s: float) -> None:
        self._rng = rng
        self._at_least_s = at_least_s
        self._wanted = asyncio.Event()
        self.failures = 0

    async def pause(self) -> None:
        """After a failed attempt."""
        step_s = STEPS_S[min(self.failures, len(STEPS_S) - 1)] * self._rng.uniform(0.5, 1.0)
        self.failures += 1
        self._wanted.clear()
        try:
            async with asyncio.timeout(step_s):
                await asyncio.sleep(self._at_least_s)
                await self._wanted.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        """End the present pause as soon as allowed; nothing when there is none."""
        self._wanted.set()

    def reset(self) -> None:
        """After success."""
        self.failures = 0
