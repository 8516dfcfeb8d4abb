"""Kraken's two counters, which rise with requests and decay with time: one per key for REST, one per key and pair for
orders (docs/venues/kraken.md 9). The younger an order, the dearer its cancel."""

from __future__ import annotations

from typing import NamedTuple

from core.clock import NS_PER_S


class Tier(NamedTuple):
    rest_max: float
    rest_decay_s: float
    orders_max: float
    orders_decay_s: float


TIERS = {
    "starter": Tier(15, 0.33, 60, 1.0),
    "intermediate": Tier(20, 0.5, 125, 2.34),
    "pro": Tier(20, 1.0, 180, 3.75),
    "agreed": Tier(600, 20.0, 2000, 50.0),  # an institution's own; no such figures are published
}
HISTORY_COST = 2
CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))  # younger than so many seconds -> so much
AMEND_COSTS = ((5, 3), (10, 2), (15, 1))  # beside 1


class _Counter:
    __slots__ = ("level", "seen_ns")

    def __init__(self, now_ns: int) -> None:
        self.level = 0.0
        self.seen_ns = now_ns

    def add(self, cost: float, most: float, decay_s: float, now_ns: int) -> bool:
        """Whether it still fits; what does not fit is counted all the same."""
        self.level = max(0.0, self.level - (now_ns - self.seen_ns) / NS_PER_S * decay_s) + cost
        self.seen_ns = now_ns
        return self.level <= most


class Limits:
    """`tier` "" = starter."""

    def __init__(self, tier: str) -> None:
        self._tier = TIERS[tier or "starter"]
        self._rest: dict[str, _Counter] = {}
        self._orders: dict[tuple[str, str], _Counter] = {}

    def charge_rest(self, key: str, cost: float, now_ns: int) -> bool:
        counter = self._rest.setdefault(key, _Counter(now_ns))
        return counter.add(cost, self._tier.rest_max, self._tier.rest_decay_s, now_ns)

    def charge_order(self, key: str, pair: str, cost: float, now_ns: int) -> bool:
        counter = self._orders.setdefault((key, pair), _Counter(now_ns))
        return counter.add(cost, self._tier.orders_max, self._tier.orders_decay_s, now_ns)

    def order_count(self, key: str, pair: str) -> float:
        counter = self._orders.get((key, pair))
        return counter.level if counter is not None else 0.0


def cancel_cost(age_ns: int) -> int:
    return _by_age(CANCEL_COSTS, age_ns)


def amend_cost(age_ns: int) -> int:
    return 1 + _by_age(AMEND_COSTS, age_ns)


def _by_age(costs: tuple[tuple[int, int], ...], age_ns: int) -> int:
    return next((cost for seconds, cost in costs if age_ns < seconds * NS_PER_S), 0)
