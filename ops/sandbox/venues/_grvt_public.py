"""GRVT's market data by REST (docs/venues/grvt.md 2 to 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from core.clock import NS_PER_MS, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import Trade
from ops.sandbox.venues import _grvt_signing as signing
from ops.sandbox.venues._grvt_errors import ApiError, Code, Row
from ops.sandbox.venues._grvt_listing import Listing, Market
from ops.sandbox.venues._grvt_rows import book_row, funding_row, mini_row, ticker_row, trade_row

DEPTHS = (10, 50, 100, 500)
TRADES_KEPT = 500
FUNDING_PAGE, FUNDING_PAGE_MAX = 500, 1000
FUNDING_WINDOW_NS = 30 * 24 * 3600 * 1_000_000_000


class Public:
    """Handlers take the request's body."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._trades: dict[str, deque[Row]] = {name: deque(maxlen=TRADES_KEPT) for name in listing.by_name}

    def handlers(self) -> dict[str, Callable[[Row], Row]]:
        """By the endpoint's name."""
        return {
            "all_instruments": self.all_instruments, "instruments": self.instruments, "instrument": self.instrument,
            "currency": self.currency, "margin_rules": self.margin_rules, "mini": self.mini, "ticker": self.ticker,
            "book": self.book, "trade": self.trades, "trade_history": self.trades, "funding": self.funding,
        }  # fmt: skip

    def traded(self, trade: Trade) -> Row:
        """Remember a public execution; its row."""
        row = trade_row(trade, self._exchange.mark(trade.name), self._exchange.oracle(trade.name))
        self._trades[trade.name].append(row)
        return row

    def server_time(self) -> Row:
        return {"server_time": self._clock.wire_ns() // NS_PER_MS}

    def all_instruments(self, body: Row) -> Row:
        return {"result": [row.row() for row in self._listing.rows if row.active or not body.get("is_active")]}

    def instruments(self, body: Row) -> Row:
        kinds, bases, quotes = (body.get(name) or [] for name in ("kind", "base", "quote"))
        rows = [
            row.row()
            for row in self._listing.rows
            if (row.active or not body.get("is_active"))
            and (not kinds or row.kind in kinds)
            and (not bases or row.base in bases)
            and (not quotes or row.quote in quotes)
        ]
        return {"result": rows[: signing.whole(body.get("limit") or 500)]}

    def instrument(self, body: Row) -> Row:
        for row in self._listing.rows:
            if row.name == body.get("instrument"):
                return {"result": row.row()}
        raise ApiError(Code.INVALID_INSTRUMENT)

    def currency(self, body: Row) -> Row:
        """What the catalogue's assets are scaled by."""
        rows = [
            {"id": row.asset_id >> 8 & 0xFF, "symbol": row.base, "balance_decimals": row.base_decimals,
             "quantity_multiplier": str(10**row.base_decimals)}
            for row in self._listing.rows
        ]  # fmt: skip
        usdt = {"id": 3, "symbol": "USDT", "balance_decimals": 6, "quantity_multiplier": "1000000"}
        return {"result": [usdt, *rows]}

    def margin_rules(self, body: Row) -> Row:
        return self._market(body).margin_rules()

    def mini(self, body: Row) -> Row:
        return {"result": mini_row(self._exchange, self._market(body), self._clock.wire_ns())}

    def ticker(self, body: Row) -> Row:
        return {"result": ticker_row(self._exchange, self._market(body), self._clock.wire_ns())}

    def book(self, body: Row) -> Row:
        depth = signing.whole(body.get("depth") or 0)
        if depth not in DEPTHS:
            raise ApiError(Code.WS_DEPTH)
        return {"result": book_row(self._exchange, self._market(body), depth, self._clock.wire_ns())}

    def trades(self, body: Row) -> Row:
        """Newest first."""
        rows = list(self._trades[self._market(body).name])[::-1]
        return {"result": rows[: signing.whole(body.get("limit") or TRADES_KEPT)], "next": ""}

    def funding(self, body: Row) -> Row:
        """Settled rates, newest first; `cursor` is the time of the last row shown."""
        market = self._market(body)
        now_ns = self._clock.calendar_ns()
        end_ns = signing.whole(body.get("cursor") or body.get("end_time") or now_ns) - bool(body.get("cursor"))
        start_ns = signing.whole(body.get("start_time") or max(0, now_ns - FUNDING_WINDOW_NS))
        limit = signing.whole(body.get("limit") or FUNDING_PAGE)
        if not 1 <= limit <= FUNDING_PAGE_MAX:
            raise ApiError(Code.MALFORMED)
        points = self._exchange.funding_history(market.name, start_ns, min(end_ns, now_ns))[::-1]
        mark = self._exchange.mark(market.name)
        rows = [funding_row(market, point, mark) for point in points[:limit]]
        return {"result": rows, "next": rows[-1]["funding_time"] if len(points) > limit else ""}

    def _market(self, body: Row) -> Market:
        market = self._listing.by_name.get(str(body.get("instrument")))
        if market is None:
            raise ApiError(Code.INVALID_INSTRUMENT)
        return market
