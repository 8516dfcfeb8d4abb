"""Lighter's request budgets: rolling minutes per address and per account (docs/venues/lighter.md 9).

The Standard tier counts requests, REST and transactions alike, whatever they ask. The Premium tier counts weights, and
transactions apart. A request that proves its account is charged to that account only, one that does not to its address.
"""

from __future__ import annotations

from collections import deque

from core.clock import NS_PER_S
from core.errors import ConfigError
from ops.sandbox.venues._lighter_errors import ApiError, Code

STANDARD, PREMIUM = "standard", "premium"
WINDOW_NS = 60 * NS_PER_S
STANDARD_PER_MIN = 60
PREMIUM_WEIGHT_PER_MIN = 24_000
PREMIUM_TX_PER_MIN = 4_000
LEVERAGE_PER_MIN = 40
WEIGHTS = {
    "sendTx": 6,
    "sendTxBatch": 6,
    "nextNonce": 6,
    "accountInactiveOrders": 100,
    "apikeys": 150,
    "trades": 600,
    "recentTrades": 600,
}
DEFAULT_WEIGHT = 300
_TX = frozenset({"sendTx", "sendTxBatch"})


class Limits:
    """Raises ApiError TOO_MANY_REQUESTS; what is refused is not counted."""

    def __init__(self, tier: str) -> None:
        self.tier = tier or STANDARD
        if self.tier not in (STANDARD, PREMIUM):
            raise ConfigError(f"sandbox.venues: tier: {tier!r} is not one of {STANDARD}, {PREMIUM}")
        self._windows: dict[str, Window] = {}

    def charge(self, who: str, endpoint: str, now_ns: int) -> None:
        """One request of `who`, an address or an account. Whole transactions are charged by their number of calls."""
        weight = WEIGHTS.get(endpoint, DEFAULT_WEIGHT)
        if self.tier == STANDARD:
            self._take(who, 1, STANDARD_PER_MIN, now_ns)
            own = PREMIUM_WEIGHT_PER_MIN // weight
            if own < STANDARD_PER_MIN:
                self._take(f"{who} {endpoint}", 1, own, now_ns)
        elif endpoint in _TX:
            self._take(f"{who} tx", 1, PREMIUM_TX_PER_MIN, now_ns)
        else:
            self._take(who, weight, PREMIUM_WEIGHT_PER_MIN, now_ns)

    def charge_leverage(self, who: str, now_ns: int) -> None:
        self._take(f"{who} leverage", 1, LEVERAGE_PER_MIN, now_ns)

    def _take(self, key: str, weight: int, limit: int, now_ns: int) -> None:
        if not self._windows.setdefault(key, Window()).take(weight, limit, now_ns):
            raise ApiError(Code.TOO_MANY_REQUESTS)


class Window:
    """What one rolling minute saw; at most `limit` entries."""

    __slots__ = ("_sum", "_taken")

    def __init__(self) -> None:
        self._taken: deque[tuple[int, int]] = deque()
        self._sum = 0

    def take(self, weight: int, limit: int, now_ns: int) -> bool:
        while self._taken and self._taken[0][0] <= now_ns - WINDOW_NS:
            self._sum -= self._taken.popleft()[1]
        if self._sum + weight > limit:
            return False
        self._taken.append((now_ns, weight))
        self._sum += weight
        return True
