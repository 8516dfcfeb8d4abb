"""Kraken's request counters, kept on this side of the wire (docs/venues/kraken.md 9).

Two kinds rise with requests and decay with time: one per key for reads, one per pair for orders, where the cancel of a young
order costs eight times its placing. Both have the account's tier as their ceiling. A part of each is kept for what repair,
cancel and flatten need. What the venue refuses as too much it counts all the same, so a refusal empties the counter here.
"""

from __future__ import annotations

from typing import NamedTuple

from core.clock import NS_PER_S, Clock
from core.errors import RateLimited
from core.specs.kraken import Tier

HISTORY_COST = 2
LOCKOUT_S = 15 * 60.0
RATE_PAUSE_S = 5.0
_CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))  # younger than so many seconds -> so much


class _Limit(NamedTuple):
    most: float
    decay_s: float


_READS = {
    Tier.STARTER: _Limit(15, 0.33), Tier.INTERMEDIATE: _Limit(20, 0.5), Tier.PRO: _Limit(20, 1.0),
    Tier.AGREED: _Limit(600, 20.0),
}  # fmt: skip
_ORDERS = {
    Tier.STARTER: _Limit(60, 1.0), Tier.INTERMEDIATE: _Limit(125, 2.34), Tier.PRO: _Limit(180, 3.75),
    Tier.AGREED: _Limit(2000, 50.0),
}  # fmt: skip


class Counter:
    """One counter as we believe it stands at the venue."""

    __slots__ = ("_clock", "_level", "_limit", "_paused_until_ns", "_reserve", "_seen_ns")

    def __init__(self, limit: _Limit, reserve_ratio: float, clock: Clock) -> None:
        self._limit = limit
        self._reserve = limit.most * reserve_ratio
        self._clock = clock
        self._level = 0.0
        self._seen_ns = clock.mono_ns()
        self._paused_until_ns = 0

    @property
    def ratio(self) -> float:
        """What is left, 0 to 1."""
        now_ns = self._decay()
        return 0.0 if now_ns < self._paused_until_ns else max(0.0, 1.0 - self._level / self._limit.most)

    def admits(self, cost: float, *, priority: bool) -> bool:
        now_ns = self._decay()
        if now_ns < self._paused_until_ns:
            return False
        return self._level + cost <= self._limit.most - (0.0 if priority else self._reserve)

    def take(self, cost: float, *, priority: bool) -> bool:
        if not self.admits(cost, priority=priority):
            return False
        self._level += cost
        return True

    def require(self, cost: float, *, priority: bool) -> None:
        """Raises RateLimited with the time until it would fit."""
        if not self.take(cost, priority=priority):
            ceiling = self._limit.most - (0.0 if priority else self._reserve)
            over_s = max(0.0, self._level + cost - ceiling) / self._limit.decay_s
            pause_s = max(0.0, (self._paused_until_ns - self._seen_ns) / NS_PER_S)
            raise RateLimited("our own request budget is used up for now", max(over_s, pause_s))

    def refused(self, pause_s: float) -> None:
        """The venue says that this was too much: the counter is full, and nothing goes for `pause_s`."""
        now_ns = self._decay()
        self._level = self._limit.most
        self._paused_until_ns = max(self._paused_until_ns, now_ns + int(pause_s * NS_PER_S))

    def _decay(self) -> int:
        now_ns = self._clock.mono_ns()
        self._level = max(0.0, self._level - (now_ns - self._seen_ns) / NS_PER_S * self._limit.decay_s)
        self._seen_ns = now_ns
        return now_ns


class Budget:
    """`reads`, and a counter of orders for every pair that was traded."""

    def __init__(self, tier: Tier, reserve_ratio: float, clock: Clock) -> None:
        self.reads = Counter(_READS[tier], reserve_ratio, clock)
        self._orders: dict[str, Counter] = {}
        self._limit = _ORDERS[tier]
        self._reserve_ratio = reserve_ratio
        self._clock = clock

    def orders(self, pair: str) -> Counter:
        """`pair` in the venue's spelling. Bounded by the catalogue."""
        counter = self._orders.get(pair)
        if counter is None:
            counter = self._orders[pair] = Counter(self._limit, self._reserve_ratio, self._clock)
        return counter

    def may_send(self, *, priority: bool) -> bool:
        """Whether one more order fits, whatever its pair: the fullest counter decides."""
        return all(counter.admits(1, priority=priority) for counter in self._orders.values())

    @property
    def ratio(self) -> float:
        return min([self.reads.ratio, *(counter.ratio for counter in self._orders.values())])


def cancel_cost(age_ns: int) -> int:
    """Of an order that was placed so long ago."""
    return next((cost for seconds, cost in _CANCEL_COSTS if age_ns < seconds * NS_PER_S), 0)
