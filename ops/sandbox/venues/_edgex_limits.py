"""How many calls an account may make, in whole minutes. Pure: the caller passes the time.

The venue publishes no numbers (docs/venues/edgex.md 9); these are the sandbox's own, twice what the page plans to use.
"""

from __future__ import annotations

from ops.sandbox.venues._edgex_errors import ApiError, Word

PRIVATE_PER_MIN = 1200
CREATES_PER_MIN = 600
MINUTE_MS = 60_000
_ACCOUNTS_MAX = 1024


class Limits:
    """Counters of the running minute."""

    __slots__ = ("_counts", "_minute", "creates_max", "private_max")

    def __init__(self, private_max: int = PRIVATE_PER_MIN, creates_max: int = CREATES_PER_MIN) -> None:
        self.private_max = private_max
        self.creates_max = creates_max
        self._minute = -1
        self._counts: dict[tuple[str, bool], int] = {}

    def charge(self, account: str, create: bool, now_ms: int) -> None:
        """Count one private call. Raises ApiError over the limit."""
        minute = now_ms // MINUTE_MS
        if minute != self._minute or len(self._counts) > _ACCOUNTS_MAX:
            self._minute = minute
            self._counts.clear()
        for kind, most in ((False, self.private_max), (True, self.creates_max)):
            if kind and not create:
                continue
            used = self._counts.get((account, kind), 0)
            if used >= most:
                raise ApiError(Word.RATE_LIMIT_EXCEEDED)
            self._counts[account, kind] = used + 1
