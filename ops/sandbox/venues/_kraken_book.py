"""One pair's public book as the `book` channel tells it at one depth: what changed since the last frame, and the checksum
(docs/venues/kraken.md 3)."""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import NamedTuple

from ops.sandbox.exchange import Exchange
from ops.sandbox.venues._kraken_listing import Pair, Row
from ops.sandbox.venues._kraken_rows import level_row

DEPTHS = (10, 25, 100, 500, 1000)
FULL = 1000
SUMMED = 10

Levels = dict[Decimal, Decimal]


class Difference(NamedTuple):
    bids: list[Row]
    asks: list[Row]
    checksum: int


class PublicBook:
    """What the subscribers of one depth were last shown."""

    def __init__(self, exchange: Exchange, pair: Pair, depth: int) -> None:
        self._exchange = exchange
        self._pair = pair
        self._depth = depth
        self._bids: Levels = {}
        self._asks: Levels = {}

    def snapshot(self) -> Difference:
        """What was last shown, whole."""
        if not self._bids and not self._asks:
            self.difference()
        bids = [level_row(px, qty) for px, qty in self._bids.items()]
        asks = [level_row(px, qty) for px, qty in self._asks.items()]
        return Difference(bids, asks, self._checksum())

    def difference(self) -> Difference | None:
        """None when nothing changed at this depth."""
        bids, asks = self._exchange.levels(self._pair.name, FULL)
        all_bids, all_asks = ({level.px: level.qty for level in side} for side in (bids, asks))
        bid_rows, self._bids = self._step(self._bids, all_bids)
        ask_rows, self._asks = self._step(self._asks, all_asks)
        if not bid_rows and not ask_rows:
            return None
        return Difference(bid_rows, ask_rows, self._checksum())

    def _step(self, shown: Levels, full: Levels) -> tuple[list[Row], Levels]:
        """Levels that fell off the end are not told: the client cuts them off itself."""
        now = dict(list(full.items())[: self._depth])
        rows = [level_row(px, Decimal(0)) for px in shown if px not in full]
        rows += [level_row(px, qty) for px, qty in now.items() if shown.get(px) != qty]
        return rows, now

    def _checksum(self) -> int:
        pair = self._pair
        text = "".join(
            _digits(px, pair.price_decimals) + _digits(qty, pair.lot_decimals)
            for side in (self._asks, self._bids)
            for px, qty in list(side.items())[:SUMMED]
        )
        return zlib.crc32(text.encode())


def _digits(value: Decimal, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace(".", "").lstrip("0")
