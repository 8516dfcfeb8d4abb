"""Kraken's public REST reads (docs/venues/kraken.md 2, 3, 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from core.clock import NS_PER_S, Clock
from core.types import Side
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Level, Trade
from ops.sandbox.venues import _kraken_errors as errors
from ops.sandbox.venues._kraken_errors import ApiError, invalid
from ops.sandbox.venues._kraken_listing import Listing, Pair, Row, pair_row
from ops.sandbox.venues._kraken_rows import seconds, stamp

PRINTS = 1000
DEPTH_MAX = 500
Query = Mapping[str, str]


class Public:
    """Handlers: query -> result. Raises ApiError."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._prints: dict[str, deque[Trade]] = {pair.name: deque(maxlen=PRINTS) for pair in listing.pairs}
        self.handlers = {
            "Time": self.time,
            "SystemStatus": self.status,
            "Assets": self.assets,
            "AssetPairs": self.asset_pairs,
            "Ticker": self.ticker,
            "Depth": self.depth,
            "Trades": self.trades,
            "Spread": self.spread,
        }

    def traded(self, trade: Trade) -> None:
        self._prints[trade.name].append(trade)

    def prints(self, name: str) -> list[Trade]:
        return list(self._prints[name])

    def time(self, query: Query) -> Row:
        now_ns = self._clock.wire_ns()
        return {"unixtime": now_ns // NS_PER_S, "rfc1123": stamp(now_ns)}

    def status(self, query: Query) -> Row:
        return {"status": "online", "timestamp": stamp(self._clock.wire_ns())[:19] + "Z"}

    def assets(self, query: Query) -> Row:
        return self._listing.assets()

    def asset_pairs(self, query: Query) -> Row:
        return {pair.key: pair_row(pair) for pair in self._asked(query)}

    def ticker(self, query: Query) -> Row:
        return {pair.key: self.ticker_row(pair) for pair in self._asked(query)}

    def ticker_row(self, pair: Pair) -> Row:
        """First element of a pair: today, second: the last 24 h."""
        top, stats = self._exchange.top(pair.name), self._exchange.stats(pair.name)
        volume, vwap = f"{stats.volume_base:.8f}", _px(pair, stats.volume_usd / (stats.volume_base or 1))
        return {
            "a": _touch(pair, top.ask), "b": _touch(pair, top.bid), "c": [_px(pair, stats.last_px), "0.01000000"],
            "v": [volume, volume], "p": [vwap, vwap], "t": [stats.trades, stats.trades],
            "l": [_px(pair, stats.low_px)] * 2, "h": [_px(pair, stats.high_px)] * 2, "o": _px(pair, stats.open_px),
        }  # fmt: skip

    def depth(self, query: Query) -> Row:
        pair = self._one(query)
        count = query.get("count", "100")
        if not count.isdecimal() or not 1 <= int(count) <= DEPTH_MAX:
            raise invalid("count")
        bids, asks = self._exchange.levels(pair.name, int(count))
        now_s = self._clock.wire_ns() // NS_PER_S

        def rows(levels: list[Level]) -> list[list[Any]]:
            return [[_px(pair, level.px), f"{level.qty:.3f}", now_s] for level in levels]

        return {pair.key: {"asks": rows(asks), "bids": rows(bids)}}

    def trades(self, query: Query) -> Row:
        pair = self._one(query)
        rows = [
            [_px(pair, each.px), f"{each.qty:.8f}", seconds(each.time_ns), "b" if each.side is Side.BUY else "s", "l", "",
             each.trade_id]
            for each in self._prints[pair.name]
        ]  # fmt: skip
        return {pair.key: rows, "last": str(self._clock.wire_ns())}

    def spread(self, query: Query) -> Row:
        pair = self._one(query)
        top, now_s = self._exchange.top(pair.name), self._clock.wire_ns() // NS_PER_S
        rows = [[now_s, _px(pair, top.bid.px), _px(pair, top.ask.px)]] if top.bid and top.ask else []
        return {pair.key: rows, "last": now_s}

    def _asked(self, query: Query) -> list[Pair]:
        names = [name for name in query.get("pair", "").split(",") if name]
        return [self._find(name) for name in names] if names else self._listing.pairs

    def _one(self, query: Query) -> Pair:
        return self._find(query.get("pair", ""))

    def _find(self, name: str) -> Pair:
        pair = self._listing.find(name)
        if pair is None:
            raise ApiError(errors.UNKNOWN_PAIR)
        return pair


def _px(pair: Pair, px: Any) -> str:
    return f"{px:.{pair.price_decimals}f}"


def _touch(pair: Pair, level: Level | None) -> list[str]:
    if level is None:
        return [_px(pair, 0), "0", "0.000"]
    return [_px(pair, level.px), str(max(1, int(level.qty))), f"{level.qty:.3f}"]
