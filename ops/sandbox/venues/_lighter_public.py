"""Lighter's public reads: catalogue, books, trades, funding, statistics (docs/venues/lighter.md 2, 3, 4)."""

from __future__ import annotations

from collections import defaultdict, deque
from decimal import Decimal

from core.clock import NS_PER_MS, NS_PER_S, Clock
from ops.sandbox.exchange import Exchange
from ops.sandbox.model import ZERO, Level, Trade
from ops.sandbox.venues._lighter_call import Call, Row
from ops.sandbox.venues._lighter_errors import ApiError, Code, invalid_param
from ops.sandbox.venues._lighter_listing import Listing, Market, assets, daily, detail_row, light_row, spot_row
from ops.sandbox.venues._lighter_rows import OTHERS, funding_row, order_index, print_row

BOOK_MAX = 250
TRADES_MAX = 100
FUNDINGS_MAX = 750  # [unsure] rows of one page
PRINTS_KEPT = 100
DAY_MS = 86_400_000


class Public:
    """Answers without an account. Keeps the latest prints of each market."""

    def __init__(self, exchange: Exchange, clock: Clock, listing: Listing) -> None:
        self._exchange = exchange
        self._clock = clock
        self._listing = listing
        self._prints: dict[str, deque[Trade]] = defaultdict(lambda: deque(maxlen=PRINTS_KEPT))

    def traded(self, trade: Trade) -> None:
        self._prints[trade.name].append(trade)

    def prints(self, market: Market, limit: int) -> list[Row]:
        """Newest first."""
        return [print_row(trade, market) for trade in list(self._prints[market.name])[::-1][:limit]]

    def status(self, call: Call) -> Row:
        return {"status": 200, "network_id": 1, "timestamp": self._clock.wire_ns() // NS_PER_S}

    def order_books(self, call: Call) -> Row:
        perps, spot = self._wanted(call)
        rows = [light_row(market) for market in perps]
        return {"code": 200, "order_books": rows + ([spot_row(detailed=False)] if spot else [])}

    def order_book_details(self, call: Call) -> Row:
        perps, spot = self._wanted(call)
        return {
            "code": 200,
            "order_book_details": [self._detail(market) for market in perps],
            "spot_order_book_details": [spot_row(detailed=True)] if spot else [],
        }

    def asset_details(self, call: Call) -> Row:
        wanted = call.integer("asset_id", default=0)
        return {"code": 200, "asset_details": [row for row in assets() if wanted in (0, row["asset_id"])]}

    def order_book_orders(self, call: Call) -> Row:
        """Single orders; a level of the sandbox's book is shown as one."""
        market = self._market(call)
        limit = call.integer("limit", least=1, most=BOOK_MAX)
        bids, asks = self._exchange.levels(market.name, limit)
        now_ms = self._clock.wire_ns() // NS_PER_MS
        return {
            "code": 200,
            "total_asks": len(asks),
            "asks": [_resting(market, level, at, now_ms) for at, level in enumerate(asks)],
            "total_bids": len(bids),
            "bids": [_resting(market, level, at + BOOK_MAX, now_ms) for at, level in enumerate(bids)],
        }

    def recent_trades(self, call: Call) -> Row:
        return {"code": 200, "trades": self.prints(self._market(call), call.integer("limit", least=1, most=TRADES_MAX))}

    def exchange_stats(self, call: Call) -> Row:
        rows = []
        for market in self._listing.traded:
            figures = daily(self._exchange.stats(market.name))
            del figures["daily_price_low"], figures["daily_price_high"]
            rows.append({"symbol": market.name, **figures})
        return {
            "code": 200,
            "total": len(rows),
            "order_book_stats": rows,
            "daily_usd_volume": sum(row["daily_quote_token_volume"] for row in rows),
            "daily_trades_count": sum(row["daily_trades_count"] for row in rows),
        }

    def funding_rates(self, call: Call) -> Row:
        """Fractions per 8 h, and other exchanges' rates among our own."""
        rows: list[Row] = []
        for market in self._listing.traded:
            rate = float(self._exchange.funding_estimate(market.name).rate * 8)
            others = [("binance", 0.0001), ("bybit", 0.0001), ("hyperliquid", 0.0001)]
            for exchange, value in [*others, ("lighter", rate)]:
                rows.append({"market_id": market.index, "exchange": exchange, "symbol": market.name, "rate": value})
        return {"code": 200, "funding_rates": rows}

    def fundings(self, call: Call) -> Row:
        """Settled hours, oldest first: percent per hour, unsigned, with a direction. Times are seconds."""
        market = self._market(call)
        resolution = call.text("resolution")
        if resolution not in ("1h", "1d"):
            raise invalid_param("resolution")
        start_s, end_s = call.integer("start_timestamp"), call.integer("end_timestamp")
        count = min(call.integer("count_back", least=0), FUNDINGS_MAX)
        points = self._exchange.funding_history(market.name, start_s * NS_PER_S, end_s * NS_PER_S)
        if resolution == "1d":
            points = [point for point in points if point.time_ns // NS_PER_MS % DAY_MS == 0]
        mark = self._exchange.mark(market.name)
        rows = [funding_row(point, mark) for point in points[-count:]] if count else []
        return {"code": 200, "resolution": resolution, "fundings": rows}

    def _detail(self, market: Market) -> Row:
        if not market.symbol:
            return detail_row(market, None, ZERO, ZERO)
        name = market.name
        return detail_row(market, self._exchange.stats(name), self._exchange.mark(name), self._exchange.oracle(name))

    def _wanted(self, call: Call) -> tuple[list[Market], bool]:
        """The perps asked for, and whether the spot market is among the answer."""
        kind = call.text("filter", "all")
        if kind not in ("all", "perp", "spot"):
            raise invalid_param("filter")
        index = call.integer("market_id", default=255)
        perps = [row for row in self._listing.rows if index in (255, row.index)] if kind != "spot" else []
        spot = kind != "perp" and index in (255, int(spot_row(detailed=False)["market_id"]))
        if not perps and not spot:
            raise ApiError(Code.INVALID_MARKET)
        return perps, spot

    def _market(self, call: Call) -> Market:
        market = self._listing.by_index.get(call.integer("market_id"))
        if market is None:
            raise ApiError(Code.INVALID_MARKET)
        return market


def _resting(market: Market, level: Level, number: int, now_ms: int) -> Row:
    index, size = order_index(number), market.size(Decimal(level.qty))
    return {
        "order_index": index, "order_id": str(index), "owner_account_index": OTHERS, "initial_base_amount": size,
        "remaining_base_amount": size, "price": market.px(level.px), "order_expiry": now_ms + 28 * DAY_MS,
        "transaction_time": now_ms * 1000,
    }  # fmt: skip
