"""Public REST: what anybody may ask (docs/venues/aster.md 2, 4, 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from core.clock import NS_PER_MS
from core.numeric import plain
from core.types import Side
from ops.sandbox.model import Trade
from ops.sandbox.venues._aster_book import BookIds
from ops.sandbox.venues._aster_call import Call
from ops.sandbox.venues._aster_errors import ApiError, Code
from ops.sandbox.venues._aster_limits import Limits
from ops.sandbox.venues._aster_listing import QUOTE, Listing
from ops.sandbox.venues._aster_orders import Row, time_range
from ops.sandbox.venues._aster_shapes import money
from ops.sandbox.venues._aster_tickets import listed
from ops.sandbox.venues.base import Host

DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
DAY_MS = 86_400_000
TRADES_KEPT = 1000
MONTH_MS = 30 * DAY_MS

RowOf = Callable[[Listing], Row]


class Public:
    """Handlers of the market-data endpoints, and the day's ticker that the streams share."""

    def __init__(self, host: Host, listings: dict[str, Listing], ids: BookIds, limits: Limits) -> None:
        self._clock = host.clock
        self._exchange = host.exchange
        self._listings = listings
        self._ids = ids
        self._limits = limits
        self._trades: dict[str, deque[Trade]] = {name: deque(maxlen=TRADES_KEPT) for name in listings}

    def traded(self, trade: Trade) -> None:
        """Remember a public print."""
        self._trades[trade.name].append(trade)

    def ping(self, call: Call) -> Row:
        return {}

    def time(self, call: Call) -> Row:
        return {"serverTime": self._now_ms()}

    def exchange_info(self, call: Call) -> Row:
        return {
            "timezone": "UTC",
            "serverTime": self._now_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self._limits.weight_max,
                },
                {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": self._limits.orders_max},
            ],
            "exchangeFilters": [],
            "assets": [{"asset": QUOTE, "marginAvailable": True, "autoAssetExchange": 0}],
            "symbols": [listing.symbol_row() for listing in self._listings.values()],
        }

    def spot_exchange_info(self, call: Call) -> Row:
        """The spot host lists nothing here; ccxt asks it before it trades perpetuals."""
        return {"timezone": "UTC", "serverTime": self._now_ms(), "rateLimits": [], "assets": [], "symbols": []}

    def depth(self, call: Call) -> Row:
        listing = listed(call.params, self._listings)
        limit = call.params.integer_or("limit", 500)
        if limit not in DEPTH_LIMITS:
            raise ApiError(Code.INVALID_DEPTH_LIMIT, f"{limit} is not valid depth limit.")
        bids, asks = self._exchange.levels(listing.name, limit)
        return {
            "lastUpdateId": self._ids.current(listing.name),
            "E": self._now_ms(),
            "T": self._exchange.top(listing.name).time_ns // NS_PER_MS,
            "bids": [[plain(level.px), plain(level.qty)] for level in bids],
            "asks": [[plain(level.px), plain(level.qty)] for level in asks],
        }

    def trades(self, call: Call) -> list[Row]:
        rows = list(self._trades[listed(call.params, self._listings).name])[-call.params.limit(500, 1000) :]
        return [
            {
                "id": trade.trade_id,
                "price": plain(trade.px),
                "qty": plain(trade.qty),
                "quoteQty": plain(trade.px * trade.qty),
                "time": trade.time_ns // NS_PER_MS,
                "isBuyerMaker": trade.side is Side.SELL,
            }
            for trade in rows
        ]

    def agg_trades(self, call: Call) -> list[Row]:
        """Every print stands for itself: one taker order at one price."""
        start_ms, end_ms = time_range(call.params, 3_600_000)
        first_id = call.params.integer_or("fromId", 0)
        rows = [
            agg_row(trade)
            for trade in self._trades[listed(call.params, self._listings).name]
            if trade.trade_id >= first_id and start_ms <= trade.time_ns // NS_PER_MS <= end_ms
        ]
        limit = call.params.limit(500, 1000)
        return rows[:limit] if first_id or "startTime" in call.params else rows[-limit:]

    def book_ticker(self, call: Call) -> Row | list[Row]:
        return self._each(call, self._book_ticker_row)

    def price(self, call: Call) -> Row | list[Row]:
        return self._each(call, self._price_row)

    def day(self, call: Call) -> Row | list[Row]:
        return self._each(call, self.day_row)

    def premium_index(self, call: Call) -> Row | list[Row]:
        return self._each(call, self._premium_row)

    def funding_info(self, call: Call) -> list[Row]:
        rows = [listing.funding_row(self._now_ms()) for listing in self._listings.values()]
        if "symbol" in call.params:
            name = listed(call.params, self._listings).name
            return [row for row in rows if row["symbol"] == name]
        return rows

    def funding_rate(self, call: Call) -> list[Row]:
        """Settled rates, oldest first. A window with more than `limit` rows gives the oldest; no window the newest."""
        limit = call.params.limit(100, 1000)
        names = [listed(call.params, self._listings).name] if "symbol" in call.params else list(self._listings)
        start_ms, end_ms = time_range(call.params, 1 << 62)
        now_ms = self._clock.calendar_ns() // NS_PER_MS
        start_ns, end_ns = max(start_ms, now_ms - MONTH_MS) * NS_PER_MS, min(end_ms, now_ms) * NS_PER_MS
        rows: list[Row] = [
            {"symbol": name, "fundingRate": f"{point.rate:.8f}", "fundingTime": point.time_ns // NS_PER_MS}
            for name in names
            for point in self._exchange.funding_history(name, start_ns, end_ns)
        ]
        rows.sort(key=lambda row: int(str(row["fundingTime"])))
        return rows[:limit] if "startTime" in call.params else rows[-limit:]

    def day_row(self, listing: Listing) -> Row:
        """24hr ticker of one symbol."""
        stats, trades = self._exchange.stats(listing.name), self._trades[listing.name]
        change = stats.last_px - stats.open_px
        average = stats.volume_usd / stats.volume_base if stats.volume_base else stats.last_px
        now_ms = self._now_ms()
        last_id = trades[-1].trade_id if trades else stats.trades
        return {
            "symbol": listing.name,
            "priceChange": plain(change),
            "priceChangePercent": f"{change / stats.open_px * 100:.3f}",
            "weightedAvgPrice": money(average),
            "prevClosePrice": plain(stats.open_px),
            "lastPrice": plain(stats.last_px),
            "lastQty": plain(trades[-1].qty if trades else listing.contract.lot),
            "openPrice": plain(stats.open_px),
            "highPrice": plain(stats.high_px),
            "lowPrice": plain(stats.low_px),
            "volume": plain(stats.volume_base),
            "quoteVolume": plain(stats.volume_usd),
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": max(0, last_id - stats.trades + 1),
            "lastId": last_id,
            "count": stats.trades,
        }

    def _book_ticker_row(self, listing: Listing) -> Row:
        top = self._exchange.top(listing.name)
        return {
            "symbol": listing.name,
            "bidPrice": plain(top.bid.px) if top.bid else "0",
            "bidQty": plain(top.bid.qty) if top.bid else "0",
            "askPrice": plain(top.ask.px) if top.ask else "0",
            "askQty": plain(top.ask.qty) if top.ask else "0",
            "time": top.time_ns // NS_PER_MS,
            "lastUpdateId": self._ids.current(listing.name),
        }

    def _price_row(self, listing: Listing) -> Row:
        return {
            "symbol": listing.name,
            "price": plain(self._exchange.stats(listing.name).last_px),
            "time": self._now_ms(),
        }

    def _premium_row(self, listing: Listing) -> Row:
        name, estimate = listing.name, self._exchange.funding_estimate(listing.name)
        return {
            "symbol": name,
            "markPrice": money(self._exchange.mark(name)),
            "indexPrice": money(self._exchange.oracle(name)),
            "estimatedSettlePrice": money(self._exchange.oracle(name)),
            "lastFundingRate": f"{estimate.rate:.8f}",
            "nextFundingTime": estimate.time_ns // NS_PER_MS,
            "interestRate": f"{listing.interest_rate:.8f}",
            "time": self._now_ms(),
        }

    def _each(self, call: Call, row: RowOf) -> Row | list[Row]:
        """One object when `symbol` is sent, else a list of all."""
        if "symbol" in call.params:
            return row(listed(call.params, self._listings))
        return [row(listing) for listing in self._listings.values()]

    def _now_ms(self) -> int:
        return self._clock.wire_ns() // NS_PER_MS


def agg_row(trade: Trade) -> Row:
    return {
        "a": trade.trade_id,
        "p": plain(trade.px),
        "q": plain(trade.qty),
        "f": trade.trade_id,
        "l": trade.trade_id,
        "T": trade.time_ns // NS_PER_MS,
        "m": trade.side is Side.SELL,
    }
