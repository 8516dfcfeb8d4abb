"""Lighter's request budgets by account tier (docs/venues/lighter.md 9).

Standard counts requests, reads and transactions together, whatever they ask: 60 a minute. The paid tiers give transactions
a budget of their own and weigh reads. Which one applies is read off `requests_per_min`, the tier's transactions a minute
(60; 4 000 and more). All tiers above Standard are taken for Premium, whose budget of reads is the smallest.

The venue counts rolling minutes. A bucket that refills may grant twice its size within one, so what was spent is remembered
here until it has left the venue's minute too.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from core.clock import NS_PER_S, Clock
from core.errors import RateLimited
from executor.throttle import Throttle
from executor.venues._lighter_window import SpentFile

STANDARD_PER_MIN = 60
WEIGHT_PER_MIN = 24_000
WEIGHTS = {"nextNonce": 6, "accountInactiveOrders": 100, "apikeys": 150, "trades": 600, "recentTrades": 600}
DEFAULT_WEIGHT = 300
WINDOW_NS = 61 * NS_PER_S  # a minute, and the way there


class RollingThrottle(Throttle):
    """At most the budget in any rolling minute. Bounded by the budget: every request weighs at least 1."""

    __slots__ = ("_file", "_spent")

    def __init__(self, per_min: int, reserve_ratio: float, clock: Clock, file: SpentFile | None = None) -> None:
        """`file`: what earlier processes spent, one weight each; kept up to date from here on."""
        super().__init__(per_min, reserve_ratio, clock)
        self._spent: deque[tuple[int, float]] = deque()
        self._file = file
        wire_ns = clock.wire_ns()
        for spent_ns in file.since(wire_ns - WINDOW_NS) if file is not None else []:
            self._spent.append((self._updated_ns - max(0, wire_ns - spent_ns), 1.0))
            self._level -= 1.0

    def take(self, weight: float = 1.0, *, priority: bool = False) -> bool:
        taken = super().take(weight, priority=priority)
        if taken:
            self._note(weight)
        return taken

    def require(self, weight: float, *, priority: bool) -> None:
        """Take `weight` or raise RateLimited with the time until enough has left the minute."""
        try:
            super().require(weight, priority=priority)
        except RateLimited as error:
            wanted = weight + (0.0 if priority else self._reserve) - self._level
            free_ns = self._updated_ns
            for spent_ns, each in self._spent:
                if wanted <= 0:
                    break
                wanted -= each
                free_ns = spent_ns + WINDOW_NS
            raise RateLimited(str(error), max(error.retry_after_s, (free_ns - self._updated_ns) / NS_PER_S)) from None

    def charge(self, weight: float) -> None:
        super().charge(weight)
        self._note(weight)

    def _note(self, weight: float) -> None:
        self._spent.append((self._updated_ns, weight))
        if self._file is not None:
            self._file.note(self._clock.wire_ns())

    def _refill(self) -> int:
        now_ns = self._clock.mono_ns()
        while self._spent and self._spent[0][0] <= now_ns - WINDOW_NS:
            self._level += self._spent.popleft()[1]
        self._updated_ns = now_ns
        return now_ns


class Budget:
    """`transactions` and `reads` are one and the same on the Standard tier."""

    def __init__(self, requests_per_min: int, reserve_ratio: float, clock: Clock, file: Path | None) -> None:
        """`file`: where the Standard tier's last minute is kept, None = nowhere (paid tiers have plenty)."""
        self._shared = requests_per_min <= STANDARD_PER_MIN
        spent = SpentFile(file) if self._shared and file is not None else None
        self.transactions: Throttle = RollingThrottle(requests_per_min, reserve_ratio, clock, spent)
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
