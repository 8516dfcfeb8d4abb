"""Pacifica's request credits: a rolling minute per address, or per API config key (docs/venues/pacifica.md 9).

Kept in tenths, as the venue reports them.
"""

from __future__ import annotations

from collections import deque

from core.clock import NS_PER_S
from core.errors import ConfigError
from ops.sandbox.venues._pacifica_errors import RATE_EXCEEDED, TOO_MANY, ApiError

WINDOW_NS = 60 * NS_PER_S
KEYLESS = 100
TIERS = {"": 300, "tier1": 600, "tier2": 1200, "tier3": 2400, "tier4": 6000, "vip": 30_000}  # with a key
REQUEST, CANCEL = 10, 5
HEAVY_KEYLESS, HEAVY = 120, 30
HEAVY_PATHS = frozenset({"trades/history", "orders/history", "account/balance/history", "kline"})
SCALE = 10


class Limits:
    """Raises ApiError 429; what is refused is not counted."""

    def __init__(self, tier: str) -> None:
        if tier not in TIERS:
            raise ConfigError(f"sandbox venue pacifica: tier: {tier!r} is not one of {', '.join(filter(None, TIERS))}")
        self._quota = TIERS[tier] * SCALE
        self._windows: dict[str, _Window] = {}

    def charge(self, who: str, key: str, tenths: int, now_ns: int) -> None:
        if not self._window(who, key).take(tenths, self._limit(key), now_ns):
            raise ApiError(TOO_MANY, RATE_EXCEEDED)

    def read_cost(self, path: str, key: str) -> int:
        """Of a GET."""
        if path in HEAVY_PATHS:
            return HEAVY if key else HEAVY_KEYLESS
        return REQUEST

    def report(self, who: str, key: str, now_ns: int) -> dict[str, int]:
        """The `rl` field: what is left, the quota, and seconds until something comes back."""
        left, reset_s = self._window(who, key).left(self._limit(key), now_ns)
        return {"r": left, "q": self._limit(key), "t": reset_s}

    def _limit(self, key: str) -> int:
        return self._quota if key else KEYLESS * SCALE

    def _window(self, who: str, key: str) -> _Window:
        return self._windows.setdefault(key or who, _Window())


class _Window:
    __slots__ = ("_sum", "_taken")

    def __init__(self) -> None:
        self._taken: deque[tuple[int, int]] = deque()
        self._sum = 0

    def take(self, tenths: int, limit: int, now_ns: int) -> bool:
        self._forget(now_ns)
        if self._sum + tenths > limit:
            return False
        self._taken.append((now_ns, tenths))
        self._sum += tenths
        return True

    def left(self, limit: int, now_ns: int) -> tuple[int, int]:
        self._forget(now_ns)
        oldest_ns = self._taken[0][0] if self._taken else now_ns - WINDOW_NS
        return limit - self._sum, max(0, (oldest_ns + WINDOW_NS - now_ns) // NS_PER_S)

    def _forget(self, now_ns: int) -> None:
        while self._taken and self._taken[0][0] <= now_ns - WINDOW_NS:
            self._sum -= self._taken.popleft()[1]
