"""Lighter's request budgets by account tier (docs/venues/lighter.md 9).

Standard counts requests, reads and transactions together, whatever they ask: 60 a minute. The paid tiers give transactions
a budget of their own and weigh reads. Which one applies is read off `requests_per_min`, the tier's transactions a minute
(60; 4 000 and more). All tiers above Standard are taken for Premium, whose budget of reads is the smallest.

The venue counts rolling minutes. A bucket that refills may grant twice its size within one, so what was spent is remembered
here until it has left the venue's minute too.
"""

from __future__ import annotations

from collections import deque

from core.clock import NS_PER_S, Clock
from executor.throttle import Throttle

STANDARD_PER_MIN = 60
WEIGHT_PER_MIN = 24_000
WEIGHTS = {"nextNonce": 6, "accountInactiveOrders": 100, "apikeys": 150, "trades": 600, "recentTrades": 600}
DEFAULT_WEIGHT = 300
WINDOW_NS = 61 * NS_PER_S  # a minute, and the way there


class RollingThrottle(Throttle):
    """At most the budget in any rolling minute. Bounded by the budget: every request weighs at least 1."""

    __slots__ = ("_spent",)

    def __init__(self, per_min: int, reserve_ratio: float, clock: Clock) -> None:
        super().__init__(per_min, reserve_ratio, clock)
        self._spent: deque[tuple[int, float]] = deque()

    def take(self, weight: float = 1.0, *, priority: bool = False) -> bool:
        taken = super().take(weight, priority=priority)
        if taken:
            self._spent.append((self._updated_ns, weight))
        return taken

    def charge(self, weight: float) -> None:
        super().charge(weight)
        self._spent.append((self._updated_ns, weight))

    def _refill(self) -> int:
        now_ns = self._clock.mono_ns()
        while self._spent and self._spent[0][0] <= now_ns - WINDOW_NS:
            self._level += self._spent.popleft()[1]
        self._updated_ns = now_ns
        return now_ns


class Budget:
    """`transactions` and `reads` are one and the same on the Standard tier."""

    def __init__(self, requests_per_min: int, reserve_ratio: float, clock: Clock) -> None:
        self._shared = requests_per_min <= STANDARD_PER_MIN
        self.transactions: Throttle = RollingThrottle(requests_per_min, reserve_ratio, clock)
        self.reads = self.transactions if self._shared else RollingThrottle(WEIGHT_PER_MIN, reserve_ratio, clock)

    @property
    def ratio(self) -> float:
        return min(self.transactions.ratio, self.reads.ratio)

    def require_read(self, name: str, *, priority: bool) -> None:
        """Take the weight of one read or raise RateLimited."""
        self.reads.require(1 if self._shared else WEIGHTS.get(name, DEFAULT_WEIGHT), priority=priority)

    def pause(self, pause_s: float, *, everything: bool) -> None:
        self.transactions.pause(pause_s, everything=everything)
        if not self._shared:
            self.reads.pause(pause_s, everything=everything)
