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

    __slots__ = (
        "_capacity",
        "_clock",
        "_level",
        "_paused_all_until_ns",
        "_paused_until_ns",
        "_per_ns",
        "_reserve",
        "_updated_ns",
    )

    def __init__(self, per_min: int, reserve_ratio: float, clock: Clock) -> None:
        self._capacity = float(per_min)
        self._per_ns = per_min / (60 * NS_PER_S)
        self._reserve = per_min * reserve_ratio
        self._clock = clock
        self._level = float(per_min)
        self._updated_ns = clock.mono_ns()
        self._paused_until_ns = 0
        self._paused_all_until_ns = 0

    @property
    def ratio(self) -> float:
        """What is left of the bucket, 0 to 1; 0 while everything is paused."""
        now_ns = self._refill()
        return 0.0 if now_ns < self._paused_all_until_ns else max(0.0, self._level) / self._capacity

    def admits(self, weight: float = 1.0, *, priority: bool = False) -> bool:
        """Whether a request of `weight` fits now; takes nothing."""
        now_ns = self._refill()
        if now_ns < (self._paused_all_until_ns if priority else self._paused_until_ns):
            return False
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
            refill_s = max(0.0, floor + weight - self._level) / self._per_ns / NS_PER_S
            until_ns = self._paused_all_until_ns if priority else self._paused_until_ns
            pause_s = max(0.0, (until_ns - self._updated_ns) / NS_PER_S)
            raise RateLimited(
                f"our own request budget is used up for now ({self._level:.0f} left)", max(refill_s, pause_s)
            )

    def charge(self, weight: float) -> None:
        """Take `weight` for something that has been spent already (rows of an answer); may leave the bucket in debt."""
        self._refill()
        self._level -= weight

    def lower_to(self, ratio: float) -> None:
        """The venue counts only this part of the budget left: it knows of others who draw on it too."""
        self._refill()
        self._level = min(self._level, ratio * self._capacity)

    def pause(self, pause_s: float, *, everything: bool) -> None:
        """The venue says that we are over its limit: admit nothing, or only priority requests, for `pause_s`."""
        until_ns = self._clock.mono_ns() + int(pause_s * NS_PER_S)
        self._paused_until_ns = max(self._paused_until_ns, until_ns)
        if everything:
            self._paused_all_until_ns = max(self._paused_all_until_ns, until_ns)

    def _refill(self) -> int:
        now_ns = self._clock.mono_ns()
        self._level = min(self._capacity, self._level + (now_ns - self._updated_ns) * self._per_ns)
        self._updated_ns = now_ns
        return now_ns
