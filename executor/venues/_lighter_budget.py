"""Lighter's request budgets by account tier (docs/venues/lighter.md 9).

Standard counts requests, reads and transactions together, whatever they ask: 60 a minute. The paid tiers give transactions
a budget of their own and weigh reads. Which one applies is read off `requests_per_min`, the tier's transactions a minute
(60; 4 000 and more). All tiers above Standard are taken for Premium, whose budget of reads is the smallest.
"""

from __future__ import annotations

from core.clock import Clock
from executor.throttle import Throttle

STANDARD_PER_MIN = 60
WEIGHT_PER_MIN = 24_000
WEIGHTS = {"nextNonce": 6, "accountInactiveOrders": 100, "apikeys": 150, "trades": 600, "recentTrades": 600}
DEFAULT_WEIGHT = 300


class Budget:
    """`transactions` and `reads` are one and the same on the Standard tier."""

    def __init__(self, requests_per_min: int, reserve_ratio: float, clock: Clock) -> None:
        self._shared = requests_per_min <= STANDARD_PER_MIN
        self.transactions = Throttle(requests_per_min, reserve_ratio, clock)
        self.reads = self.transactions if self._shared else Throttle(WEIGHT_PER_MIN, reserve_ratio, clock)

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
