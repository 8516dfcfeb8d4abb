"""The auth token of private reads and channels, renewed before it runs out (docs/venues/lighter.md 6).

Deadlines only grow: a token made in the second in which the venue refused one must not be the same text again.
"""

from __future__ import annotations

from core.clock import NS_PER_S, Clock
from core.log import Log
from executor.signing.lighter import Signer

RENEW_AT_RATIO = 0.2  # of its life, before its end


class Tokens:
    """`ttl_s`: the life asked for, at most 8 h."""

    def __init__(self, signer: Signer, ttl_s: float, clock: Clock, log: Log) -> None:
        self._signer = signer
        self._ttl_s = int(ttl_s)
        self._clock = clock
        self._log = log
        self._token = ""
        self._deadline_s = 0

    async def token(self) -> str:
        """One that is good for a while. Raises VenueError when it cannot be signed."""
        now_s = self._clock.wire_ns() // NS_PER_S
        if self._token and now_s < self._deadline_s - self._ttl_s * RENEW_AT_RATIO:
            return self._token
        deadline_s = max(now_s + self._ttl_s, self._deadline_s + 1)
        self._deadline_s = deadline_s
        token = await self._signer.auth_token(deadline_s)
        self._token = token
        self._log.info("auth_token_issued", venue="lighter", expires_in_s=deadline_s - now_s)
        return token

    def drop(self, why: str) -> None:
        """The venue refused it: the next one is made anew."""
        if self._token:
            self._log.warning("auth_token_refused", venue="lighter", detail=why)
        self._token = ""

    def __repr__(self) -> str:
        return f"Tokens(deadline {self._deadline_s})"
