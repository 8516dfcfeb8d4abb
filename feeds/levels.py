"""A book kept from a snapshot and absolute-size differences: sorted prices and a size for each, best price last.

Changes gather at the best prices, so both sides are sorted towards them: an insert there moves a handful of numbers
however deep the book is. The ask side is kept under negated prices, which makes both sides the same code.
Refused: a heap (no deletion), a dict alone (finding the best is a scan), numpy (feeds carry none).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

MAX_LEVELS = 20_000
"""Per side; the deepest are forgotten beyond it. Real books hold about 3,000."""

Level = tuple[float, float]


class Side:
    """One side: `sign` +1 for bids, -1 for asks. Levels are (px, qty), qty 0 = gone."""

    __slots__ = ("_keys", "_levels", "_sign")

    def __init__(self, sign: int, levels: Iterable[Level]) -> None:
        self._sign = sign
        self._levels = {level[0] * sign: level for level in levels if level[1] > 0.0}
        self._keys = sorted(self._levels)
        self._trim()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def best_px(self) -> float:
        """0 when the side is empty."""
        return self._keys[-1] * self._sign if self._keys else 0.0

    def apply(self, levels: Iterable[Level]) -> None:
        sign, held, keys = self._sign, self._levels, self._keys
        for level in levels:
            key = level[0] * sign
            if level[1] > 0.0:
                if key not in held:
                    insort(keys, key)
                held[key] = level
            elif key in held:
                del held[key]
                del keys[bisect_left(keys, key)]
        self._trim()

    def top(self, count: int) -> tuple[Level, ...]:
        """At most `count` levels, best first."""
        return tuple(map(self._levels.__getitem__, self._keys[: -count - 1 : -1]))

    def _trim(self) -> None:
        surplus = len(self._keys) - MAX_LEVELS
        if surplus > 0:
            for key in self._keys[:surplus]:
                del self._levels[key]
            del self._keys[:surplus]


class LevelBook:
    """Both sides. Not sound by itself: whoever feeds it must know that no difference was lost."""

    __slots__ = ("asks", "bids")

    def __init__(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        self.bids = Side(1, bids)
        self.asks = Side(-1, asks)

    @property
    def is_crossed(self) -> bool:
        """Best bid at or above best ask: no book of a matching venue; a difference was lost or misread."""
        bid_px, ask_px = self.bids.best_px, self.asks.best_px
        return 0.0 < ask_px <= bid_px
