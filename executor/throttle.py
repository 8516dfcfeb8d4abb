"""Token bucket of one venue's request budget, with a part kept for cancels, repairs and flatten.

Ordinary requests are admitted only while more than the reserve is left; priority ones may use it up. The bucket holds
one minute's budget and refills evenly, so it never grants more than twice the budget in any minute and, from empty,
exactly the budget.
"""

from __future__ import annotations

from core.clock import NS_PER_S, Clock
from core.errors import RateLimited


class Throttle:
    """`per_min`: weight units per minute; `reserve_ratio`: share of the bucket only `priority` may touch."""

    __slots__ = ("_capacity", "_clock", "_level", "_per_ns", "_reserve", "_updated_ns")

    def __init__(self, per_min: int, reserve_ratio: float, clock: Clock) -> None:
        self._capacity = float(per_min)
        self._per_ns = per_min / (60 * NS_PER_S)
        self._reserve = per_min * reserve_ratio
        self._clock = clock
        self._level = float(per_min)
        self._updated_ns = clock.mono_ns()

    @property
    def ratio(self) -> float:
        """What is left of the bucket, 0 to 1."""
        self._refill()
        return max(0.0, self._level) / self._capacity

    def admits(self, weight: float = 1.0, *, priority: bool = False) -> bool:
        """Whether a request of `weight` fits now; takes nothing."""
        self._refill()
        return self._level - weight >= (0.0 if priority else self._reserve)

    def take(self, weight: float = 1.0, *, priority: bool = False) -> bool:
        """Take `weight` if it fits; the answer says whether."""
        if not self.admits(weight, priority=priority):
            return False
        self._level -= weight
        return True

    def require(self, weight: float, *, priority: bool) -> None:
        """Take `weight` or raise RateLimited with the time until it would fit."""
        if not self.take(weight, priority=priority):
            floor = 0.0 if priority else self._reserve
            wait_s = (floor + weight - self._level) / self._per_ns / NS_PER_S
            raise RateLimited(f"our own request budget is used up for now ({self._level:.0f} left)", wait_s)

    def drain(self, hold_s: float) -> None:
        """The venue says that we are over its limit: admit nothing for about `hold_s`."""
        self._refill()
        self._level = min(self._level, -hold_s * NS_PER_S * self._per_ns)

    def _refill(self) -> None:
        now_ns = self._clock.mono_ns()
        self._level = min(self._capacity, self._level + (now_ns - self._updated_ns) * self._per_ns)
        self._updated_ns = now_ns
