"""`GET` of the simulated Pacifica: markets and, by public address alone, accounts (docs/venues/pacifica.md 2 to 5, 8).

Lists are newest first, in pages; a cursor names the last row seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from core.clock import NS_PER_S, Clock
from core.numeric import plain
from ops.sandbox.exchange import Exchange
from ops.sandbox.venues import _pacifica_listing as listing
from ops.sandbox.venues import _pacifica_rows as rows
from ops.sandbox.venues._pacifica_errors import NOT_FOUND, ApiError, Business, malformed

PAGE_ROWS, MAX_ROWS = 100, 4000
TRADES_WINDOW_MS = 30 * 24 * 3600 * 1000
RECENT_TRADES = 100
DAYS_BACK_NS = 30 * 24 * 3600 * NS_PER_S
Query = Mapping[str, str]
Row = dict[str, Any]


class Reads:
    """`answer` takes the path below `/api/v1/` and the query. `li` is the venue's last order number."""

    def __init__(self, exchange: Exchange, clock: Clock, li: Callable[[], int]) -> None:
        self._exchange = exchange
        self._clock = clock
        self._li = li
        self._kinds: dict[str, Callable[[Query], Row]] = {
            "info": self._info,
            "info/prices": self._prices,
            "info/fees": self._fees,
            "book": self._book,
            "trades": self._trades,
            "funding_rate/history": self._rates,
            "account": self._account,
            "account/settings": self._settings,
            "positions": self._positions,
            "orders": self._orders,
            "orders/history": self._past_orders,
            "orders/history_by_id": self._order_events,
            "trades/history": self._fills,
            "funding/history": self._payments,
        }
        self._recent: dict[str, list[Row]] = {}

    @property
    def paths(self) -> list[str]:
        return list(self._kinds)

    def answer(self, path: str, query: Query) -> bytes:
        """The body of a success. Raises ApiError."""
        return orjson.dumps({"success": True, **self._kinds[path](query), "error": None, "code": None})

    def note_trade(self, name: str, row: Row) -> None:
        """A public print, kept for `trades`."""
        recent = self._recent.setdefault(name, [])
        recent.insert(0, row)
        del recent[RECENT_TRADES:]

    # -- markets ----------------------------------------------------------------------------------------------------

    def _info(self, query: Query) -> Row:
        calendar_ns = self._clock.calendar_ns()
        listed = [
            listing.perpetual_row(
                contract,
                rows.last_settled(self._exchange, name, calendar_ns),
                self._exchange.funding_estimate(name).rate,
            )
            for name, contract in self._exchange.contracts.items()
        ]
        return {"data": [*listed, listing.spot_row()]}

    def _prices(self, query: Query) -> Row:
        return {"data": self.price_rows()}

    def price_rows(self) -> list[Row]:
        calendar_ns, now_ns = self._clock.calendar_ns(), self._clock.wire_ns()
        return [
            rows.price_row(self._exchange, name, calendar_ns, now_ns)
            for name in self._exchange.contracts
            if self._exchange.pricing.known(name)
        ]

    def _fees(self, query: Query) -> Row:
        maker, taker = plain(listing.MAKER_FEE), plain(listing.TAKER_FEE)
        return {"data": [{"level": 0, "maker_fee_rate": maker, "taker_fee_rate": taker}]}

    def _book(self, query: Query) -> Row:
        name = self._symbol(query)
        return {"data": rows.book_levels(self._exchange, name, self._li(), self._clock.wire_ns())}

    def _trades(self, query: Query) -> Row:
        return {"data": self._recent.get(self._symbol(query), []), "last_order_id": self._li()}

    def _rates(self, query: Query) -> Row:
        name, now_ns = self._symbol(query), self._clock.calendar_ns()
        points = self._exchange.funding_history(name, now_ns - DAYS_BACK_NS, now_ns)
        following = [*(point.rate for point in points[1:]), self._exchange.funding_estimate(name).rate]
        listed = [
            (point.time_ns, rows.past_rate_row(self._exchange, name, point, rate))
            for point, rate in zip(points, following, strict=True)
        ]
        return _page(listed[::-1], query)

    # -- accounts ---------------------------------------------------------------------------------------------------

    def _account(self, query: Query) -> Row:
        account = _address(query)
        if self._exchange.account(account) is None:
            raise ApiError(NOT_FOUND, Business.ACCOUNT_NOT_FOUND.name, NOT_FOUND)
        return {"data": rows.account_row(self._exchange, account, self._clock.wire_ns())}

    def _settings(self, query: Query) -> Row:
        """Symbols whose settings are not the defaults."""
        state = self._exchange.account(_address(query))
        listed = []
        for name, position in (state.positions if state is not None else {}).items():
            contract = self._exchange.contracts.get(name)
            if contract is not None and (position.leverage != contract.default_leverage or not position.cross):
                listed.append({"symbol": name, "isolated": not position.cross, "leverage": position.leverage,
                               "created_at": listing.CREATED_MS, "updated_at": rows.ms(position.updated_ns)})  # fmt: skip
        return {"data": listed}

    def _positions(self, query: Query) -> Row:
        account = _address(query)
        held = rows.held(self._exchange, account)
        return {
            "data": [rows.position_row(self._exchange, account, each) for each in held],
            "last_order_id": self._li(),
        }

    def _orders(self, query: Query) -> Row:
        listed = self._exchange.open_orders(_address(query))
        return {"data": [rows.open_order_row(order) for order in listed], "last_order_id": self._li()}

    def _past_orders(self, query: Query) -> Row:
        visible = [order for order in self._exchange.orders(_address(query)) if rows.is_visible(order)]
        return _page([(order.order_id, rows.past_order_row(order)) for order in reversed(visible)], query)

    def _order_events(self, query: Query) -> Row:
        number = _whole(query, "order_id", -1)
        for account in self._exchange.ledger.accounts:
            order = self._exchange.order(account, order_id=number)
            if order is not None and rows.is_visible(order):
                return {"data": rows.order_events(order)}
        raise ApiError(NOT_FOUND, f"Order history not found for order ID: {number}")

    def _fills(self, query: Query) -> Row:
        start_ms = _whole(query, "start_time", 0)
        end_ms = _whole(query, "end_time", 1 << 62)
        if start_ms and end_ms < 1 << 62 and end_ms - start_ms > TRADES_WINDOW_MS:
            raise malformed("Time range must not exceed 30 days")
        name = query.get("symbol", "")
        found = [
            (fill.trade_id, rows.fill_row(fill))
            for fill in reversed(self._exchange.fills(_address(query)))
            if start_ms <= rows.ms(fill.time_ns) <= end_ms and name in ("", fill.name)
        ]
        return {**_page(found, query), "last_order_id": self._li()}

    def _payments(self, query: Query) -> Row:
        payments = reversed(self._exchange.payments(_address(query)))
        return _page([(payment.payment_id, rows.payment_row(payment)) for payment in payments], query)

    def _symbol(self, query: Query) -> str:
        name = query.get("symbol", "")
        if name not in self._exchange.contracts:
            raise ApiError(NOT_FOUND, Business.BOOK_NOT_FOUND.name)
        return name


def _page(listed: list[tuple[int, Row]], query: Query) -> Row:
    """At most `limit` rows behind `cursor`."""
    limit = min(_whole(query, "limit", PAGE_ROWS), MAX_ROWS)
    cursor = _whole(query, "cursor", 0)
    left = [(number, row) for number, row in listed if not cursor or number < cursor]
    page = left[:limit]
    more = len(left) > len(page)
    return {"data": [row for _, row in page], "next_cursor": str(page[-1][0]) if more else None, "has_more": more}


def _address(query: Query) -> str:
    account = query.get("account", "")
    if not account:
        raise malformed("Failed to deserialize query string: missing field `account`")
    return account


def _whole(query: Query, name: str, default: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or len(text) > 19:
        raise malformed(f"Failed to deserialize query string: {name}: invalid digit found in string")
    return int(text)
