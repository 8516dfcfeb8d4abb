"""The standing offset between two venues: a rolling median of the gap of their mids (RULES 7, TRAPS T27).

One sample a second at most, only from two usable quotes. The window is bounded by time and by count. A median costs one
bisect per sample, so hundreds of symbol pairs fit in a strategy's idle time.
"""

from __future__ import annotations

from core.rolling import RollingMedian


class OffsetBoard:
    """One rolling median per symbol and unordered pair of venues; asked in either direction."""

    def __init__(self, window_s: float, min_samples: int) -> None:
        self._window_s = window_s
        self._min_samples = min_samples
        self._medians: dict[tuple[str, str, str], RollingMedian] = {}
        self._settled: dict[tuple[str, str, str], float] = {}

    def add(self, symbol: str, short: str, long: str, now_ns: int, mid_gap_bps: float) -> None:
        """`mid_gap_bps` = mid_short - mid_long in bps."""
        key, sign = _key(symbol, short, long)
        if key not in self._medians:
            self._medians[key] = RollingMedian(self._window_s, self._min_samples)
        self._medians[key].add(now_ns, sign * mid_gap_bps)

    def settle(self, now_ns: int) -> None:
        """Take every median anew, in both directions; what `settled_bps` answers until the next call."""
        self._settled.clear()
        for (symbol, first, second), rolling in self._medians.items():
            median = rolling.median(now_ns)
            if median is not None:
                self._settled[symbol, first, second] = median
                self._settled[symbol, second, first] = -median

    def settled_bps(self, symbol: str, short: str, long: str) -> float | None:
        """The standing mid_short - mid_long, or None while there is too little history."""
        return self._settled.get((symbol, short, long))

    def samples(self, symbol: str, short: str, long: str) -> int:
        rolling = self._medians.get(_key(symbol, short, long)[0])
        return rolling.count if rolling else 0


def _key(symbol: str, short: str, long: str) -> tuple[tuple[str, str, str], int]:
    return ((symbol, short, long), 1) if short < long else ((symbol, long, short), -1)
