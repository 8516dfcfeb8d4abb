"""What a recorded market offered, whoever traded it: the largest edge of each direction against its standing offset.

The figures of RULES 7, from recorded best prices alone: edge = bid_S - ask_L, off = the rolling median of mid_S - mid_L,
dev = edge - off, all in bps of the mean mid. One sample per recorded second; no deviation before the median has enough.
"""

from __future__ import annotations

import msgspec

from core.numeric import BPS
from core.rolling import RollingMedian


class EdgeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One direction: sell at `short_venue`, buy at `long_venue`. None = never measured."""

    symbol: str
    short_venue: str
    long_venue: str
    samples: int
    offset_bps: float | None  # the standing offset as it was at the last sample
    max_edge_bps: float | None
    max_dev_bps: float | None
    max_dev_at_ns: int  # recorded UTC; 0 = never


class _Direction:
    __slots__ = ("at_ns", "dev_bps", "edge_bps")

    def __init__(self) -> None:
        self.edge_bps: float | None = None
        self.dev_bps: float | None = None
        self.at_ns = 0

    def note(self, edge_bps: float, offset_bps: float | None, now_ns: int) -> None:
        if self.edge_bps is None or edge_bps > self.edge_bps:
            self.edge_bps = edge_bps
        if offset_bps is not None and (self.dev_bps is None or edge_bps - offset_bps > self.dev_bps):
            self.dev_bps, self.at_ns = edge_bps - offset_bps, now_ns


class EdgeMeter:
    """Both directions of two venues in one symbol."""

    def __init__(self, symbol: str, first: str, second: str, window_s: float, min_samples: int) -> None:
        self._names = (symbol, first, second)
        self._median = RollingMedian(window_s, min_samples)
        self._offset_bps: float | None = None
        self._directions = (_Direction(), _Direction())  # sell first and buy second; the other way round
        self._samples = 0

    def sample(self, now_ns: int, first: tuple[float, float], second: tuple[float, float]) -> None:
        """(bid, ask) of both venues at one recorded second."""
        (bid_1, ask_1), (bid_2, ask_2) = first, second
        mid = (bid_1 + ask_1 + bid_2 + ask_2) / 4
        gap_bps = ((bid_1 + ask_1) - (bid_2 + ask_2)) / 2 / mid / BPS
        self._median.add(now_ns, gap_bps)
        self._samples += 1
        offset = self._offset_bps = self._median.median(now_ns)
        self._directions[0].note((bid_1 - ask_2) / mid / BPS, offset, now_ns)
        self._directions[1].note((bid_2 - ask_1) / mid / BPS, None if offset is None else -offset, now_ns)

    def seen(self) -> tuple[EdgeSeen, EdgeSeen]:
        symbol, first, second = self._names
        offset = self._offset_bps
        return (
            self._row(symbol, first, second, self._directions[0], offset),
            self._row(symbol, second, first, self._directions[1], None if offset is None else -offset),
        )

    def _row(self, symbol: str, short: str, long: str, found: _Direction, offset: float | None) -> EdgeSeen:
        return EdgeSeen(
            symbol=symbol, short_venue=short, long_venue=long, samples=self._samples, offset_bps=offset,
            max_edge_bps=found.edge_bps, max_dev_bps=found.dev_bps, max_dev_at_ns=found.at_ns,
        )  # fmt: skip
