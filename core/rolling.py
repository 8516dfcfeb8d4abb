"""A rolling median over time, bounded in time and in count: standing offsets (RULES 7, TRAPS T27), live and recorded."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

from core.clock import NS_PER_S

MAX_SAMPLES = 4096


class RollingMedian:
    """Median of the values seen in the last `window_s`; None until `min_samples` are there."""

    __slots__ = ("_min_samples", "_sorted", "_values", "_window_ns")

    def __init__(self, window_s: float, min_samples: int) -> None:
        self._window_ns = int(window_s * NS_PER_S)
        self._min_samples = min_samples
        self._values: deque[tuple[int, float]] = deque()
        self._sorted: list[float] = []

    def add(self, now_ns: int, value: float) -> None:
        self._expire(now_ns)
        if len(self._values) == MAX_SAMPLES:
            self._drop_oldest()
        self._values.append((now_ns, value))
        insort(self._sorted, value)

    def median(self, now_ns: int) -> float | None:
        self._expire(now_ns)
        count = len(self._sorted)
        if count < self._min_samples:
            return None
        middle = count // 2
        return self._sorted[middle] if count % 2 else (self._sorted[middle - 1] + self._sorted[middle]) / 2

    @property
    def count(self) -> int:
        return len(self._values)

    def _expire(self, now_ns: int) -> None:
        while self._values and now_ns - self._values[0][0] > self._window_ns:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, value = self._values.popleft()
        del self._sorted[bisect_left(self._sorted, value)]
