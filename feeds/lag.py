"""Exchange lag: receive time less the venue's own time, judged against its rolling median (RULES 2).

Clocks of box and venue may differ by more than any lag (recordings show a constant -1.27 s), so a lag alone says nothing:
only its rise above the median does. The median moves over WINDOW_NS, long against any stall that a trade must not survive
and short enough that a stepped clock heals by itself.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from core.clock import NS_PER_MS, NS_PER_S

SAMPLE_NS = 500 * NS_PER_MS
WINDOW_NS = 600 * NS_PER_S


class LagMeter:
    """At most WINDOW_NS / SAMPLE_NS samples; one sorted insert per sample, two integer operations per other frame."""

    __slots__ = ("_by_age", "_max_ns", "_next_ns", "_sorted", "median_ns")

    def __init__(self, max_lag_ns: int) -> None:
        self._max_ns = max_lag_ns
        self._by_age: deque[int] = deque()
        self._sorted: list[int] = []
        self._next_ns = 0
        self.median_ns = 0

    def is_late(self, lag_ns: int, now_ns: int) -> bool:
        """Whether a frame with this lag, received at `now_ns` (mono), proves nothing any more."""
        if now_ns >= self._next_ns:
            self._sample(lag_ns, now_ns)
        return lag_ns - self.median_ns > self._max_ns

    def _sample(self, lag_ns: int, now_ns: int) -> None:
        self._next_ns = now_ns + SAMPLE_NS
        if len(self._by_age) >= WINDOW_NS // SAMPLE_NS:
            del self._sorted[bisect_left(self._sorted, self._by_age.popleft())]
        self._by_age.append(lag_ns)
        insort(self._sorted, lag_ns)
        self.median_ns = self._sorted[(len(self._sorted) - 1) // 2]
